"""y <-> symbols, by a uniform scalar quantizer whose parameters stand in the model card.

Both directions are computed in float64, where each step is exactly rounded, so that all machines agree.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from latentwire.errors import UncodableImage
from latentwire.model.card import UniformQuantizer

Symbols = npt.NDArray[np.int64]


# Symbols have 32 bits with sign.
_MAX_SYMBOL = 2**31 - 1
_TOO_FAR = "the image's code lies too far out to be sent: it has a symbol of over 32 bits"


def quantize(y: npt.NDArray[np.floating], parameters: UniformQuantizer) -> Symbols:
    """Round codes to the nearest level, however far out.

    Args:
        y: floats (N, code size).
        parameters: of this model's card.

    Returns:
        int64 (N, code size), each of 32 bits.

    Raises:
        UncodableImage: a number of a code is not finite, or so far out that its symbol has more bits.
    """
    low, step = parameters.arrays
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.rint((y.astype(np.float64) - low) / step)
    if not (np.abs(scaled) <= _MAX_SYMBOL).all():
        raise UncodableImage(_TOO_FAR)
    symbols: Symbols = scaled.astype(np.int64)
    return symbols


def quantize_one(y: Sequence[float], parameters: UniformQuantizer) -> list[int]:
    """Do the same with a single code, several times as fast: return the same symbols.

    Raises:
        UncodableImage: as `quantize`.
    """
    try:
        symbols = [
            round((value - low) / step) for value, low, step in zip(y, parameters.low, parameters.step, strict=True)
        ]
    except (OverflowError, ValueError) as error:  # round() of what is not finite
        raise UncodableImage(_TOO_FAR) from error
    if max(symbols) > _MAX_SYMBOL or min(symbols) < -_MAX_SYMBOL:
        raise UncodableImage(_TOO_FAR)
    return symbols


def dequantize(symbols: Symbols, parameters: UniformQuantizer) -> npt.NDArray[np.float32]:
    """Return y_hat, float32 (N, code size): the levels that the symbols stand for; infinite beyond float32."""
    low, step = parameters.arrays
    with np.errstate(over="ignore"):
        y_hat: npt.NDArray[np.float32] = (low + symbols * step).astype(np.float32)
    return y_hat
