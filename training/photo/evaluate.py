"""A network and whole pictures -> the bytes that its symbols take by integer tables, and the error that comes back.

Rates are of z and of the latents' symbols, each by its table of 2^16; no header, checksum, or coder's own loss.
"""

import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from training.photo.crops import STRIDE, Batch, CropSettings, fill_up, make_batch
from training.photo.model import LEVELS, TABLES, PhotoCodec, Sent
from training.photo.pictures import Picture, Pixels, list_pictures, read_rgb
from training.photo.tables import FARTHEST, Costs, Floats, fitted_tables, hyper_tables, normal_tables


class Measured(NamedTuple):
    """Of one picture at one quality. `bpp` is of all bits, `hyper_bpp` those of z; errors are in grey levels."""

    bpp: float
    hyper_bpp: float
    squared_error: float

    @property
    def psnr(self) -> float:
        """In dB over all pixels and channels."""
        return 10 * math.log10(65025 / max(self.squared_error, 1e-9))


class Row(NamedTuple):
    """Means over pictures at one quality; `psnr` is the mean of theirs, `psnr_of_mean` that of the mean error."""

    quality: float
    bpp: float
    hyper_bpp: float
    psnr: float
    psnr_of_mean: float


class Rates:
    """The tables of a network, and what symbols cost by them."""

    def __init__(self, codec: PhotoCodec, counts: Floats | None = None) -> None:
        """Make the tables: of normal distributions, or fitted to counts of `count_symbols`."""
        self.latents = Costs(normal_tables() if counts is None else fitted_tables(counts))
        self.hyper = Costs(hyper_tables(codec.hyper_prior))

    def bits(self, sent: Sent) -> tuple[float, float]:
        """Return the bits of the symbols and those of z, of all pictures together."""
        channels = np.arange(sent.z.shape[1])[None, :, None, None]
        latents = self.latents.bits(sent.tables.numpy(), sent.symbols.numpy()).sum()
        return float(latents), float(self.hyper.bits(channels, sent.z.numpy()).sum())


def to_tensor(pixels: Pixels) -> torch.Tensor:
    """Return (1, 3, height, width) in [0, 1] of a picture (height, width, 3), filled up to multiples of 16."""
    height, width = (-(-side // STRIDE) * STRIDE for side in pixels.shape[:2])
    return torch.from_numpy(fill_up(pixels, height, width)).permute(2, 0, 1)[None].float() / 255


def to_pixels(values: torch.Tensor, height: int, width: int) -> Pixels:
    """Return (height, width, 3) in 0..255 of (1, 3, at least height, at least width) in [0, 1]."""
    rounded = (values[0].clamp(0, 1) * 255).round().to(torch.uint8)
    return rounded.permute(1, 2, 0)[:height, :width].numpy()


@torch.no_grad()
def measure(
    codec: PhotoCodec, pixels: Pixels, qualities: Sequence[float], rates: Rates, overhead: int = 0
) -> list[Measured]:
    """Code and decode one picture (height, width, 3) at each quality; `overhead` bytes are counted with each."""
    height, width = pixels.shape[:2]
    analysed = codec.analyse(to_tensor(pixels))
    measured = []
    for quality in qualities:
        sent = codec.send(analysed, torch.tensor([float(quality)]))
        latent_bits, hyper_bits = rates.bits(sent)
        decoded = to_pixels(codec.synthesise(sent.latents), height, width)
        error = float(((decoded.astype(np.float64) - pixels) ** 2).mean())
        area = height * width
        measured.append(Measured((latent_bits + hyper_bits + 8 * overhead) / area, hyper_bits / area, error))
    return measured


def average(quality: float, measured: Sequence[Measured]) -> Row:
    """Return the means over pictures."""
    return Row(
        quality,
        float(np.mean([each.bpp for each in measured])),
        float(np.mean([each.hyper_bpp for each in measured])),
        float(np.mean([each.psnr for each in measured])),
        10 * math.log10(65025 / float(np.mean([each.squared_error for each in measured]))),
    )


def evaluate(
    codec: PhotoCodec,
    pictures: Iterable[Pixels],
    rates: Rates,
    qualities: Sequence[float] = tuple(range(LEVELS)),
    overhead: int = 0,
) -> list[Row]:
    """Return the means over pictures at each quality."""
    columns = zip(*(measure(codec, pixels, qualities, rates, overhead) for pixels in pictures), strict=True)
    return [average(quality, column) for quality, column in zip(qualities, columns, strict=True)]


def read_folder(folder: Path, scale: float = 1.0) -> Iterable[Pixels]:
    """Yield the pictures of a folder in the order of their names, scaled down where `scale` is below 1."""
    for path in list_pictures(folder):
        pixels = read_rgb(path)
        if scale < 1:
            size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
            pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
        yield pixels


def classical_curves(pictures: Sequence[Pixels], avif: bool = False) -> dict[str, list[tuple[float, float]]]:
    """Return others' curves on pictures, whole files: mean bits a pixel and mean PSNR at each quality.

    Args:
        pictures: (height, width, 3) each.
        avif: beside JPEG and WebP, which takes a while where pictures are large.
    """
    settings: dict[str, tuple[Sequence[int], dict[str, Any]]] = {
        "jpeg": ((5, 10, 20, 30, 45, 60, 75, 87, 94), {"optimize": True, "progressive": True, "subsampling": "4:2:0"}),
        "webp": ((1, 5, 12, 25, 40, 60, 75, 87, 95), {"method": 6}),
    }
    if avif:
        settings["avif"] = ((10, 20, 30, 40, 50, 60, 70, 80, 90), {"speed": 4, "subsampling": "4:2:0"})
    curves = {}
    for name, (qualities, options) in settings.items():
        curve = []
        for quality in qualities:
            measured = [_classical(pixels, name, quality, options) for pixels in pictures]
            curve.append((average(quality, measured).bpp, average(quality, measured).psnr))
        curves[name] = curve
    return curves


def _classical(pixels: Pixels, name: str, quality: int, options: dict[str, Any]) -> Measured:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, name, quality=quality, **options)
    with Image.open(file) as image:
        decoded = np.asarray(image.convert("RGB"))
    error = float(((decoded.astype(np.float64) - pixels) ** 2).mean())
    return Measured(8 * len(file.getvalue()) / (pixels.shape[0] * pixels.shape[1]), 0.0, error)


def middle_of(picture: Picture, side: int) -> Pixels:
    """Return the middle of a picture, at most (side, side, 3)."""
    top, left = max(0, picture.height - side) // 2, max(0, picture.width - side) // 2
    return picture.levels[0][top : top + side, left : left + side]


def training_batches(pictures: Sequence[Picture], count: int, seed: int = 0, crop: int = 256) -> Iterable[Batch]:
    """Yield batches of training pictures, of which no training step has the random numbers."""
    settings = CropSettings(crop=crop, pixels=4 * crop**2, small_share=0.25)
    for number in range(count):
        yield make_batch(pictures, settings, LEVELS, (seed, 3, number))


@torch.no_grad()
def count_symbols(codec: PhotoCodec, batches: Iterable[Batch]) -> Floats:
    """Return how often each symbol -FARTHEST .. FARTHEST was coded by each table; farther ones count as those."""
    counts = np.zeros((TABLES, 2 * FARTHEST + 1))
    for batch in batches:
        sent = codec.send(codec.analyse(batch.pixels), batch.quality)
        symbols = np.clip(sent.symbols.numpy(), -FARTHEST, FARTHEST) + FARTHEST
        np.add.at(counts, (sent.tables.numpy().ravel(), symbols.ravel()), 1)
    return counts
