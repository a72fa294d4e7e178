"""A model, better models and validation images -> the limits beyond which a reconstruction is in doubt.

A doubtful image is sent by a better model, or losslessly, which costs bytes. So the limits are as low as a small rise
of the mean size allows: first that of the local error, such that nearly all marks that the model loses are found, then
that of the class odds.
"""

import base64
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from latentwire.entropy import quantizer
from latentwire.errors import InvalidCode, UncodableImage
from latentwire.format import lossless
from latentwire.imaging import image
from latentwire.model.guard_limits import Classifier, DoubtLimits
from latentwire.selection.doubt_scores import Windows, class_odds, local_error, logits, per_unit, unpack
from latentwire.selection.guard import Guard
from training.data.datasets import TrainingSplit
from training.release.fit_classifier import fit_classifier
from training.release.marks import KINDS, draw_marks

# Largest rise of the mean payload, in bytes, that new images may cause but for a standard deviation; the share of it
# that is for the local error; and the largest share of images in doubt by the class odds.
MAX_RISE_BYTES = 0.28
LOCAL_SHARE = 0.7
MAX_DOUBTFUL = 0.1
_DEVIATIONS = 1

# Share of the lost marks that may remain within the limit of the local error.
MISSED_MARKS = 0.006
MARKED_IMAGES = 1000
_SEED = 1

_MAX_IMAGES = 5000
_MAX_VALUES = 1 << 25

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


def fit_doubt(
    folder: Path, split: TrainingSplit, better: Sequence[Guard] = (), max_rise: float = MAX_RISE_BYTES
) -> DoubtLimits:
    """Fit the limits of the model in `folder`.

    Args:
        folder: of the model.
        split: its training and validation images.
        better: guards of the better models beside it, the next one first.
        max_rise: largest rise of the mean payload, in bytes, but for a standard deviation.

    Raises:
        ModelError: the model's files cannot be used.
        UncodableImage: an image has no code.
    """
    encoder, decoder = Encoder.open(folder), Decoder.open(folder)
    shape = encoder.card.image
    pixels = split.validation.pixels[: min(_MAX_IMAGES, max(1, _MAX_VALUES // (shape.pixels * shape.channels)))]
    windows = Windows(shape)
    means = _means(windows, pixels)
    sizes, delivered = _deliver(encoder, decoder, windows, pixels)
    usual = np.sqrt(np.square(means - delivered, dtype=np.float64).mean(axis=0)).astype(np.float32)
    levels = windows.to_levels(usual)
    usual = levels.transpose(2, 0, 1).reshape(-1).astype(np.float32) / np.float32(255)
    errors = local_error(means, delivered, per_unit(usual)).astype(np.float64)
    lost = _errors_of_lost_marks(encoder, decoder, windows, pixels[:MARKED_IMAGES], per_unit(usual))
    classifier = fit_classifier(split, shape)
    odds = np.zeros(len(pixels)) if classifier is None else _odds(classifier, means, delivered)
    wanted = float(np.quantile(lost, MISSED_MARKS)) if len(lost) else float(errors.max())
    beyond = np.argsort(-odds)[: int(MAX_DOUBTFUL * len(pixels))]
    candidates = np.union1d(np.flatnonzero(errors > wanted), beyond)
    costs = np.zeros(len(pixels))
    costs[candidates] = _served_bytes(pixels[candidates], better) - sizes[candidates]
    budget = max_rise * len(pixels)
    local_budget = budget if classifier is None else LOCAL_SHARE * budget
    max_error = max(wanted, _lowest_limit(errors, costs, costs[:0], local_budget))
    spent = errors > max_error
    max_odds = _lowest_limit(odds[~spent], costs[~spent], costs[spent], budget, int(MAX_DOUBTFUL * len(pixels)))
    return DoubtLimits(
        max_local_error=max_error,
        usual_local_png_base64=base64.b64encode(image.write_png(levels)).decode(),
        max_class_odds=None if classifier is None else max(max_odds, 1e-9),
        classifier=classifier,
    )


def _lowest_limit(scores: Doubles, costs: Doubles, spent: Doubles, budget: float, most: int | None = None) -> float:
    """Return the lowest limit beyond which are at most `most` images, and whose costs are within a budget.

    Args:
        scores: of images, float64 (N).
        costs: of the images, if they are in doubt, float64 (N).
        spent: costs of other images.
        budget: bound on the sum of all costs and their standard deviations.
        most: bound on the number of images; None for no bound.
    """
    order = np.argsort(-scores)
    sums, squares = spent.sum() + np.cumsum(costs[order]), np.square(spent).sum() + np.cumsum(np.square(costs[order]))
    total = np.maximum.accumulate(sums + _DEVIATIONS * np.sqrt(squares))
    within = int(np.searchsorted(total, budget, side="right"))
    return float(scores[order[min(within, len(order) - 1 if most is None else most)]])


def _served_bytes(pixels: image.Pixels, better: Sequence[Guard]) -> Doubles:
    """Return the payload, in bytes, of each image by the first guard that is sure of it, or losslessly; float64 (N)."""
    sizes = np.zeros(len(pixels))
    left = np.arange(len(pixels))
    for guard in better:
        sure = np.zeros(len(left), np.bool_)
        for part in image.slices(np.arange(len(left)), guard.card.image):
            for place, assessment in zip(part, guard.assess(pixels[left[part]]), strict=True):
                if assessment.encoded is not None and assessment.is_sure:
                    sizes[left[place]], sure[place] = len(assessment.encoded.payload), True
        left = left[~sure]
    for index in left:
        sizes[index] = len(lossless.write_payload(pixels[index]))
    return sizes


def _deliver(encoder: Encoder, decoder: Decoder, windows: Windows, pixels: image.Pixels) -> tuple[Doubles, Floats]:
    """Return the payload of each image in bytes, float64 (N), and the window means of its reconstruction."""
    sizes: list[int] = []
    means = []
    for part in image.slices(pixels, encoder.card.image):
        reconstructions = _reconstruct(encoder, decoder, part, sizes)
        means.append(windows.means(reconstructions))
    return np.array(sizes, np.float64), np.concatenate(means)


def _reconstruct(encoder: Encoder, decoder: Decoder, pixels: image.Pixels, sizes: list[int]) -> image.Pixels:
    encoded = encoder.encode(pixels)
    sizes += [len(one.payload) for one in encoded]
    return decoder.decode_symbols(quantizer.quantize(np.stack([one.y for one in encoded]), encoder.card.quantizer))


def _errors_of_lost_marks(
    encoder: Encoder, decoder: Decoder, windows: Windows, pixels: image.Pixels, units: Floats
) -> Doubles:
    """Return the local errors of images with a mark that the model loses, float64 (N)."""
    found = [np.zeros(0)]
    for seed, kind in enumerate(KINDS, start=_SEED):
        marked = draw_marks(pixels, kind, seed)
        for part in image.slices(np.arange(len(marked.pixels)), encoder.card.image):
            some = marked.pixels[part]
            try:
                reconstructions = _reconstruct(encoder, decoder, some, [])
            except (UncodableImage, InvalidCode):
                continue
            lost = marked._replace(places=marked.places[part]).lost(reconstructions)
            errors = local_error(windows.means(some), windows.means(reconstructions), units)
            found.append(errors[lost].astype(np.float64))
    return np.concatenate(found)


def _odds(classifier: Classifier, means: Floats, delivered: Floats) -> Doubles:
    layers = unpack(classifier, means.shape[1])
    return np.array(class_odds(logits(np.concatenate([means, delivered]), layers)))


def _means(windows: Windows, pixels: image.Pixels) -> Floats:
    return np.concatenate([windows.means(part) for part in image.slices(pixels, windows.shape)])
