"""The kinds of pictures by name, each with its title, its caption and the function that draws it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from training.data.datasets import Dataset
from training.errors import InvalidRecipe
from training.plots.animation import animate_snapshots
from training.plots.code_space import SHOWN_CODES, plot_codes, plot_histograms
from training.plots.denoising import NoiseName, plot_denoising
from training.plots.generation import plot_interpolations, plot_random_codes
from training.plots.learning import plot_learning
from training.plots.reconstructions import (
    plot_comparison,
    plot_reconstructions,
    plot_side_by_side,
    plot_two_rows,
    plot_worst,
)
from training.plots.sweep import plot_sweep
from training.runs import RunFolder

MAX_IMAGES = 40

# Kernel PCA takes memory for the square of the number of points, and time for its cube.
MAX_POINTS = 10_000


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a picture; a `count` of None takes the default of its kind."""

    count: int | None = None
    noise: NoiseName = "gaussian"
    noise_level: float = 0.4
    seed: int = 0


class Kind(NamedTuple):
    """One kind of picture.

    `draw` takes models' folders, a data set, the file to write and options; `draw_run` takes a run instead, for
    pictures of its training. `several` tells whether the picture can show more than one model.
    """

    title: str
    shows: str
    draw: Callable[[Sequence[Path], Dataset, Path, Options], None] | None = None
    draw_run: Callable[[RunFolder, Path], None] | None = None
    several: bool = False


KINDS: dict[str, Kind] = {
    "reconstructions": Kind(
        "Reconstructions",
        "Test images, their codes as columns of cells (dark is lower than in most training images, bright higher), "
        "and their reconstructions.",
        lambda folders, dataset, out, options: plot_reconstructions(folders[0], dataset, out, options.count or 10),
    ),
    "two-rows": Kind(
        "Originals over reconstructions",
        "Test images, and below each its reconstruction.",
        lambda folders, dataset, out, options: plot_two_rows(folders[0], dataset, out, options.count or 10),
    ),
    "side-by-side": Kind(
        "Original, code, reconstruction",
        "Each test image, its code as a column of cells, and its reconstruction, side by side.",
        lambda folders, dataset, out, options: plot_side_by_side(folders[0], dataset, out, options.count or 6),
    ),
    "compare": Kind(
        "Models side by side",
        "The same test images through several models, with each reconstruction's RMSE.",
        lambda folders, dataset, out, options: plot_comparison(folders, dataset, out, options.count or 10),
        several=True,
    ),
    "denoise": Kind(
        "Noise",
        "Noisy test images, their reconstructions, and the clean images; a network that was not trained on noise "
        "cannot be expected to remove it.",
        lambda folders, dataset, out, options: plot_denoising(
            folders[0], dataset, out, options.count or 10, options.noise, options.noise_level
        ),
    ),
    "codes": Kind(
        "The space of codes",
        "Each point is the code of a test image, coloured by its class: classes that lie apart can be distinguished by "
        "their codes alone.",
        lambda folders, dataset, out, options: plot_codes(folders[0], dataset, out, options.count or SHOWN_CODES),
    ),
    "histograms": Kind(
        "The numbers of the code",
        "The distribution of each number of the code, beside the normal distribution of the same mean and "
        "variance (orange); grey lies beyond the model's tables.",
        lambda folders, dataset, out, _options: plot_histograms(folders[0], dataset, out),
    ),
    "random": Kind(
        "Random codes",
        "Reconstructions of random codes. Poor images mean gaps: regions of the space without codes of real images.",
        lambda folders, dataset, out, options: plot_random_codes(
            folders[0], dataset, out, options.count or 10, options.seed
        ),
    ),
    "interpolate": Kind(
        "From one image to another",
        "Reconstructions of evenly spaced codes between those of two test images.",
        lambda folders, dataset, out, options: plot_interpolations(folders[0], dataset, out, options.count or 5),
    ),
    "outliers": Kind(
        "The worst reconstructions",
        "The test images with the largest reconstruction errors, worst first: images unlike those of the training.",
        lambda folders, dataset, out, options: plot_worst(folders[0], dataset, out, options.count or 20),
    ),
    "sweep": Kind(
        "Code size against error",
        "The test RMSE of models over the size of their codes; the line is PCA, the best that a linear model can do.",
        lambda folders, dataset, out, _options: plot_sweep(folders, dataset, out),
        several=True,
    ),
    "learning": Kind(
        "Learning curve",
        "The loss in training and the error of the validation images, epoch by epoch; the weights of the best epoch "
        "are the model's.",
        draw_run=lambda run, out: plot_learning(run.metrics(), out),
    ),
    "animate": Kind(
        "Learning, animated",
        "Reconstructions of the same test images after each epoch.",
        draw_run=animate_snapshots,
    ),
}


def suffix_of(kind: str) -> str:
    """Return the suffix of the files that hold this kind of picture."""
    return ".gif" if kind == "animate" else ".png"


def check_request(kind: str, sources: int, out: Path, options: Options) -> None:
    """Check that a kind of picture can be drawn of `sources` models, with these options, into a file.

    Raises:
        InvalidRecipe: it cannot be drawn.
    """
    if not sources:
        raise InvalidRecipe(f"plot {kind} needs the folder of a run, or --model with that of a published model")
    if sources > 1 and not KINDS[kind].several:
        raise InvalidRecipe(f"plot {kind} draws one run or model, but {sources} were given")
    max_count = MAX_POINTS if kind == "codes" else MAX_IMAGES
    if options.count is not None and not 1 <= options.count <= max_count:
        raise InvalidRecipe(f"the count of plot {kind} is a number from 1 to {max_count:,}, not {options.count:,}")
    if options.noise == "dropout" and options.noise_level > 1:
        raise InvalidRecipe(f"dropout takes a fraction of the pixels, from 0 to 1, not {options.noise_level:g}")
    if out.suffix.lower() != suffix_of(kind):
        raise InvalidRecipe(f"plot {kind} writes a {suffix_of(kind)} file; '{out}' has another suffix")
