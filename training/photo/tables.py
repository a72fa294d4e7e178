"""Distributions -> integer frequency tables, as a range coder uses them, and the exact bits of symbols coded by them.

A table has frequencies of the values first .. first + n - 1 and, last, of the escape; they are at least 1 and sum to
2^16. A value outside is coded as the escape, and its distance by an Elias gamma code with a sign.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from training.photo.model import LOWEST_SCALE, TABLE_STEP, TABLES, HyperPrior

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

TOTAL = 1 << 16
FARTHEST = 240  # of a symbol that a table of its own frequency can hold
FARTHEST_HYPER = 60
LEAST_ESCAPE = 1e-6
PRIOR_COUNT = 50.0  # of symbols that a normal distribution counts for when tables are fitted


class Table(NamedTuple):
    """Frequencies of `first`, `first + 1`, ... and, last, of the escape."""

    first: int
    frequencies: Ints


class Costs:
    """Bits of symbols by tables."""

    def __init__(self, tables: list[Table], farthest: int = 2 * FARTHEST) -> None:
        self.farthest = farthest
        values = np.arange(-farthest, farthest + 1)
        rows = []
        for first, frequencies in tables:
            bits = -np.log2(frequencies / TOTAL)
            last = first + len(frequencies) - 2
            outside = np.where(values < first, first - values, values - last)
            gamma = 2 + 2 * np.floor(np.log2(np.maximum(outside, 1)))
            inside = bits[np.clip(values - first, 0, len(bits) - 2)]
            rows.append(np.where((values >= first) & (values <= last), inside, bits[-1] + gamma))
        self._bits = np.array(rows)

    def bits(self, table: npt.NDArray[np.integer], symbols: npt.NDArray[np.integer]) -> Floats:
        """Return the bits of each symbol by the table of its index; arrays of one shape, or that broadcast."""
        clipped = np.clip(symbols, -self.farthest, self.farthest)
        costs: Floats = self._bits[table, clipped + self.farthest]
        return costs


def to_frequencies(probabilities: Floats) -> Ints:
    """Return integers of at least 1 that sum to 2^16, near the probabilities."""
    share = np.maximum(probabilities, 0)
    counts: Ints = np.maximum(1, np.round(share / share.sum() * (TOTAL - len(share))).astype(np.int64))
    counts[np.argmax(counts)] += TOTAL - counts.sum()
    if counts.min() < 1:
        raise ValueError("a table has more values than frequencies")
    return counts


def table_scales() -> Floats:
    """Return the standard deviation of each table's normal distribution, in quantiser steps."""
    return np.asarray(LOWEST_SCALE * np.exp(TABLE_STEP * np.arange(TABLES)))


def normal_tables() -> list[Table]:
    """Return the tables of normal distributions, 10 % apart."""
    tables = []
    for scale in table_scales():
        reach = int(min(FARTHEST, max(1, np.ceil(4.5 * scale))))
        share = _normal(scale, reach)
        tables.append(Table(-reach, to_frequencies(np.append(share, max(LEAST_ESCAPE, 1 - share.sum())))))
    return tables


def fitted_tables(counts: Floats) -> list[Table]:
    """Return tables by how often symbols occurred, symmetric, with some of the normal distribution where few did.

    Args:
        counts: (TABLES, 2 FARTHEST + 1), of the symbols -FARTHEST .. FARTHEST by table.
    """
    tables = []
    even = (counts + counts[:, ::-1]) / 2
    for scale, row in zip(table_scales(), even, strict=True):
        reach = int(min(FARTHEST, max(1, np.ceil(6 * scale))))
        middle = row[FARTHEST - reach : FARTHEST + reach + 1]
        beyond = row.sum() - middle.sum()
        mixed = middle + PRIOR_COUNT * _normal(scale, reach)
        tables.append(Table(-reach, to_frequencies(np.append(mixed, beyond + LEAST_ESCAPE * mixed.sum()))))
    return tables


@torch.no_grad()
def hyper_tables(prior: HyperPrior) -> list[Table]:
    """Return the tables of z, one for each channel."""
    values = torch.arange(-FARTHEST_HYPER, FARTHEST_HYPER + 1, dtype=torch.float32)
    channels = prior.mean.shape[1]
    share = prior(values.view(1, 1, -1, 1).repeat(1, channels, 1, 1))[0, :, :, 0].double().numpy()
    return [Table(-FARTHEST_HYPER, to_frequencies(np.append(row, 10 * LEAST_ESCAPE))) for row in share]


def _normal(scale: float, reach: int) -> Floats:
    values = torch.arange(-reach, reach + 1, dtype=torch.float64)
    share = torch.special.ndtr((values + 0.5) / scale) - torch.special.ndtr((values - 0.5) / scale)
    return np.asarray(share.numpy())
