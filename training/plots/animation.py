"""A run's snapshots -> an animated GIF of its reconstructions as training proceeds."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from training.plots.canvas import figure, show, write_picture
from training.runs import RunFolder
from training.snapshots import load_snapshots

# Largest number of epochs shown; early epochs, which change most, are shown more densely than late ones.
MAX_FRAMES = 60

FRAME_MS, LAST_FRAME_MS = 250, 3000

_SIDE_SHARE = 0.089
_LEFT = 0.105
_COLOURS = 128


def animate_snapshots(run: RunFolder, out: Path) -> None:
    """Draw originals over their reconstructions, one frame for each epoch, 1,000 pixels wide; it repeats forever.

    Args:
        run: a run that was trained with snapshots.
        out: the GIF file.

    Raises:
        InvalidRun: the run has no snapshots.
        CannotWrite: the file cannot be written.
    """
    snapshots = load_snapshots(run)
    metrics = {int(epoch["epoch"]): epoch for epoch in run.metrics()}
    epochs = choose_epochs(sorted(snapshots.reconstructions))
    name = run.recipe().name
    count, height, width, _ = snapshots.originals.shape
    side = _SIDE_SHARE * 10 / count * 10
    tall = side * height / width
    frames: list[Image.Image] = []
    with figure(2 * tall + 0.75) as made:
        total = made.get_figheight()
        painted: list[Any] = []
        for row, pixels in enumerate((snapshots.originals, snapshots.reconstructions[epochs[0]])):
            bottom = (0.1 + (1 - row) * (tall + 0.07)) / total
            made.text(_LEFT - 0.012, bottom + tall / total / 2, ("original", "decoded")[row], ha="right", va="center")
            for index, picture in enumerate(pixels):
                axes = made.add_axes((_LEFT + index * side / 10, bottom, 0.95 * side / 10, tall / total))
                show(axes, picture)
                if row:
                    painted.append(axes.images[0])
        title = made.text(0.012, 1 - 0.12 / total, "", va="top", fontsize=12, weight="bold")
        for epoch in epochs:
            for shown, picture in zip(painted, snapshots.reconstructions[epoch], strict=True):
                shown.set_data(picture[:, :, 0] if picture.shape[2] == 1 else picture)
            rmse = metrics[epoch]["validation_rmse"]
            title.set_text(f"{name}: epoch {epoch} of {max(metrics)}, validation RMSE {rmse:.4f}")
            made.canvas.draw()
            frame = Image.fromarray(np.asarray(made.canvas.buffer_rgba()))  # type: ignore[attr-defined]
            frames.append(frame.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE))
    buffer = io.BytesIO()
    durations = [FRAME_MS] * (len(frames) - 1) + [LAST_FRAME_MS]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=False)
    write_picture(out, buffer.getvalue())


def choose_epochs(epochs: list[int]) -> list[int]:
    """Return at most MAX_FRAMES of these epochs, the early ones more densely than the late ones."""
    if len(epochs) <= MAX_FRAMES:
        return epochs
    places = np.unique(np.rint(np.geomspace(1, len(epochs), MAX_FRAMES)).astype(int)) - 1
    return [epochs[place] for place in places]
