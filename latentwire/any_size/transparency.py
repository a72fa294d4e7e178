"""What is behind transparent pixels: colours that cost few bytes, in place of those that nobody sees."""

import numpy as np

from latentwire.imaging.image import Pixels
from latentwire.model.onnx_session import Floats

# Where no pixel at all is visible.
_MIDDLE_GREY = 128


def has_alpha(pixels: Pixels) -> bool:
    """Return whether the last channel of pixels, uint8 (H, W, C), is alpha: of 2 or 4 channels it is."""
    return pixels.shape[2] in (2, 4)


def clear_transparent(pixels: Pixels) -> Pixels:
    """Return pixels, uint8 (H, W, C), whose colours are 0 where alpha is; those themselves without alpha."""
    if not has_alpha(pixels) or pixels[:, :, -1].all():
        return pixels
    return pixels * (pixels[:, :, -1:] > 0)


def fill_transparent(pixels: Pixels) -> Pixels:
    """Return the colours of pixels with alpha; those of fully transparent pixels go on smoothly from around them.

    Args:
        pixels: uint8 (h, w, 2) or (h, w, 4).

    Returns:
        uint8 (h, w, 1) or (h, w, 3).
    """
    colours, alpha = pixels[:, :, :-1], pixels[:, :, -1:]
    if alpha.all():
        return colours
    weights = alpha.astype(np.float32)
    smooth = _averages(colours * weights, weights)
    return np.where(alpha > 0, colours, np.rint(smooth).astype(np.uint8))


def _averages(sums: Floats, weights: Floats) -> Floats:
    """Return the average of each place with a weight; elsewhere that of the smallest square around it that has one.

    Args:
        sums: weighted colours, float32 (h, w, c).
        weights: float32 (h, w, 1).
    """
    height, width = weights.shape[:2]
    present = weights > 0
    average = np.divide(sums, weights, out=np.full_like(sums, _MIDDLE_GREY), where=present)
    if present.all() or height == width == 1:
        return average
    coarse = _averages(_halved(sums), _halved(weights))
    padded = np.pad(coarse.repeat(2, 0).repeat(2, 1), ((1, 1), (1, 1), (0, 0)), "edge")
    rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    around: Floats = (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / np.float32(16)
    return np.where(present, average, around[:height, :width])


def _halved(values: Floats) -> Floats:
    """Return the sums of squares of 2 × 2 places."""
    height, width, channels = values.shape
    even = np.pad(values, ((0, height % 2), (0, width % 2), (0, 0)))
    halved: Floats = even.reshape(-(-height // 2), 2, -(-width // 2), 2, channels).sum((1, 3))
    return halved
