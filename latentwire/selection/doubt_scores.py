"""Scores of doubt: whether a reconstruction may show something else than its image.

Both compare means over windows of a seventh of the image's height and width, each of which overlaps the next by half:

    local_error   largest difference of a window, divided by the root of what is usual there
    class_odds    odds, by a classifier of windows, of another class than the image's in the reconstruction
"""

import base64
import math

import numpy as np
import numpy.typing as npt

from latentwire.errors import ImageError, InvalidCard
from latentwire.imaging.image import Pixels, read_image
from latentwire.model.card import ImageShape
from latentwire.model.guard_limits import Classifier, DoubtLimits

Floats = npt.NDArray[np.float32]

# Number of windows' strides along a side.
_STRIDES = 14

# Added to the usual difference of a window, in [0, 1], so that a window that never differs has a unit, too.
_LEAST_USUAL = 0.01

# Largest logarithm of the odds.
_MAX_LOG_ODDS = 30.0


class Windows:
    """The windows of images of one shape."""

    def __init__(self, shape: ImageShape) -> None:
        self._rows: Floats = _averages(shape.height)
        self._columns: Floats = np.transpose(_averages(shape.width))
        self.shape = ImageShape(height=len(self._rows), width=self._columns.shape[1], channels=shape.channels)
        self.values = self.shape.pixels * self.shape.channels

    def means(self, pixels: Pixels) -> Floats:
        """Return the means, float32 (N, values), in [0, 1], of images, uint8 (N, H, W, C); channel by channel."""
        planes: Floats = pixels.transpose(0, 3, 1, 2).astype(np.float32)
        means: Floats = np.matmul(np.matmul(self._rows, planes), self._columns)
        return means.reshape(len(pixels), -1)

    def to_levels(self, values: Floats) -> Pixels:
        """Return the values of windows, (values), in [0, 1], as a picture, uint8 (rows, columns, C), of 1 or more."""
        planes = values.reshape(self.shape.channels, self.shape.height, self.shape.width)
        levels: Pixels = np.clip(np.rint(255 * planes.transpose(1, 2, 0)), 1, 255).astype(np.uint8)
        return levels


class DoubtScores:
    """Computes the scores by the limits in a model card."""

    def __init__(self, limits: DoubtLimits, shape: ImageShape) -> None:
        """Decode what the limits hold.

        Raises:
            InvalidCard: the picture of usual errors is not one of the windows' shape, or the classifier does not fit.
        """
        self._windows = Windows(shape)
        self._per_unit = per_unit(_usual(limits.usual_local_png_base64, self._windows.shape))
        self._layers = None if limits.classifier is None else unpack(limits.classifier, self._windows.values)

    def score(self, pixels: Pixels, reconstructions: Pixels) -> dict[str, list[float]]:
        """Return the scores of images and their reconstructions, both uint8 (N, H, W, C): name -> a value for each."""
        count = len(pixels)
        means = self._windows.means(np.concatenate([pixels, reconstructions]))
        scores = {"local_error": local_error(means[:count], means[count:], self._per_unit).tolist()}
        if self._layers is not None:
            scores["class_odds"] = class_odds(logits(means, self._layers))
        return scores


def local_error(means: Floats, delivered: Floats, per_unit: Floats) -> Floats:
    """Return the largest difference of window means, float32 (N, values), times `per_unit` (values); float32 (N)."""
    differences = np.abs(means - delivered)
    differences *= per_unit
    largest: Floats = differences.max(axis=1)
    return largest


def per_unit(usual: Floats) -> Floats:
    """Return 1 ÷ the unit of each window, float32 (values), by the usual difference of its mean, in [0, 1]."""
    units: Floats = np.float32(1) / np.sqrt(usual + np.float32(_LEAST_USUAL))
    return units


def logits(means: Floats, layers: list[tuple[Floats, Floats]]) -> Floats:
    """Return the logits, float32 (N, classes), of window means, by layers of weights (inputs, outputs) and biases."""
    values: Floats = means
    for number, (weights, bias) in enumerate(layers):
        values = values @ weights
        values += bias
        if number < len(layers) - 1:
            np.maximum(values, 0, out=values)
    return values


def class_odds(both: Floats) -> list[float]:
    """Return the odds of another class than the image's, for the logits of N images and, after them, reconstructions.

    The class of an image is that of its largest logit.
    """
    count = len(both) // 2
    odds = []
    for before, after in zip(both[:count].argmax(axis=1).tolist(), both[count:].tolist(), strict=True):
        own = after[before]
        after[before] = -math.inf
        odds.append(math.exp(min(max(after) - own, _MAX_LOG_ODDS)))
    return odds


def unpack(classifier: Classifier, inputs: int) -> list[tuple[Floats, Floats]]:
    """Return the weights, float32 (inputs, outputs), and the biases of each layer, for a number of inputs.

    Raises:
        InvalidCard: the number of weights of a layer is not inputs × outputs.
    """
    layers = []
    for layer in classifier.layers:
        scale = np.array(layer.scale, np.float32)
        try:
            packed = np.frombuffer(base64.b64decode(layer.weights_base64, validate=True), np.int8)
            weights = packed.reshape(len(scale), inputs).astype(np.float32) * scale[:, None]
        except ValueError as error:
            raise InvalidCard(f"guard.doubt.classifier: a layer has no {inputs} × {len(scale)} weights") from error
        layers.append((np.ascontiguousarray(weights.T), np.array(layer.bias, np.float32)))
        inputs = len(scale)
    return layers


def _averages(size: int) -> Floats:
    """Return the matrix, float32 (windows, size), that averages over windows along a side, and divides by √255."""
    stride = max(1, size // _STRIDES)
    side = min(size, 2 * stride)
    starts = np.rint(np.linspace(0, size - side, (size - side) // stride + 1)).astype(np.int64)
    places = np.arange(size)
    inside = (places >= starts[:, None]) & (places < starts[:, None] + side)
    # The matrices of both sides together divide by 255.
    averages: Floats = np.divide(inside, side * math.sqrt(255)).astype(np.float32)
    return averages


def _usual(png_base64: str, shape: ImageShape) -> Floats:
    try:
        levels = read_image(base64.b64decode(png_base64, validate=True), shape)
    except (ValueError, ImageError) as error:
        raise InvalidCard(f"guard.doubt.usual_local is not a PNG picture of {shape}") from error
    return levels.transpose(2, 0, 1).reshape(-1).astype(np.float32) / np.float32(255)
