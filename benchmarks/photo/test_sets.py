"""The pictures that codecs are compared on: photographs at full size and scaled down, our own drawings, CIFAR-10."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from benchmarks.photo.drawings import draw_pictures, write_texts
from latentwire.imaging.image import Pixels
from training.photo.pictures import list_pictures, read_rgb

# Long and short side of Kodak's pictures, 768 x 512, scaled down.
SCALED_SIDES = ((384, 256), (192, 128), (128, 85), (96, 64), (64, 42))
SQUARE_SIDE = 64
CIFAR_NAME, CIFAR_COUNT = "cifar-10", 100
# Of these, MS-SSIM is measured, too, which takes as long as a fast codec.
WITH_MS_SSIM = ("kodak",)
# Sets of pictures that no camera took, which default settings may send losslessly.
DRAWN = ("drawings", "text")


class TestSet(NamedTuple):
    """Pictures to measure, uint8 (H, W, 3) each."""

    name: str
    pictures: Sequence[Pixels]

    @property
    def pixels(self) -> int:
        """Number of pixels of all pictures."""
        return sum(pixels.shape[0] * pixels.shape[1] for pixels in self.pictures)

    @property
    def sha256(self) -> str:
        """SHA-256 (hex) of shapes and pixels."""
        digest = hashlib.sha256()
        for pixels in self.pictures:
            digest.update(repr(pixels.shape).encode())
            digest.update(np.ascontiguousarray(pixels).data)
        return digest.hexdigest()


def scaled_name(sides: tuple[int, int]) -> str:
    """Return the name of Kodak's pictures scaled to these sides."""
    return f"kodak {sides[0]} × {sides[1]}"


SQUARE_NAME = f"kodak {SQUARE_SIDE} × {SQUARE_SIDE}"


def load_test_sets(data: Path, first: int | None = None) -> list[TestSet]:
    """Return all test sets.

    Args:
        data: folder with photos/kodak, photos/eval2 and cifar10-sample; sets that are not there are left out.
        first: of each set, only so many pictures.
    """
    sets: list[TestSet] = []
    photos = {name: list_pictures(folder) for name in ("kodak", "eval2") if (folder := data / "photos" / name).is_dir()}
    whole = {name: [read_rgb(path) for path in paths[:first]] for name, paths in photos.items()}
    if kodak := whole.get("kodak"):
        sets.append(TestSet("kodak", kodak))
        sets += [TestSet(scaled_name(sides), [_scale(pixels, sides) for pixels in kodak]) for sides in SCALED_SIDES]
        sets.append(TestSet(SQUARE_NAME, [_square(pixels) for pixels in kodak]))
    sets += [
        TestSet(name, pictures[:first]) for name, pictures in zip(DRAWN, (draw_pictures(), write_texts()), strict=True)
    ]
    if (cifar := data / "cifar10-sample" / "test.npz").is_file():
        sets.append(TestSet(CIFAR_NAME, list(np.load(cifar, allow_pickle=False)["images"][: first or CIFAR_COUNT])))
    if eval2 := whole.get("eval2"):
        sets.append(TestSet("eval2", eval2))
    return sets


def _scale(pixels: Pixels, sides: tuple[int, int]) -> Pixels:
    upright = pixels.shape[0] > pixels.shape[1]
    size = sides[::-1] if upright else sides
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def _square(pixels: Pixels) -> Pixels:
    """Scale the square in the middle of a picture."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return _scale(pixels[top : top + side, left : left + side], (SQUARE_SIDE, SQUARE_SIDE))
