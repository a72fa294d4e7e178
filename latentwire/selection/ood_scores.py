"""Scores of images: how far an image, or its reconstruction, is from what is usual for a model.

Both deviations share one scale. The input deviation compares an image with the mean of the training images, in units of
their standard deviation; the reconstruction deviation compares it with its reconstruction, in units of the usual error.
`latentwire.selection.guard` compares the scores with the limits of the model card.
"""

import base64
import math

import numpy as np
import numpy.typing as npt

from latentwire.errors import ImageError, InvalidCard
from latentwire.imaging.image import Pixels, read_image
from latentwire.model.card import ImageShape
from latentwire.model.guard_limits import ReferencePictures

Scores = npt.NDArray[np.float64]
Rows = npt.NDArray[np.float64]


class ReferenceStatistics:
    """The decoded reference pictures of a model card."""

    def __init__(self, pictures: ReferencePictures, shape: ImageShape) -> None:
        """Decode the pictures.

        Raises:
            InvalidCard: a picture is not a PNG file of `shape`, or has a 0 where it is a divisor.
        """
        self._mean = _rows(_decode("mean", pictures.mean_png_base64, shape)[None])
        self._per_spread = 1 / _divisor("spread", pictures.spread_png_base64, shape)
        self._per_error = 1 / _divisor("error", pictures.error_png_base64, shape)

    def input_deviation(self, pixels: Pixels) -> Scores:
        """Return how far images, uint8 (N, H, W, C), are from the mean of the training images; float64 (N).

        The score is `normalized_mae` in units of the standard deviation: an image and a dimmer copy of it get about the
        same score.
        """
        values = _rows(pixels)
        return normalized_mae(values - self._mean, self._per_spread, values)

    def reconstruction_deviation(self, pixels: Pixels, reconstructions: Pixels) -> Scores:
        """Return how far images are from their reconstructions, both uint8 (N, H, W, C); float64 (N).

        The score is `normalized_mae` in units of the usual error.
        """
        values = _rows(pixels)
        return normalized_mae(values - _rows(reconstructions), self._per_error, values)


def mse(pixels: Pixels, reconstructions: Pixels) -> Scores:
    """Return the mean squared errors, of values in [0, 1], of images, both uint8 (N, H, W, C); float64 (N)."""
    difference = pixels.astype(np.int16) - reconstructions
    errors: Scores = np.square(difference, dtype=np.int32).mean(axis=(1, 2, 3)) / 255**2
    return errors


def max_error(pixels: Pixels, reconstructions: Pixels) -> Scores:
    """Return the largest differences of one value in [0, 1], of images, both uint8 (N, H, W, C); float64 (N)."""
    errors: Scores = np.abs(pixels.astype(np.int16) - reconstructions).max(axis=(1, 2, 3)) / 255
    return errors


def normalized_mae(difference: Rows, per_unit: Rows, values: Rows) -> Scores:
    """Return the mean of |difference| ÷ unit over each image, divided by the root of its brightness; float64 (N).

    Args:
        difference: float64 (N, values), in levels of 0 to 255.
        per_unit: float64 (values) or (1, values): 1 ÷ the unit of each value.
        values: float64 (N, values), in levels of 0 to 255. The brightness is their root mean square in [0, 1], plus one
            level, so that a black image has no brightness of 0.
    """
    size = values.shape[1]
    energies, distances = np.vecdot(values, values).tolist(), np.vecdot(np.abs(difference), per_unit).tolist()
    # For a few images, Python's own numbers are faster than arrays.
    return np.array(
        [
            distance / (size * math.sqrt(math.sqrt(energy / size) / 255 + 1 / 255))
            for energy, distance in zip(energies, distances, strict=True)
        ]
    )


def _rows(pixels: Pixels) -> Rows:
    return pixels.reshape(len(pixels), -1).astype(np.float64)


def _decode(what: str, png_base64: str, shape: ImageShape) -> Pixels:
    try:
        return read_image(base64.b64decode(png_base64, validate=True), shape)
    except (ValueError, ImageError) as error:
        raise InvalidCard(f"guard.reference.{what} is not a PNG picture of {shape}") from error


def _divisor(what: str, png_base64: str, shape: ImageShape) -> Rows:
    levels = _decode(what, png_base64, shape)
    if not levels.all():
        raise InvalidCard(f"guard.reference.{what} has a value of 0, and is a divisor")
    return _rows(levels[None])
