"""Judges that name the class of an image by its nearest neighbours among labelled images.

Two judges see different things: one compares pixels, the other the directions of edges of upright images. Neither
shares anything with the classifier in the guard. A judge alone changes its mind about ambiguous images whenever
anything changes, so a change of class is what both see.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from latentwire.imaging.image import Pixels

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

NEIGHBOURS = 5
COMPONENTS = 50

# Images of which the components are computed, and that are compared at once.
_SAMPLE = 20_000
_BATCH = 500

_DIRECTIONS, _CELL = 8, 4
_BLUR = np.array([1, 2, 3, 4, 3, 2, 1], np.float32) / 16


class Verdict(NamedTuple):
    """The classes of images, int64 (N), and whether all neighbours agree, bool (N)."""

    classes: Integers
    sure: npt.NDArray[np.bool_]


class Judge:
    """The nearest neighbours of images by some of their features, in principal components of these."""

    def __init__(self, features: Callable[[Pixels], Floats], pixels: Pixels, labels: npt.NDArray[np.integer]) -> None:
        """Learn labelled images, uint8 (N, H, W, 1)."""
        self._features = features
        known = self._in_parts(pixels)
        self._mean = known[:_SAMPLE].mean(axis=0)
        _, vectors = np.linalg.eigh(np.cov((known[:_SAMPLE] - self._mean).T))
        self._components = vectors[:, ::-1][:, :COMPONENTS].astype(np.float32)
        self._known = (known - self._mean) @ self._components
        self._squares = np.square(self._known).sum(axis=1)
        self._labels = labels.astype(np.int64)

    def judge(self, pixels: Pixels) -> Verdict:
        """Judge images, uint8 (N, H, W, 1): the most frequent class of the neighbours, of equal ones the nearest."""
        places = (self._in_parts(pixels) - self._mean) @ self._components
        near = np.empty((len(places), min(NEIGHBOURS, len(self._known))), np.int64)
        for start in range(0, len(places), _BATCH):
            distances = self._squares - 2 * (places[start : start + _BATCH] @ self._known.T)
            found = np.argpartition(distances, near.shape[1] - 1, axis=1)[:, : near.shape[1]]
            order = np.argsort(np.take_along_axis(distances, found, axis=1), axis=1)
            near[start : start + _BATCH] = self._labels[np.take_along_axis(found, order, axis=1)]
        classes = np.arange(self._labels.max() + 1)
        hits = near[:, :, None] == classes
        # A fraction of a vote for the rank of the nearest neighbour of a class breaks ties.
        votes = hits.sum(axis=1) - np.where(hits.any(axis=1), hits.argmax(axis=1), NEIGHBOURS) / 100
        chosen: Integers = votes.argmax(axis=1)
        return Verdict(chosen, (near == chosen[:, None]).all(axis=1))

    def _in_parts(self, pixels: Pixels) -> Floats:
        parts = [self._features(pixels[start : start + _BATCH]) for start in range(0, len(pixels), _BATCH)]
        return np.concatenate(parts).reshape(len(pixels), -1)


def grey_levels(pixels: Pixels) -> Floats:
    """Return the values of images, uint8 (N, H, W, 1), in [0, 1]: float32 (N, H, W)."""
    return np.divide(pixels[..., 0], 255, dtype=np.float32)


def edge_directions(pixels: Pixels) -> Floats:
    """Return how much of the edges of upright images, uint8 (N, H, W, 1), points where: float32 (N, directions, …)."""
    values = np.pad(_upright(grey_levels(pixels)), ((0, 0), (1, 1), (1, 1)))
    across, down = values[:, 1:-1, 2:] - values[:, 1:-1, :-2], values[:, 2:, 1:-1] - values[:, :-2, 1:-1]
    angle = np.mod(np.arctan2(down, across), 2 * np.pi) * (_DIRECTIONS / (2 * np.pi))
    lower = np.floor(angle).astype(np.int64)
    strength, part = np.hypot(across, down), angle - lower
    maps = np.zeros((len(pixels), _DIRECTIONS, *values[0, 1:-1, 1:-1].shape), np.float32)
    image, row, column = np.ogrid[tuple(map(slice, strength.shape))]
    maps[image, lower % _DIRECTIONS, row, column] += strength * (1 - part)
    maps[image, (lower + 1) % _DIRECTIONS, row, column] += strength * part
    reach = len(_BLUR) // 2
    padded = np.pad(maps, ((0, 0), (0, 0), (reach, reach), (reach, reach)))
    height, width = maps.shape[2:]
    rows = sum(weight * padded[:, :, place : place + height] for place, weight in enumerate(_BLUR))
    blurred = sum(weight * rows[..., place : place + width] for place, weight in enumerate(_BLUR))
    cells: Floats = np.sqrt(np.asarray(blurred)[:, :, _CELL // 2 :: _CELL, _CELL // 2 :: _CELL] + np.float32(1e-4))
    return cells


def _upright(values: Floats) -> Floats:
    """Shift and shear images, float32 (N, H, W), so that what they show is centred and stands upright."""
    count, height, width = values.shape
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    mass = values.sum(axis=(1, 2)) + np.float32(1e-6)

    def mean(weights: Floats) -> Floats:
        means: Floats = ((values * weights).sum(axis=(1, 2)) / mass)[:, None, None]
        return means

    row, column = mean(rows), mean(columns)
    shear = mean((rows - row) * (columns - column)) / np.maximum(mean((rows - row) ** 2), np.float32(1e-3))
    source_rows = rows - (height - 1) / 2 + row
    source_columns = columns + shear * (rows - (height - 1) / 2) + column - (width - 1) / 2
    top, left = np.floor(source_rows).astype(np.int64), np.floor(source_columns).astype(np.int64)
    below, right = (source_rows - top).astype(np.float32), (source_columns - left).astype(np.float32)
    padded = np.pad(values, ((0, 0), (1, 2), (1, 2)))
    image = np.arange(count)[:, None, None]

    def at(row_offset: int, column_offset: int) -> Floats:
        at_row = np.clip(top + row_offset + 1, 0, height + 2)
        found: Floats = padded[image, at_row, np.clip(left + column_offset + 1, 0, width + 2)]
        return found

    upper = at(0, 0) * (1 - right) + at(0, 1) * right
    lower = at(1, 0) * (1 - right) + at(1, 1) * right
    upright: Floats = upper * (1 - below) + lower * below
    return upright
