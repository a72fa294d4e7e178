"""Symbols of many images <-> one stretch of bytes, by interleaved rANS. The layout is specified in `docs/FORMAT.md`.

Asymmetric numeral systems (Duda 2013, arXiv:1311.2540), with images side by side in lanes that share one sequence of
words (Giesen 2014, arXiv:1402.3392). Steered by the card's integer tables alone: no float takes part. This room knows
neither images nor graphs, and nothing of what stands around its bytes.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from latentwire.errors import InvalidCode, UncodableImage
from latentwire.model.card import FREQUENCY_BITS, FREQUENCY_TOTAL, FrequencyTable

Symbols = npt.NDArray[np.int64]
_Unsigned = npt.NDArray[np.uint64]

# Each lane costs some four bytes in all, so there is at most one for 64 images; more lanes than 64 are hardly quicker.
IMAGES_PER_LANE = 64
MAX_LANES = 64

# A state stays in [2 ** 24, 2 ** 40): at least 256 times the tables' total, so that rounding costs next to nothing.
STATE_BITS = 24
STATE_BYTES = 5
WORD_BITS = 16
WORD_BYTES = 2

# Each symbol is of 32 bits with sign, so its distance from a table is below 2 ** 33: five groups of seven bits.
MIN_SYMBOL, MAX_SYMBOL = -(1 << 31), (1 << 31) - 1
MAX_VARINT_BYTES = 5

# With fewer lanes, Python's own integers are quicker than an array operation on each step.
_FEW_LANES = 32

_STATE = 1 << STATE_BITS
_WORD_MASK = (1 << WORD_BITS) - 1
_SLOT_MASK = FREQUENCY_TOTAL - 1


def lanes_of(images: int) -> int:
    """Return how many lanes so many coded images have."""
    return min(images, MAX_LANES, max(1, images // IMAGES_PER_LANE))


class RansCoder:
    """Codes the symbols of many images of one model, whose card holds the tables."""

    def __init__(self, tables: Sequence[FrequencyTable]) -> None:
        self._first = np.array([table.first for table in tables], dtype=np.int64)
        self._last = np.array([table.last for table in tables], dtype=np.int64)
        # Entry i is of the symbol first + i; the last entry is the escape.
        self._frequencies = [[*table.frequencies, table.escape] for table in tables]
        self._starts = [list(accumulate(row[:-1], initial=0)) for row in self._frequencies]
        self._frequency_arrays = [np.array(row, dtype=np.uint64) for row in self._frequencies]
        self._start_arrays = [np.array(row, dtype=np.uint64) for row in self._starts]
        # How many entries end at or before a slot is the entry of that slot.
        self._end_arrays = [row[1:].copy() for row in self._start_arrays]

    @property
    def code_size(self) -> int:
        """The number of coordinates of a code."""
        return len(self._frequencies)

    def encode(self, symbols: Symbols) -> tuple[bytes, bytes]:
        """Code symbols, int64 (N, code size).

        Returns:
            The distances of the symbols that their tables do not have, and the lanes' states and words.

        Raises:
            UncodableImage: a symbol does not fit in 32 bits.
        """
        if not len(symbols):
            return b"", b""
        inside = (symbols >= self._first) & (symbols <= self._last)
        entries = np.where(inside, symbols - self._first, self._last - self._first + 1)
        lanes = lanes_of(len(symbols))
        states, words = (self._encode_few if lanes < _FEW_LANES else self._encode_many)(entries, lanes)
        stream = b"".join(state.to_bytes(STATE_BYTES, "big") for state in states) + words.astype(">u2").tobytes()
        return self._write_distances(symbols, ~inside), stream

    def decode(self, distances: bytes, stream: bytes, images: int) -> Symbols:
        """Undo `encode`: return int64 (images, code size).

        Raises:
            InvalidCode: no symbols have these bytes.
        """
        if not images and (distances or stream):
            raise InvalidCode("there are bytes of coded images, and no coded image")
        if not images:
            return np.empty((0, self.code_size), dtype=np.int64)
        lanes = lanes_of(images)
        states_bytes = lanes * STATE_BYTES
        if len(stream) < states_bytes or (len(stream) - states_bytes) % WORD_BYTES:
            raise InvalidCode(f"the lanes of {images:,} images cannot have {len(stream):,} bytes")
        starts = range(0, states_bytes, STATE_BYTES)
        states = [int.from_bytes(stream[start : start + STATE_BYTES], "big") for start in starts]
        if any(not _STATE <= state < _STATE << WORD_BITS for state in states):
            raise InvalidCode("a lane starts in a state that none can have")
        words = np.frombuffer(stream, ">u2", offset=states_bytes)
        if lanes == 1:
            entries = self._decode_one(states[0], words, images)
        else:
            entries = (self._decode_few if lanes < _FEW_LANES else self._decode_many)(states, words, images)
        symbols = entries + self._first
        self._read_distances(distances, symbols)
        return symbols

    # The next five are the same two walks, twice: over the lanes one by one, and over all of them at once; and once
    # more for a reader of a single lane, to whom it would be most of the work to look up which lane it is. The
    # decoder goes through the images row by row of lanes, in a row through the coordinates, there through the lanes.
    # The encoder goes the same way backwards, as a state is a stack.

    def _encode_few(self, entries: Symbols, lanes: int) -> tuple[list[int], npt.NDArray[np.uint16]]:
        states = [_STATE] * lanes
        words: list[int] = []
        rows = [entries[start : start + lanes].T.tolist() for start in range(0, len(entries), lanes)]
        for row in reversed(rows):
            for coordinate in range(self.code_size - 1, -1, -1):
                frequencies, starts = self._frequencies[coordinate], self._starts[coordinate]
                for lane in range(len(row[coordinate]) - 1, -1, -1):
                    entry = row[coordinate][lane]
                    frequency, state = frequencies[entry], states[lane]
                    if state >= frequency << STATE_BITS:
                        words.append(state & _WORD_MASK)
                        state >>= WORD_BITS
                    states[lane] = state + state // frequency * (FREQUENCY_TOTAL - frequency) + starts[entry]
        return states, np.array(words[::-1], dtype=np.uint16)

    def _encode_many(self, entries: Symbols, lanes: int) -> tuple[list[int], npt.NDArray[np.uint16]]:
        states = np.full(lanes, _STATE, dtype=np.uint64)
        words: list[_Unsigned] = []
        for start in range((len(entries) - 1) // lanes * lanes, -1, -lanes):
            row = entries[start : start + lanes].T
            active = states[: row.shape[1]]
            for coordinate in range(self.code_size - 1, -1, -1):
                frequency = self._frequency_arrays[coordinate][row[coordinate]]
                full = np.flatnonzero(active >= frequency << STATE_BITS)
                if full.size:
                    high = active[full]
                    words.append(high & np.uint64(_WORD_MASK))
                    active[full] = high >> WORD_BITS
                active += active // frequency * (FREQUENCY_TOTAL - frequency)
                active += self._start_arrays[coordinate][row[coordinate]]
        return states.tolist(), np.concatenate([*words[::-1], np.empty(0, np.uint64)]).astype(np.uint16)

    def _decode_one(self, state: int, words: npt.NDArray[np.uint16], images: int) -> Symbols:
        rest = words[::-1].tolist()
        tables = list(zip(self._starts, self._frequencies, strict=True))
        entries = []
        try:
            for _ in range(images):
                for starts, frequencies in tables:
                    slot = state & _SLOT_MASK
                    entry = bisect_right(starts, slot) - 1
                    entries.append(entry)
                    state = frequencies[entry] * (state >> FREQUENCY_BITS) + slot - starts[entry]
                    if state < _STATE:
                        state = state << WORD_BITS | rest.pop()
        except IndexError as error:
            raise InvalidCode("the lanes' words end too early") from error
        _check_end([state], len(rest))
        return np.array(entries, dtype=np.int64).reshape(images, self.code_size)

    def _decode_few(self, states: list[int], words: npt.NDArray[np.uint16], images: int) -> Symbols:
        lanes = len(states)
        rest = words[::-1].tolist()
        entries = np.empty((images, self.code_size), dtype=np.int64)
        for start in range(0, images, lanes):
            row = entries[start : start + lanes]
            for coordinate in range(self.code_size):
                frequencies, starts = self._frequencies[coordinate], self._starts[coordinate]
                column = []
                for lane in range(len(row)):
                    state = states[lane]
                    slot = state & _SLOT_MASK
                    entry = bisect_right(starts, slot) - 1
                    column.append(entry)
                    state = frequencies[entry] * (state >> FREQUENCY_BITS) + slot - starts[entry]
                    if state < _STATE:
                        if not rest:
                            raise InvalidCode("the lanes' words end too early")
                        state = state << WORD_BITS | rest.pop()
                    states[lane] = state
                row[:, coordinate] = column
        _check_end(states, len(rest))
        return entries

    def _decode_many(self, states: list[int], words: npt.NDArray[np.uint16], images: int) -> Symbols:
        lanes = len(states)
        current, words, used = np.array(states, dtype=np.uint64), words.astype(np.uint64), 0
        entries = np.empty((images, self.code_size), dtype=np.int64)
        row = np.empty((self.code_size, lanes), dtype=np.int64)
        for start in range(0, images, lanes):
            active = current[: images - start]
            for coordinate in range(self.code_size):
                slot = active & _SLOT_MASK
                entry = self._end_arrays[coordinate].searchsorted(slot, "right")
                row[coordinate, : len(active)] = entry
                active >>= FREQUENCY_BITS
                active *= self._frequency_arrays[coordinate][entry]
                active += slot - self._start_arrays[coordinate][entry]
                low = np.flatnonzero(active < _STATE)
                if low.size:
                    taken = words[used : used + low.size]
                    if len(taken) < low.size:
                        raise InvalidCode("the lanes' words end too early")
                    active[low] = active[low] << WORD_BITS | taken
                    used += low.size
            entries[start : start + lanes] = row[:, : len(active)].T
        _check_end(current.tolist(), len(words) - used)
        return entries

    def _write_distances(self, symbols: Symbols, outside: npt.NDArray[np.bool_]) -> bytes:
        coordinates = np.nonzero(outside)[1]
        far = symbols[outside]
        if not _fit(far):
            raise UncodableImage("an image's code lies too far out to be sent: it has a symbol of over 32 bits")
        last, first = self._last[coordinates], self._first[coordinates]
        distances = np.where(far > last, 2 * (far - last - 1), 2 * (first - 1 - far) + 1)
        return b"".join(map(write_varint, distances.tolist()))

    def _read_distances(self, distances: bytes, symbols: Symbols) -> None:
        """Put the right symbols where the escapes are, in place."""
        places = np.nonzero(symbols > self._last)
        read, at = [], 0
        for _ in range(len(places[0])):
            distance, at = read_varint(distances, at)
            read.append(distance)
        if at != len(distances):
            raise InvalidCode("there are more symbols from outside the tables than escapes")
        far = np.array(read, dtype=np.int64)
        last, first = self._last[places[1]], self._first[places[1]]
        found = np.where(far % 2 == 1, first - 1 - far // 2, last + 1 + far // 2)
        if not _fit(found):
            raise InvalidCode("a symbol has over 32 bits")
        symbols[places] = found


def write_varint(value: int) -> bytes:
    """Write a number below 2 ** 35 in groups of seven bits, the lowest first; a set top bit says that more follow."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Undo `write_varint` at an offset; return the number, and the offset after it.

    Raises:
        InvalidCode: cut short, of more than five groups, or not the shortest form.
    """
    value = 0
    for count, group in enumerate(data[at : at + MAX_VARINT_BYTES]):
        value |= (group & 0x7F) << 7 * count
        if group < 0x80:
            if group == 0 and count:
                raise InvalidCode("a number is not written in its shortest form")
            return value, at + count + 1
    raise InvalidCode("a number is cut short or too long")


def _fit(symbols: Symbols) -> bool:
    return bool(((symbols >= MIN_SYMBOL) & (symbols <= MAX_SYMBOL)).all())


def _check_end(states: list[int], unread_words: int) -> None:
    if unread_words or any(state != _STATE for state in states):
        raise InvalidCode("the lanes do not end where they must")
