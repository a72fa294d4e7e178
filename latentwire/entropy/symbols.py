"""Symbols: the integers that a code is quantized to, and the distances of those that a frequency table does not list.

A symbol outside its table is coded as an escape, followed by its distance from the table. Distances count alternately
above and below the table: 0, 2, 4, … are the symbols `last + 1`, `last + 2`, …; 1, 3, 5, … are `first - 1`,
`first - 2`, …
"""

import numpy as np
import numpy.typing as npt

Symbols = npt.NDArray[np.int64]

# Symbols are signed integers of 32 bits. So the distance between a symbol and a table is below 2 ** 33.
MIN_SYMBOL, MAX_SYMBOL = -(1 << 31), (1 << 31) - 1
MAX_DISTANCE_BITS = 33

OUT_OF_RANGE = "the image cannot be encoded: its code has a symbol of more than 32 bits"


def all_in_range(symbols: Symbols) -> bool:
    """Return whether each symbol has at most 32 bits."""
    return bool(((symbols >= MIN_SYMBOL) & (symbols <= MAX_SYMBOL)).all())


def escape_distance(symbol: int, first: int, last: int) -> int:
    """Return the distance of a symbol outside the table that goes from `first` to `last`."""
    return 2 * (symbol - last - 1) if symbol > last else 2 * (first - 1 - symbol) + 1


def escaped_symbol(distance: int, first: int, last: int) -> int:
    """Return the symbol at a distance from the table that goes from `first` to `last`: undo `escape_distance`."""
    return first - 1 - distance // 2 if distance % 2 else last + 1 + distance // 2


def escape_distances(symbols: Symbols, first: Symbols, last: Symbols) -> Symbols:
    """Do as `escape_distance` for arrays of one shape, int64 (N)."""
    return np.where(symbols > last, 2 * (symbols - last - 1), 2 * (first - 1 - symbols) + 1)


def escaped_symbols(distances: Symbols, first: Symbols, last: Symbols) -> Symbols:
    """Do as `escaped_symbol` for arrays of one shape, int64 (N)."""
    return np.where(distances % 2 == 1, first - 1 - distances // 2, last + 1 + distances // 2)
