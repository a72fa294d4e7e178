"""Originals and what a receiver makes of their codes, in three layouts."""

from functools import partial
from pathlib import Path

from training.data.datasets import Dataset
from training.data.images import choose_examples
from training.plots.canvas import Painter, Row, code_row, draw_rows, image_row, nothing, show, show_code
from training.plots.subject import Subject


def plot_reconstructions(folder: Path, dataset: Dataset, out: Path, count: int = 10) -> None:
    """Draw originals, their codes as columns of coloured cells, and what a receiver makes of the codes.

    Args:
        folder: of a model.
        dataset: whose test images are shown.
        out: the PNG file, 1,000 pixels wide.
        count: of images, at least 1.

    Raises:
        ModelError: the model's files cannot be used.
        ImageMismatch: its images are not of the data set's shape.
        CannotWrite: the file cannot be written.
    """
    subject = Subject(folder, dataset)
    originals = dataset.test.take(choose_examples(dataset.test, count)).pixels
    size = subject.payload_in_words(originals)
    draw_rows(
        [
            image_row("original", originals),
            code_row(f"code:\n{subject.code_in_words},\n{size}", subject.levels(subject.codes(originals))),
            image_row("reconstruction", subject.reconstruct(originals)),
        ],
        out,
    )


def plot_two_rows(folder: Path, dataset: Dataset, out: Path, count: int = 10) -> None:
    """Draw originals over their reconstructions; arguments and errors as of `plot_reconstructions`."""
    subject = Subject(folder, dataset)
    originals = dataset.test.take(choose_examples(dataset.test, count)).pixels
    draw_rows([image_row("original", originals), image_row("reconstruction", subject.reconstruct(originals))], out)


def plot_side_by_side(folder: Path, dataset: Dataset, out: Path, count: int = 6) -> None:
    """Draw one image to a panel: original, its code as a column of cells, reconstruction.

    Two panels stand in a line. Arguments and errors are as of `plot_reconstructions`.
    """
    subject = Subject(folder, dataset)
    examples = dataset.test.take(choose_examples(dataset.test, count))
    cells = subject.levels(subject.codes(examples.pixels))
    reconstructions = subject.reconstruct(examples.pixels)
    proportion = examples.pixels.shape[1] / examples.pixels.shape[2]
    rows = []
    for start in range(0, count, 2):
        painters: list[Painter] = []
        for at in range(start, min(start + 2, len(examples))):
            # An empty cell keeps two panels apart.
            painters += [
                *([nothing] if painters else []),
                partial(show, pixels=examples.pixels[at]),
                partial(show_code, cells=cells[at]),
                partial(show, pixels=reconstructions[at]),
            ]
        if painters:
            rows.append(Row("original,\ncode,\nreconstruction" if start == 0 else "", painters, proportion))
    draw_rows(rows, out, f"{subject.card.name}: codes of {subject.code_in_words}")


__all__ = ["plot_reconstructions", "plot_side_by_side", "plot_two_rows"]
