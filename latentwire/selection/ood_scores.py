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
        self._mean = rows(_decode("mean", pictures.mean_png_base64, shape)[None])
        self._per_spread = 1 / _divisor("spread", pictures.spread_png_base64, shape)
        self._per_error = 1 / _divisor("error", pictures.error_png_base64, shape)

    def input_deviation(self, pixels: Pixels) -> Scores:
        """Return how far images, uint8 (N, H, W, C), are from the mean of the training images; float64 (N).

        The score is `normalized_mae` in units of the standard deviation: an image and a dimmer copy of it get about the
        same score.
        """
        values = rows(pixels)
        return normalized_mae(np.abs(values - self._mean), self._per_spread, values)

    def reconstruction_deviation(self, pixels: Pixels, errors: Rows) -> Scores:
        """Return how far images, uint8 (N, H, W, C), are from their reconstructions, float64 (N).

        The score is `normalized_mae` in units of the usual error; `errors` are those of `absolute_errors`.
        """
        return normalized_mae(errors, self._per_error, rows(pixels))


def absolute_errors(pixels: Pixels, reconstructions: Pixels) -> Rows:
    """Return the absolute differences, float64 (N, values), in levels of 0 to 255, of images, uint8 (N, H, W, C)."""
    return np.abs(rows(pixels) - rows(reconstructions))


def mse(errors: Rows) -> Scores:
    """Return the mean squared errors, float64 (N), of values in [0, 1]; `errors` are those of `absolute_errors`."""
    means: Scores = np.vecdot(errors, errors) / (errors.shape[1] * 255**2)
    return means


def max_error(errors: Rows) -> Scores:
    """Return the largest errors, float64 (N), of values in [0, 1]; `errors` are those of `absolute_errors`."""
    largest: Scores = errors.max(axis=1) / 255
    return largest


def normalized_mae(distance: Rows, per_unit: Rows, values: Rows) -> Scores:
    """Return the mean of distance ÷ unit over each image, divided by the root of its brightness; float64 (N).

    Args:
        distance: float64 (N, values), 0 or more, in levels of 0 to 255.
        per_unit: float64 (values) or (1, values): 1 ÷ the unit of each value.
        values: float64 (N, values), in levels of 0 to 255. The brightness is their root mean square in [0, 1], plus one
            level, so that a black image has no brightness of 0.
    """
    size = values.shape[1]
    energies, distances = np.vecdot(values, values).tolist(), np.vecdot(distance, per_unit).tolist()
    # For a few images, Python's own numbers are faster than arrays.
    return np.array(
        [
            distance / (size * math.sqrt(math.sqrt(energy / size) / 255 + 1 / 255))
            for energy, distance in zip(energies, distances, strict=True)
        ]
    )


def rows(pixels: Pixels) -> Rows:
    """Return images, uint8 (N, H, W, C), as float64 (N, values)."""
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
    return rows(levels[None])
