import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec import quantiser
from codec.model_card import UniformQuantiser

PARAMETERS = UniformQuantiser(bits=3, low=(-1.0, 10.0), step=(0.5, 2.0))


def test_quantise_rounds_to_the_nearest_level() -> None:
    y = np.array([[-1.0, 10.0], [-0.76, 10.9], [-0.74, 11.1], [2.5, 24.0]], dtype=np.float32)
    assert quantiser.quantise(y, PARAMETERS).tolist() == [[0, 0], [0, 0], [1, 1], [7, 7]]


def test_quantise_stops_at_the_outermost_level() -> None:
    y = np.array([[-1e30, 1e30], [1e30, -1e30]], dtype=np.float32)
    assert quantiser.quantise(y, PARAMETERS).tolist() == [[0, 7], [7, 0]]


def test_dequantise_gives_the_levels() -> None:
    y_hat = quantiser.dequantise(np.array([[0, 7], [3, 1]]), PARAMETERS)
    assert y_hat.dtype == np.float32
    assert y_hat.tolist() == [[-1.0, 24.0], [0.5, 12.0]]


@given(st.lists(st.integers(0, 7), min_size=2, max_size=2))
def test_levels_are_fixed_points(symbols: list[int]) -> None:
    y_hat = quantiser.dequantise(np.array([symbols]), PARAMETERS)
    assert quantiser.quantise(y_hat, PARAMETERS).tolist() == [symbols]


def test_a_step_must_be_positive() -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        UniformQuantiser(bits=3, low=(0.0,), step=(0.0,))
