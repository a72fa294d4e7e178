"""Symbols of many images <-> one stretch of bytes, by interleaved rANS. `docs/FORMAT.md` specifies the layout.

Asymmetric numeral systems (Duda 2013, arXiv:1311.2540), with images side by side in lanes: interleaved states that
share one sequence of words (Giesen 2014, arXiv:1402.3392). The integer tables of the model card alone steer the coder:
no float takes part, so all machines agree.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from latentwire.entropy.symbols import (
    OUT_OF_RANGE,
    Symbols,
    all_in_range,
    escape_distances,
    escaped_symbols,
)
from latentwire.errors import InvalidCode, UncodableImage
from latentwire.model.card import FREQUENCY_BITS, FREQUENCY_TOTAL, FrequencyTable

_Unsigned = npt.NDArray[np.uint64]

# A lane costs about 4 bytes in all, so there is at most one for 64 images. More than 64 lanes are hardly faster.
IMAGES_PER_LANE = 64
MAX_LANES = 64

# A state stays in [2 ** 24, 2 ** 40): at least 256 times the tables' total, so that rounding costs next to nothing.
STATE_BITS = 24
STATE_BYTES = 5
WORD_BITS = 16
WORD_BYTES = 2

# A symbol's distance from its table is below 2 ** 33: at most five groups of seven bits.
MAX_VARINT_BYTES = 5

# A step costs about 10 µs for all lanes at once in numpy, and 0.3 µs for each lane in Python's own integers.
_MIN_VECTOR_LANES = 32

_INITIAL_STATE = 1 << STATE_BITS
_WORD_MASK = (1 << WORD_BITS) - 1
_SLOT_MASK = FREQUENCY_TOTAL - 1


def lane_count(images: int) -> int:
    """Return the number of lanes that this many coded images lie in."""
    return min(images, MAX_LANES, max(1, images // IMAGES_PER_LANE))


class RansCoder:
    """Codes the symbols of many images of one model by the frequency tables of its card.

    The decoder walks through the images row by row of lanes, in a row through the coordinates, and for a coordinate
    through the lanes. The encoder walks backwards, as a state is a stack. Many lanes step at once, as an array; a few
    step one by one, in Python's own integers. Both give the same bytes.
    """

    def __init__(self, tables: Sequence[FrequencyTable]) -> None:
        self._first = np.array([table.first for table in tables], dtype=np.int64)
        self._last = np.array([table.last for table in tables], dtype=np.int64)
        # Entry i is the symbol first + i; the last entry is the escape.
        self._frequencies = [[*table.frequencies, table.escape] for table in tables]
        self._cdf = [list(accumulate(row[:-1], initial=0)) for row in self._frequencies]
        self._frequency_arrays = [np.array(row, dtype=np.uint64) for row in self._frequencies]
        self._cdf_arrays = [np.array(row, dtype=np.uint64) for row in self._cdf]

    @property
    def code_size(self) -> int:
        """The number of coordinates of a code."""
        return len(self._frequencies)

    def encode(self, symbols: Symbols) -> tuple[bytes, bytes]:
        """Code symbols, int64 (N, code size).

        Returns:
            The distances of the symbols outside their tables, and the lanes' states and words.

        Raises:
            UncodableImage: a symbol does not fit in 32 bits.
        """
        if not len(symbols):
            return b"", b""
        inside = (symbols >= self._first) & (symbols <= self._last)
        entries = np.where(inside, symbols - self._first, self._last - self._first + 1)
        lanes = lane_count(len(symbols))
        states, words = (self._push_array if lanes >= _MIN_VECTOR_LANES else self._push_each)(entries, lanes)
        stream = b"".join(state.to_bytes(STATE_BYTES, "big") for state in states)
        return self._write_distances(symbols, ~inside), stream + words.astype(">u2").tobytes()

    def decode(self, distances: bytes, stream: bytes, images: int) -> Symbols:
        """Decode what `encode` returned for this many images; return int64 (images, code size).

        Raises:
            InvalidCode: no symbols have these bytes.
        """
        if not images and (distances or stream):
            raise InvalidCode("it has bytes of coded images, and no coded image")
        if not images:
            return np.empty((0, self.code_size), dtype=np.int64)
        lanes = lane_count(images)
        states_bytes = lanes * STATE_BYTES
        if len(stream) < states_bytes or (len(stream) - states_bytes) % WORD_BYTES:
            raise InvalidCode(f"the lanes of {images:,} images cannot have {len(stream):,} bytes")
        starts = range(0, states_bytes, STATE_BYTES)
        states = [int.from_bytes(stream[start : start + STATE_BYTES], "big") for start in starts]
        if any(not _INITIAL_STATE <= state < _INITIAL_STATE << WORD_BITS for state in states):
            raise InvalidCode("a lane starts in an impossible state")
        words = np.frombuffer(stream, ">u2", offset=states_bytes)
        entries = (self._pop_array if lanes >= _MIN_VECTOR_LANES else self._pop_each)(states, words, images)
        symbols = entries + self._first
        self._read_distances(distances, symbols)
        return symbols

    def _push_each(self, entries: Symbols, lanes: int) -> tuple[list[int], npt.NDArray[np.uint16]]:
        """Code entries of the tables, int64 (N, code size); return the states, and the words in reading order."""
        states = [_INITIAL_STATE] * lanes
        words: list[int] = []
        rows = [entries[start : start + lanes].T.tolist() for start in range(0, len(entries), lanes)]
        for row in reversed(rows):
            for coordinate in range(self.code_size - 1, -1, -1):
                frequencies, cdf = self._frequencies[coordinate], self._cdf[coordinate]
                for lane in range(len(row[coordinate]) - 1, -1, -1):
                    entry = row[coordinate][lane]
                    frequency, state = frequencies[entry], states[lane]
                    if state >= frequency << STATE_BITS:
                        words.append(state & _WORD_MASK)
                        state >>= WORD_BITS
                    states[lane] = state + state // frequency * (FREQUENCY_TOTAL - frequency) + cdf[entry]
        return states, np.array(words[::-1], dtype=np.uint16)

    def _push_array(self, entries: Symbols, lanes: int) -> tuple[list[int], npt.NDArray[np.uint16]]:
        """Do as `_push_each` for all lanes at once."""
        states = np.full(lanes, _INITIAL_STATE, dtype=np.uint64)
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
                active += self._cdf_arrays[coordinate][row[coordinate]]
        return states.tolist(), np.concatenate([*words[::-1], np.empty(0, np.uint64)]).astype(np.uint16)

    def _pop_each(self, states: list[int], words: npt.NDArray[np.uint16], images: int) -> Symbols:
        """Decode entries of the tables, int64 (images, code size).

        Raises:
            InvalidCode: the words end too early or too late, or a lane ends in another state than it began in.
        """
        lanes, unread = len(states), words[::-1].tolist()
        tables = list(zip(self._frequencies, self._cdf, strict=True))
        walked: list[int] = []
        for start in range(0, images, lanes):
            row = range(min(lanes, images - start))
            for frequencies, cdf in tables:
                for lane in row:
                    state = states[lane]
                    slot = state & _SLOT_MASK
                    entry = bisect_right(cdf, slot) - 1
                    walked.append(entry)
                    state = frequencies[entry] * (state >> FREQUENCY_BITS) + slot - cdf[entry]
                    if state < _INITIAL_STATE:
                        if not unread:
                            raise InvalidCode("the lanes' words end too early")
                        state = state << WORD_BITS | unread.pop()
                    states[lane] = state
        _check_end(states, len(unread))
        entries = np.array(walked, dtype=np.int64)
        full = images // lanes * lanes * self.code_size
        rows = entries[:full].reshape(-1, self.code_size, lanes).transpose(0, 2, 1).reshape(-1, self.code_size)
        return np.concatenate([rows, entries[full:].reshape(self.code_size, -1).T])

    def _pop_array(self, states: list[int], words: npt.NDArray[np.uint16], images: int) -> Symbols:
        """Do as `_pop_each` for all lanes at once."""
        current, unread, used = np.array(states, dtype=np.uint64), words.astype(np.uint64), 0
        lanes = len(states)
        entries = np.empty((images, self.code_size), dtype=np.int64)
        row = np.empty((self.code_size, lanes), dtype=np.int64)
        for start in range(0, images, lanes):
            active = current[: images - start]
            for coordinate in range(self.code_size):
                slot = active & _SLOT_MASK
                entry = self._cdf_arrays[coordinate].searchsorted(slot, "right") - 1
                row[coordinate, : len(active)] = entry
                active >>= FREQUENCY_BITS
                active *= self._frequency_arrays[coordinate][entry]
                active += slot - self._cdf_arrays[coordinate][entry]
                low = np.flatnonzero(active < _INITIAL_STATE)
                if low.size:
                    taken = unread[used : used + low.size]
                    if len(taken) < low.size:
                        raise InvalidCode("the lanes' words end too early")
                    active[low] = active[low] << WORD_BITS | taken
                    used += low.size
            entries[start : start + lanes] = row[:, : len(active)].T
        _check_end(current.tolist(), len(unread) - used)
        return entries

    def _write_distances(self, symbols: Symbols, outside: npt.NDArray[np.bool_]) -> bytes:
        coordinates = np.nonzero(outside)[1]
        escaped = symbols[outside]
        if not all_in_range(escaped):
            raise UncodableImage(OUT_OF_RANGE)
        distances = escape_distances(escaped, self._first[coordinates], self._last[coordinates])
        return b"".join(map(write_varint, distances.tolist()))

    def _read_distances(self, data: bytes, symbols: Symbols) -> None:
        """Replace the escapes among `symbols`, in place, by the symbols at the distances that `data` holds."""
        rows, coordinates = np.nonzero(symbols > self._last)
        distances, offset = [], 0
        for _ in range(len(rows)):
            distance, offset = read_varint(data, offset)
            distances.append(distance)
        if offset != len(data):
            raise InvalidCode("it has more distances than escapes")
        escaped = escaped_symbols(
            np.array(distances, dtype=np.int64), self._first[coordinates], self._last[coordinates]
        )
        if not all_in_range(escaped):
            raise InvalidCode("a symbol has more than 32 bits")
        symbols[rows, coordinates] = escaped


def write_varint(value: int) -> bytes:
    """Write a number below 2 ** 35 in groups of seven bits, the lowest first; a set top bit says that more follow."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def read_varint(data: bytes, offset: int) -> tuple[int, int]:
    """Read what `write_varint` wrote at an offset; return the number, and the offset after it.

    Raises:
        InvalidCode: cut short, of more than five groups, or not in the shortest form.
    """
    value = 0
    for count, group in enumerate(data[offset : offset + MAX_VARINT_BYTES]):
        value |= (group & 0x7F) << 7 * count
        if group < 0x80:
            if group == 0 and count:
                raise InvalidCode("a number is not written in its shortest form")
            return value, offset + count + 1
    raise InvalidCode("a number is cut short or too long")


def _check_end(states: list[int], unread_words: int) -> None:
    if unread_words or any(state != _INITIAL_STATE for state in states):
        raise InvalidCode("the lanes do not end in their initial state")
