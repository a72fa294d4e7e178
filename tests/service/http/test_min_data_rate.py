"""Patience with slow clients: the time that they are waited for is spent, and bytes earn some."""

import pytest

from service.http.min_data_rate import Patience


def looks_until_it_ends(patience: Patience, waited_s: float, moved_bytes: int) -> int | None:
    for looks in range(1, 100_001):
        patience.spend(waited_s, moved_bytes)
        if patience.left_s <= 0:
            return looks
    return None


@pytest.mark.parametrize(
    ("waited_s", "moved_bytes", "looks"),
    [(1, 0, 60), (1, 125, 120), (1, 250, None), (29, 1, 3), (29, 29 * 250, None), (0, 1, None)],
)
def test_it_ends_with_the_time_that_bytes_do_not_earn(waited_s: float, moved_bytes: int, looks: int | None) -> None:
    assert looks_until_it_ends(Patience(30, 250), waited_s, moved_bytes) == looks


def test_bytes_earn_none_in_advance() -> None:
    patience = Patience(30, 250)
    patience.spend(1, 1_000_000_000)
    assert looks_until_it_ends(patience, 1, 0) == 60


def test_it_does_not_end_where_no_rate_is_asked_for() -> None:
    assert looks_until_it_ends(Patience(30, 0), 1000, 0) is None
