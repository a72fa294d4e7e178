"""Reconstruction errors of images -> how well they distinguish outliers from the images that a network learned.

An autoencoder reconstructs images well that are like those of its training; a large error indicates an outlier.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from latentwire.errors import ImageMismatch
from latentwire.imaging import image
from training.batches import parts
from training.data.datasets import Dataset, Images
from training.data.images import shape_of
from training.plots.subject import Subject

Errors = npt.NDArray[np.floating[Any]]
Floats = npt.NDArray[np.float32]


# Side, in pixels, of the square over which the coarse error takes means.
WINDOW = 5

# Addend to each image's mean brightness, which is 0 for a black image.
MIN_BRIGHTNESS = 0.01

# Share of ordinary images above the threshold by which `Detection.found` counts outliers.
FALSE_ALARMS = 0.01


class Detection(NamedTuple):
    """How well one kind of reconstruction error distinguishes outliers from ordinary images.

    `auroc` is the area under the receiver operating characteristic: the probability that a random outlier has a larger
    error than a random ordinary image. `found` is the share of outliers above the error that only `FALSE_ALARMS` of
    the ordinary images exceed, `beyond_training` the number of those above every training image. The medians are of
    each image's error, of pixels in [0, 1].
    """

    error: str
    ordinary: int
    outliers: int
    auroc: float
    found: float
    beyond_training: int
    ordinary_median: float
    outlier_median: float


def detect(folder: Path, dataset: Dataset, outliers: Images, what: str) -> list[Detection]:
    """Measure a published model as a detector of outliers, by each kind of error of the images as delivered.

    Args:
        folder: the model's folder.
        dataset: data set whose test images are the ordinary ones.
        outliers: images to be found.
        what: name of the outliers, for messages.

    Raises:
        ModelError: the model's files cannot be used.
        ImageMismatch: its images are not of the data set's or of the outliers' shape.
    """
    subject = Subject(folder, dataset)
    shape = shape_of(outliers.pixels.shape, what)
    if shape != subject.card.image:
        raise ImageMismatch(f"model '{subject.card.name}' takes {subject.card.image}; {what} has {shape}")
    stacks = [
        _errors_as_delivered(subject, pixels) for pixels in (dataset.test.pixels, outliers.pixels, dataset.train.pixels)
    ]
    found = []
    for error in ERRORS:
        ordinary, unusual, trained = (errors[error] for errors in stacks)
        found.append(
            Detection(
                error=error,
                ordinary=len(ordinary),
                outliers=len(unusual),
                auroc=auroc(ordinary, unusual),
                found=float((unusual > np.quantile(ordinary, 1 - FALSE_ALARMS)).mean()),
                beyond_training=int((unusual > trained.max()).sum()),
                ordinary_median=float(np.median(ordinary)),
                outlier_median=float(np.median(unusual)),
            )
        )
    return found


def errors_of_each(x: Floats, x_hat: Floats) -> dict[str, Errors]:
    """Return each kind of error, (N), between images and their reconstructions, float32 (N, H, W, C) in [0, 1]."""
    return {error: measure(x, x_hat) for error, measure in ERRORS.items()}


def rmse(x: Floats, x_hat: Floats) -> Errors:
    """Return the root mean squared error, in which a few large differences weigh most."""
    root: Errors = np.sqrt(np.square(x_hat - x).mean(axis=(1, 2, 3), dtype=np.float64))
    return root


def mean_absolute_error(x: Floats, x_hat: Floats) -> Errors:
    """Return the mean absolute error, which weighs all differences alike: outliers differ in many pixels."""
    mean: Errors = np.abs(x_hat - x).mean(axis=(1, 2, 3), dtype=np.float64)
    return mean


def coarse_error(x: Floats, x_hat: Floats) -> Errors:
    """Return the mean absolute error of `WINDOW` × `WINDOW` means, over the root of the image's mean brightness.

    A stroke that is drawn beside its place is too bright on one side and too dark on the other, which cancels out in a
    mean over a few pixels; an area that the network cannot draw does not. The brightness makes the errors of dark and
    bright images comparable.
    """
    # One more row and column of zeros before the image than windows reach, for the first difference of sums.
    before, after = WINDOW // 2 + 1, WINDOW // 2
    padded = np.pad(x_hat - x, ((0, 0), (before, after), (before, after), (0, 0)))
    sums = padded.astype(np.float64).cumsum(axis=1).cumsum(axis=2)
    rows = sums[:, WINDOW:] - sums[:, :-WINDOW]
    means = (rows[:, :, WINDOW:] - rows[:, :, :-WINDOW]) / WINDOW**2
    brightness = x.mean(axis=(1, 2, 3), dtype=np.float64)
    error: Errors = np.abs(means).mean(axis=(1, 2, 3)) / np.sqrt(brightness + MIN_BRIGHTNESS)
    return error


ERRORS: dict[str, Callable[[Floats, Floats], Errors]] = {
    "RMSE": rmse,
    "mean absolute error": mean_absolute_error,
    "coarse error": coarse_error,
}


def _errors_as_delivered(subject: Subject, pixels: image.Pixels) -> dict[str, Errors]:
    # In parts, because the differences of all images of a large data set would take many times its memory.
    found = []
    for part in parts(len(pixels), pixels.shape[1:]):
        some = pixels[part]
        found.append(errors_of_each(_in_floats(some), _in_floats(subject.reconstruct(some))))
    return {error: np.concatenate([errors[error] for errors in found]) for error in ERRORS}


def _in_floats(pixels: image.Pixels) -> Floats:
    return np.divide(pixels, 255, dtype=np.float32)


def auroc(ordinary: Errors, outliers: Errors) -> float:
    """Return the share of pairs of an ordinary image and an outlier in which the outlier has the larger error.

    A tie counts half. This is the Mann-Whitney statistic divided by the number of pairs (Hanley, McNeil 1982).
    """
    ranked = np.sort(ordinary)
    below = np.searchsorted(ranked, outliers, side="left")
    not_above = np.searchsorted(ranked, outliers, side="right")
    return float((below + not_above).mean() / (2 * len(ranked)))


def rank_of(errors: Errors, index: int) -> int:
    """Return the rank of one image by its error: 1 is the largest; of equal errors it gets the last rank."""
    return int((errors >= errors[index]).sum())
