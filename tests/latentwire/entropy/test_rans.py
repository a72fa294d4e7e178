import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentwire.entropy import rans
from latentwire.entropy.rans import RansCoder, lane_count, read_varint, write_varint
from latentwire.entropy.symbols import MAX_SYMBOL, MIN_SYMBOL, Symbols
from latentwire.errors import InvalidCode, UncodableImage
from latentwire.model.card import FREQUENCY_TOTAL, FrequencyTable
from tests.latentwire.tables import draw_symbols, ideal_bytes, peaked_table

TABLES = [peaked_table(-20, 41, scale, escape=50) for scale in (0.2, 1, 3, 10)] + [
    FrequencyTable(first=5, frequencies=(FREQUENCY_TOTAL - 1,), escape=1),
    FrequencyTable(first=-3, frequencies=(1,), escape=FREQUENCY_TOTAL - 1),
]
CODER = RansCoder(TABLES)
SIZES = [0, 1, 2, 63, 64, 127, 128, 1000, 2047, 2048, 4096, 4133]


def symbols_of(images: int, seed: int = 0) -> Symbols:
    return draw_symbols(np.random.default_rng(seed), TABLES, images)


@pytest.mark.parametrize("images", SIZES)
def test_symbols_come_back(images: int) -> None:
    symbols = symbols_of(images)
    decoded = CODER.decode(*CODER.encode(symbols), images)
    assert decoded.dtype == np.int64
    assert np.array_equal(decoded, symbols)


@pytest.mark.parametrize("images", [1, 64, 300, 2048, 4133])
def test_lanes_one_by_one_and_all_at_once_give_the_same(images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    symbols = symbols_of(images)
    results = []
    for min_vector_lanes in (0, rans.MAX_LANES + 1):
        monkeypatch.setattr(rans, "_MIN_VECTOR_LANES", min_vector_lanes)
        coded = CODER.encode(symbols)
        assert np.array_equal(CODER.decode(*coded, images), symbols)
        results.append(coded)
    assert results[0] == results[1]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(MIN_SYMBOL, MAX_SYMBOL), min_size=6, max_size=6), min_size=1, max_size=9))
def test_any_symbols_of_32_bits_come_back(rows: list[list[int]]) -> None:
    symbols = np.array(rows, dtype=np.int64)
    assert np.array_equal(CODER.decode(*CODER.encode(symbols), len(rows)), symbols)


@pytest.mark.parametrize("symbol", [MIN_SYMBOL - 1, MAX_SYMBOL + 1, 1 << 62, -(1 << 63)])
def test_a_symbol_of_more_bits_is_refused(symbol: int) -> None:
    with pytest.raises(UncodableImage, match="32 bits"):
        CODER.encode(np.full((1, len(TABLES)), symbol, dtype=np.int64))


@pytest.mark.parametrize("images", [64, 1000, 4096])
def test_the_length_is_ideal_but_for_four_bytes_a_lane(images: int) -> None:
    symbols = symbols_of(images)
    _, stream = CODER.encode(symbols)
    assert len(stream) <= ideal_bytes(TABLES, symbols) + 5 * lane_count(images)


@pytest.mark.parametrize(("images", "lanes"), [(0, 0), (1, 1), (127, 1), (128, 2), (4095, 63), (4096, 64), (9999, 64)])
def test_lanes_grow_with_the_images(images: int, lanes: int) -> None:
    assert lane_count(images) == lanes


@pytest.mark.parametrize("images", [10, 2100])
def test_damage_either_is_refused_or_gives_other_symbols(images: int) -> None:
    symbols = symbols_of(images)
    distances, stream = CODER.encode(symbols)
    random = np.random.default_rng(1)
    for at in random.integers(8 * len(stream), size=40).tolist():
        damaged = bytearray(stream)
        damaged[at // 8] ^= 1 << at % 8
        try:
            decoded = CODER.decode(distances, bytes(damaged), images)
        except InvalidCode:
            continue
        # What is taken is the one form of other symbols.
        assert CODER.encode(decoded) == (distances, bytes(damaged))


@pytest.mark.parametrize("images", [10, 2100])
def test_streams_cut_short_or_appended_to_are_refused(images: int) -> None:
    distances, stream = CODER.encode(symbols_of(images))
    for wrong in (stream[:-1], stream[:-2], stream + b"\0", stream + b"\0\0", b"", stream[:4]):
        with pytest.raises(InvalidCode):
            CODER.decode(distances, wrong, images)
    for wrong in (distances[:-1], distances + b"\0"):
        with pytest.raises(InvalidCode):
            CODER.decode(wrong, stream, images)
    with pytest.raises(InvalidCode):
        CODER.decode(distances, stream, images + 1)
    with pytest.raises(InvalidCode):
        CODER.decode(distances, stream, 0)


@pytest.mark.parametrize("state", [0, (1 << 24) - 1])
def test_a_state_that_no_lane_can_have_is_refused(state: int) -> None:
    distances, stream = CODER.encode(symbols_of(1))
    with pytest.raises(InvalidCode, match="state"):
        CODER.decode(distances, state.to_bytes(5, "big") + stream[5:], 1)


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, (1 << 33) - 1, (1 << 35) - 1])
def test_varints_come_back(value: int) -> None:
    written = write_varint(value)
    assert read_varint(b"x" + written + b"y", 1) == (value, 1 + len(written))


@pytest.mark.parametrize("data", ["", "80", "8000", "ff00", "808080808001", "ffffffffff", "ffffffffff7f"])
def test_varints_of_another_form_are_refused(data: str) -> None:
    with pytest.raises(InvalidCode):
        read_varint(bytes.fromhex(data), 0)
