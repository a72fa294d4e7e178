"""A training run, epoch by epoch -> TensorBoard's files: its curves, and four originals over their reconstructions.

`tensorboard --logdir DIR` shows them. Knows nothing of how the network is trained, and changes nothing of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from latentwire.imaging import image
from training.data.datasets import Dataset, split_training
from training.errors import CannotWrite, TrainingError
from training.recipe import Recipe

if TYPE_CHECKING:
    from training.loop.trainer import EpochEnd, Listener

SHOWN = 4


@contextmanager
def watching(log_dir: Path | None, recipe: Recipe, dataset: Dataset) -> Iterator[list["Listener"]]:
    """Give what the trainer is to call after each epoch: nothing if there is no `log_dir`.

    A run that goes on after its last checkpoint takes the place of the epochs that it runs again.

    Raises:
        TrainingError: tensorboard is not installed.
        CannotWrite: the folder cannot be written, or the disk is full.
    """
    if log_dir is None:
        yield []
        return
    watcher = _Watcher(log_dir, split_training(dataset, recipe).validation.pixels[:SHOWN])
    try:
        yield [watcher]
    finally:
        watcher.close()


class _Watcher:
    def __init__(self, log_dir: Path, pixels: image.Pixels) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter  # it takes a second to load, which few runs need
        except ImportError as error:
            raise TrainingError("--log-dir needs the package tensorboard, which is not installed here") from error
        self.make_writer = SummaryWriter
        self.log_dir = log_dir
        self.x = image.to_x(pixels)
        self.writer: Any = None
        try:
            log_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._cannot_write(error) from error

    def __call__(self, end: "EpochEnd") -> None:
        report, model = end
        device = next(model.parameters()).device
        with torch.no_grad():
            x_hat = model(torch.from_numpy(self.x).to(device)).float().cpu().numpy()
        try:
            if self.writer is None:
                self.writer = self.make_writer(str(self.log_dir), purge_step=report.epoch)
            self.writer.add_scalar("loss/training", report.train_loss, report.epoch)
            self.writer.add_scalar("loss/validation", report.validation_loss, report.epoch)
            self.writer.add_scalar("RMSE/validation", report.validation_rmse, report.epoch)
            if report.validation_bits is not None:
                self.writer.add_scalar("bytes/validation", report.validation_bits / 8, report.epoch)
            self.writer.add_scalar("learning rate", report.learning_rate, report.epoch)
            picture = two_rows(self.x, x_hat)
            self.writer.add_image("originals over reconstructions", picture, report.epoch, dataformats="HWC")
            self.writer.flush()
        except OSError as error:
            raise self._cannot_write(error) from error

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()

    def _cannot_write(self, error: OSError) -> CannotWrite:
        return CannotWrite(f"TensorBoard's folder {self.log_dir} cannot be written: {error.strerror}")


def two_rows(x: npt.NDArray[np.float32], x_hat: npt.NDArray[np.float32]) -> image.Pixels:
    """Return uint8 (2H, N · W, C) pixels of images (N, C, H, W) side by side over their reconstructions."""
    rows = [np.concatenate(list(image.to_pixels(values)), axis=1) for values in (x, x_hat)]
    return np.concatenate(rows, axis=0)
