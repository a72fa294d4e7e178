"""Symbols of one image <-> payload, by exact arithmetic coding. `docs/FORMAT.md` specifies the layout.

The coder narrows an interval in one Python integer (Rissanen 1976; Pasco 1976), without carry or loss of precision, so
that a payload has no more bytes than the ideal code length rounded up. The integer tables of the model card alone steer
it: no float takes part, so all machines agree.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from latentwire.entropy.symbols import (
    MAX_DISTANCE_BITS,
    MAX_SYMBOL,
    MIN_SYMBOL,
    OUT_OF_RANGE,
    Symbols,
    escape_distance,
    escape_distances,
    escaped_symbol,
)
from latentwire.errors import InvalidCode, UncodableImage
from latentwire.model.card import FREQUENCY_BITS, FREQUENCY_TOTAL, FrequencyTable
from latentwire.timing import timed_stage

# The first step of each payload distinguishes symbols (65,535 parts of 65,536) from a lossless image (the last part).
SYMBOLS_FREQUENCY = FREQUENCY_TOTAL - 1

# Ideal lengths are summed as integers, in units of 2 ** -32 bits, so that the order of the sum does not matter.
_UNITS_PER_BIT = 1 << 32

# The codeword of a distance below 2 ** 33 has at most 32 leading ones, then a zero and 32 bits.
_MAX_LEADING_ONES = MAX_DISTANCE_BITS - 1
_MAX_CODEWORD_BITS = 2 * _MAX_LEADING_ONES + 1


class ArithmeticCoder:
    """Codes the symbols of one model by the frequency tables of its card."""

    def __init__(self, tables: Sequence[FrequencyTable]) -> None:
        self._tables = [_CdfTable(table) for table in tables]
        # Local variables of the loop in `encode`: reading attributes would take as long as the step itself.
        self._steps = [(table.first, table.size, table.cdf, table.frequencies, table.units) for table in self._tables]
        # All ideal lengths in one row, for `ideal_bits`: each table between two copies of its escape.
        self._first = np.array([table.first - 1 for table in self._tables])
        self._beyond = np.array([table.size + 1 for table in self._tables])
        self._offset = np.array([0, *accumulate(table.size + 2 for table in self._tables[:-1])])
        self._units = np.concatenate([[table.units[-1], *table.units] for table in self._tables])
        longest_bits = FREQUENCY_BITS + len(self._tables) * (FREQUENCY_BITS + _MAX_CODEWORD_BITS)
        self.max_payload_bytes = math.ceil(longest_bits / 8)

    def encode(self, symbols: Sequence[int]) -> tuple[bytes, float]:
        """Code the symbols of one image, a list of `code_size` integers.

        Returns:
            The only payload that stands for these symbols, and its ideal length in bits; see `ideal_bits`.

        Raises:
            UncodableImage: a symbol does not fit in 32 bits.
        """
        # The interval from low / 2 ** bits to (low + span) / 2 ** bits.
        low, span, bits, units = 0, SYMBOLS_FREQUENCY, FREQUENCY_BITS, _SYMBOLS_UNITS
        for coordinate, (symbol, step) in enumerate(zip(symbols, self._steps, strict=True)):
            first, size, cdf, frequencies, table_units = step
            entry = symbol - first
            if not 0 <= entry < size:
                entry = size
            low = (low << FREQUENCY_BITS) + span * cdf[entry]
            span *= frequencies[entry]
            bits += FREQUENCY_BITS
            units += table_units[entry]
            if entry == size:
                codeword, codeword_bits = _escape_codeword(symbol, self._tables[coordinate])
                low = (low << codeword_bits) + span * codeword
                bits += codeword_bits
                units += codeword_bits * _UNITS_PER_BIT
        return _shortest_within(low, span, bits), units / _UNITS_PER_BIT

    @timed_stage("entropy")
    def decode(self, payload: bytes) -> Symbols:
        """Decode a payload that `encode` made; return int64 (code size).

        Raises:
            InvalidCode: no symbols have this payload.
        """
        if not payload or len(payload) > self.max_payload_bytes:
            raise InvalidCode(
                f"the payload has {len(payload)} bytes; a payload of this model has 1 to {self.max_payload_bytes}"
            )
        symbols = self._read(payload)
        if self.encode(symbols)[0] != payload:
            raise InvalidCode("the bitstream is damaged: its payload is not the payload that its symbols have")
        return np.array(symbols, dtype=np.int64)

    def ideal_bits(self, symbols: Symbols) -> npt.NDArray[np.float64]:
        """Return the ideal code lengths, float64 (N) bits, of symbols, int64 (N, code size).

        The ideal length is the sum of -log2 of the probabilities that the tables give the symbols, and of the step that
        distinguishes symbols from a lossless image. A payload has at most this length, rounded up to whole bytes.
        """
        entries = np.minimum(np.maximum(symbols - self._first, 0), self._beyond)
        units = self._units[entries + self._offset].sum(axis=1) + _SYMBOLS_UNITS
        escaped = (entries == 0) | (entries == self._beyond)
        for coordinate in np.flatnonzero(escaped.any(axis=0)).tolist():
            rows, table = escaped[:, coordinate], self._tables[coordinate]
            distances = escape_distances(symbols[rows, coordinate], np.array(table.first), np.array(table.last))
            # The exponent that frexp gives for a whole number is its number of bits.
            leading_ones = np.frexp((distances + 1).astype(np.float64))[1].astype(np.int64) - 1
            units[rows] += (2 * leading_ones + 1) * _UNITS_PER_BIT
        bits: npt.NDArray[np.float64] = units / _UNITS_PER_BIT
        return bits

    def _read(self, payload: bytes) -> list[int]:
        # The payload is a binary fraction, followed by zeros. It lies `offset` / (`span` << `unread_bits`) of the way
        # into the interval that the steps so far have narrowed, `span` wide. Each step takes its bits from the payload.
        offset, span, unread_bits = int.from_bytes(payload, "big"), 1, 8 * len(payload)
        offset, unread_bits = _take_bits(offset, unread_bits, FREQUENCY_BITS)
        if offset // (span << unread_bits) >= SYMBOLS_FREQUENCY:
            raise InvalidCode("the payload holds a lossless image, not symbols")
        span *= SYMBOLS_FREQUENCY
        symbols = []
        for table in self._tables:
            offset, unread_bits = _take_bits(offset, unread_bits, FREQUENCY_BITS)
            part = span << unread_bits
            entry = bisect_right(table.cdf, offset // part) - 1
            offset -= part * table.cdf[entry]
            span *= table.frequencies[entry]
            symbol = table.first + entry
            if entry == table.size:
                window = (offset << _MAX_CODEWORD_BITS) // (span << unread_bits)
                symbol, codeword_bits = _read_escape_codeword(window, table)
                offset, unread_bits = _take_bits(offset, unread_bits, codeword_bits)
                offset -= (span << unread_bits) * (window >> (_MAX_CODEWORD_BITS - codeword_bits))
            symbols.append(symbol)
        return symbols


@lru_cache(maxsize=32)
def coder_of(tables: tuple[FrequencyTable, ...]) -> ArithmeticCoder:
    """Return the coder of a card's tables. Making one takes milliseconds, and both halves of a model share it."""
    return ArithmeticCoder(tables)


def _ideal_units(frequency: int) -> int:
    """Return the ideal length of a step of this frequency, in units of 2 ** -32 bits."""
    return round((FREQUENCY_BITS - math.log2(frequency)) * _UNITS_PER_BIT)


_SYMBOLS_UNITS = _ideal_units(SYMBOLS_FREQUENCY)


class _CdfTable:
    """Cumulative frequencies of one coordinate: entry i is the symbol `first + i`; entry `size`, the last, the escape.

    The escape is also entry -1.
    """

    def __init__(self, table: FrequencyTable) -> None:
        self.first, self.last, self.size = table.first, table.last, len(table.frequencies)
        self.frequencies = [*table.frequencies, table.escape]
        self.cdf = list(accumulate(self.frequencies[:-1], initial=0))
        self.units = [_ideal_units(frequency) for frequency in self.frequencies]


def _mask(bits: int) -> int:
    return (1 << bits) - 1


def _escape_codeword(symbol: int, table: _CdfTable) -> tuple[int, int]:
    """Return the Elias gamma codeword (Elias 1975) of a symbol's distance, its prefix inverted, and its number of bits.

    The codeword of distance d is, for the L bits that follow the leading one of d + 1: L ones, a zero, these L bits.
    """
    if not MIN_SYMBOL <= symbol <= MAX_SYMBOL:
        raise UncodableImage(OUT_OF_RANGE)
    count = 1 + escape_distance(symbol, table.first, table.last)
    leading_ones = count.bit_length() - 1
    suffix = count & _mask(leading_ones)
    return (_mask(leading_ones) << (leading_ones + 1)) + suffix, 2 * leading_ones + 1


def _read_escape_codeword(window: int, table: _CdfTable) -> tuple[int, int]:
    """Read the codeword at the start of `_MAX_CODEWORD_BITS` bits; return the symbol and the codeword's bits."""
    leading_ones = _MAX_CODEWORD_BITS - (~window & _mask(_MAX_CODEWORD_BITS)).bit_length()
    if leading_ones > _MAX_LEADING_ONES:
        raise InvalidCode("the bitstream is damaged: it has a symbol of more than 32 bits")
    codeword_bits = 2 * leading_ones + 1
    suffix = (window >> (_MAX_CODEWORD_BITS - codeword_bits)) & _mask(leading_ones)
    symbol = escaped_symbol((1 << leading_ones) + suffix - 1, table.first, table.last)
    if not MIN_SYMBOL <= symbol <= MAX_SYMBOL:
        raise InvalidCode("the bitstream is damaged: it has a symbol of more than 32 bits")
    return symbol, codeword_bits


def _take_bits(offset: int, unread_bits: int, bits: int) -> tuple[int, int]:
    """Take the bits of a step from the unread ones, and from the zeros that follow the payload once those are used."""
    return (offset, unread_bits - bits) if unread_bits >= bits else (offset << (bits - unread_bits), 0)


def _shortest_within(low: int, span: int, bits: int) -> bytes:
    """Return the shortest bytes, at least one, whose fraction lies in [low, low + span) / 2 ** bits; the smallest such.

    A string of bytes in the interval stays there when zeros are appended. So the search begins at a size whose steps
    are no wider than the interval, which cannot miss it, and goes on to shorter strings.
    """
    size = max(1, math.ceil((bits - span.bit_length() + 1) / 8))
    value = _ceil_shift(low, bits - 8 * size)
    while size > 1:
        shorter = _ceil_shift(low, bits - 8 * (size - 1))
        if shorter << max(0, bits - 8 * (size - 1)) >= low + span:
            break
        size, value = size - 1, shorter
    return value.to_bytes(size, "big")


def _ceil_shift(value: int, shift: int) -> int:
    """Return `value` / 2 ** `shift`, rounded up."""
    return -(-value >> shift) if shift >= 0 else value << -shift
