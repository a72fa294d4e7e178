"""Symbols that have a table each <-> bytes, by rANS in one or many lanes. `docs/FORMAT.md` specifies the layout.

A writer collects the symbols in the order in which a reader will ask for them, and codes them backwards, as a state is
a stack (Duda 2013, arXiv:1311.2540). A reader asks for symbols in groups, and may compute the tables of a group from
the groups before it. One lane takes the fewest bytes, and is coded in Python's own integers. Many lanes step at once,
as an array. A writer begins them with the words of a single lane, which has coded the last symbols, and then codes the
states in which they end in that lane. So a lane costs half a byte (bits back: Townsend et al. 2019, arXiv:1901.04866).
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from latentwire.entropy.coder_tables import LENGTH_BITS, Integers, Tables, distances, uniform
from latentwire.entropy.lane_rows import RowReader, RowWriter
from latentwire.entropy.single_coder import LOWEST, STATE_BITS, SingleReader, SingleWriter, damaged, split_state
from latentwire.errors import InvalidCode
from latentwire.model.card import FREQUENCY_BITS

# The number of lanes is written in one byte, and is even if it is not 1.
MAX_LANES = 254
# So many lanes take half of the time of one; 32 take as long as one.
MIN_LANES = 64
# A lane costs half a byte, so with this many bytes for each, all of them cost about 0.35 %.
BYTES_PER_LANE = 150

# A lane begins with 24 bits below its leading one: its share of the words of the single coder.
_HIDDEN_BYTES = STATE_BITS // 8
_HIDDEN_SHIFTS = 8 * np.arange(_HIDDEN_BYTES - 1, -1, -1)
_LANES_OF_HIDDEN_WORDS, _HIDDEN_WORDS = 2, 3
# The state in which a lane ends is written as a length of 4 bits, bits of this length, and twice 12 bits.
_PIECE_BITS = STATE_BITS // 2
_PIECE_MASK = (1 << _PIECE_BITS) - 1
# The number of symbols in lanes is written in two pieces: no part has 2 ** 30 symbols.
_COUNT_BITS = 15


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
            numerals = distances(symbols[outside], tables.first[far], tables.last[far]) + 1
            lengths = np.floor(np.log2(numerals)).astype(np.int64)
            self._add(*uniform(lengths, np.full_like(lengths, LENGTH_BITS)))
            self._add(*uniform(numerals - (1 << lengths), lengths))

    def finish(self, check: int, lanes: int) -> bytes:
        """Return the bytes of all symbols.

        Args:
            check: 16 bits that a reader must find at the end.
            lanes: 1, or an even number up to `MAX_LANES`.

        Raises:
            ValueError: the symbols have too few bits for so many lanes; they need 24 each.
        """
        single = SingleWriter(check)
        if lanes == 1:
            for group in reversed(self._groups):
                single.write(*group)
            return single.state_bytes() + _word_bytes(single.words)
        groups = [(starts[::-1], frequencies[::-1]) for starts, frequencies in self._groups]
        _write_last(single, groups, lanes // _LANES_OF_HIDDEN_WORDS * _HIDDEN_WORDS)
        hidden, single.words = single.words, []
        rows = RowWriter(LOWEST + _hidden_values(_word_bytes(hidden)))
        for group in reversed(groups):
            rows.write(*group)
        _write_start(single, sum(len(starts) for starts, _ in groups), rows.states())
        return single.state_bytes() + _word_bytes(single.words) + rows.words()

    def _add(self, starts: Integers, frequencies: Integers) -> None:
        self._groups.append((starts, frequencies))
        self.ideal_bits += FREQUENCY_BITS * len(frequencies) - float(np.log2(frequencies).sum())


# Reads a group of symbols.
_Read = Callable[[Integers], Integers]


class _Coder(Protocol):
    """Reads what a table or a uniform distribution codes, group by group, and checks the end: see `SingleReader`."""

    def entries(self, numbers: Integers) -> Integers: ...
    def uniform(self, bits: Integers) -> Integers: ...
    def finish(self, check: int) -> None: ...


class SymbolReader:
    """Gives back what a writer coded, group by group."""

    def __init__(self, tables: Tables, coder: _Coder) -> None:
        self._tables, self._coder = tables, coder

    def read(self, numbers: Integers) -> Integers:
        """Return a group of symbols, int64 (n), by the numbers of their tables, int64 (n).

        Raises:
            InvalidCode: the bytes end too early.
        """
        tables, coder = self._tables, self._coder
        symbols = tables.first[numbers] + coder.entries(numbers)
        last = tables.last[numbers]
        escaped = np.flatnonzero(symbols > last)
        if escaped.size:
            lengths = coder.uniform(np.full(escaped.size, LENGTH_BITS, np.int64))
            far = coder.uniform(lengths) + (1 << lengths) - 1
            below = tables.first[numbers[escaped]] - 1 - far // 2
            symbols[escaped] = np.where(far % 2 == 1, below, last[escaped] + 1 + far // 2)
        return symbols

    def finish(self, check: int) -> None:
        """Check that nothing is left, and that the 16 bits of `check` are those of the writer.

        Raises:
            InvalidCode: they are not.
        """
        self._coder.finish(check)


def open_reader(tables: Tables, data: bytes, lanes: int) -> SymbolReader:
    """Begin to read what `SymbolWriter.finish` returned.

    Raises:
        InvalidCode: no writer makes such bytes, or uses so many lanes.
    """
    if lanes != 1 and (lanes % _LANES_OF_HIDDEN_WORDS or not 1 <= lanes <= MAX_LANES):
        raise InvalidCode(f"the bitstream is damaged: no part has {lanes} lanes")
    state, words = split_state(data)
    if lanes == 1:
        return SymbolReader(tables, SingleReader(tables, state, words[::-1].tolist()))
    return SymbolReader(tables, _ManyLanes(tables, state, words, lanes))


def best_lanes(ideal_bits: float) -> int:
    """Return the number of lanes for symbols of this ideal code length."""
    lanes = int(ideal_bits / 8 / BYTES_PER_LANE)
    return 1 if lanes < MIN_LANES else min(lanes - lanes % _LANES_OF_HIDDEN_WORDS, MAX_LANES)


class _ManyLanes:
    """Reads the first symbols from lanes, and the others from the single coder."""

    def __init__(self, tables: Tables, state: int, words: Integers, lanes: int) -> None:
        # Each symbol of the start takes at most one word.
        near = words[: 2 + 4 * lanes]
        self._single = SingleReader(tables, state, near[::-1].tolist())
        self._left, states = _read_start(self._single, lanes)
        self._rows = RowReader(tables, states, words[len(near) - len(self._single.unread) :])
        # How many words the single coder got from the lanes, until it has read a symbol with them.
        self._hidden = 0
        if not self._left:
            self._end_lanes()

    # Groups are coded from their ends: so the single coder has their first symbols, which come from channels of more
    # bits, and has fewer of them to read.

    def entries(self, numbers: Integers) -> Integers:
        return self._read(numbers[::-1], self._rows.entries, self._single.entries)[::-1]

    def uniform(self, bits: Integers) -> Integers:
        return self._read(bits[::-1], self._rows.uniform, self._single.uniform)[::-1]

    def finish(self, check: int) -> None:
        if self._left:
            raise damaged()
        self._single.finish(check)

    def _read(self, asked: Integers, from_lanes: _Read, from_single: _Read) -> Integers:
        found, rest = np.empty(0, np.int64), asked
        if self._left:
            found, rest = from_lanes(asked[: self._left]), asked[self._left :]
            self._left -= len(found)
            if not self._left:
                self._end_lanes()
        if self._hidden and rest.size:
            found, rest = np.concatenate([found, from_single(rest[:1])]), rest[1:]
            # A writer goes over to the lanes as soon as it has words for them.
            if len(self._single.unread) == self._hidden:
                raise damaged()
            self._hidden = 0
        return np.concatenate([found, from_single(rest)]) if rest.size else found

    def _end_lanes(self) -> None:
        """Give the single coder the words that a writer began the lanes with.

        Raises:
            InvalidCode: the lanes do not end as they must.
        """
        values = self._rows.finish() - LOWEST
        if (values >= LOWEST).any():
            raise damaged()
        self._single.unread = _hidden_words(values)
        self._hidden = len(self._single.unread)


def _write_last(single: SingleWriter, groups: list[tuple[Integers, Integers]], words: int) -> None:
    """Code as few of the last symbols as give so many words, and take them from the groups.

    Raises:
        ValueError: all symbols together give fewer.
    """
    while missing := words - len(single.words):
        if not groups:
            raise ValueError("the symbols have too few bits for so many lanes")
        starts, frequencies = groups.pop()
        # So many symbols give no more words than are missing.
        kept = max(0, len(starts) - missing)
        single.write(starts[kept:], frequencies[kept:])
        if kept:
            groups.append((starts[:kept], frequencies[:kept]))


def _write_start(single: SingleWriter, count: int, states: Integers) -> None:
    """Code what lanes begin with for a reader: their number of symbols, and their states."""
    lengths = np.floor(np.log2(states >> STATE_BITS)).astype(np.int64)
    below = states - (LOWEST << lengths)
    counts = np.array([count >> _COUNT_BITS, count & (1 << _COUNT_BITS) - 1])
    pieces = below >> STATE_BITS, below >> _PIECE_BITS & _PIECE_MASK, below & _PIECE_MASK
    piece_bits = np.full(2 * len(states), _PIECE_BITS)
    bits = np.concatenate([[_COUNT_BITS] * 2, np.full_like(lengths, LENGTH_BITS), lengths, piece_bits])
    single.write(*uniform(np.concatenate([counts, lengths, *pieces]), bits))


def _read_start(single: SingleReader, lanes: int) -> tuple[int, Integers]:
    """Return the number of symbols in lanes, and the lanes' states, int64 (lanes).

    Raises:
        InvalidCode: no writer makes such a start.
    """
    if single.state < LOWEST:
        raise InvalidCode("the bitstream is damaged: lanes follow an impossible state")
    upper, lower = single.uniform(np.array([_COUNT_BITS] * 2)).tolist()
    lengths = single.uniform(np.full(lanes, LENGTH_BITS))
    states = (1 << lengths) + single.uniform(lengths)
    for _ in range(STATE_BITS // _PIECE_BITS):
        states = states << _PIECE_BITS | single.uniform(np.full(lanes, _PIECE_BITS))
    if single.state < LOWEST:
        raise InvalidCode(f"the bitstream is cut short: its {lanes} lanes have no states")
    return upper << _COUNT_BITS | lower, states


def _word_bytes(words: list[int]) -> bytes:
    """Return words, the first of which is last, as bytes."""
    return np.array(words[::-1], ">u2").tobytes()


def _hidden_values(words: bytes) -> Integers:
    """Return the numbers below 2 ** 24, int64 (lanes), that words have in them."""
    values = np.frombuffer(words, np.uint8).reshape(-1, _HIDDEN_BYTES).astype(np.int64)
    joined: Integers = values @ (1 << _HIDDEN_SHIFTS)
    return joined


def _hidden_words(values: Integers) -> list[int]:
    """Return the words, the first of which is last, that are in numbers below 2 ** 24, int64 (lanes)."""
    data = (values[:, None] >> _HIDDEN_SHIFTS).astype(np.uint8).tobytes()
    words: list[int] = np.frombuffer(data, ">u2")[::-1].tolist()
    return words
