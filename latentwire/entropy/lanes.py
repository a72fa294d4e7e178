"""Symbols that have a table each <-> bytes, by rANS in one or many lanes. `docs/FORMAT.md` specifies the layout.

A writer collects the symbols in the order in which a reader will ask for them, and codes them backwards, as a state is
a stack (Duda 2013, arXiv:1311.2540). A reader asks for symbols in groups, and may compute the tables of a group from
the groups before it. The symbols of a group lie in rows of as many as there are lanes. One lane takes the fewest bytes,
and is coded in Python's own integers; many lanes step at once, as an array (Giesen 2014, arXiv:1402.3392).
"""

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from latentwire.errors import InvalidCode
from latentwire.model.card import FREQUENCY_BITS, FREQUENCY_TOTAL, FrequencyTable

Integers = npt.NDArray[np.int64]

# A state stays in [2 ** 24, 2 ** 40): at least 256 times the tables' total, so that rounding costs next to nothing.
STATE_BITS, STATE_BYTES = 24, 5
WORD_BITS, WORD_BYTES = 16, 2
CHECK_BITS = 16

# The number of lanes is written in one byte.
MAX_LANES = 255
# One lane codes 4 million symbols a second, a row of lanes takes 12 µs: fewer lanes than this are slower than one.
MIN_LANES = 48
# A lane costs 4 bytes, so this many bytes for each keep the loss below 0.5 %.
BYTES_PER_LANE = 900

# Distances from a table are coded in up to 15 bits after their leading one.
MAX_DISTANCE = (1 << 16) - 2
_LENGTH_BITS = 4

_LOWEST = 1 << STATE_BITS
_SLOT_MASK = FREQUENCY_TOTAL - 1
_SHORT_STATE = 1 << 8 * (STATE_BYTES - 1)


class Tables:
    """Frequency tables by number, and after them one that codes nothing, with which rows are filled up."""

    def __init__(self, tables: Sequence[FrequencyTable]) -> None:
        rows = [[*table.frequencies, table.escape] for table in tables]
        self.first = np.array([table.first for table in tables], np.int64)
        self.last = np.array([table.last for table in tables], np.int64)
        self.cdf = [[0, *np.cumsum(row)[:-1].tolist()] for row in rows]
        self.frequencies = rows
        self.empty = len(rows)
        every = [*rows, [FREQUENCY_TOTAL]]
        starts = [*self.cdf, [0]]
        # All entries of all tables in one row: entry `offset[t] + i` is symbol first[t] + i of table t.
        self.offset = np.cumsum([0, *map(len, rows)])
        self.flat_frequency = np.concatenate(every).astype(np.int64)
        self.flat_start = np.concatenate(starts).astype(np.int64)
        self.keys = np.concatenate([number * FREQUENCY_TOTAL + np.array(row) for number, row in enumerate(starts)])

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
        numerals = _distances(symbols[outside], self.first[far], self.last[far]) + 1
        bits[outside] += _LENGTH_BITS + np.floor(np.log2(numerals))
        return bits


class SymbolWriter:
    """Collects symbols, and codes them at the end."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._groups: list[tuple[Integers, Integers]] = []
        self.ideal_bits = 0.0

    def write(self, numbers: Integers, symbols: Integers) -> None:
        """Add a group of symbols, int64 (n), with the numbers of their tables, int64 (n).

        Symbols are at most `MAX_DISTANCE` // 2 away from their tables.
        """
        tables = self._tables
        entries, outside = tables.entries(numbers, symbols)
        self._add(tables.flat_start[entries], tables.flat_frequency[entries])
        if outside.any():
            far = numbers[outside]
            numerals = _distances(symbols[outside], tables.first[far], tables.last[far]) + 1
            lengths = np.floor(np.log2(numerals)).astype(np.int64)
            self._add_uniform(lengths, np.full_like(lengths, _LENGTH_BITS))
            self._add_uniform(numerals - (1 << lengths), lengths)

    def finish(self, check: int, lanes: int) -> bytes:
        """Return the bytes of all symbols.

        Args:
            check: 16 bits that a reader must find at the end.
            lanes: at least 1.
        """
        if lanes == 1:
            return self._finish_one(check)
        state = np.full(lanes, _LOWEST + check, np.int64)
        words: list[Integers] = []
        for starts, frequencies in reversed(self._groups):
            fill = -len(starts) % lanes
            start_rows = np.pad(starts, (0, fill)).reshape(-1, lanes)
            frequency_rows = np.pad(frequencies, (0, fill), constant_values=FREQUENCY_TOTAL).reshape(-1, lanes)
            limits = frequency_rows << STATE_BITS
            for start, frequency, limit in zip(start_rows[::-1], frequency_rows[::-1], limits[::-1], strict=True):
                full = np.flatnonzero(state >= limit)
                if full.size:
                    high = state[full]
                    words.append(high & _SLOT_MASK)
                    state[full] = high >> WORD_BITS
                quotient = state // frequency
                state += quotient * (FREQUENCY_TOTAL - frequency) + start
        joined = np.concatenate([*words[::-1], np.empty(0, np.int64)]).astype(">u2").tobytes()
        return b"".join(value.to_bytes(STATE_BYTES, "big") for value in state.tolist()) + joined

    def _finish_one(self, check: int) -> bytes:
        state, words = (1 << CHECK_BITS) + check, []
        for starts, frequencies in reversed(self._groups):
            for start, frequency in zip(starts[::-1].tolist(), frequencies[::-1].tolist(), strict=True):
                if state >= frequency << STATE_BITS:
                    words.append(state & _SLOT_MASK)
                    state >>= WORD_BITS
                state += state // frequency * (FREQUENCY_TOTAL - frequency) + start
        length = STATE_BYTES - (state < _SHORT_STATE)
        return state.to_bytes(length, "big") + np.array(words[::-1], ">u2").tobytes()

    def _add(self, starts: Integers, frequencies: Integers) -> None:
        self._groups.append((starts, frequencies))
        self.ideal_bits += FREQUENCY_BITS * len(frequencies) - float(np.log2(frequencies).sum())

    def _add_uniform(self, values: Integers, bits: Integers) -> None:
        self._add(values << (FREQUENCY_BITS - bits), FREQUENCY_TOTAL >> bits)


class SymbolReader(ABC):
    """Gives back what a writer coded, group by group."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def read(self, numbers: Integers) -> Integers:
        """Return a group of symbols, int64 (n), by the numbers of their tables, int64 (n).

        Raises:
            InvalidCode: the bytes end too early.
        """
        tables = self._tables
        symbols = tables.first[numbers] + self._entries(numbers)
        last = tables.last[numbers]
        escaped = np.flatnonzero(symbols > last)
        if escaped.size:
            lengths = self._uniform(np.full(escaped.size, _LENGTH_BITS, np.int64))
            distances = self._uniform(lengths) + (1 << lengths) - 1
            below = tables.first[numbers[escaped]] - 1 - distances // 2
            symbols[escaped] = np.where(distances % 2 == 1, below, last[escaped] + 1 + distances // 2)
        return symbols

    @abstractmethod
    def finish(self, check: int) -> None:
        """Check that nothing is left, and that the 16 bits of `check` are those of the writer.

        Raises:
            InvalidCode: they are not.
        """

    @abstractmethod
    def _entries(self, numbers: Integers) -> Integers:
        """Return which entries of their tables a group of symbols is."""

    @abstractmethod
    def _uniform(self, bits: Integers) -> Integers:
        """Return a group of numbers of so many bits, each of 0 to 15 bits and all its values equally likely."""


def open_reader(tables: Tables, data: bytes, lanes: int) -> SymbolReader:
    """Begin to read what `SymbolWriter.finish` returned.

    Raises:
        InvalidCode: no writer makes such bytes.
    """
    return _OneLane(tables, data) if lanes == 1 else _ManyLanes(tables, data, lanes)


def best_lanes(ideal_bits: float) -> int:
    """Return the number of lanes for symbols of this ideal code length."""
    lanes = int(ideal_bits / 8 / BYTES_PER_LANE)
    return 1 if lanes < MIN_LANES else min(lanes, MAX_LANES)


class _OneLane(SymbolReader):
    def __init__(self, tables: Tables, data: bytes) -> None:
        super().__init__(tables)
        # Words have two bytes each, so an even length means that the first byte of the state, a 0, is left out.
        length = STATE_BYTES - (len(data) % WORD_BYTES == 0)
        if len(data) < length:
            raise InvalidCode("the bitstream is cut short: its symbols have no bytes")
        self._state = int.from_bytes(data[:length], "big")
        if length == STATE_BYTES and self._state < _SHORT_STATE:
            raise InvalidCode("the bitstream is damaged: its state is not written in its shortest form")
        self._unread = np.frombuffer(data, ">u2", offset=length)[::-1].tolist()

    def _entries(self, numbers: Integers) -> Integers:
        state, unread, cdfs, every = self._state, self._unread, self._tables.cdf, self._tables.frequencies
        found = []
        for number in numbers.tolist():
            slot, cdf = state & _SLOT_MASK, cdfs[number]
            entry = bisect_right(cdf, slot) - 1
            found.append(entry)
            state = every[number][entry] * (state >> FREQUENCY_BITS) + slot - cdf[entry]
            if state < _LOWEST and unread:
                state = state << WORD_BITS | unread.pop()
        self._state = state
        return np.array(found, np.int64)

    def _uniform(self, bits: Integers) -> Integers:
        state, found = self._state, []
        for number in bits.tolist():
            slot, rest = state & _SLOT_MASK, FREQUENCY_BITS - number
            found.append(slot >> rest)
            state = (state >> FREQUENCY_BITS << rest) + (slot & (1 << rest) - 1)
            if state < _LOWEST and self._unread:
                state = state << WORD_BITS | self._unread.pop()
        self._state = state
        return np.array(found, np.int64)

    def finish(self, check: int) -> None:
        if self._unread or self._state != (1 << CHECK_BITS) + check:
            raise _damaged()


class _ManyLanes(SymbolReader):
    def __init__(self, tables: Tables, data: bytes, lanes: int) -> None:
        super().__init__(tables)
        if len(data) < lanes * STATE_BYTES or (len(data) - lanes * STATE_BYTES) % WORD_BYTES:
            raise InvalidCode(f"the bitstream is damaged: {lanes} lanes cannot have {len(data):,} bytes")
        parts = np.frombuffer(data, np.uint8, lanes * STATE_BYTES).reshape(lanes, STATE_BYTES).astype(np.int64)
        self._state: Integers = parts @ (1 << 8 * np.arange(STATE_BYTES - 1, -1, -1))
        if (self._state < _LOWEST).any():
            raise InvalidCode("the bitstream is damaged: a lane begins in an impossible state")
        self._unread = np.frombuffer(data, ">u2", offset=lanes * STATE_BYTES).astype(np.int64)
        self._used = 0

    def _entries(self, numbers: Integers) -> Integers:
        tables, state, lanes = self._tables, self._state, len(self._state)
        rows = np.pad(numbers, (0, -len(numbers) % lanes), constant_values=tables.empty).reshape(-1, lanes)
        keys = rows << FREQUENCY_BITS
        found = np.empty_like(rows)
        for row, key in enumerate(keys):
            key += state & _SLOT_MASK
            entry = tables.keys.searchsorted(key, "right") - 1
            found[row] = entry
            key -= tables.keys[entry]
            state >>= FREQUENCY_BITS
            state *= tables.flat_frequency[entry]
            state += key
            self._refill()
        entries: Integers = (found - tables.offset[rows]).ravel()[: len(numbers)]
        return entries

    def _uniform(self, bits: Integers) -> Integers:
        state, lanes = self._state, len(self._state)
        rests = FREQUENCY_BITS - np.pad(bits, (0, -len(bits) % lanes)).reshape(-1, lanes)
        found = np.empty_like(rests)
        for row, rest in enumerate(rests):
            slot = state & _SLOT_MASK
            found[row] = slot >> rest
            state >>= FREQUENCY_BITS
            state <<= rest
            state += slot - (found[row] << rest)
            self._refill()
        values: Integers = found.ravel()[: len(bits)]
        return values

    def _refill(self) -> None:
        low = np.flatnonzero(self._state < _LOWEST)
        if low.size:
            taken = self._unread[self._used : self._used + low.size]
            if len(taken) < low.size:
                raise _damaged()
            self._state[low] = self._state[low] << WORD_BITS | taken
            self._used += low.size

    def finish(self, check: int) -> None:
        if self._used != len(self._unread) or (self._state != _LOWEST + check).any():
            raise _damaged()


def _distances(symbols: Integers, first: Integers, last: Integers) -> Integers:
    """Return how far symbols outside their tables are away, alternately above and below: see `symbols`."""
    return np.where(symbols > last, 2 * (symbols - last - 1), 2 * (first - 1 - symbols) + 1)


def _damaged() -> InvalidCode:
    return InvalidCode(
        "the bitstream is damaged, or this machine computes other tables than its sender: the symbols do not end as "
        "they must"
    )
