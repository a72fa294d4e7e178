"""Noisy images, what a model makes of them, and the clean ones."""

from pathlib import Path
from typing import Literal, get_args

import numpy as np

from codec import image
from training.datasets import Dataset
from training.images import choose_examples
from training.plots.canvas import draw_rows, image_row
from training.plots.subject import Subject, rmse_of_each

NoiseName = Literal["gaussian", "dropout"]
NOISES: tuple[NoiseName, ...] = get_args(NoiseName)

SEED = 0


def plot_denoising(
    folder: Path, dataset: Dataset, out: Path, count: int = 10, noise: NoiseName = "gaussian", level: float = 0.4
) -> None:
    """Draw noisy images over what a receiver makes of their codes, over the clean images.

    Args:
        folder: of a model.
        dataset: whose test images are shown.
        out: the PNG file, 1,000 pixels wide.
        count: of images, at least 1.
        noise: normally distributed values that are added, or pixels that are made black.
        level: standard deviation of the values, where white is 1; or fraction of the pixels.

    Raises:
        ModelError: the model's files cannot be used.
        ImageMismatch: its images are not of the data set's shape.
        CannotWrite: the file cannot be written.
    """
    subject = Subject(folder, dataset)
    clean = dataset.test.take(choose_examples(dataset.test, count)).pixels
    noisy = make_noisy(clean, noise, level)
    denoised = subject.reconstruct(noisy)
    before, after = rmse_of_each(clean, noisy), rmse_of_each(clean, denoised)
    kind = f"standard deviation {level:g}" if noise == "gaussian" else f"{level:.0%} of the pixels black"
    draw_rows(
        [
            image_row("noisy", noisy, [f"{error:.3f}" for error in before]),
            image_row("denoised", denoised, [f"{error:.3f}" for error in after]),
            image_row("clean", clean),
        ],
        out,
        f"{subject.card.name}: {noise} noise, {kind}; RMSE from the clean image below each",
    )


def make_noisy(pixels: image.Pixels, noise: NoiseName, level: float, seed: int = SEED) -> image.Pixels:
    """Return noisy copies of uint8 (N, H, W, C) pixels, with a kind of noise that networks are trained on."""
    import torch  # takes seconds to load, which other pictures need not wait for

    from training.noise import add_gaussian, drop_pixels

    add = add_gaussian if noise == "gaussian" else drop_pixels
    x = torch.from_numpy(image.to_x(pixels))
    noisy = add(x, level, torch.Generator().manual_seed(seed)).numpy()
    return image.to_pixels(noisy.astype(np.float32))
