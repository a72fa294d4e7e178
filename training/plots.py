"""A model's folder and images -> pictures of what it does, as PNG files. Knows neither torch nor runs."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from codec import image, quantiser
from codec.decoder import Decoder
from codec.encoder import Encoder
from codec.errors import ImageMismatch
from codec.model_card import load_card
from training.datasets import Dataset, Images
from training.errors import CannotWrite

WIDTH_INCHES = 10
DPI = 100

# Columns of cells that are taller than this many images would dwarf the pictures.
_CODE_HEIGHT = 1.9


def choose_examples(images: Images, count: int) -> npt.NDArray[np.int64]:
    """Return the indices of `count` images: the first of each class in turn, then the second of each, and so on."""
    places = [np.flatnonzero(images.labels == label) for label in np.unique(images.labels)]
    turns = [place[turn] for turn in range(max(map(len, places))) for place in places if turn < len(place)]
    return np.array(turns[:count], dtype=np.int64)


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
    card = load_card(folder)
    if card.image != dataset.shape:
        raise ImageMismatch(f"model '{card.name}' takes {card.image}; {dataset.name} has {dataset.shape}")
    originals = dataset.test.take(choose_examples(dataset.test, count)).pixels
    encoded = Encoder.open(folder).encode(originals)
    reconstructions = Decoder.open(folder).decode([one.wire for one in encoded])
    symbols = quantiser.quantise(np.stack([one.y for one in encoded]), card.quantiser)
    cells = symbols / (2**card.quantiser.bits - 1)

    numbers = "number" if card.code_size == 1 else "numbers"
    rows = (
        "original",
        f"code:\n{card.code_size} {numbers},\n{len(encoded[0].payload)} bytes",
        "reconstruction",
    )
    columns = len(originals)
    side = min((WIDTH_INCHES - _LABEL_INCHES) / columns, _MAX_SIDE_INCHES)
    heights = [side, _CODE_HEIGHT * side, side]
    with mpl.rc_context({"font.size": 11, "axes.linewidth": 0.6}):
        figure = Figure(figsize=(WIDTH_INCHES, sum(heights) + 0.25), dpi=DPI)
        FigureCanvasAgg(figure)
        margins = {
            "left": _LABEL_INCHES / WIDTH_INCHES,
            "right": (_LABEL_INCHES + columns * side) / WIDTH_INCHES - 0.005,
            "top": 0.985,
            "bottom": 0.015,
        }
        grid = figure.add_gridspec(3, columns, height_ratios=heights, wspace=0.08, hspace=0.06, **margins)
        for column in range(columns):
            axes = [figure.add_subplot(grid[row, column]) for row in range(3)]
            _show(axes[0], originals[column])
            _show_code(axes[1], cells[column])
            _show(axes[2], reconstructions[column])
            if column == 0:
                for axis, label in zip(axes, rows, strict=True):
                    axis.set_ylabel(label, rotation=0, ha="right", va="center", labelpad=10)
        _save(figure, out)


def _show(axes: Any, pixels: image.Pixels) -> None:
    if pixels.shape[2] == 1:
        axes.imshow(pixels[:, :, 0], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    else:
        axes.imshow(pixels, interpolation="nearest")
    _without_ticks(axes)


def _show_code(axes: Any, cells: npt.NDArray[np.float64]) -> None:
    # A light line between cells, as long as there are few enough to tell apart.
    lines = {"edgecolors": "white", "linewidth": 0.8} if len(cells) <= _MAX_OUTLINED else {}
    axes.pcolormesh(cells[::-1, None], cmap="viridis", vmin=0, vmax=1, **lines)
    axes.set_xlim(-0.9, 1.9)
    _without_ticks(axes)
    axes.set_frame_on(False)


def _without_ticks(axes: Any) -> None:
    axes.set_xticks([])
    axes.set_yticks([])


def _save(figure: Figure, out: Path) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, format="png", facecolor="white")
    except OSError as error:
        raise CannotWrite(f"{out} cannot be written: {error.strerror}") from error


_LABEL_INCHES = 1.35
_MAX_SIDE_INCHES = 1.5
_MAX_OUTLINED = 64
