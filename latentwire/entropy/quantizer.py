"""y <-> symbols, by a uniform scalar quantizer whose parameters stand in the model card.

Both directions compute in float64, where each step is exactly rounded, so that all machines agree.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from latentwire.entropy.symbols import MAX_SYMBOL, OUT_OF_RANGE, Symbols
from latentwire.errors import UncodableImage
from latentwire.model.card import UniformQuantizer


def quantize(y: npt.NDArray[np.floating], parameters: UniformQuantizer) -> Symbols:
    """Round codes to the nearest levels.

    Args:
        y: floats (N, code size).
        parameters: of the model's card.

    Returns:
        int64 (N, code size), from -MAX_SYMBOL to MAX_SYMBOL.

    Raises:
        UncodableImage: a number of a code is not finite, or its symbol needs more than 32 bits.
    """
    low, step = parameters.arrays
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.rint((y.astype(np.float64) - low) / step)
    if not (np.abs(scaled) <= MAX_SYMBOL).all():
        raise UncodableImage(OUT_OF_RANGE)
    symbols: Symbols = scaled.astype(np.int64)
    return symbols


def quantize_lists(y: npt.NDArray[np.floating], parameters: UniformQuantizer) -> list[list[int]]:
    """Do as `quantize`, with lists of Python's integers as the result; for a single code, in a fraction of the time.

    Raises:
        UncodableImage: as `quantize`.
    """
    if len(y) > 1:
        lists: list[list[int]] = quantize(y, parameters).tolist()
        return lists
    return [_quantize_list(values, parameters) for values in y.tolist()]


def _quantize_list(y: Sequence[float], parameters: UniformQuantizer) -> list[int]:
    try:
        symbols = [
            round((value - low) / step) for value, low, step in zip(y, parameters.low, parameters.step, strict=True)
        ]
    except (OverflowError, ValueError) as error:  # round() raises these for infinities and NaN
        raise UncodableImage(OUT_OF_RANGE) from error
    if max(symbols) > MAX_SYMBOL or min(symbols) < -MAX_SYMBOL:
        raise UncodableImage(OUT_OF_RANGE)
    return symbols


def dequantize(symbols: Symbols, parameters: UniformQuantizer) -> npt.NDArray[np.float32]:
    """Return y_hat, float32 (N, code size): the levels that the symbols stand for, infinite where float32 overflows."""
    low, step = parameters.arrays
    with np.errstate(over="ignore"):
        y_hat: npt.NDArray[np.float32] = (low + symbols * step).astype(np.float32)
    return y_hat
