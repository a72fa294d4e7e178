"""Rows of symbols <-> 16-bit words by rANS in many lanes, which step at once, as an array.

This is interleaved rANS (Giesen 2014, arXiv:1402.3392). Symbol j of a group lies in lane j mod K and in row j // K.
`docs/FORMAT.md` specifies the layout.
"""

import numpy as np
import numpy.typing as npt

from latentwire.entropy.coder_tables import BUCKET_BITS, Integers, Tables
from latentwire.entropy.single_coder import LOWEST, STATE_BITS, WORD_BITS, WORD_MASK, damaged
from latentwire.model.card import FREQUENCY_BITS, FREQUENCY_TOTAL

Unsigned = npt.NDArray[np.uint64]

# Arrays, as numpy takes nearly twice as long for a row and a number.
_LOWEST, _SLOT_MASK = np.array(LOWEST), np.array(FREQUENCY_TOTAL - 1)
_FREQUENCY_SHIFT, _WORD_SHIFT, _BUCKET_SHIFT = np.array(FREQUENCY_BITS), np.array(WORD_BITS), np.array(BUCKET_BITS)
_UNSIGNED_WORD_SHIFT, _ZERO = np.array(WORD_BITS, np.uint64), np.array(0)


class RowWriter:
    """Lanes that begin in these states, int64 (lanes), each in [2 ** 24, 2 ** 40), and code groups backwards."""

    def __init__(self, states: Integers) -> None:
        # Unsigned integers are divided in half of the time.
        self._states = states.astype(np.uint64)
        self._words: list[Unsigned] = []

    def states(self) -> Integers:
        """Return the states that a reader begins with, int64 (lanes)."""
        return self._states.astype(np.int64)

    def words(self) -> bytes:
        """Return the words in a reader's order."""
        joined = np.concatenate([*self._words[::-1], np.empty(0, np.uint64)])
        return (joined & np.uint64(WORD_MASK)).astype(">u2").tobytes()

    def write(self, starts: Integers, frequencies: Integers) -> None:
        """Code a group of symbols, int64 (n), which a reader will read before those that are coded already."""
        for rows, lanes in reversed(_rows(len(starts), len(self._states))):
            self._write_rows(starts[rows].reshape(-1, lanes), frequencies[rows].reshape(-1, lanes))

    def _write_rows(self, starts: Integers, frequencies: Integers) -> None:
        """Code rows, int64 (rows, n), in the first n lanes."""
        state, words = self._states[: starts.shape[1]], self._words
        quotient, is_full = np.empty_like(state), np.empty(state.shape, np.bool_)
        backwards = frequencies[::-1].astype(np.uint64)
        limits, gaps = backwards << np.uint64(STATE_BITS), np.uint64(FREQUENCY_TOTAL) - backwards
        for start, frequency, limit, gap in zip(starts[::-1].astype(np.uint64), backwards, limits, gaps, strict=True):
            full = np.greater_equal(state, limit, is_full).nonzero()[0]
            if full.size:
                high = state[full]
                words.append(high)
                state[full] = high >> _UNSIGNED_WORD_SHIFT
            np.floor_divide(state, frequency, quotient)
            np.multiply(quotient, gap, quotient)
            np.add(state, quotient, state)
            np.add(state, start, state)


class RowReader:
    """Reads what a `RowWriter` wrote.

    Args:
        tables: of the symbols.
        states: int64 (lanes), that it begins with.
        words: in a reader's order, int64 (n).
    """

    def __init__(self, tables: Tables, states: Integers, words: Integers) -> None:
        self._tables, self._states, self._words, self._used = tables, states, words, 0

    def entries(self, numbers: Integers) -> Integers:
        """Return which entries of the tables of these numbers a group of symbols is, int64 (n).

        Raises:
            InvalidCode: the words end too early.
        """
        keys, found = numbers << FREQUENCY_BITS, np.empty_like(numbers)
        for rows, lanes in _rows(len(numbers), len(self._states)):
            self._read_entries(keys[rows].reshape(-1, lanes), found[rows].reshape(-1, lanes))
        found -= self._tables.offset[numbers]
        return found

    def uniform(self, bits: Integers) -> Integers:
        """Return a group of numbers, int64 (n), each of 0 to 15 bits, of which all values are equally likely.

        Raises:
            InvalidCode: the words end too early.
        """
        rests, found = FREQUENCY_BITS - bits, np.empty_like(bits)
        for rows, lanes in _rows(len(bits), len(self._states)):
            self._read_uniform(rests[rows].reshape(-1, lanes), found[rows].reshape(-1, lanes))
        return found

    def finish(self) -> Integers:
        """Return the states at the end, int64 (lanes).

        Raises:
            InvalidCode: words are left.
        """
        if self._used != len(self._words):
            raise damaged()
        return self._states

    def _read_entries(self, keys: Integers, found: Integers) -> None:
        """Read rows in the first n lanes, by the keys of their tables' first slots, and put their entries into `found`.

        Both are int64 (rows, n); keys are overwritten.
        """
        tables, state = self._tables, self._states[: keys.shape[1]]
        buckets, first_keys, frequencies = tables.buckets, tables.keys, tables.flat_frequency
        some, is_unclear = np.empty_like(state), np.empty(state.shape, np.bool_)
        for key, entry in zip(keys, found, strict=True):
            np.bitwise_and(state, _SLOT_MASK, some)
            np.add(key, some, key)
            # Indices are in bounds; "clip" spares the copy that "raise" makes of `out`.
            np.right_shift(key, _BUCKET_SHIFT, some)
            buckets.take(some, out=entry, mode="clip")
            unclear = np.less(entry, _ZERO, is_unclear).nonzero()[0]
            if unclear.size:
                entry[unclear] = first_keys.searchsorted(key[unclear], "right") - 1
            first_keys.take(entry, out=some, mode="clip")
            np.subtract(key, some, key)
            frequencies.take(entry, out=some, mode="clip")
            np.right_shift(state, _FREQUENCY_SHIFT, state)
            np.multiply(state, some, state)
            np.add(state, key, state)
            self._refill(state)

    def _read_uniform(self, rests: Integers, found: Integers) -> None:
        """Read rows of numbers of 16 - `rests` bits in the first n lanes into `found`; both are int64 (rows, n)."""
        state = self._states[: rests.shape[1]]
        for rest, value in zip(rests, found, strict=True):
            slot = state & _SLOT_MASK
            np.right_shift(slot, rest, value)
            state >>= _FREQUENCY_SHIFT
            state <<= rest
            state += slot - (value << rest)
            self._refill(state)

    def _refill(self, state: Integers) -> None:
        low = (state < _LOWEST).nonzero()[0]
        if low.size:
            taken = self._words[self._used : self._used + low.size]
            if len(taken) < low.size:
                raise damaged()
            state[low] = state[low] << _WORD_SHIFT | taken
            self._used += low.size


def _rows(count: int, lanes: int) -> list[tuple[slice, int]]:
    """Return the full rows of a group of so many symbols, and what is in the last row: where they are, and how wide."""
    full, rest = count - count % lanes, count % lanes
    return [(slice(full), lanes), (slice(full, None), rest)][: 2 if rest else 1]
