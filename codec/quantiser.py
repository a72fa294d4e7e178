"""y <-> symbols, by a uniform scalar quantiser whose parameters stand in the model card.

Both directions are computed in float64, where each step is exactly rounded, so that all machines agree.
"""

import numpy as np
import numpy.typing as npt

from codec.model_card import UniformQuantiser

Symbols = npt.NDArray[np.int64]


def quantise(y: npt.NDArray[np.floating], parameters: UniformQuantiser) -> Symbols:
    """Round codes to the nearest level; beyond the outermost level, to that.

    Args:
        y: finite floats (N, code size).
        parameters: of this model's card.

    Returns:
        int64 (N, code size), each in [0, 2 ** bits).
    """
    scaled = np.rint((y.astype(np.float64) - np.array(parameters.low)) / np.array(parameters.step))
    symbols: Symbols = np.clip(scaled, 0, 2**parameters.bits - 1).astype(np.int64)
    return symbols


def dequantise(symbols: Symbols, parameters: UniformQuantiser) -> npt.NDArray[np.float32]:
    """Return y_hat, float32 (N, code size): the levels that the symbols stand for."""
    y_hat: npt.NDArray[np.float32] = (np.array(parameters.low) + symbols * np.array(parameters.step)).astype(np.float32)
    return y_hat
