"""Photographs in the memory of a device -> batches made there, for a device that is too fast for crops made by PIL.

What a batch is made of is as in `crops`: scales, borders, small whole pictures, turns, grey, colour and contrast. A
part that is scaled down is read from the level above its size, and averaged from 2 x 2 places between pixels.
"""

import itertools
import math
from collections.abc import Generator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.photo.crops import SMALL_SHAPES, STRIDE, Batch, CropSettings
from training.photo.pictures import LEVELS as SIZES
from training.photo.pictures import Picture, area_weights

Floats = npt.NDArray[np.float64]
MOST_PICTURES = 48  # of a batch of small pictures, for each `PIXELS_OF_MOST`
PIXELS_OF_MOST = 131072


class _Parts(NamedTuple):
    """Which part of which picture each of a batch is; all arrays (batch,), lengths in pixels of the whole picture."""

    picture: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    scale: Floats
    top: Floats
    left: Floats


class GatheredPictures:
    """All levels of all photographs in one buffer on a device."""

    def __init__(self, pictures: Sequence[Picture], device: torch.device | str) -> None:
        self.device = torch.device(device)
        self.height = np.array([picture.height for picture in pictures])
        self.width = np.array([picture.width for picture in pictures])
        self._chances = area_weights(pictures)
        starts, heights, widths, buffers = [], [], [], []
        start = 0
        for picture in pictures:
            # A picture without a level has the one before in its place, and its true factor.
            row = []
            for level in picture.levels:
                row.append((start, *level.shape[:2]))
                buffers.append(torch.from_numpy(np.array(level)).view(-1, 3))
                start += level.shape[0] * level.shape[1]
            row += [row[-1]] * (SIZES - len(row))
            starts.append([each[0] for each in row])
            heights.append([each[1] for each in row])
            widths.append([each[2] for each in row])
        self.levels = np.array([len(picture.levels) for picture in pictures])
        self._pixels = torch.cat(buffers).to(self.device)
        self._start, self._height, self._width = (np.array(values) for values in (starts, heights, widths))

    def batches(
        self, settings: CropSettings, levels: int, seed: Sequence[int], first_step: int
    ) -> Generator[Batch, None, None]:
        """Yield the batches from a step on, for ever."""
        for step in itertools.count(first_step):
            yield self.batch(settings, levels, (*seed, step))

    def batch(self, settings: CropSettings, levels: int, key: Sequence[int]) -> Batch:
        """Return the batch of a key, as `crops.make_batch` does, on the device."""
        random = np.random.default_rng(list(key))
        if random.random() < settings.small_share:
            height, width = SMALL_SHAPES[random.integers(len(SMALL_SHAPES))]
            if random.random() < 0.5:
                height, width = width, height
            most = MOST_PICTURES * max(1, settings.pixels // PIXELS_OF_MOST)
            count = max(1, min(most, settings.pixels // (height * width)))
            parts = self._small(height, width, count, random)
        else:
            height = width = settings.crop
            count = max(1, settings.pixels // (height * width))
            parts = self._crops(height, width, count, settings, random)
        pixels, inside = self._read(parts, height, width, random)
        pixels = self._change(pixels, settings, random)
        whole_levels = random.random() < 0.5
        quality = random.integers(0, levels, count) if whole_levels else random.random(count) * (levels - 1)
        return Batch(pixels, inside, self._tensor(quality))

    def _crops(
        self, height: int, width: int, count: int, settings: CropSettings, random: np.random.Generator
    ) -> _Parts:
        picture = random.choice(len(self.height), count, p=self._chances)
        filled = random.random(count) < settings.filled_share
        rows = height - np.where(filled, random.integers(0, STRIDE, count), 0)
        columns = width - np.where(filled, random.integers(0, STRIDE, count), 0)
        full = random.random(count) < settings.full_scale_share
        scale = np.where(full, 1.0, np.exp(random.uniform(math.log(settings.smallest_scale), 0, count)))
        smallest = np.maximum(rows / self.height[picture], columns / self.width[picture])
        scale = np.maximum(np.minimum(scale, 1.0), smallest)
        return self._placed(picture, rows, columns, scale, random)

    def _small(self, height: int, width: int, count: int, random: np.random.Generator) -> _Parts:
        picture = random.choice(len(self.height), count, p=self._chances)
        filled = random.random(count) < 0.6
        rows = height - np.where(filled, random.integers(0, STRIDE, count), 0)
        columns = width - np.where(filled, random.integers(0, STRIDE, count), 0)
        smallest = np.maximum(rows / self.height[picture], columns / self.width[picture])
        closer = np.where(random.random(count) < 0.3, np.exp(random.uniform(0, math.log(2.0), count)), 1.0)
        scale = np.maximum(np.minimum(1.0, smallest * closer), smallest)
        return self._placed(picture, rows, columns, scale, random)

    def _placed(
        self,
        picture: npt.NDArray[np.int64],
        rows: npt.NDArray[np.int64],
        columns: npt.NDArray[np.int64],
        scale: Floats,
        random: np.random.Generator,
    ) -> _Parts:
        top = random.random(len(picture)) * np.maximum(0, self.height[picture] - rows / scale)
        left = random.random(len(picture)) * np.maximum(0, self.width[picture] - columns / scale)
        whole = scale == 1.0
        return _Parts(
            picture, rows, columns, scale, np.where(whole, np.floor(top), top), np.where(whole, np.floor(left), left)
        )

    def _read(self, parts: _Parts, height: int, width: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return pixels (batch, 3, height, width) in [0, 1], 8 bits fine, and which of them are of the picture."""
        count = len(parts.picture)
        level = np.clip(np.floor(-np.log2(parts.scale)), 0, self.levels[parts.picture] - 1).astype(np.int64)
        step = 1 / (parts.scale * 2.0**level)
        turned = random.random(count) < (0.3 if height == width else 0.0)
        mirrored, upside_down = random.random(count) < 0.5, random.random(count) < 0.15

        across, down = torch.arange(width, device=self.device), torch.arange(height, device=self.device)
        turn = self._tensor(turned).bool()[:, None, None]
        rows, columns = self._tensor(parts.rows)[:, None, None], self._tensor(parts.columns)[:, None, None]
        row = torch.where(turn, across[None, None, :], down[None, :, None]).float()
        column = torch.where(turn, down[None, :, None], across[None, None, :]).float()
        inside = ((row < rows) & (column < columns)).float()[:, None]
        row, column = torch.minimum(row, rows - 1), torch.minimum(column, columns - 1)
        row = torch.where(self._tensor(upside_down).bool()[:, None, None], rows - 1 - row, row)
        column = torch.where(self._tensor(mirrored).bool()[:, None, None], columns - 1 - column, column)

        steps = self._tensor(step)[:, None, None]
        spread = torch.where(steps == 1, 0.0, 0.25) * steps
        y = (row + 0.5) * steps + self._tensor(parts.top / 2.0**level)[:, None, None] - 0.5
        x = (column + 0.5) * steps + self._tensor(parts.left / 2.0**level)[:, None, None] - 0.5
        at = (parts.picture, level)
        start, tall, wide = (
            torch.from_numpy(values[at]).to(self.device)[:, None, None]
            for values in (self._start, self._height, self._width)
        )
        total = torch.zeros(count, height, width, 3, device=self.device)
        for up in (-1, 1):
            for aside in (-1, 1):
                total += self._between(y + up * spread, x + aside * spread, start, tall, wide)
        return (total / 4).round().div(255).permute(0, 3, 1, 2), inside

    def _between(self, y: Tensor, x: Tensor, start: Tensor, tall: Tensor, wide: Tensor) -> Tensor:
        """Return what is between pixels at places (batch, height, width), (batch, height, width, 3) in 0..255."""
        above, before = y.floor(), x.floor()
        total = torch.zeros((), device=self.device)
        for low_row, row_share in ((0, 1 - (y - above)), (1, y - above)):
            row = torch.minimum((above.long() + low_row).clamp_min(0), tall - 1)
            for low_column, column_share in ((0, 1 - (x - before)), (1, x - before)):
                column = torch.minimum((before.long() + low_column).clamp_min(0), wide - 1)
                total = total + self._pixels[start + row * wide + column] * (row_share * column_share)[..., None]
        return total

    def _change(self, pixels: Tensor, settings: CropSettings, random: np.random.Generator) -> Tensor:
        count = len(pixels)
        grey = random.random(count) < settings.grey_share
        changed = random.random(count) < settings.changed_share
        gains = random.uniform(0.85, 1.15, (count, 1)) * random.uniform(0.93, 1.07, (count, 3))
        gains = np.where(grey[:, None], gains[:, :1], gains)
        brighter = random.uniform(-0.06, 0.06, count)
        luma = (pixels * self._tensor(np.array([0.299, 0.587, 0.114]))[:, None, None]).sum(1, keepdim=True)
        pixels = torch.where(self._tensor(grey).bool()[:, None, None, None], (luma * 255).round() / 255, pixels)
        middle = pixels.mean((1, 2, 3), keepdim=True)
        other = (pixels - middle) * self._tensor(gains)[:, :, None, None] + middle
        other = (other + self._tensor(brighter)[:, None, None, None]).clamp(0, 1)
        return torch.where(self._tensor(changed).bool()[:, None, None, None], other, pixels)

    def _tensor(self, values: npt.NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device).float()
