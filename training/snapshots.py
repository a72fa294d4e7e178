"""Reconstructions of a few images after each epoch <-> a folder of small files, for an animation of the learning.

    snapshots/originals.npy    uint8 (N, H, W, C)
    snapshots/0007.npy         their reconstructions after epoch 7, in the same shape

`training.loop.listeners` takes them; `training.plots.animation` draws them.
"""

import io
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from latentwire.imaging import image
from training.atomic import write_atomically
from training.errors import CannotWrite, InvalidRun
from training.runs import RunFolder

FOLDER = "snapshots"

_ORIGINALS = "originals.npy"


class Snapshots(NamedTuple):
    """Originals, uint8 (N, H, W, C), and by epoch their reconstructions in the same shape."""

    originals: image.Pixels
    reconstructions: dict[int, image.Pixels]


class SnapshotWriter:
    """Writes the snapshots of one run."""

    def __init__(self, run: RunFolder, originals: image.Pixels) -> None:
        """Make the folder and write the originals, uint8 (N, H, W, C).

        Raises:
            CannotWrite: the disk is full, or the folder read-only.
        """
        self._folder = run.path / FOLDER
        try:
            self._folder.mkdir(exist_ok=True)
        except OSError as error:
            raise CannotWrite(f"the folder {self._folder} cannot be made: {error.strerror}") from error
        _write(self._folder / _ORIGINALS, originals)

    def write(self, epoch: int, reconstructions: image.Pixels) -> None:
        """Write the reconstructions of the originals after an epoch.

        Raises:
            CannotWrite: the disk is full, or the folder read-only.
        """
        _write(self._folder / f"{epoch:04d}.npy", reconstructions)


def load_snapshots(run: RunFolder) -> Snapshots:
    """Read the snapshots of a run's epochs, as far as its metrics go.

    Raises:
        InvalidRun: nothing was saved, or a file is damaged.
    """
    folder = run.path / FOLDER
    epochs = {int(epoch["epoch"]) for epoch in run.metrics()}
    # An epoch whose checkpoint was lost may have left a file, but no metrics.
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
