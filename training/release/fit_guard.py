"""A model and the images that it was trained for -> the limits of its guard, and how well they detect others.

The limits come from training images alone; how often they are right is measured on test images and on images of other
kinds. What the scores are is told in `latentwire.selection.guard`. Knows no torch.
"""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from latentwire.imaging import image
from latentwire.model.card import DetectedOod, GuardLimits, GuardRates, ReferencePictures
from latentwire.selection.guard import Guard
from latentwire.selection.ood_scores import ReferenceStatistics
from training.data.datasets import Dataset, TrainingSplit, load_images
from training.data.images import Wanted, fit_pixels
from training.errors import InvalidRecipe, MissingData

BATCH = 500

MAX_OOD_IMAGES = 10_000
_MAX_OOD_BYTES = 1 << 28

# The shares of all training images that are beyond a limit, such that fewer than one new image in a thousand is beyond
# any. By these scores new images are like those for training, as no network has learned to make them small. With a
# decoder at hand the errors need a share, too; without one the sum is so far below that a count among 60,000 images,
# with its chance error, hardly ever stands for more.
STRANGE = 5e-4
STRANGE_ALONE = 7e-4
RARE = 1e-4

# A limit is above 0, even where all errors are 0.
_LEAST_LIMIT = 1e-9

# A card must stay small enough to be read; pictures of more values than this are not put into one.
MAX_TYPICAL_VALUES = 1 << 18


class OodImages(NamedTuple):
    """Images that a model is not for, and what they are called."""

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
    """Fit the limits of a model in `folder` by its training images; None if its images are too large for that.

    Limits of input deviation and code length leave the shares above of the training and validation images beyond them.
    Limits of error and reconstruction deviation are the maxima over all images within the other limits: images that the
    network has not learned have larger errors, so a share of the training images would be a far larger share of others.

    Raises:
        ModelError: the model's files cannot be used.
        UncodableImage: an image has no code.
    """
    encoder, decoder = Encoder.open(folder), Decoder.open(folder)
    shape = encoder.card.image
    if shape.pixels * shape.channels > MAX_TYPICAL_VALUES:
        return None
    stacks = [split.train.pixels, split.validation.pixels]
    # Validation images, as the usual errors are to be those of images that the network has not learned.
    reference = ReferencePictures(
        **_mean_and_spread(stacks), error_png_base64=_levels(_usual_error(encoder, decoder, split.validation.pixels))
    )
    scores = _scores(encoder, decoder, ReferenceStatistics(reference, shape), stacks)
    input_deviation = scores["input_deviation"]
    max_input_deviation = np.quantile(input_deviation, 1 - STRANGE)
    # A strange image that hides among those for training does not raise the other limits.
    usual = input_deviation <= max_input_deviation
    return GuardLimits(
        max_input_deviation=_limit(max_input_deviation),
        max_input_deviation_alone=_limit(np.quantile(input_deviation, 1 - STRANGE_ALONE)),
        max_bits=_limit(np.quantile(scores["bits"], 1 - RARE)),
        max_mse=_limit(scores["mse"][usual].max()),
        max_reconstruction_deviation=_limit(scores["reconstruction_deviation"][usual].max()),
        reference=reference,
    )


def measure_guard(
    folder: Path, limits: GuardLimits, dataset: Dataset, ood_images: Sequence[OodImages] = ()
) -> GuardRates:
    """Measure how often limits call test images, and out-of-distribution images, what the latter are.

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
    names: Sequence[str], dataset: Dataset, data_dir: Path | None = None, *, if_there: bool = False
) -> list[OodImages]:
    """Load images that a model of `dataset` is not for, resized to its images' shape: the first 10,000 of each set.

    Args:
        names: of data sets, as `load_images` takes them. The data set itself is left out.
        dataset: of the model.
        data_dir: the data folder; None takes the default one.
        if_there: leave out those that are not in the data folder.

    Raises:
        InvalidRecipe: there is no such data set.
        MissingData: its files are not there.
        CorruptData: they are not what they should be.
    """
    shape = dataset.shape
    count = max(1, min(MAX_OOD_IMAGES, _MAX_OOD_BYTES // (shape.pixels * shape.channels)))
    found = []
    for name in names:
        try:
            pixels = load_images(name, data_dir).pixels[:count]
        except (MissingData, InvalidRecipe):
            if if_there:
                continue
            raise
        if name != dataset.name:
            found.append(OodImages(name, fit_pixels(pixels, Wanted(*shape.as_tuple(), "resize"), name)))
    return found


def guard_in_words(limits: GuardLimits | None) -> str:
    """Return the lines that tell a person what the guard catches, and how often it is wrong."""
    if limits is None or limits.rates is None:
        return "no guard: images of this size have none"
    rates = limits.rates
    lines = [f"{'called ood_images by':32}{'a sender alone':>16}{'with decoder':>16}"]
    figures = [
        (f"{rates.images:,} of {rates.ordinary}", rates.false_alarms_by_sender, rates.false_alarms_with_decoder),
        *((f"{kind.images:,} of {kind.ood_images}", kind.by_sender, kind.with_decoder) for kind in rates.caught),
    ]
    return "\n".join([*lines, *(f"{name:32}{alone:16.2%}{both:16.2%}" for name, alone, both in figures)])


def _called_ood(guard: Guard, limits: GuardLimits, pixels: image.Pixels) -> tuple[float, float]:
    """Return the shares of images called out-of-distribution by a sender alone, and with the decoder at hand."""
    alone = both = 0
    for part in _parts(len(pixels)):
        for assessment in guard.assess(pixels[part]):
            scores = assessment.scores
            both += assessment.ood is not None
            alone += (
                assessment.encoded is None
                or scores["input_deviation"] > limits.max_input_deviation_alone
                or scores["bits"] > limits.max_bits
            )
    return alone / len(pixels), both / len(pixels)


def _scores(
    encoder: Encoder, decoder: Decoder, reference: ReferenceStatistics, stacks: Sequence[image.Pixels]
) -> dict[str, npt.NDArray[np.float64]]:
    """Return each score of all images, float64 (N)."""
    found: dict[str, list[npt.NDArray[np.float64]]] = {
        "bits": [],
        "input_deviation": [],
        "mse": [],
        "reconstruction_deviation": [],
    }
    for pixels in stacks:
        for part in _parts(len(pixels)):
            bits, delivered = _through(encoder, decoder, pixels[part])
            found["bits"].append(bits)
            found["input_deviation"].append(reference.input_deviation(pixels[part]))
            found["mse"].append(_mse(pixels[part], delivered))
            found["reconstruction_deviation"].append(reference.reconstruction_deviation(pixels[part], delivered))
    return {score: np.concatenate(values) for score, values in found.items()}


def _through(encoder: Encoder, decoder: Decoder, pixels: image.Pixels) -> tuple[npt.NDArray[np.float64], image.Pixels]:
    """Return the ideal code lengths, float64 (N), of some images and the images as delivered, uint8 (N, H, W, C)."""
    encoded = encoder.encode(pixels)
    return np.array([one.ideal_bits for one in encoded]), decoder.decode_raw([one.payload for one in encoded])


def _mean_and_spread(stacks: Sequence[image.Pixels]) -> dict[str, str]:
    count, total, squares = 0, np.zeros(()), np.zeros(())
    for pixels in stacks:
        for part in _parts(len(pixels)):
            wide = pixels[part].astype(np.float64)
            count, total, squares = count + len(wide), total + wide.sum(axis=0), squares + np.square(wide).sum(axis=0)
    mean = total / count
    spread = np.sqrt(np.maximum(squares / count - np.square(mean), 0))
    return {"mean_png_base64": _png(np.rint(mean)), "spread_png_base64": _levels(spread)}


def _usual_error(encoder: Encoder, decoder: Decoder, pixels: image.Pixels) -> npt.NDArray[np.float64]:
    total = np.zeros(pixels.shape[1:])
    for part in _parts(len(pixels)):
        _, delivered = _through(encoder, decoder, pixels[part])
        total += np.square(pixels[part].astype(np.float64) - delivered).sum(axis=0)
    return np.sqrt(total / len(pixels))


def _mse(pixels: image.Pixels, delivered: image.Pixels) -> npt.NDArray[np.float64]:
    errors: npt.NDArray[np.float64] = np.square((pixels.astype(np.float64) - delivered) / 255).mean(axis=(1, 2, 3))
    return errors


def _levels(values: npt.NDArray[np.float64]) -> str:
    return _png(np.maximum(np.rint(values), 1))


def _png(values: npt.NDArray[np.float64]) -> str:
    return base64.b64encode(image.write_png(values.astype(np.uint8))).decode()


def _limit(value: float) -> float:
    return max(float(value), _LEAST_LIMIT)


def _parts(count: int) -> list[slice]:
    return [slice(start, start + BATCH) for start in range(0, count, BATCH)]
