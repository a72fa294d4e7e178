import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentwire.entropy import quantizer
from latentwire.errors import UncodableImage
from latentwire.model.card import UniformQuantizer

PARAMETERS = UniformQuantizer(low=(-1.0, 10.0), step=(0.5, 2.0))


def test_quantise_rounds_to_the_nearest_level() -> None:
    y = np.array([[-1.0, 10.0], [-0.76, 10.9], [-0.74, 11.1], [2.5, 24.0]], dtype=np.float32)
    assert quantizer.quantize(y, PARAMETERS).tolist() == [[0, 0], [0, 0], [1, 1], [7, 7]]


def test_quantise_goes_as_far_out_as_the_code() -> None:
    y = np.array([[-1e6, 1e6], [1e9, -1e9]])
    assert quantizer.quantize(y, PARAMETERS).tolist() == [[-1_999_998, 499_995], [2_000_000_002, -500_000_005]]


@pytest.mark.parametrize("far", [2e9, -2e9, 1e300, np.inf, -np.inf, np.nan])
def test_a_symbol_of_more_than_32_bits_is_refused(far: float) -> None:
    with pytest.raises(UncodableImage, match="more than 32 bits"):
        quantizer.quantize(np.array([[0, 0], [far, 0]]), PARAMETERS)


def test_dequantise_gives_the_levels() -> None:
    y_hat = quantizer.dequantize(np.array([[0, 7], [3, 1]]), PARAMETERS)
    assert y_hat.dtype == np.float32
    assert y_hat.tolist() == [[-1.0, 24.0], [0.5, 12.0]]


@given(st.lists(st.integers(-(2**31) + 1, 2**31 - 1), min_size=2, max_size=2))
def test_levels_are_fixed_points(symbols: list[int]) -> None:
    y_hat = PARAMETERS.low + np.array([symbols]) * PARAMETERS.step
    assert quantizer.quantize(y_hat, PARAMETERS).tolist() == [symbols]


def test_a_step_must_be_positive() -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        UniformQuantizer(low=(0.0,), step=(0.0,))


def test_levels_beyond_float32_are_infinite() -> None:
    wide = UniformQuantizer(low=(0.0,), step=(1e35,))
    assert quantizer.dequantize(np.array([[2**31 - 1], [-1]]), wide)[0] == [np.inf]


@given(st.lists(st.floats(width=32), min_size=2, max_size=2))
def test_a_single_code_gets_the_symbols_that_it_gets_among_others(y: list[float]) -> None:
    codes = np.array([y], np.float32)
    try:
        symbols = quantizer.quantize(codes, PARAMETERS).tolist()
    except UncodableImage:
        for images in (1, 2):
            with pytest.raises(UncodableImage, match="more than 32 bits"):
                quantizer.quantize_lists(codes.repeat(images, 0), PARAMETERS)
    else:
        assert quantizer.quantize_lists(codes, PARAMETERS) == symbols
        assert quantizer.quantize_lists(codes.repeat(2, 0), PARAMETERS) == symbols * 2


def test_quantisers_are_compared_by_their_levels_also_after_use() -> None:
    one, same, other = (UniformQuantizer(low=(0.0, 1.0), step=(1.0, step)) for step in (2.0, 2.0, 3.0))
    assert one.arrays is not same.arrays
    assert other.arrays
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
