"""Pixels -> how far they are from what is usual at each place of a model's images.

One scale for both: an image is compared with the mean of the training images, in units of their spread, or with itself
as delivered, in units of the usual error. What number is too much is not known here.
"""

import base64
import math

import numpy as np
import numpy.typing as npt

from latentwire.errors import ImageError, InvalidCard
from latentwire.imaging.image import Pixels, read_image
from latentwire.model.card import ImageShape, ReferencePictures

Scores = npt.NDArray[np.float64]
Rows = npt.NDArray[np.float64]


class ReferenceStatistics:
    """The typical pictures of one model's card, opened."""

    def __init__(self, pictures: ReferencePictures, shape: ImageShape) -> None:
        """Open them.

        Raises:
            InvalidCard: one of them is not a PNG file of `shape`, or says that something never varies at all.
        """
        self._mean = _rows(_open("mean", pictures.mean_png_base64, shape)[None])
        self._per_spread = 1 / _divisor("spread", pictures.spread_png_base64, shape)
        self._per_error = 1 / _divisor("error", pictures.error_png_base64, shape)

    def input_deviation(self, pixels: Pixels) -> Scores:
        """Return how far images, uint8 (N, H, W, C), are from the training images' mean; float64 (N).

        The mean over the values of their distance from it in units of the spread there, divided by the root of the
        image's brightness: a dim image is as strange as a bright one of the same form.
        """
        values = _rows(pixels)
        return normalized_mae(values - self._mean, self._per_spread, values)

    def reconstruction_deviation(self, pixels: Pixels, delivered: Pixels) -> Scores:
        """Return how far images are from themselves as delivered, both uint8 (N, H, W, C); float64 (N).

        The mean error in units of the error that is usual at each place, divided as `input_deviation` is.
        """
        values = _rows(pixels)
        return normalized_mae(values - _rows(delivered), self._per_error, values)


def normalized_mae(difference: Rows, per_unit: Rows, values: Rows) -> Scores:
    """Return the mean of |difference| ÷ unit over an image's values, by the root of its brightness; float64 (N).

    Args:
        difference: float64 (N, values), in levels of 0 to 255.
        per_unit: float64 (values) or (1, values), 1 ÷ the unit of each.
        values: float64 (N, values), in levels of 0 to 255, of which the root mean square in [0, 1], and one level more,
            is the brightness.
    """
    size = values.shape[1]
    energies, distances = np.vecdot(values, values).tolist(), np.vecdot(np.abs(difference), per_unit).tolist()
    # Of a few images, Python's own numbers are quicker than arrays.
    return np.array(
        [
            distance / (size * math.sqrt(math.sqrt(energy / size) / 255 + 1 / 255))
            for energy, distance in zip(energies, distances, strict=True)
        ]
    )


def _rows(pixels: Pixels) -> Rows:
    return pixels.reshape(len(pixels), -1).astype(np.float64)


def _open(what: str, png_base64: str, shape: ImageShape) -> Pixels:
    try:
        return read_image(base64.b64decode(png_base64, validate=True), shape)
    except (ValueError, ImageError) as error:
        raise InvalidCard(f"guard.typical.{what} is not a PNG picture of {shape}") from error


def _divisor(what: str, png_base64: str, shape: ImageShape) -> Rows:
    levels = _open(what, png_base64, shape)
    if not levels.all():
        raise InvalidCard(f"guard.typical.{what} has a value of 0, by which nothing can be divided")
    return _rows(levels[None])
