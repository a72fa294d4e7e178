"""Originals and their reconstructions: by one model in three layouts, by several models, and the worst of all."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from training.data.datasets import Dataset
from training.data.images import choose_examples
from training.plots.canvas import Painter, Row, code_row, draw_rows, image_row, nothing, show, show_code
from training.plots.subject import Subject, rmse_of_each

WORST_COLUMNS = 10


def plot_reconstructions(folder: Path, dataset: Dataset, out: Path, count: int = 10) -> None:
    """Draw originals, their codes as columns of coloured cells, and their reconstructions.

    Args:
        folder: a model's folder.
        dataset: data set whose test images are shown.
        out: the PNG file, 1,000 pixels wide.
        count: number of images, at least 1.

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
    """Draw originals over their reconstructions; arguments and errors are those of `plot_reconstructions`."""
    subject = Subject(folder, dataset)
    originals = dataset.test.take(choose_examples(dataset.test, count)).pixels
    draw_rows([image_row("original", originals), image_row("reconstruction", subject.reconstruct(originals))], out)


def plot_side_by_side(folder: Path, dataset: Dataset, out: Path, count: int = 6) -> None:
    """Draw one image to a panel: original, its code as a column of cells, reconstruction.

    Two panels stand in a line. Arguments and errors are those of `plot_reconstructions`.
    """
    subject = Subject(folder, dataset)
    examples = dataset.test.take(choose_examples(dataset.test, count))
    cells = subject.levels(subject.codes(examples.pixels))
    reconstructions = subject.reconstruct(examples.pixels)
    proportion = examples.pixels.shape[1] / examples.pixels.shape[2]
    rows = []
    for start in range(0, count, 2):
        painters: list[Painter] = []
        for index in range(start, min(start + 2, len(examples))):
            # An empty cell keeps two panels apart.
            painters += [
                *([nothing] if painters else []),
                partial(show, pixels=examples.pixels[index]),
                partial(show_code, cells=cells[index]),
                partial(show, pixels=reconstructions[index]),
            ]
        if painters:
            rows.append(Row("original,\ncode,\nreconstruction" if start == 0 else "", painters, proportion))
    draw_rows(rows, out, f"{subject.card.name}: codes of {subject.code_in_words}")


def plot_comparison(folders: Sequence[Path], dataset: Dataset, out: Path, count: int = 10) -> None:
    """Draw originals, and below them the reconstructions of each model.

    Args:
        folders: models' folders, at least one; shown in this order.
        dataset: data set whose test images are shown.
        out: the PNG file, 1,000 pixels wide.
        count: number of images, at least 1.

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


def plot_worst(folder: Path, dataset: Dataset, out: Path, count: int = 20) -> None:
    """Draw the test images with the largest reconstruction errors, worst first, over their reconstructions.

    Args:
        folder: a model's folder.
        dataset: data set whose test images are ranked.
        out: the PNG file, 1,000 pixels wide.
        count: number of images, at least 1.

    Raises:
        ModelError: the model's files cannot be used.
        ImageMismatch: its images are not of the data set's shape.
        CannotWrite: the file cannot be written.
    """
    subject = Subject(folder, dataset)
    reconstructions = subject.reconstruct(dataset.test.pixels)
    errors = rmse_of_each(dataset.test.pixels, reconstructions)
    order = np.argsort(-errors, kind="stable")[:count]
    rows = []
    for start in range(0, len(order), WORST_COLUMNS):
        line = order[start : start + WORST_COLUMNS]
        rows.append(image_row(f"rank {start + 1:,}\nto {start + len(line):,}", dataset.test.pixels[line]))
        captions = [f"{errors[index]:.3f}" for index in line]
        rows.append(image_row("reconstruction,\nRMSE below", reconstructions[line], captions))
    median = float(np.median(errors))
    draw_rows(
        rows,
        out,
        f"{subject.card.name}: the worst of {len(errors):,} test images of {dataset.name} (median RMSE {median:.3f})",
    )
