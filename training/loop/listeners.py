"""Listeners of a training run's epochs: snapshots of reconstructions, and files for TensorBoard.

Listeners change nothing of the training. `tensorboard --logdir DIR` shows the curves, and four originals over their
reconstructions.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from latentwire.imaging import image
from training.data.datasets import Dataset, split_training
from training.data.images import choose_examples
from training.errors import CannotWrite
from training.loop.trainer import EpochEnd, Listener
from training.recipe import Recipe
from training.runs import RunFolder
from training.snapshots import SnapshotWriter

SNAPSHOT_IMAGES = 10
TENSORBOARD_IMAGES = 4

Floats = npt.NDArray[np.float32]


def take_snapshots(run: RunFolder, dataset: Dataset, count: int = SNAPSHOT_IMAGES) -> Listener:
    """Return a listener that saves the reconstructions of `count` test images after each epoch.

    The images are for pictures only; no choice depends on them.

    Raises:
        CannotWrite: the disk is full, or the folder read-only.
    """
    originals = dataset.test.take(choose_examples(dataset.test, count)).pixels
    x, writer = image.to_x(originals), SnapshotWriter(run, originals)

    def take(end: EpochEnd) -> None:
        writer.write(end.report.epoch, image.to_pixels(_reconstruct(end.model, x)))

    return take


@contextmanager
def tensorboard_listeners(log_dir: Path | None, recipe: Recipe, dataset: Dataset) -> Iterator[list[Listener]]:
    """Give the listener that writes TensorBoard's files to `log_dir`; none without a `log_dir`.

    A resumed run replaces the epochs that it runs again.

    Raises:
        CannotWrite: the folder cannot be written, or the disk is full.
    """
    if log_dir is None:
        yield []
        return
    listener = _TensorBoard(log_dir, split_training(dataset, recipe).validation.pixels[:TENSORBOARD_IMAGES])
    try:
        yield [listener]
    finally:
        listener.close()


class _TensorBoard:
    def __init__(self, log_dir: Path, pixels: image.Pixels) -> None:
        self._log_dir = log_dir
        self._x = image.to_x(pixels)
        self._writer: SummaryWriter | None = None
        try:
            log_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._cannot_write(error) from error

    def __call__(self, end: EpochEnd) -> None:
        try:
            if self._writer is None:
                self._writer = SummaryWriter(str(self._log_dir), purge_step=end.report.epoch)
            self._write(end, self._writer)
        except OSError as error:
            raise self._cannot_write(error) from error

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _write(self, end: EpochEnd, writer: SummaryWriter) -> None:
        report = end.report
        figures = {
            "loss/training": report.train_loss,
            "loss/validation": report.validation_loss,
            "RMSE/validation": report.validation_rmse,
            "learning rate": report.learning_rate,
        }
        if report.validation_bits is not None:
            figures["bytes/validation"] = report.validation_bits / 8
        for tag, value in figures.items():
            writer.add_scalar(tag, value, report.epoch)
        picture = two_rows(self._x, _reconstruct(end.model, self._x))
        writer.add_image("originals over reconstructions", picture, report.epoch, dataformats="HWC")
        writer.flush()

    def _cannot_write(self, error: OSError) -> CannotWrite:
        return CannotWrite(f"TensorBoard's folder {self._log_dir} cannot be written: {error.strerror}")


def two_rows(x: Floats, x_hat: Floats) -> image.Pixels:
    """Return uint8 (2H, N · W, C) pixels of images (N, C, H, W) side by side over their reconstructions."""
    rows = [np.concatenate(list(image.to_pixels(values)), axis=1) for values in (x, x_hat)]
    return np.concatenate(rows, axis=0)


@torch.no_grad()
def _reconstruct(model: nn.Module, x: Floats) -> Floats:
    values = torch.from_numpy(x)
    x_hat: Floats = model(values.to(next(model.parameters(), values).device)).float().cpu().numpy()
    return x_hat
