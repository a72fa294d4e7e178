"""The parts of all pictures: a figure 1,000 pixels wide, labelled rows of images, and the file."""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from latentwire.imaging import image
from training.atomic import write_atomically
from training.errors import CannotWrite

WIDTH_INCHES = 10
DPI = 100

# Ten colours that most people can tell apart on white; Okabe and Ito's palette has only eight.
CLASS_COLOURS = mpl.colormaps["tab10"]

BLUE, ORANGE, GREY = "#1f5f9e", "#d1600a", "#777777"

_LABEL_INCHES = 1.45
_TITLE_INCHES = 0.42
_GAP_INCHES = 0.07
_MAX_SIDE_INCHES = 1.5
_MAX_OUTLINED = 24

# Height of a column of cells, in heights of an image.
CODE_HEIGHT = 1.9

Painter = Callable[[Any], None]


class Row(NamedTuple):
    """A row of a picture: its label at the left, a painter for each cell, and the cells' height ÷ width."""

    label: str
    painters: Sequence[Painter]
    proportion: float = 1.0


def image_row(label: str, pixels: image.Pixels, captions: Sequence[str] = ()) -> Row:
    """Make a row of uint8 (N, H, W, C) images, perhaps with a small caption below each."""
    _, height, width, _ = pixels.shape

    def painter(index: int) -> Painter:
        def paint(axes: Any) -> None:
            show(axes, pixels[index])
            if captions:
                axes.set_xlabel(captions[index], fontsize=8.5, labelpad=2)

        return paint

    return Row(label, [painter(index) for index in range(len(pixels))], height / width + (0.2 if captions else 0))


def code_row(label: str, cells: npt.NDArray[np.float64], height: float = CODE_HEIGHT) -> Row:
    """Make a row of codes, (N, code size) in [0, 1], each as a column of coloured cells."""

    def painter(code: npt.NDArray[np.float64]) -> Painter:
        return lambda axes: show_code(axes, code)

    return Row(label, [painter(code) for code in cells], height)


def draw_rows(rows: Sequence[Row], out: Path, title: str = "") -> None:
    """Draw rows of equally many cells below each other, each row labelled at its left.

    Raises:
        CannotWrite: the file cannot be written.
    """
    columns = max(len(row.painters) for row in rows)
    side = min((WIDTH_INCHES - _LABEL_INCHES - 0.1) / columns, _MAX_SIDE_INCHES)
    heights = [row.proportion * side for row in rows]
    height = sum(heights) + _GAP_INCHES * (len(rows) + 1) + (_TITLE_INCHES if title else 0)
    with figure(height) as made:
        top = height - _GAP_INCHES
        if title:
            made.text(_GAP_INCHES / WIDTH_INCHES * 2, 1 - 0.13 / height, title, va="top", fontsize=12, weight="bold")
            top -= _TITLE_INCHES
        for row, row_height in zip(rows, heights, strict=True):
            top -= row_height
            for column, painter in enumerate(row.painters):
                left = _LABEL_INCHES + column * side
                box = (left / WIDTH_INCHES, top / height, 0.94 * side / WIDTH_INCHES, 0.97 * row_height / height)
                axes = made.add_axes(box, anchor="N")
                painter(axes)
            middle = (top + 0.485 * row_height) / height
            made.text(
                (_LABEL_INCHES - 0.12) / WIDTH_INCHES, middle, row.label, ha="right", va="center", linespacing=1.3
            )
            top -= _GAP_INCHES
        save(made, out)


@contextmanager
def figure(height_inches: float) -> Iterator[Figure]:
    """Yield an empty figure, 1,000 pixels wide, in the style of all pictures."""
    with mpl.rc_context(_STYLE):
        made = Figure(figsize=(WIDTH_INCHES, height_inches), dpi=DPI)
        FigureCanvasAgg(made)
        yield made


def save(made: Figure, out: Path) -> None:
    """Write a figure as a PNG file, and make its folder.

    Raises:
        CannotWrite: the file cannot be written.
    """
    buffer = io.BytesIO()
    made.savefig(buffer, format="png", facecolor="white")
    write_picture(out, buffer.getvalue())


def write_picture(out: Path, content: bytes) -> None:
    """Write a picture's bytes, and make its folder.

    Raises:
        CannotWrite: the file cannot be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(f"{out} cannot be written: {error.strerror}") from error
    write_atomically(out, content)


def show(axes: Any, pixels: image.Pixels) -> None:
    """Show one image, uint8 (H, W, C), pixel by pixel."""
    if pixels.shape[2] == 1:
        axes.imshow(pixels[:, :, 0], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    else:
        axes.imshow(pixels, interpolation="nearest")
    without_ticks(axes)


def show_code(axes: Any, cells: npt.NDArray[np.float64]) -> None:
    """Show one code, (code size) in [0, 1], as a column of coloured cells; the first number is at the top."""
    # A light line between cells, unless they are too many to tell apart.
    lines = {"edgecolors": "white", "linewidth": 0.8} if len(cells) <= _MAX_OUTLINED else {}
    axes.pcolormesh(cells[::-1, None], cmap="viridis", vmin=0, vmax=1, **lines)
    axes.set_xlim(-0.9, 1.9)
    without_ticks(axes)
    axes.set_frame_on(False)


def nothing(axes: Any) -> None:
    """Leave a cell empty."""
    axes.set_axis_off()


def without_ticks(axes: Any) -> None:
    """Remove the ticks of an image's axes."""
    axes.set_xticks([])
    axes.set_yticks([])


_STYLE: Any = {
    "font.size": 11,
    "axes.linewidth": 0.6,
    "axes.spines.top": True,
    "axes.titlesize": 11,
    "axes.grid": False,
    "grid.color": "#dddddd",
    "legend.frameon": False,
}
