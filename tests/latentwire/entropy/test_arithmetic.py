import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentwire.entropy.arithmetic import ArithmeticCoder
from latentwire.entropy.symbols import MAX_SYMBOL, MIN_SYMBOL
from latentwire.errors import InvalidCode, UncodableImage
from latentwire.model.card import FrequencyTable
from training.release.frequency_tables import scale_to_total

TABLES = (
    FrequencyTable(first=-1, frequencies=(16384, 32767, 16384), escape=1),
    FrequencyTable(first=0, frequencies=(65535,), escape=1),
    FrequencyTable(first=40, frequencies=(1, 1), escape=65534),
)


@st.composite
def tables_and_symbols(draw: st.DrawFn) -> tuple[tuple[FrequencyTable, ...], list[int]]:
    """Tables of any form, and symbols in them, near them, and as far out as there are any."""
    tables, symbols = [], []
    for _ in range(draw(st.integers(1, 12))):
        weights = draw(st.lists(st.one_of(st.just(1), st.integers(1, 10**6)), min_size=2, max_size=20))
        *frequencies, escape = scale_to_total(np.array(weights)).tolist()
        first = draw(st.one_of(st.integers(-20, 20), st.sampled_from([-(1 << 30), 1 << 30])))
        tables.append(FrequencyTable(first=first, frequencies=tuple(frequencies), escape=escape))
        near = st.integers(first - 5, first + len(frequencies) + 5)
        extremes = st.sampled_from([MIN_SYMBOL, MAX_SYMBOL])
        symbols.append(draw(st.one_of(near, near, extremes, st.integers(MIN_SYMBOL, MAX_SYMBOL))))
    return tuple(tables), symbols


def interval(tables: tuple[FrequencyTable, ...], symbols: list[int]) -> tuple[Fraction, Fraction]:
    """The interval that the format document gives these symbols, one step at a time, in fractions."""
    low, width = Fraction(0), Fraction(65535, 65536)
    for symbol, table in zip(symbols, tables, strict=True):
        inside = table.first <= symbol <= table.last
        at = symbol - table.first if inside else len(table.frequencies)
        frequency = table.frequencies[at] if inside else table.escape
        low += width * Fraction(sum(table.frequencies[:at]), 65536)
        width *= Fraction(frequency, 65536)
        if not inside:
            above = symbol > table.last
            count = (2 * (symbol - table.last - 1) if above else 2 * (table.first - 1 - symbol) + 1) + 1
            digits = f"{count:b}"[1:]
            for bit in "1" * len(digits) + "0" + digits:
                width /= 2
                low += width * int(bit)
    return low, width


@given(tables_and_symbols())
def test_decode_undoes_encode_in_no_more_bytes_than_the_ideal_length_rounded_up(
    case: tuple[tuple[FrequencyTable, ...], list[int]],
) -> None:
    tables, symbols = case
    coder = ArithmeticCoder(tables)
    payload = coder.encode(symbols)[0]
    assert coder.decode(payload).tolist() == symbols
    _, width = interval(tables, symbols)
    assert Fraction(1, 256 ** (len(payload) - 1)) > width  # a byte fewer than the ideal length rounded up would be
    ideal_bits = coder.ideal_bits(np.array([symbols]))[0]
    assert ideal_bits == pytest.approx(math.log2(width.denominator) - math.log2(width.numerator), abs=1e-6)
    assert 1 <= len(payload) <= coder.max_payload_bytes


@given(tables_and_symbols())
def test_a_payload_is_the_shortest_and_smallest_in_the_interval_of_the_format_document(
    case: tuple[tuple[FrequencyTable, ...], list[int]],
) -> None:
    tables, symbols = case
    payload = ArithmeticCoder(tables).encode(symbols)[0]
    low, width = interval(tables, symbols)
    size, value = len(payload), int.from_bytes(payload, "big")
    assert low <= Fraction(value, 256**size) < low + width
    assert Fraction(value - 1, 256**size) < low
    if size > 1:
        assert Fraction(math.ceil(low * 256 ** (size - 1)), 256 ** (size - 1)) >= low + width


@given(tables_and_symbols(), st.binary(max_size=40))
def test_any_payload_is_the_one_of_its_symbols_or_refused(
    case: tuple[tuple[FrequencyTable, ...], list[int]], payload: bytes
) -> None:
    coder = ArithmeticCoder(case[0])
    try:
        symbols = coder.decode(payload)
    except InvalidCode:
        return
    assert coder.encode(symbols.tolist())[0] == payload


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5), st.integers(30, 50)), min_size=1, max_size=8))
def test_ideal_lengths_of_a_batch_are_those_of_its_codes_alone(rows: list[tuple[int, int, int]]) -> None:
    coder = ArithmeticCoder(TABLES)
    assert coder.ideal_bits(np.array(rows)).tolist() == [coder.encode(row)[1] for row in rows]


def test_likely_symbols_cost_less_than_a_bit_each() -> None:
    tables = (FrequencyTable(first=7, frequencies=(65535,), escape=1),) * 1000
    coder = ArithmeticCoder(tables)
    assert len(coder.encode([7] * 1000)[0]) == 1


def test_a_payload_has_a_byte_even_where_none_would_tell_the_symbols() -> None:
    assert ArithmeticCoder(TABLES).encode([-1, 0, 40])[0] == b"\0"
    assert ArithmeticCoder(TABLES[:1]).encode([-1])[0] == b"\0"
    with pytest.raises(InvalidCode, match="has 0 bytes"):
        ArithmeticCoder(TABLES).decode(b"")


def test_zeros_after_a_payload_are_refused() -> None:
    coder = ArithmeticCoder(TABLES)
    payload = coder.encode([1, 0, 40])[0]
    with pytest.raises(InvalidCode, match="not the payload that its symbols have"):
        coder.decode(payload + b"\0")


def test_another_value_in_the_interval_of_the_symbols_is_refused() -> None:
    coder = ArithmeticCoder(TABLES[:1])
    payload = coder.encode([0])[0]
    assert payload == b"\x40"
    with pytest.raises(InvalidCode, match="not the payload that its symbols have"):
        coder.decode(b"\x41")


@pytest.mark.parametrize("ones", [40, 64, 88])
def test_a_distance_that_does_not_end_is_refused(ones: int) -> None:
    # The escape has the upper half of the interval, and the longest distances are at its upper end.
    coder = ArithmeticCoder((FrequencyTable(first=0, frequencies=(32768,), escape=32768),))
    with pytest.raises(InvalidCode, match="more than 32 bits"):
        coder.decode(b"\xff\xfe" + b"\xff" * (ones // 8))


def test_a_distance_beyond_32_bits_is_refused() -> None:
    coder = ArithmeticCoder((FrequencyTable(first=0, frequencies=(1,), escape=65535),))
    furthest = coder.encode([MAX_SYMBOL])[0]
    assert coder.decode(furthest).tolist() == [MAX_SYMBOL]
    beyond = (int.from_bytes(furthest, "big") + 64).to_bytes(len(furthest), "big")
    with pytest.raises(InvalidCode):
        coder.decode(beyond)


@pytest.mark.parametrize("symbol", [MIN_SYMBOL - 1, MAX_SYMBOL + 1])
def test_symbols_of_more_than_32_bits_are_not_encoded(symbol: int) -> None:
    with pytest.raises(UncodableImage, match="32 bits"):
        ArithmeticCoder(TABLES[:1]).encode([symbol])[0]


def test_a_lossless_image_is_not_taken_for_symbols() -> None:
    coder = ArithmeticCoder(TABLES)
    for payload in (b"\xff\xff", b"\xff\xff\0", b"\xff\xff\xff\xff"):
        with pytest.raises(InvalidCode, match="lossless image"):
            coder.decode(payload)


def test_a_payload_too_long_for_any_symbols_is_refused_at_once() -> None:
    coder = ArithmeticCoder(TABLES)
    with pytest.raises(InvalidCode, match="has 10000000 bytes; a payload of this model has 1 to 33"):
        coder.decode(bytes(10_000_000))


def test_the_largest_code_of_the_most_coordinates_is_coded_and_decoded() -> None:
    coder = ArithmeticCoder((FrequencyTable(first=0, frequencies=(65535,), escape=1),) * 4096)
    symbols = [MIN_SYMBOL] * 4096
    payload, _ = coder.encode(symbols)
    assert len(payload) <= coder.max_payload_bytes
    assert coder.decode(payload).tolist() == symbols
