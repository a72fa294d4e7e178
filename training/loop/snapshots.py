"""What a network makes of a few images after each epoch <-> a folder of small files, for an animation of its learning.

    snapshots/originals.npy    uint8 (N, H, W, C)
    snapshots/0007.npy         their reconstructions after epoch 7, in the same shape

Written by a listener of `training.loop.trainer`; to write them takes milliseconds. Knows torch only in that listener.
"""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from latentwire.imaging import image
from training.atomic import write_atomically
from training.data.datasets import Dataset
from training.data.images import choose_examples
from training.errors import CannotWrite, InvalidRun
from training.runs import RunFolder

if TYPE_CHECKING:
    from training.loop.trainer import EpochEnd

FOLDER = "snapshots"
COUNT = 10

_ORIGINALS = "originals.npy"


class Snapshots(NamedTuple):
    """Originals, uint8 (N, H, W, C), and by epoch their reconstructions in the same shape."""

    originals: image.Pixels
    reconstructions: dict[int, image.Pixels]


def take_snapshots(run: RunFolder, dataset: Dataset, count: int = COUNT) -> "Callable[[EpochEnd], None]":
    """Return a listener that saves the reconstructions of a few test images after each epoch.

    The images are only looked at; nothing is chosen by them.

    Raises:
        CannotWrite: the disk is full, or the folder read-only.
    """
    import torch

    originals = dataset.test.take(choose_examples(dataset.test, count)).pixels
    x = torch.from_numpy(image.to_x(originals))
    folder = run.path / FOLDER
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise CannotWrite(f"the folder {folder} cannot be made: {error.strerror}") from error
    _write(folder / _ORIGINALS, originals)

    def take(end: "EpochEnd") -> None:
        weights = next(end.model.parameters(), x)
        with torch.no_grad():
            x_hat = end.model(x.to(weights.device)).float().cpu().numpy()
        _write(folder / f"{end.report.epoch:04d}.npy", image.to_pixels(x_hat))

    return take


def load_snapshots(run: RunFolder) -> Snapshots:
    """Read what was saved of a run, up to the last epoch that its metrics tell of.

    Raises:
        InvalidRun: nothing was saved, or a file is damaged.
    """
    folder = run.path / FOLDER
    epochs = {int(epoch["epoch"]) for epoch in run.metrics()}
    # Epochs that were run, lost with their checkpoint, and not run again have a file, but no metrics.
    found = sorted(path for path in folder.glob("*.npy") if re.fullmatch(r"\d{4,}", path.stem))
    shown = [path for path in found if int(path.stem) in epochs]
    if not shown or not (folder / _ORIGINALS).is_file():
        raise InvalidRun(f"{run} has no snapshots of its epochs; only training saves them, as it goes on")
    originals = _read(folder / _ORIGINALS)
    reconstructions = {int(path.stem): _read(path) for path in shown}
    if any(pixels.shape != originals.shape for pixels in reconstructions.values()):
        raise InvalidRun(f"the snapshots in {folder} are not all of the same images")
    return Snapshots(originals, reconstructions)


def _write(path: Path, pixels: image.Pixels) -> None:
    buffer = io.BytesIO()
    np.save(buffer, pixels, allow_pickle=False)
    write_atomically(path, buffer.getvalue())


def _read(path: Path) -> image.Pixels:
    try:
        pixels: image.Pixels = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InvalidRun(f"the snapshot {path} is damaged") from error
    if pixels.dtype != np.uint8 or pixels.ndim != 4:
        raise InvalidRun(f"the snapshot {path} does not hold images")
    return pixels
