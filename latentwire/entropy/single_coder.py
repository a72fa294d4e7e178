"""Symbols <-> 16-bit words by rANS with one state, in Python's own integers. `docs/FORMAT.md` specifies the layout."""

from bisect import bisect_right
from collections.abc import Iterable

import numpy as np

from latentwire.entropy.coder_tables import Integers, Tables
from latentwire.errors import InvalidCode
from latentwire.model.card import FREQUENCY_BITS, FREQUENCY_TOTAL

# A state stays in [2 ** 24, 2 ** 40): at least 256 times the tables' total, so that rounding costs next to nothing.
STATE_BITS, STATE_BYTES = 24, 5
LOWEST = 1 << STATE_BITS
WORD_BITS, WORD_BYTES = 16, 2
WORD_MASK = (1 << WORD_BITS) - 1
CHECK_BITS = 16

_SLOT_MASK = FREQUENCY_TOTAL - 1
_SHORT_STATE = 1 << 8 * (STATE_BYTES - 1)


class SingleWriter:
    """A state, which codes symbols backwards.

    Attributes:
        words: that it has written, the last one first for a reader.
    """

    def __init__(self, check: int) -> None:
        self._state = (1 << CHECK_BITS) + check
        self.words: list[int] = []

    def write(self, starts: Integers, frequencies: Integers) -> None:
        """Code symbols, int64 (n), which a reader will read before those that are coded already.

        A symbol gives at most one word.
        """
        state, words = self._state, self.words
        for start, frequency in zip(starts[::-1].tolist(), frequencies[::-1].tolist(), strict=True):
            if state >= frequency << STATE_BITS:
                words.append(state & WORD_MASK)
                state >>= WORD_BITS
            state += state // frequency * (FREQUENCY_TOTAL - frequency) + start
        self._state = state

    def state_bytes(self) -> bytes:
        """Return the state in 4 bytes, or in 5 if it needs them."""
        return self._state.to_bytes(STATE_BYTES - (self._state < _SHORT_STATE), "big")


class SingleReader:
    """Reads what a `SingleWriter` wrote.

    Attributes:
        state: an integer, 0 at least.
        unread: words, the next one last.
    """

    def __init__(self, tables: Tables, state: int, unread: Iterable[int]) -> None:
        self._cdfs, self._frequencies = tables.cdf, tables.frequencies
        self.state, self.unread = state, list(unread)

    def entries(self, numbers: Integers) -> Integers:
        """Return which entries of the tables of these numbers the next symbols are, int64 (n)."""
        state, unread, cdfs, every = self.state, self.unread, self._cdfs, self._frequencies
        found = []
        for number in numbers.tolist():
            slot, cdf = state & _SLOT_MASK, cdfs[number]
            entry = bisect_right(cdf, slot) - 1
            found.append(entry)
            state = every[number][entry] * (state >> FREQUENCY_BITS) + slot - cdf[entry]
            if state < LOWEST and unread:
                state = state << WORD_BITS | unread.pop()
        self.state = state
        return np.array(found, np.int64)

    def uniform(self, bits: Integers) -> Integers:
        """Return the next numbers, int64 (n), each of 0 to 15 bits, of which all values are equally likely."""
        state, unread, found = self.state, self.unread, []
        for number in bits.tolist():
            slot, rest = state & _SLOT_MASK, FREQUENCY_BITS - number
            found.append(slot >> rest)
            state = (state >> FREQUENCY_BITS << rest) + (slot & (1 << rest) - 1)
            if state < LOWEST and unread:
                state = state << WORD_BITS | unread.pop()
        self.state = state
        return np.array(found, np.int64)

    def finish(self, check: int) -> None:
        """Check that no word is left, and that the state is that of a writer with this check.

        Raises:
            InvalidCode: it is not so.
        """
        if self.unread or self.state != (1 << CHECK_BITS) + check:
            raise damaged()


def split_state(data: bytes) -> tuple[int, Integers]:
    """Return the state that bytes begin with, and the words after it, int64 (n).

    Raises:
        InvalidCode: no writer makes such bytes.
    """
    # Words have two bytes each, so an even length means that the first byte of the state, a 0, is left out.
    length = STATE_BYTES - (len(data) % WORD_BYTES == 0)
    if len(data) < length:
        raise InvalidCode("the bitstream is cut short: its symbols have no bytes")
    state = int.from_bytes(data[:length], "big")
    if length == STATE_BYTES and state < _SHORT_STATE:
        raise InvalidCode("the bitstream is damaged: its state is not written in its shortest form")
    return state, np.frombuffer(data, ">u2", offset=length).astype(np.int64)


def damaged() -> InvalidCode:
    """Return the error about symbols that do not end as those of a writer do."""
    return InvalidCode(
        "the bitstream is damaged, or this machine computes other tables than its sender: the symbols do not end as "
        "they must"
    )
