"""A network and the validation photographs -> bits, errors, and one figure that says how training goes.

Rates are the logarithm's, of rounded values and without a container; `evaluate` has those of integer tables.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from training.photo.crops import STRIDE, fill_up
from training.photo.model import LAMBDAS, LEVELS, PhotoCodec
from training.photo.pictures import Picture, Pixels

MEASURED_LEVELS = tuple(range(0, LEVELS, 2))


class LevelFigures(NamedTuple):
    """Means over pictures at one level; `cost` is bits a pixel + lambda x squared error in grey levels."""

    bpp: float
    psnr: float
    cost: float


class Figures(NamedTuple):
    """Of large pictures and of small ones, at each measured level."""

    large: tuple[LevelFigures, ...]
    small: tuple[LevelFigures, ...]

    @property
    def score(self) -> float:
        """Mean logarithm of the cost of large pictures: 0.01 less is about 1 % less of bits and error together."""
        return sum(math.log(figures.cost) for figures in self.large) / len(self.large)

    @property
    def small_score(self) -> float:
        """The same of small pictures."""
        return sum(math.log(figures.cost) for figures in self.small) / len(self.small)

    def scalars(self) -> dict[str, float]:
        """Return all figures by name."""
        values = {"score": round(self.score, 5), "small_score": round(self.small_score, 5)}
        for kind, rows in (("large", self.large), ("small", self.small)):
            for level, row in zip(MEASURED_LEVELS, rows, strict=True):
                values[f"{kind}_{level}_bpp"] = round(row.bpp, 5)
                values[f"{kind}_{level}_psnr"] = round(row.psnr, 4)
        return values

    def __str__(self) -> str:
        large = "  ".join(f"{row.bpp:.4f}/{row.psnr:.2f}" for row in self.large)
        small = "  ".join(f"{row.bpp:.3f}/{row.psnr:.2f}" for row in self.small)
        return f"score {self.score:.4f} small {self.small_score:.4f}  large {large}  small {small}"


class ValidationSet:
    """The same parts of the validation photographs each time: 256 x 256 from the middle, and 96 x 64 of the whole.

    Where no photograph is as large, the middle is smaller.
    """

    def __init__(self, pictures: Sequence[Picture], most: int = 32, device: torch.device | None = None) -> None:
        if not pictures:
            raise FileNotFoundError("there are too few photographs: some must only measure")
        side = min(256, max(min(picture.height, picture.width) for picture in pictures) // STRIDE * STRIDE)
        wide = [picture for picture in pictures if min(picture.height, picture.width) >= side]
        large = [_middle(picture.levels[0], side) for picture in wide]
        small = [_thumbnail(picture.levels[0]) for picture in pictures]
        self.large, self.small = _tensor(large[:most]).to(device), _tensor(small[:most]).to(device)

    def measure(self, codec: PhotoCodec) -> Figures:
        """Measure the network as it is."""
        training = codec.training
        codec.eval()
        figures = Figures(
            *(tuple(_measure(codec, pixels, level) for level in MEASURED_LEVELS) for pixels in (self.large, self.small))
        )
        codec.train(training)
        return figures


@torch.no_grad()
def _measure(codec: PhotoCodec, pixels: torch.Tensor, level: int) -> LevelFigures:
    bits, errors = [], []
    for part in torch.split(pixels, 8):
        coded = codec(part, torch.full((len(part),), float(level), device=part.device))
        decoded = (coded.pixels.clamp(0, 1) * 255).round() / 255
        errors += ((decoded - part) ** 2).mean((1, 2, 3)).tolist()
        bits += ((coded.latent_bits + coded.hyper_bits) / part[0, 0].numel()).tolist()
    bpp = float(np.mean(bits))
    psnr = float(np.mean([-10 * math.log10(max(error, 1e-10)) for error in errors]))
    return LevelFigures(bpp, psnr, bpp + LAMBDAS[level] * 65025 * float(np.mean(errors)))


def _middle(pixels: Pixels, side: int) -> Pixels:
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    return pixels[top : top + side, left : left + side]


def _thumbnail(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    size = (96, 64) if width >= height else (64, 96)
    small = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
    return small if width >= height else small.transpose(1, 0, 2)


def _tensor(pictures: Sequence[Pixels]) -> torch.Tensor:
    filled = [
        fill_up(pixels, -(-pixels.shape[0] // STRIDE) * STRIDE, -(-pixels.shape[1] // STRIDE) * STRIDE)
        for pixels in pictures
    ]
    return torch.from_numpy(np.stack(filled).astype(np.float32) / 255).permute(0, 3, 1, 2)
