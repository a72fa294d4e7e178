"""A folder of photographs <-> arrays in memory, with their halves and quarters, split into training and validation.

Nothing is written: the folder is used where it is, and 400 megapixels take 1.6 GB.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from latentwire.imaging.reader import AnySizeReader

Pixels = npt.NDArray[np.uint8]

DATA_VARIABLE = "LATENTWIRE_DATA"
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
LEVELS = 4  # whole, half, quarter, eighth
SMALLEST_SIDE = 64


class Picture(NamedTuple):
    """One photograph: `levels[k]` is it at 1/2^k of its size, (height, width, 3) in 0..255, by averages of 2 x 2."""

    name: str
    levels: tuple[Pixels, ...]

    @property
    def height(self) -> int:
        """Of the whole picture, in pixels."""
        return int(self.levels[0].shape[0])

    @property
    def width(self) -> int:
        """Of the whole picture, in pixels."""
        return int(self.levels[0].shape[1])


class Split(NamedTuple):
    """Photographs to train on, and others that only measure."""

    training: list[Picture]
    validation: list[Picture]


def photo_folder(argument: Path | None) -> Path:
    """Return the folder that was named, or `photos/train` in the data folder of the environment.

    Raises:
        FileNotFoundError: neither is there.
    """
    folder = argument if argument is not None else Path(os.environ.get(DATA_VARIABLE) or "data") / "photos" / "train"
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder: name one with --data, or set {DATA_VARIABLE}")
    return folder


def list_pictures(folder: Path) -> list[Path]:
    """Return the picture files of a folder in the order of their names."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def is_validation(name: str, share: float) -> bool:
    """Tell by a hash of its name whether a picture is one of those that only measure.

    A picture keeps its side when others come or go.
    """
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:4], "big") < share * 2**32


def read_rgb(path: Path) -> Pixels:
    """Read a picture file as (height, width, 3) in 0..255, by the rules by which a sender reads it.

    Raises:
        ImageError: the file is not a whole picture.
    """
    pixels = AnySizeReader().read(path.read_bytes()).pixels
    return np.repeat(pixels, 3, 2) if pixels.shape[2] == 1 else pixels


def halve(pixels: Pixels) -> Pixels:
    """Average each 2 x 2 pixels; an odd last row or column is left out."""
    height, width = pixels.shape[0] // 2 * 2, pixels.shape[1] // 2 * 2
    even = pixels[:height, :width].astype(np.uint16)
    total = even[0::2, 0::2] + even[0::2, 1::2] + even[1::2, 0::2] + even[1::2, 1::2]
    return ((total + 2) >> 2).astype(np.uint8)


def make_picture(name: str, pixels: Pixels) -> Picture:
    """Add the halves that crops at smaller scales are cut from."""
    levels = [pixels]
    while len(levels) < LEVELS and min(levels[-1].shape[:2]) >= 2 * SMALLEST_SIDE:
        levels.append(halve(levels[-1]))
    return Picture(name, tuple(levels))


def load_split(folder: Path, validation_share: float = 0.05, every: int = 1) -> Split:
    """Read all photographs of a folder.

    Args:
        folder: with the picture files.
        validation_share: of the pictures, by a hash of the name.
        every: read only each so manieth picture, for a quick try.

    Raises:
        FileNotFoundError: the folder has no picture to train on.
    """
    split = Split([], [])
    for path in list_pictures(folder)[::every]:
        picture = make_picture(path.name, read_rgb(path))
        side = split.validation if is_validation(path.name, validation_share) else split.training
        if min(picture.height, picture.width) >= SMALLEST_SIDE:
            side.append(picture)
    if not split.training:
        raise FileNotFoundError(f"{folder} has no photographs to train on")
    return split


def area_weights(pictures: Sequence[Picture], power: float = 0.7) -> npt.NDArray[np.float64]:
    """Return each picture's chance to be drawn, by a power of its area."""
    areas = np.array([picture.height * picture.width for picture in pictures], np.float64) ** power
    return np.asarray(areas / areas.sum())
