"""A rule without any network that corrects a symbol's table by what is decoded around it, and what it saves.

Channels are sent in groups, each on black squares and then on white ones. Two numbers say how much larger decoded
magnitudes were than their tables promised: of earlier groups at the same place, and of the four neighbours in the same
channel (white squares only; beside them earlier groups there). Each is a level of 0 to 8, by integer thresholds; a
table of (levels, table) -> table, fitted to training pictures, gives what the symbol is coded with. All arithmetic that
a receiver does is of integers.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from training.photo.model import TABLES
from training.photo.tables import FARTHEST, TOTAL, Costs, Floats, fitted_tables, normal_tables

Integers = npt.NDArray[np.int64]

LEVELS = 9
CONTEXTS = LEVELS * (LEVELS + 1)
UNIT = 64  # of magnitudes
MOST = 15  # magnitudes beyond count as this
# Of the ratio of found and promised magnitude, between one level and the next, in 1/1024.
SAME_PLACE = tuple(round(1024 * 2 ** ((level - 3.5) / 3)) for level in range(LEVELS - 1))
NEIGHBOURS = tuple(round(1024 * 2 ** ((level - 3.5) / 2)) for level in range(LEVELS - 1))
SEEN_ENOUGH = 30.0  # symbols that a context needs to move away from the table as it is


class Symbols(NamedTuple):
    """Of one picture: symbols and their tables' indices, both (channels, h, w)."""

    symbols: Integers
    tables: Integers


class Rule(NamedTuple):
    """`order` of the channels, how many groups, and `moved` (CONTEXTS, TABLES): which table a table becomes."""

    order: Integers
    groups: int
    moved: Integers


def promised() -> Integers:
    """Return the mean magnitude of each table's symbols, in 1/64."""
    means = []
    for first, frequencies in normal_tables():
        values = np.abs(np.arange(first, first + len(frequencies) - 1))
        means.append(round(UNIT * float((np.minimum(values, MOST) * frequencies[:-1]).sum()) / TOTAL))
    return np.array(means, np.int64)


def contexts(found: Symbols, order: Integers, groups: int) -> Integers:
    """Return each symbol's context, 0 .. CONTEXTS - 1, channels in `order`; it depends on earlier symbols alone."""
    magnitudes = np.minimum(np.abs(found.symbols[order]), MOST) * UNIT
    expected = promised()[found.tables[order]]
    channels, height, width = magnitudes.shape
    size = -(-channels // groups)
    black = (np.arange(height)[:, None] + np.arange(width)) % 2 == 0
    earlier, earlier_expected = _earlier(magnitudes, size), _earlier(expected, size)
    same_place = _level(earlier, earlier_expected, UNIT, SAME_PLACE)
    near = _four(np.where(black, magnitudes, 0)) + _four(earlier) // (4 * size)
    near_expected = _four(np.where(black, expected, 0)) + _four(earlier_expected) // (4 * size)
    neighbours = _level(near, near_expected, UNIT * 3 // 10, NEIGHBOURS)
    return same_place * (LEVELS + 1) + np.where(black, LEVELS, neighbours)


def fit_rule(pictures: Sequence[Symbols], groups: int = 8) -> Rule:
    """Return the rule that pictures give: each context moves a table to that whose mean magnitude it found."""
    spread = np.mean([picture.tables.mean((1, 2)) for picture in pictures], axis=0)
    order = np.argsort(-spread, kind="stable").astype(np.int64)
    count, total = np.zeros((CONTEXTS, TABLES)), np.zeros((CONTEXTS, TABLES))
    for picture in pictures:
        at = (contexts(picture, order, groups).ravel(), picture.tables[order].ravel())
        np.add.at(count, at, 1)
        np.add.at(total, at, np.minimum(np.abs(picture.symbols[order]).ravel(), 4 * MOST))
    means = _mean_magnitudes()
    mean = (total + SEEN_ENOUGH * means) / (count + SEEN_ENOUGH)
    moved = np.abs(np.log(mean + 1e-4)[..., None] - np.log(means + 1e-4)).argmin(-1)
    return Rule(order, groups, moved.astype(np.int64))


def corrected(picture: Symbols, rule: Rule) -> Symbols:
    """Return the symbols in the rule's order, with the tables that it moves them to."""
    context = contexts(picture, rule.order, rule.groups)
    return Symbols(picture.symbols[rule.order], rule.moved[context, picture.tables[rule.order]])


def fit_costs(pictures: Sequence[Symbols]) -> Costs:
    """Return what symbols cost by tables fitted to these pictures."""
    counts = np.zeros((TABLES, 2 * FARTHEST + 1))
    for picture in pictures:
        symbols = np.clip(picture.symbols, -FARTHEST, FARTHEST) + FARTHEST
        np.add.at(counts, (picture.tables.ravel(), symbols.ravel()), 1)
    return Costs(fitted_tables(counts))


def bits(pictures: Sequence[Symbols], costs: Costs) -> float:
    """Return the bits of all symbols of pictures."""
    return float(sum(costs.bits(picture.tables, picture.symbols).sum() for picture in pictures))


def saving(training: Sequence[Symbols], measured: Sequence[Symbols], groups: int = 8) -> tuple[float, float]:
    """Return the bits of the measured pictures' symbols without the rule, and with it."""
    rule = fit_rule(training, groups)
    without = bits(measured, fit_costs(training))
    costs = fit_costs([corrected(picture, rule) for picture in training])
    return without, bits([corrected(picture, rule) for picture in measured], costs)


def _earlier(values: Integers, size: int) -> Integers:
    """Return for each channel the sum over all channels of earlier groups, at the same place."""
    groups = -(-len(values) // size)
    padded = np.pad(values, ((0, groups * size - len(values)), (0, 0), (0, 0)))
    sums = padded.reshape(groups, size, *values.shape[1:]).sum(1).cumsum(0)
    before = np.concatenate([np.zeros_like(sums[:1]), sums[:-1]])
    return np.repeat(before, size, axis=0)[: len(values)]


def _four(values: Integers) -> Integers:
    """Return the sum of the four neighbours, nothing beyond the sides."""
    padded = np.pad(values, ((0, 0), (1, 1), (1, 1)))
    return np.asarray(padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:])


def _level(found: Integers, expected: Integers, floor: int, thresholds: Sequence[int]) -> Integers:
    """Return how many thresholds the ratio (found + floor) / (expected + floor) reaches."""
    level = np.zeros_like(found)
    for threshold in thresholds:
        level += (found + floor) * 1024 >= threshold * (expected + floor)
    return level


def _mean_magnitudes() -> Floats:
    means = []
    for first, frequencies in normal_tables():
        values = np.abs(np.arange(first, first + len(frequencies) - 1))
        means.append(float((values * frequencies[:-1]).sum()) / TOTAL)
    return np.array(means)
