"""Noisy images, their reconstructions, and the clean images."""

from pathlib import Path
from typing import Literal

from latentwire.imaging import image
from training.data.datasets import Dataset
from training.data.images import choose_examples
from training.data.noise import make_noisy
from training.plots.canvas import draw_rows, image_row
from training.plots.subject import Subject, rmse_of_each
from training.release.artifacts import model_source
from training.release.onnx_pair import open_pair

NoiseName = Literal["gaussian", "dropout"]


def plot_denoising(
    folder: Path, dataset: Dataset, out: Path, count: int = 10, noise: NoiseName = "gaussian", level: float = 0.4
) -> None:
    """Draw noisy images over their reconstructions, over the clean images.

    Args:
        folder: a model's folder.
        dataset: data set whose test images are shown.
        out: the PNG file, 1,000 pixels wide.
        count: number of images, at least 1.
        noise: `gaussian` adds normally distributed values; `dropout` makes pixels black and the others brighter, as in
            training.
        level: standard deviation of the values, where white is 1; or fraction of black pixels.

    Raises:
        ModelError: the model's files cannot be used.
        ImageMismatch: its images are not of the data set's shape.
        CannotWrite: the file cannot be written.
    """
    subject = Subject(folder, dataset)
    clean = dataset.test.take(choose_examples(dataset.test, count)).pixels
    dropped, deviation = (level, 0.0) if noise == "dropout" else (0.0, level)
    x = make_noisy(image.to_x(clean), dropped, deviation)
    # Brightened pixels are shown as white; the network gets them as they are.
    noisy = image.to_pixels(x.clip(0, 1))
    denoised = subject.deliver(open_pair(model_source(folder)).encoder.run(x))
    before, after = rmse_of_each(clean, noisy), rmse_of_each(clean, denoised)
    if noise == "gaussian":
        kind = f"Gaussian noise, standard deviation {level:g}"
    else:
        kind = f"{level:.0%} of the pixels black, the others brightened"
    draw_rows(
        [
            image_row("noisy", noisy, [f"{error:.3f}" for error in before]),
            image_row("denoised", denoised, [f"{error:.3f}" for error in after]),
            image_row("clean", clean),
        ],
        out,
        f"{subject.card.name}: {kind}; RMSE from the clean image below",
    )
