"""A step's number -> the batch of that step: crops of photographs at many scales, and small whole pictures.

A batch depends on the seed and the step alone, so that a run which goes on after a stop sees what it would have seen.
"""

import math
import queue
import threading
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from training.photo.pictures import Picture, Pixels, area_weights

Floats = npt.NDArray[np.float32]
Chances = npt.NDArray[np.float64]

Cut = Callable[[Picture, int, int, "CropSettings", np.random.Generator], Pixels]

STRIDE = 16  # pixels of a latent's side: pictures are filled up to its multiples
_FILTERS = (Image.Resampling.LANCZOS, Image.Resampling.BOX, Image.Resampling.BICUBIC)
# Filled-up sizes of small whole pictures, landscape; each is turned half of the time.
SMALL_SHAPES = (
    (32, 48),
    (48, 64),
    (48, 64),
    (64, 64),
    (64, 96),
    (64, 96),
    (80, 112),
    (96, 128),
    (96, 128),
    (128, 192),
)


class Batch(NamedTuple):
    """Pictures of one filled-up size: `pixels` (batch, 3, height, width) in [0, 1], both sides multiples of 16.

    `inside` (batch, 1, height, width) is 1 where a pixel is of the picture and 0 where it only fills up.
    `quality` (batch,) is in levels of the gain table.
    """

    pixels: torch.Tensor
    inside: torch.Tensor
    quality: torch.Tensor


class CropSettings(NamedTuple):
    """What batches are made of.

    Attributes:
        crop: side of a crop in pixels.
        pixels: of a batch, about.
        small_share: of the batches, that are small whole pictures.
        full_scale_share: of the crops, that are not scaled down.
        smallest_scale: of the others; they are uniform in its logarithm.
        grey_share: of the pictures, that are made grey.
        changed_share: of the pictures, whose colours and contrast are changed.
        filled_share: of the crops, that end between two multiples of 16 and are filled up.
    """

    crop: int = 128
    pixels: int = 131072
    small_share: float = 0.2
    full_scale_share: float = 0.35
    smallest_scale: float = 0.1
    grey_share: float = 0.05
    changed_share: float = 0.3
    filled_share: float = 0.15


def make_batch(
    pictures: Sequence[Picture], settings: CropSettings, levels: int, key: Sequence[int], weights: Chances | None = None
) -> Batch:
    """Return the batch of a key, such as (seed, phase, step).

    Args:
        pictures: to draw from.
        settings: of the crops.
        levels: of the gain table; qualities are in [0, levels - 1].
        key: of the random numbers.
        weights: chance of each picture, where it is known already.
    """
    random = np.random.default_rng(list(key))
    chances = area_weights(pictures) if weights is None else weights
    cut: Cut
    if random.random() < settings.small_share:
        height, width = SMALL_SHAPES[random.integers(len(SMALL_SHAPES))]
        if random.random() < 0.5:
            height, width = width, height
        count = max(1, min(48, settings.pixels // (height * width)))
        cut = _small_picture
    else:
        height = width = settings.crop
        count = max(1, settings.pixels // (height * width))
        cut = _crop
    pixels = np.empty((count, height, width, 3), np.float32)
    inside = np.zeros((count, height, width, 1), np.float32)
    for row, choice in enumerate(random.choice(len(pictures), count, p=chances)):
        part = cut(pictures[choice], height, width, settings, random)
        values = _change(_turn(part, height == width, random), settings, random)
        inside[row, : values.shape[0], : values.shape[1]] = 1
        pixels[row] = fill_up(values, height, width)
    whole_levels = random.random() < 0.5
    quality = random.integers(0, levels, count) if whole_levels else random.random(count) * (levels - 1)
    return Batch(_channels_first(pixels), _channels_first(inside), torch.from_numpy(quality.astype(np.float32)))


def fill_up(pixels: npt.NDArray[Any], height: int, width: int) -> npt.NDArray[Any]:
    """Repeat the last row and column until a picture (height, width, 3) has the size that is wanted."""
    return np.pad(pixels, ((0, height - pixels.shape[0]), (0, width - pixels.shape[1]), (0, 0)), "edge")


def batches(
    pictures: Sequence[Picture], settings: CropSettings, levels: int, seed: Sequence[int], first_step: int
) -> Generator[Batch, None, None]:
    """Yield the batches from a step on, for ever; a thread makes them ahead."""
    chances = area_weights(pictures)
    ahead: queue.Queue[Batch | BaseException] = queue.Queue(4)
    stop = threading.Event()

    def put(item: Batch | BaseException) -> None:
        while not stop.is_set():
            try:
                ahead.put(item, timeout=0.5)
            except queue.Full:
                continue
            return

    def work() -> None:
        step = first_step
        try:
            while not stop.is_set():
                put(make_batch(pictures, settings, levels, (*seed, step), chances))
                step += 1
        except BaseException as error:  # the reader raises it
            put(error)

    threading.Thread(target=work, daemon=True, name="batches").start()
    try:
        while True:
            item = ahead.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()


def _crop(picture: Picture, height: int, width: int, settings: CropSettings, random: np.random.Generator) -> Pixels:
    """Cut a part at a random scale; a share of them ends at a side that is no multiple of 16."""
    if random.random() < settings.filled_share:
        height -= int(random.integers(0, STRIDE))
        width -= int(random.integers(0, STRIDE))
    smallest = max(height / picture.height, width / picture.width)
    scale = 1.0
    if random.random() >= settings.full_scale_share:
        scale = math.exp(random.uniform(math.log(settings.smallest_scale), 0.0))
    scale = max(scale, smallest)
    if (
        scale >= 1.0
    ):  # also of a picture that is smaller than the crop: what there is of it, enlarged only if it must be
        scale = smallest if smallest > 1.0 else 1.0
    return _scaled_part(picture, height, width, scale, random)


def _small_picture(
    picture: Picture, height: int, width: int, _settings: CropSettings, random: np.random.Generator
) -> Pixels:
    """Scale a picture down as a whole, but for what its proportions have too much."""
    if random.random() < 0.6:
        height -= int(random.integers(0, STRIDE))
        width -= int(random.integers(0, STRIDE))
    scale = max(height / picture.height, width / picture.width)
    if random.random() < 0.3:  # not quite whole
        scale = min(1.0, scale * math.exp(random.uniform(0, math.log(2.0))))
    return _scaled_part(picture, height, width, max(scale, height / picture.height, width / picture.width), random)


def _scaled_part(picture: Picture, height: int, width: int, scale: float, random: np.random.Generator) -> Pixels:
    """Return (height, width, 3) pixels of the picture at `scale`, from a random place."""
    top = random.uniform(0, max(0.0, picture.height - height / scale))
    left = random.uniform(0, max(0.0, picture.width - width / scale))
    if scale == 1.0:
        row, column = int(top), int(left)
        return picture.levels[0][row : row + height, column : column + width]
    level = min(len(picture.levels) - 1, max(0, math.floor(-math.log2(scale))))
    source = picture.levels[level]
    # A half may have lost an odd row; the box must stay within it.
    box_height = min(height / scale / 2**level, source.shape[0])
    box_width = min(width / scale / 2**level, source.shape[1])
    y = min(top / 2**level, source.shape[0] - box_height)
    x = min(left / 2**level, source.shape[1] - box_width)
    resample = _FILTERS[random.integers(len(_FILTERS))]
    # PIL's resizing of a box reads around it; cutting first spares it the conversion of the whole picture.
    margin = 8
    y0, x0 = max(0, int(y) - margin), max(0, int(x) - margin)
    y1 = min(source.shape[0], math.ceil(y + box_height) + margin)
    x1 = min(source.shape[1], math.ceil(x + box_width) + margin)
    image = Image.fromarray(np.ascontiguousarray(source[y0:y1, x0:x1]))
    box = (x - x0, y - y0, min(x - x0 + box_width, x1 - x0), min(y - y0 + box_height, y1 - y0))
    return np.asarray(image.resize((width, height), resample, box))


def _turn(pixels: Pixels, square: bool, random: np.random.Generator) -> Pixels:
    if random.random() < 0.5:
        pixels = pixels[:, ::-1]
    if random.random() < 0.15:
        pixels = pixels[::-1]
    if square and random.random() < 0.3:
        pixels = pixels.transpose(1, 0, 2)
    return pixels


def _change(pixels: Pixels, settings: CropSettings, random: np.random.Generator) -> Floats:
    """Return the picture in [0, 1], some grey, some with other colours and contrast."""
    values = pixels.astype(np.float32) / 255
    if random.random() < settings.grey_share:
        grey = np.round(values @ np.array([0.299, 0.587, 0.114], np.float32) * 255) / 255
        values = np.repeat(grey[..., None], 3, axis=2)
        gains = np.full(3, random.uniform(0.85, 1.15), np.float32)
    else:
        gains = (random.uniform(0.85, 1.15) * random.uniform(0.93, 1.07, 3)).astype(np.float32)
    if random.random() < settings.changed_share:
        middle = values.mean()
        values = (values - middle) * gains + middle + np.float32(random.uniform(-0.06, 0.06))
        values = np.clip(values, 0, 1)
    return values.astype(np.float32, copy=False)


def _channels_first(values: Floats) -> torch.Tensor:
    return torch.from_numpy(values).permute(0, 3, 1, 2)  # which leaves it channels-last in memory
