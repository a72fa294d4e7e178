"""Generated images: from random codes, and from codes between those of two images."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.data.datasets import Dataset
from training.data.images import choose_examples
from training.plots.canvas import draw_rows, image_row
from training.plots.subject import Subject

# Number of codes that a distribution is fitted to: enough for a covariance of a thousand numbers.
FITTED_CODES = 20000

STEPS = 9

Doubles = npt.NDArray[np.float64]


def plot_random_codes(folder: Path, dataset: Dataset, out: Path, count: int = 10, seed: int = 0) -> None:
    """Draw reconstructions of random codes, from a standard normal distribution and from one fitted to training codes.

    Args:
        folder: a model's folder.
        dataset: data set whose training codes are fitted, and whose test images are reconstructed for comparison.
        out: the PNG file, 1,000 pixels wide.
        count: number of images in a row; each distribution gets two rows.
        seed: seed of the random codes.

    Raises:
        ModelError: the model's files cannot be used.
        ImageMismatch: its images are not of the data set's shape.
        CannotWrite: the file cannot be written.
    """
    subject = Subject(folder, dataset)
    random = np.random.default_rng(seed)
    normal = random.standard_normal((2 * count, subject.card.code_size))
    fitted = draw_fitted(subject.codes(dataset.train.pixels[:FITTED_CODES]).astype(np.float64), 2 * count, random)
    first, second = (subject.decode(y.astype(np.float32)) for y in (normal, fitted))
    real = subject.reconstruct(dataset.test.take(choose_examples(dataset.test, count)).pixels)
    draw_rows(
        [
            image_row("each number\nstandard normal", first[:count]),
            image_row("", first[count:]),
            image_row("normal, fitted to\ntraining codes", second[:count]),
            image_row("", second[count:]),
            image_row("codes of\nreal images", real),
        ],
        out,
        f"{subject.card.name}: reconstructions of random codes",
    )


def draw_fitted(y: Doubles, count: int, random: np.random.Generator) -> Doubles:
    """Draw `count` codes from the normal distribution with the mean and the covariance of codes (N, code size)."""
    mean = y.mean(axis=0)
    # Singular values, unlike a Cholesky factor, allow a coordinate of variance 0.
    _, scale, directions = np.linalg.svd(y - mean, full_matrices=False)
    spread = scale / np.sqrt(max(len(y) - 1, 1))
    drawn: Doubles = mean + (random.standard_normal((count, len(spread))) * spread) @ directions
    return drawn


def plot_interpolations(folder: Path, dataset: Dataset, out: Path, count: int = 5) -> None:
    """Draw the way from one image to another: reconstructions of evenly spaced codes on the line between theirs.

    Args:
        folder: a model's folder.
        dataset: data set whose test images are the ends, of different classes if possible.
        out: the PNG file, 1,000 pixels wide.
        count: number of lines.

    Raises:
        ModelError: the model's files cannot be used.
        ImageMismatch: its images are not of the data set's shape.
        CannotWrite: the file cannot be written.
    """
    subject = Subject(folder, dataset)
    examples = dataset.test.take(choose_examples(dataset.test, 2 * count))
    y = subject.codes(examples.pixels)
    rows = []
    for index in range(0, len(examples) - 1, 2):
        shares = np.linspace(0, 1, STEPS, dtype=np.float32)[:, None]
        between = subject.decode((1 - shares) * y[index] + shares * y[index + 1])
        pixels = np.concatenate([examples.pixels[index : index + 1], between, examples.pixels[index + 1 : index + 2]])
        ends = ["original", *[""] * STEPS, "original"] if index == 0 else ()
        rows.append(image_row(_names(examples.labels[index : index + 2], dataset), pixels, ends))
    draw_rows(rows, out, f"{subject.card.name}: from one image to another, in even steps between their codes")


def _names(labels: npt.NDArray[np.integer], dataset: Dataset) -> str:
    first, second = (dataset.label_in_words(label)[:14] for label in labels)
    return f"{first} to {second}" if first or second else ""
