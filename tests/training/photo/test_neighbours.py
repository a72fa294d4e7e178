import numpy as np
import pytest

from training.photo.neighbours import CONTEXTS, Symbols, contexts, fit_rule, saving
from training.photo.tables import table_scales


def pictures(count: int, seed: int, hidden: bool = True) -> list[Symbols]:
    """Symbols whose scale is smooth over the picture, of which tables know only the mean where it is `hidden`."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        loudness = np.repeat(np.repeat(random.normal(0, 1, (1, 4, 4)), 4, 1), 4, 2)
        table = np.clip(30 + 8 * loudness, 0, 63).round().astype(np.int64).repeat(16, 0)
        scale = table_scales()[table]
        symbols = np.rint(random.normal(0, 1, table.shape) * scale).astype(np.int64)
        made.append(Symbols(symbols, np.full_like(table, 30) if hidden else table))
    return made


def test_a_rule_finds_what_tables_do_not_know() -> None:
    without, with_rule = saving(pictures(12, 0), pictures(4, 1))
    assert with_rule < 0.95 * without


def test_a_rule_costs_next_to_nothing_where_tables_are_right() -> None:
    without, with_rule = saving(pictures(12, 0, hidden=False), pictures(4, 1, hidden=False))
    assert with_rule < 1.02 * without


@pytest.mark.parametrize("channel", [0, 5, 15])
def test_a_context_depends_on_earlier_symbols_alone(channel: int) -> None:
    (picture,) = pictures(1, 3)
    order = np.arange(16)
    before = contexts(picture, order, 8)
    assert before.min() >= 0
    assert before.max() < CONTEXTS
    changed = picture.symbols.copy()
    group = channel // 2
    row, column = 5, 6  # white: all of the same group that is decoded before it is black
    changed[group * 2 : (group + 1) * 2, row, column] += 50
    changed[(group + 1) * 2 :] += 50
    after = contexts(Symbols(changed, picture.tables), order, 8)
    assert np.array_equal(before[channel, row, column], after[channel, row, column])
    assert np.array_equal(before[: group * 2], after[: group * 2])


def test_the_rule_sends_loud_channels_first() -> None:
    made = [Symbols(p.symbols, p.tables + np.arange(16)[:, None, None]) for p in pictures(3, 0)]
    assert fit_rule(made).order.tolist() == list(range(15, -1, -1))
