"""The images that a model reconstructs worst."""

from pathlib import Path

import numpy as np

from training.data.datasets import Dataset
from training.plots.canvas import draw_rows, image_row
from training.plots.subject import Subject, rmse_of_each

COLUMNS = 10


def plot_worst(folder: Path, dataset: Dataset, out: Path, count: int = 20) -> None:
    """Draw the test images with the largest reconstruction errors, worst first, over their reconstructions.

    Args:
        folder: of a model.
        dataset: whose test images are ranked.
        out: the PNG file, 1,000 pixels wide.
        count: of images, at least 1.

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
    for start in range(0, len(order), COLUMNS):
        line = order[start : start + COLUMNS]
        rows.append(image_row(f"rank {start + 1:,}\nto {start + len(line):,}", dataset.test.pixels[line]))
        captions = [f"{errors[at]:.3f}" for at in line]
        rows.append(image_row("reconstruction,\nRMSE below", reconstructions[line], captions))
    median = float(np.median(errors))
    draw_rows(
        rows,
        out,
        f"{subject.card.name}: the worst of {len(errors):,} test images of {dataset.name} (median RMSE {median:.3f})",
    )
