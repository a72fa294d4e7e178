"""Images and their reconstruction errors -> how well the error tells an outlier from the images a network learned.

An autoencoder reconstructs well what it has seen often; what it reconstructs badly is unlike that. Knows no torch.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from codec import image
from codec.errors import ImageMismatch
from training.datasets import Dataset, Images
from training.images import shape_of
from training.plots.subject import Subject, mae_of_each, rmse_of_each

Errors = npt.NDArray[np.floating[Any]]

# Squares weigh few large differences most, absolute values all alike; strange images differ in many pixels.
ERRORS: dict[str, Callable[[image.Pixels, image.Pixels], npt.NDArray[np.float64]]] = {
    "RMSE": rmse_of_each,
    "mean absolute error": mae_of_each,
}

# The share of ordinary images that a threshold may report wrongly, for the share of outliers that it then finds.
FALSE_ALARMS = 0.01


class Detection(NamedTuple):
    """How well one kind of reconstruction error tells outliers from ordinary images.

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
    """Measure a published model as a detector of outliers, by each kind of error of what a receiver gets.

    Args:
        folder: of the model.
        dataset: whose test images are the ordinary ones.
        outliers: that are to be found.
        what: the outliers' name, for messages.

    Raises:
        ModelError: the model's files cannot be used.
        ImageMismatch: its images are not of the data set's or of the outliers' shape.
    """
    subject = Subject(folder, dataset)
    if shape_of(outliers.pixels, what) != subject.card.image:
        raise ImageMismatch(
            f"model '{subject.card.name}' takes {subject.card.image}; {what} has {shape_of(outliers.pixels, what)}"
        )
    stacks = (dataset.test.pixels, outliers.pixels, dataset.train.pixels)
    delivered = [subject.reconstruct(pixels) for pixels in stacks]
    found = []
    for error, measure in ERRORS.items():
        ordinary, unusual, trained = (measure(pixels, x_hat) for pixels, x_hat in zip(stacks, delivered, strict=True))
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
