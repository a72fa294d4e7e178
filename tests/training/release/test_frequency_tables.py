import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.release.frequency_tables import MAX_ENTRIES, MAX_ENTRIES_TOGETHER, count_tables, scale_to_total


@given(st.lists(st.integers(1, 10**9), min_size=2, max_size=200))
def test_scaled_weights_add_up_and_none_vanishes(weights: list[int]) -> None:
    scaled = scale_to_total(np.array(weights))
    assert scaled.sum() == 65536
    assert scaled.min() >= 1
    assert (np.diff(scaled[np.argsort(weights, kind="stable")]) >= -1).all()


def test_equal_weights_differ_by_one_at_most_and_the_first_get_more() -> None:
    assert scale_to_total(np.ones(3, np.int64)).tolist() == [21846, 21845, 21845]


def test_tables_follow_the_counts() -> None:
    symbols = np.array([[0, 5]] * 600 + [[1, 5]] * 300 + [[-1, 5]] * 100)
    first, second = count_tables(symbols)
    assert (first.first, first.last) == (-3, 3)
    assert [round(frequency / 65536, 2) for frequency in first.frequencies] == [0, 0, 0.1, 0.6, 0.3, 0, 0]
    assert (second.first, second.last) == (3, 7)
    assert second.frequencies[2] > 65000


def test_a_wide_spread_of_symbols_is_left_to_escapes() -> None:
    (table,) = count_tables(np.array([[0]] * 1000 + [[10**9], [-(10**9)]]))
    assert len(table.frequencies) == MAX_ENTRIES
    assert table.first < 0 < table.last
    assert table.escape > min(table.frequencies)


def test_the_tables_of_a_long_code_are_shorter() -> None:
    wide = np.random.default_rng(0).normal(0, 300, (400, 1568)).astype(np.int64)
    tables = count_tables(wide)
    assert sum(len(table.frequencies) for table in tables) <= MAX_ENTRIES_TOGETHER
    assert all(table.first < 0 < table.last for table in tables)


@pytest.mark.parametrize("seed", [0, 1])
def test_tables_do_not_depend_on_the_order_of_the_images(seed: int) -> None:
    random = np.random.default_rng(seed)
    symbols = np.rint(random.normal(0, 5, (500, 3))).astype(np.int64)
    assert count_tables(symbols) == count_tables(random.permutation(symbols))
