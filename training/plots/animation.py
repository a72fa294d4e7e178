"""A run's snapshots -> an animated GIF of its reconstructions as training proceeds."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from training.loop.snapshots import load_snapshots
from training.plots.canvas import figure, show, write_picture
from training.runs import RunFolder

# Of a run of many epochs only so many are shown; the early ones, in which most happens, all of them.
MAX_FRAMES = 60

FRAME_MS, LAST_FRAME_MS = 250, 3000

_SIDE_SHARE = 0.089
_LEFT = 0.105
_COLOURS = 128


def animate_snapshots(run: RunFolder, out: Path) -> None:
    """Draw originals over their reconstructions, one frame for each epoch, 1,000 pixels wide; it repeats for ever.

    Args:
        run: that was trained with snapshots.
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
            for at, one in enumerate(pixels):
                axes = made.add_axes((_LEFT + at * side / 10, bottom, 0.95 * side / 10, tall / total))
                show(axes, one)
                if row:
                    painted.append(axes.images[0])
        title = made.text(0.012, 1 - 0.12 / total, "", va="top", fontsize=12, weight="bold")
        for epoch in epochs:
            for shown, one in zip(painted, snapshots.reconstructions[epoch], strict=True):
                shown.set_data(one[:, :, 0] if one.shape[2] == 1 else one)
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
    """Return all of these epochs, or if they are too many, the early ones densely and the late ones sparsely."""
    if len(epochs) <= MAX_FRAMES:
        return epochs
    places = np.unique(np.rint(np.geomspace(1, len(epochs), MAX_FRAMES)).astype(int)) - 1
    return [epochs[place] for place in places]
