"""The frequency tables of rANS, laid out for one lane and for many."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from latentwire.model.card import FREQUENCY_BITS, FREQUENCY_TOTAL, FrequencyTable

Integers = npt.NDArray[np.int64]

# Distances from a table are coded in up to 15 bits after their leading one.
MAX_DISTANCE = (1 << 16) - 2
LENGTH_BITS = 4

# Slots are looked up in buckets of 2 ** 5: that takes 16 kB a table, and one symbol of 200 then needs a search.
BUCKET_BITS = 5


class Tables:
    """Frequency tables by number."""

    def __init__(self, tables: Sequence[FrequencyTable]) -> None:
        rows = [[*table.frequencies, table.escape] for table in tables]
        self.first = np.array([table.first for table in tables], np.int64)
        self.last = np.array([table.last for table in tables], np.int64)
        self.cdf = [[0, *np.cumsum(row)[:-1].tolist()] for row in rows]
        self.frequencies = rows
        # All entries of all tables in one row: entry `offset[t] + i` is symbol first[t] + i of table t.
        self.offset = np.cumsum([0, *map(len, rows)])
        self.flat_frequency = np.concatenate(rows).astype(np.int64)
        self.flat_start = np.concatenate(self.cdf).astype(np.int64)
        # Slot s of table t has the key t * FREQUENCY_TOTAL + s; these are the keys of the first slots of all entries.
        self.keys = self.flat_start + np.repeat(np.arange(len(rows)), list(map(len, rows))) * FREQUENCY_TOTAL

    @cached_property
    def buckets(self) -> Integers:
        """The entries of all slots, for each 2 ** `BUCKET_BITS` slots of all tables; -1 where they have several."""
        last = np.arange(1, (len(self.cdf) << FREQUENCY_BITS - BUCKET_BITS) + 1) << BUCKET_BITS
        entries: Integers = self.keys.searchsorted(last, "left") - 1
        return np.where(self.keys[entries] <= last - (1 << BUCKET_BITS), entries, -1)

    def entries(self, numbers: Integers, symbols: Integers) -> tuple[Integers, npt.NDArray[np.bool_]]:
        """Return the entry of each symbol in its table, and which symbols are outside it."""
        first, last = self.first[numbers], self.last[numbers]
        outside = (symbols < first) | (symbols > last)
        return self.offset[numbers] + np.where(outside, last - first + 1, symbols - first), outside

    def ideal_bits(self, numbers: Integers, symbols: Integers) -> npt.NDArray[np.float64]:
        """Return the ideal code lengths in bits, float64 (n), of symbols with these numbers of tables, int64 (n)."""
        entries, outside = self.entries(numbers, symbols)
        bits: npt.NDArray[np.float64] = FREQUENCY_BITS - np.log2(self.flat_frequency[entries])
        far = numbers[outside]
        numerals = distances(symbols[outside], self.first[far], self.last[far]) + 1
        bits[outside] += LENGTH_BITS + np.floor(np.log2(numerals))
        return bits


def distances(symbols: Integers, first: Integers, last: Integers) -> Integers:
    """Return how far symbols outside their tables are away, alternately above and below: see `symbols`."""
    return np.where(symbols > last, 2 * (symbols - last - 1), 2 * (first - 1 - symbols) + 1)


def uniform(values: Integers, bits: Integers) -> tuple[Integers, Integers]:
    """Return starts and frequencies, int64 (n), of numbers of 0 to 15 bits, each of whose values is equally likely."""
    return values << (FREQUENCY_BITS - bits), FREQUENCY_TOTAL >> bits
