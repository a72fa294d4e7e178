"""One image's symbols <-> payload, by exact arithmetic coding. The layout is specified in `docs/FORMAT.md`.

The coder narrows an interval in one Python integer (Rissanen 1976; Pasco 1976), without carry or loss of precision, so
that a payload has no more bytes than the ideal code length rounded up. It is steered by the card's integer tables
alone: no float takes part, and all machines agree. This room knows neither images nor graphs.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from latentwire.errors import InvalidCode, UncodableImage
from latentwire.model.card import FREQUENCY_BITS, FREQUENCY_TOTAL, FrequencyTable
from latentwire.timing import timed_stage

Symbols = npt.NDArray[np.int64]

# Each symbol is of 32 bits with sign.
MIN_SYMBOL, MAX_SYMBOL = -(1 << 31), (1 << 31) - 1

# The first step of each payload tells symbols, these of 65,536, from an image losslessly, the last one.
CODED_FREQUENCY = FREQUENCY_TOTAL - 1

# Ideal lengths are counted in these.
_UNITS_PER_BIT = 1 << 32

# So far from a table no symbol is: 2 ** 33 is more than twice the distance between any two.
_MAX_DISTANCE_BITS = 32
_WINDOW_BITS = 2 * _MAX_DISTANCE_BITS + 1


class ArithmeticCoder:
    """Codes the symbols of one model, whose card holds the tables."""

    def __init__(self, tables: Sequence[FrequencyTable]) -> None:
        self._lanes = [_Lane(table) for table in tables]
        # What a step of `encode_one` looks at; to look it up in the lane each time would take as long as the step.
        self._steps = [(lane.first, lane.size, lane.starts, lane.frequencies, lane.bits, lane) for lane in self._lanes]
        # All lanes' ideal lengths in one row, each with its escape before and after it.
        self._first = np.array([lane.first - 1 for lane in self._lanes])
        self._beyond = np.array([lane.size + 1 for lane in self._lanes])
        self._start = np.array([0, *accumulate(lane.size + 2 for lane in self._lanes[:-1])])
        self._bits = np.concatenate([[lane.bits[-1], *lane.bits] for lane in self._lanes])
        longest_bits = FREQUENCY_BITS + len(self._lanes) * (FREQUENCY_BITS + _WINDOW_BITS)
        self.max_payload_bytes = -(-longest_bits // 8)

    def encode(self, symbols: Symbols) -> bytes:
        """Code symbols, int64 (code size), as the one payload that stands for them.

        Raises:
            UncodableImage: a symbol does not fit in 32 bits.
        """
        return self.encode_one(symbols.tolist())[0]

    @timed_stage("entropy")
    def encode_one(self, symbols: Sequence[int]) -> tuple[bytes, float]:
        """Do the same with symbols that are Python's integers; return also the code's ideal length, in bits.

        Raises:
            UncodableImage: a symbol does not fit in 32 bits.
        """
        low, span, bits, units = 0, CODED_FREQUENCY, FREQUENCY_BITS, _CODED_UNITS
        for symbol, (first, size, starts, frequencies, lane_units, lane) in zip(symbols, self._steps, strict=True):
            at = symbol - first
            if not 0 <= at < size:
                at = size
            low = (low << FREQUENCY_BITS) + span * starts[at]
            span *= frequencies[at]
            bits += FREQUENCY_BITS
            units += lane_units[at]
            if at == size:
                word, word_bits = _distance_word(symbol, lane)
                low = (low << word_bits) + span * word
                bits += word_bits
                units += word_bits * _UNITS_PER_BIT
        return _shortest_within(low, span, bits), units / _UNITS_PER_BIT

    @timed_stage("entropy")
    def decode(self, payload: bytes) -> Symbols:
        """Undo `encode`: return int64 (code size).

        Raises:
            InvalidCode: no symbols have this payload.
        """
        if not payload or len(payload) > self.max_payload_bytes:
            raise InvalidCode(
                f"the code holds {len(payload)} bytes of payload; this model's codes hold 1 to {self.max_payload_bytes}"
            )
        symbols = self._read(payload)
        if self.encode_one(symbols)[0] != payload:
            raise InvalidCode("the code is damaged: its payload is not the one that its symbols have")
        return np.array(symbols, dtype=np.int64)

    def ideal_bits(self, symbols: Symbols) -> npt.NDArray[np.float64]:
        """Return the ideal code lengths, float64 (N) bits, of symbols, int64 (N, code size).

        That is the sum of -log2 of the probabilities that the tables give the symbols, and of what tells symbols from
        an image losslessly. A payload has the least whole number of bytes that holds it, or fewer.
        """
        at = np.minimum(np.maximum(symbols - self._first, 0), self._beyond)
        # In whole units, which have the same sum in any order.
        units = self._bits[at + self._start].sum(axis=1) + _CODED_UNITS
        far = (at == 0) | (at == self._beyond)
        if far.any():
            for place in np.flatnonzero(far.any(axis=0)).tolist():
                column = far[:, place]
                # Of a float64 that is an integer, frexp gives the number of bits.
                distance = _distance(symbols[column, place], self._lanes[place]).astype(np.float64)
                units[column] += (2 * np.frexp(distance + 1)[1].astype(np.int64) - 1) * _UNITS_PER_BIT
        bits: npt.NDArray[np.float64] = units / _UNITS_PER_BIT
        return bits

    def _read(self, payload: bytes) -> list[int]:
        # The payload, as a binary fraction followed by zeros, is `rest` of `span << room` units into the interval.
        rest, span, room = int.from_bytes(payload, "big"), 1, 8 * len(payload)
        symbols = []
        rest, room = _widen(rest, room, FREQUENCY_BITS)
        if rest // (span << room) >= CODED_FREQUENCY:
            raise InvalidCode("the code holds an image losslessly, not symbols")
        span *= CODED_FREQUENCY
        for lane in self._lanes:
            rest, room = _widen(rest, room, FREQUENCY_BITS)
            unit = span << room
            at = bisect_right(lane.starts, rest // unit) - 1
            rest -= unit * lane.starts[at]
            span *= lane.frequencies[at]
            symbol = lane.first + at
            if at == lane.size:
                window = (rest << _WINDOW_BITS) // (span << room)
                symbol, word_bits = _read_distance(window, lane)
                rest, room = _widen(rest, room, word_bits)
                rest -= (span << room) * (window >> _WINDOW_BITS - word_bits)
            symbols.append(symbol)
        return symbols


@lru_cache(maxsize=32)
def coder_of(tables: tuple[FrequencyTable, ...]) -> ArithmeticCoder:
    """Return the coder of a card's tables; to make one takes a while, and both halves of a model have the same."""
    return ArithmeticCoder(tables)


def _units(frequency: int) -> int:
    """Return the ideal length of what has this frequency, in units."""
    return round((FREQUENCY_BITS - math.log2(frequency)) * _UNITS_PER_BIT)


_CODED_UNITS = _units(CODED_FREQUENCY)


class _Lane:
    """One coordinate's table: entry `size`, the last and so also entry -1, is the escape."""

    def __init__(self, table: FrequencyTable) -> None:
        self.first, self.last, self.size = table.first, table.last, len(table.frequencies)
        self.frequencies = [*table.frequencies, table.escape]
        self.starts = list(accumulate(self.frequencies[:-1], initial=0))
        self.bits = [_units(frequency) for frequency in self.frequencies]


def _distance(symbol: Symbols, lane: _Lane) -> Symbols:
    """Return how far symbols, int64 (N), are out of the table: 0, 2, 4, … above it; 1, 3, 5, … below it."""
    return np.where(symbol > lane.last, 2 * (symbol - lane.last - 1), 2 * (lane.first - 1 - symbol) + 1)


def _distance_word(symbol: int, lane: _Lane) -> tuple[int, int]:
    """Return the Elias gamma code (Elias 1975), with its ones and zeros swapped in front, and its number of bits."""
    if not MIN_SYMBOL <= symbol <= MAX_SYMBOL:
        raise UncodableImage("the image's code lies too far out to be sent: it has a symbol of over 32 bits")
    count = 1 + (2 * (symbol - lane.last - 1) if symbol > lane.last else 2 * (lane.first - 1 - symbol) + 1)
    more = count.bit_length() - 1
    return (((1 << more) - 1) << more + 1) + count - (1 << more), 2 * more + 1


def _read_distance(window: int, lane: _Lane) -> tuple[int, int]:
    """Undo `_distance_word` at the upper end of a window of bits: return the symbol and the code's number of bits."""
    more = _WINDOW_BITS - (~window & (1 << _WINDOW_BITS) - 1).bit_length()
    if more > _MAX_DISTANCE_BITS:
        raise InvalidCode("the code is damaged: it has a symbol of over 32 bits")
    word_bits = 2 * more + 1
    distance = (1 << more) + (window >> _WINDOW_BITS - word_bits & (1 << more) - 1) - 1
    symbol = lane.first - 1 - distance // 2 if distance % 2 else lane.last + 1 + distance // 2
    if not MIN_SYMBOL <= symbol <= MAX_SYMBOL:
        raise InvalidCode("the code is damaged: it has a symbol of over 32 bits")
    return symbol, word_bits


def _widen(rest: int, room: int, bits: int) -> tuple[int, int]:
    """Make room for a step of `bits` bits: from what is left of the payload, then from the zeros that follow it."""
    return (rest, room - bits) if room >= bits else (rest << bits - room, 0)


def _shortest_within(low: int, span: int, bits: int) -> bytes:
    """Return the shortest bytes, one at least, whose fraction lies in [low, low + span) / 2 ** bits; the smallest such.

    More bytes than a string that does always do too, so the search starts where a multiple cannot miss.
    """
    size = max(1, -(-(bits - span.bit_length() + 1) // 8))
    value = _first_multiple(low, bits - 8 * size)
    while size > 1:
        shorter = _first_multiple(low, bits - 8 * (size - 1))
        if shorter << max(0, bits - 8 * (size - 1)) >= low + span:
            break
        size, value = size - 1, shorter
    return value.to_bytes(size, "big")


def _first_multiple(low: int, shift: int) -> int:
    """Return the smallest value with `value << shift >= low`, for a negative shift `value >= low << -shift`."""
    return -(-low >> shift) if shift >= 0 else low << -shift
