"""Several models on the same images, below each other."""

from collections.abc import Sequence
from pathlib import Path

from training.data.datasets import Dataset
from training.data.images import choose_examples
from training.plots.canvas import draw_rows, image_row
from training.plots.subject import Subject, rmse_of_each


def plot_comparison(folders: Sequence[Path], dataset: Dataset, out: Path, count: int = 10) -> None:
    """Draw originals, and below them what each model makes of them.

    Args:
        folders: of models, at least one; shown in this order.
        dataset: whose test images are shown.
        out: the PNG file, 1,000 pixels wide.
        count: of images, at least 1.

    Raises:
        ModelError: a model's files cannot be used.
        ImageMismatch: a model's images are not of the data set's shape.
        CannotWrite: the file cannot be written.
    """
    originals = dataset.test.take(choose_examples(dataset.test, count)).pixels
    rows = [image_row("original", originals)]
    for folder in folders:
        subject = Subject(folder, dataset)
        reconstructions = subject.reconstruct(originals)
        errors = rmse_of_each(originals, reconstructions)
        label = f"{_broken(subject.card.name)}\n{subject.code_in_words}\n{subject.payload_in_words(originals)}"
        rows.append(image_row(label, reconstructions, [f"{error:.3f}" for error in errors]))
    draw_rows(rows, out, "Reconstructions by each model, with their RMSE below")


def _broken(name: str, width: int = 15) -> str:
    """Break a long name at its hyphens, so that it fits beside the images."""
    lines = [""]
    for part in name.split("-"):
        word = part if lines == [""] else f"-{part}"
        if len(lines[-1] + word) > width and lines[-1]:
            lines.append(word.lstrip("-"))
            lines[-2] += "-"
        else:
            lines[-1] += word
    return "\n".join(lines)
