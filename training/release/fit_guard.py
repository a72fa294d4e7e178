"""A model and the images that it was trained for -> the limits of its guard, and how well they detect others.

The limits come from training images alone; their error rates are measured on test images and on images of other kinds.
`latentwire.selection.guard` defines the scores and computes them here, too.
"""

import base64
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from latentwire.errors import UncodableImage
from latentwire.imaging import image
from latentwire.model.guard_limits import DetectedOod, GuardLimits, GuardRates, ReferencePictures
from latentwire.selection.guard import Guard
from training.batches import parts
from training.data.datasets import Dataset, TrainingSplit, load_images, public_name
from training.data.images import TargetShape, fit_pixels
from training.errors import InvalidRecipe, MissingData

MAX_OOD_IMAGES = 10_000
_MAX_OOD_VALUES = 1 << 25

# Shares of all training images beyond each limit, such that fewer than one new image in a thousand is beyond any. No
# network was trained to lower these scores, so new images score like training images. The errors need a share of the
# thousandth only if a decoder is at hand, so the share of input deviation is larger for a sender alone.
INPUT_DEVIATION_SHARE = 5e-4
INPUT_DEVIATION_SHARE_ALONE = 7e-4
BITS_SHARE = 1e-4

_SCORES = ("input_deviation", "bits", "mse", "reconstruction_deviation")

# Least value of a limit, which the card requires to be above 0.
_LEAST_LIMIT = 1e-9

# Largest number of values of a card's reference pictures, so that cards stay small.
MAX_REFERENCE_VALUES = 1 << 18


class OodImages(NamedTuple):
    """Images that a model is not for, and their name."""

    name: str
    pixels: image.Pixels


def make_guard(
    folder: Path, dataset: Dataset, split: TrainingSplit, ood_images: Sequence[OodImages] = ()
) -> GuardLimits | None:
    """Fit and measure the guard of the model in `folder`; see `fit_limits` and `measure_guard`."""
    limits = fit_limits(folder, split)
    if limits is None:
        return None
    return limits.model_copy(update={"rates": measure_guard(folder, limits, dataset, ood_images)})


def fit_limits(folder: Path, split: TrainingSplit) -> GuardLimits | None:
    """Fit the limits of a model in `folder` by its training images; None if its images are too large for a card.

    The limits of input deviation and code length are quantiles of all training and validation images. The limits of
    error and reconstruction deviation are maxima over the images within the limit of input deviation: new images have
    larger errors than those that the network has learned, so a quantile of the latter would exclude too many.

    Raises:
        ModelError: the model's files cannot be used.
        UncodableImage: an image has no code.
    """
    encoder, decoder = Encoder.open(folder), Decoder.open(folder)
    shape = encoder.card.image
    if shape.pixels * shape.channels > MAX_REFERENCE_VALUES:
        return None
    stacks = [split.train.pixels, split.validation.pixels]
    # The usual errors are those of validation images, which the network has not learned.
    reference = ReferencePictures(
        **_mean_and_spread(stacks), error_png_base64=_levels(_usual_error(encoder, decoder, split.validation.pixels))
    )
    scores = _scores(Guard(encoder, decoder, _no_limits(reference)), stacks)
    input_deviation = scores["input_deviation"]
    max_input_deviation = np.quantile(input_deviation, 1 - INPUT_DEVIATION_SHARE)
    # An out-of-distribution image among the training images must not raise the other limits.
    usual = input_deviation <= max_input_deviation
    return GuardLimits(
        max_input_deviation=_limit(max_input_deviation),
        max_input_deviation_alone=_limit(np.quantile(input_deviation, 1 - INPUT_DEVIATION_SHARE_ALONE)),
        max_bits=_limit(np.quantile(scores["bits"], 1 - BITS_SHARE)),
        max_mse=_limit(scores["mse"][usual].max()),
        max_reconstruction_deviation=_limit(scores["reconstruction_deviation"][usual].max()),
        reference=reference,
    )


def measure_guard(
    folder: Path, limits: GuardLimits, dataset: Dataset, ood_images: Sequence[OodImages] = ()
) -> GuardRates:
    """Measure how often limits call test images and out-of-distribution images out-of-distribution.

    Raises:
        ModelError: the files of the model in `folder` cannot be used.
    """
    guard = Guard(Encoder.open(folder), Decoder.open(folder), limits)
    by_sender, with_decoder = _called_ood(guard, limits, dataset.test.pixels)
    caught = []
    for kind in ood_images:
        alone, both = _called_ood(guard, limits, kind.pixels)
        caught.append(DetectedOod(ood_images=kind.name, images=len(kind.pixels), by_sender=alone, with_decoder=both))
    return GuardRates(
        ordinary=f"{dataset.name} test",
        images=len(dataset.test),
        false_alarms_by_sender=by_sender,
        false_alarms_with_decoder=with_decoder,
        caught=tuple(caught),
    )


def load_ood_images(
    names: Sequence[str], dataset: Dataset, data_dir: Path | None = None, *, skip_missing: bool = False
) -> list[OodImages]:
    """Load images that a model of `dataset` is not for, resized to its images' shape: the first 10,000 of each set.

    Args:
        names: names or paths of data sets, as `load_images` takes them; the model's own is left out.
        dataset: the model's data set.
        data_dir: the data folder; None takes the default one.
        skip_missing: leave out data sets that are not in the data folder.

    Raises:
        InvalidRecipe: a data set is unknown.
        MissingData: its files do not exist.
        CorruptData: they are damaged.
    """
    shape = dataset.shape
    count = max(1, min(MAX_OOD_IMAGES, _MAX_OOD_VALUES // (shape.pixels * shape.channels)))
    found = []
    for name in names:
        try:
            pixels = load_images(name, data_dir).pixels[:count]
        except (MissingData, InvalidRecipe):
            if skip_missing:
                continue
            raise
        if name != dataset.name:
            fitted = fit_pixels(pixels, TargetShape(*shape.as_tuple(), "resize"), name)
            found.append(OodImages(public_name(name), fitted))
    return found


def guard_in_words(limits: GuardLimits | None) -> str:
    """Return lines of text with the rates at which the guard calls images out-of-distribution."""
    if limits is None or limits.rates is None:
        return "no guard: the images are too large for one"
    rates = limits.rates
    lines = [f"{'out-of-distribution by':32}{'a sender alone':>16}{'with decoder':>16}"]
    figures = [
        (f"{rates.images:,} of {rates.ordinary}", rates.false_alarms_by_sender, rates.false_alarms_with_decoder),
        *((f"{kind.images:,} of {kind.ood_images}", kind.by_sender, kind.with_decoder) for kind in rates.caught),
    ]
    return "\n".join([*lines, *(f"{name:32}{alone:16.2%}{both:16.2%}" for name, alone, both in figures)])


def _called_ood(guard: Guard, limits: GuardLimits, pixels: image.Pixels) -> tuple[float, float]:
    """Return the shares of images called out-of-distribution by a sender alone, and with the decoder at hand."""
    alone = both = 0
    for part in parts(len(pixels), pixels.shape[1:], "guard: measure"):
        for assessment in guard.assess(pixels[part]):
            scores = assessment.scores
            both += assessment.ood is not None
            alone += (
                assessment.encoded is None
                or scores["input_deviation"] > limits.max_input_deviation_alone
                or scores["bits"] > limits.max_bits
            )
    return alone / len(pixels), both / len(pixels)


def _scores(guard: Guard, stacks: Sequence[image.Pixels]) -> dict[str, npt.NDArray[np.float64]]:
    """Return each score of all images, float64 (N).

    Raises:
        UncodableImage: an image has no code.
    """
    found: dict[str, list[float]] = {score: [] for score in _SCORES}
    for pixels in stacks:
        for part in parts(len(pixels), pixels.shape[1:], "guard: fit"):
            for assessment in guard.assess(pixels[part]):
                if assessment.encoded is None:
                    raise UncodableImage(assessment.ood.sentence if assessment.ood else "a training image has no code")
                for score in _SCORES:
                    found[score].append(assessment.scores[score])
    return {score: np.array(values) for score, values in found.items()}


def _mean_and_spread(stacks: Sequence[image.Pixels]) -> dict[str, str]:
    count, total, squares = 0, np.zeros(()), np.zeros(())
    for pixels in stacks:
        for part in parts(len(pixels), pixels.shape[1:]):
            wide = pixels[part].astype(np.float64)
            count, total, squares = count + len(wide), total + wide.sum(axis=0), squares + np.square(wide).sum(axis=0)
    mean = total / count
    spread = np.sqrt(np.maximum(squares / count - np.square(mean), 0))
    return {"mean_png_base64": _png(np.rint(mean)), "spread_png_base64": _levels(spread)}


def _usual_error(encoder: Encoder, decoder: Decoder, pixels: image.Pixels) -> npt.NDArray[np.float64]:
    total = np.zeros(pixels.shape[1:])
    for part in parts(len(pixels), pixels.shape[1:]):
        delivered = decoder.decode_raw([encoded.payload for encoded in encoder.encode(pixels[part])])
        total += np.square(pixels[part].astype(np.float64) - delivered).sum(axis=0)
    return np.sqrt(total / len(pixels))


def _levels(values: npt.NDArray[np.float64]) -> str:
    return _png(np.maximum(np.rint(values), 1))


def _png(values: npt.NDArray[np.float64]) -> str:
    return base64.b64encode(image.write_png(values.astype(np.uint8))).decode()


def _no_limits(reference: ReferencePictures) -> GuardLimits:
    """Return limits that no image exceeds, with which a guard only scores."""
    largest = sys.float_info.max
    return GuardLimits(
        max_input_deviation=largest,
        max_input_deviation_alone=largest,
        max_bits=largest,
        max_mse=largest,
        max_reconstruction_deviation=largest,
        reference=reference,
    )


def _limit(value: float) -> float:
    return max(float(value), _LEAST_LIMIT)
