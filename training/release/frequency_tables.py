"""Symbols of the training images -> the integer frequency tables of the model card, by counting.

Deterministic, and in integers throughout.
"""

import numpy as np
import numpy.typing as npt

from latentwire.model.card import FREQUENCY_TOTAL, FrequencyTable

# Largest number of entries of a table, and of all tables of a card, which is read whole. Symbols outside are escapes.
MAX_ENTRIES = 4096
MAX_ENTRIES_TOGETHER = 1 << 19

# Entries beyond the least and the greatest symbol seen, as a fraction of the entries between; and their least number.
_MARGIN = 1 / 8
_LEAST_MARGIN = 2

# Weight of a symbol seen once; an unseen symbol, and all escapes together, have a weight of 1.
_COUNTED_ONCE = 2


def count_tables(symbols: npt.NDArray[np.int64]) -> tuple[FrequencyTable, ...]:
    """Return a table for each coordinate of symbols, int64 (N, code size)."""
    max_entries = min(MAX_ENTRIES, MAX_ENTRIES_TOGETHER // symbols.shape[1])
    return tuple(_count_table(column, max_entries) for column in symbols.T)


def scale_to_total(weights: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Scale weights, positive int64 (N), to integers of at least 1 that add up to 65,536.

    Each gets 1, and what remains is shared by the method of the largest remainder; of equal ones the first comes first.
    """
    to_share = FREQUENCY_TOTAL - len(weights)
    shares, remainders = np.divmod(weights * to_share, weights.sum())
    left_over = to_share - int(shares.sum())
    shares[np.argsort(-remainders, kind="stable")[:left_over]] += 1
    return np.asarray(shares + 1)


def _count_table(column: npt.NDArray[np.int64], max_entries: int) -> FrequencyTable:
    least, greatest = int(column.min()), int(column.max())
    margin = max(_LEAST_MARGIN, int((greatest - least) * _MARGIN))
    first, last = least - margin, greatest + margin
    if last - first >= max_entries:
        first = int(np.median(column)) - max_entries // 2
        last = first + max_entries - 1
    inside = column[(column >= first) & (column <= last)]
    counts = np.bincount(inside - first, minlength=last - first + 1)
    escapes = len(column) - len(inside)
    frequencies = scale_to_total(_COUNTED_ONCE * np.append(counts, escapes).astype(np.int64) + 1)
    return FrequencyTable(first=first, frequencies=tuple(frequencies[:-1].tolist()), escape=int(frequencies[-1]))
