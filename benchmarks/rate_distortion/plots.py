"""Points -> two pictures: bytes against PSNR, of images alone and of all together."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.ticker import FixedLocator, NullLocator
from matplotlib.transforms import Bbox

from benchmarks.rate_distortion.points import (
    ALONE,
    BATCH,
    FULL,
    OURS,
    PAYLOAD,
    TOGETHER,
    Arrangement,
    Point,
    by_codec,
    front,
)
from training.plots.canvas import DPI, GREY, figure, save

LEAST_DB, MOST_DB = 14, 42
TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Style(NamedTuple):
    """Colour, from the palette of Okabe and Ito, and marker of a codec; each identifies the codec alone."""

    colour: str
    marker: str


STYLES = {
    PAYLOAD: Style("#0072b2", "o"),
    FULL: Style("#0072b2", "o"),
    BATCH: Style("#0072b2", "o"),
    "JPEG": Style("#e69f00", "s"),
    "JPEG 2000": Style("#56b4e9", "v"),
    "WebP": Style("#009e73", "D"),
    "AVIF": Style("#cc79a7", "^"),
    "JPEG XL": Style("#d55e00", "P"),
    "PNG": Style("#000000", "X"),
}

TITLES = {
    ALONE: "each in a file or code of its own",
    TOGETHER: "all in one picture of tiles, or in one container",
}


class Place(NamedTuple):
    """Place of a codec's name: a point of its line, by index, offset from it in points, and alignment."""

    point: int
    offset: tuple[int, int]
    horizontal: str
    vertical: str


_BELOW, _ABOVE = Place(0, (0, -9), "center", "top"), Place(-1, (0, 8), "center", "bottom")
_LEFT = Place(0, (-9, 0), "right", "center")

# Possible places of a point's name, the best first: offset in points, and alignment. Lines rise from left to right, so
# the space above on the left and below on the right is free.
_BESIDE = [
    ((-7, 4), "right"),
    ((7, -9), "left"),
    *(((-7, up), "right") for up in range(6, 60, 2)),
]

PLACES: dict[Arrangement, dict[str, Place]] = {
    ALONE: {
        PAYLOAD: _BELOW,
        FULL: Place(0, (2, -9), "left", "top"),
        "JPEG 2000": _LEFT,
    },
    TOGETHER: {
        BATCH: Place(0, (-4, -8), "right", "top"),
        "JPEG 2000": Place(2, (6, -6), "left", "top"),
        "WebP": _ABOVE,
        "AVIF": _LEFT,
        "JPEG XL": Place(0, (6, -6), "left", "top"),
        "JPEG": Place(-1, (8, -14), "left", "top"),
    },
}


def plot_points(points: Sequence[Point], arrangement: Arrangement, dataset: str, out: Path) -> None:
    """Draw the points of one arrangement: mean bytes of an image, logarithmic, against PSNR.

    Lossless points are in a strip above. Classical codecs are drawn with their best settings, Latentwire with each
    shipped model.

    Args:
        points: points of any arrangements.
        arrangement: the arrangement to draw.
        dataset: name of the images for the title.
        out: the PNG file, 1,000 pixels wide.

    Raises:
        CannotWrite: the file cannot be written.
    """
    grouped = by_codec([point for point in points if point.arrangement == arrangement])
    seen = [point for of_codec in grouped.values() for point in of_codec if point.psnr_db >= LEAST_DB]
    counts = sorted({point.count for point in seen})
    exact = {codec: best[-1] for codec, of_codec in grouped.items() if not (best := front(of_codec))[-1].mse}
    with figure(7.4) as made:
        strip = made.add_axes((0.075, 0.765, 0.9, 0.18))
        axes = made.add_axes((0.075, 0.08, 0.9, 0.665), sharex=strip)
        for codec, of_codec in grouped.items():
            draw = _draw_models if codec in OURS else _draw_codec
            draw(axes, codec, of_codec, PLACES[arrangement].get(codec, _BELOW))
        _draw_lossless(strip, exact)
        _style_axes(axes, strip, [point.bytes for point in seen])
        # Free space is known only after everything else is drawn.
        for codec in OURS:
            if codec != FULL:
                label_points(axes, grouped.get(codec, []), STYLES[codec].colour)
        title = f"{counts[-1]:,} {dataset} images, {TITLES[arrangement]}"
        made.text(0.012, 0.985, title, va="top", fontsize=13, weight="bold")
        if len(counts) > 1:
            note = f"classical codecs: {counts[0]:,} of them"
            made.text(0.975, 0.98, note, va="top", ha="right", fontsize=10, color=GREY)
        save(made, out)


def label_points(axes: Any, points: Sequence[Point], colour: str) -> None:
    """Write the name of its setting beside each point, in free space if there is any near it.

    Args:
        axes: axes with everything else drawn.
        points: the points; lossless ones get no name.
        colour: colour of the names.
    """
    taken = [text.get_window_extent() for text in axes.texts]
    for line in axes.lines:
        taken += [_around(place, line.get_markersize()) for place in axes.transData.transform(line.get_xydata())]
    for point in sorted((point for point in points if point.mse), key=lambda point: point.bytes):
        for offset, horizontal in _BESIDE:
            text = axes.annotate(
                point.setting,
                (point.bytes, point.psnr_db),
                offset,
                textcoords="offset points",
                ha=horizontal,
                fontsize=8.5,
                color=colour,
            )
            box = text.get_window_extent()
            if not box.count_overlaps(taken) or (offset, horizontal) == _BESIDE[-1]:
                taken.append(box)
                break
            text.remove()


def _around(place: Any, points: float) -> Bbox:
    half = points * DPI / 72 / 2
    return Bbox.from_extents(place[0] - half, place[1] - half, place[0] + half, place[1] + half)


def _draw_models(axes: Any, codec: str, points: Sequence[Point], place: Place) -> None:
    lossy = sorted((point for point in points if point.mse), key=lambda point: point.bytes)
    if not lossy:
        return
    hollow = codec == FULL
    axes.plot(
        [point.bytes for point in lossy],
        [point.psnr_db for point in lossy],
        color=STYLES[codec].colour,
        linewidth=1.2 if hollow else 2.4,
        linestyle="--" if hollow else "-",
        marker=STYLES[codec].marker,
        markerfacecolor="white" if hollow else STYLES[codec].colour,
        markersize=7,
        zorder=4,
    )
    _name(axes, codec, lossy[0], place)


def _draw_codec(axes: Any, codec: str, points: Sequence[Point], place: Place) -> None:
    lossy = [point for point in front(points) if point.mse]
    seen = [point for point in lossy if LEAST_DB <= point.psnr_db <= MOST_DB]
    if not seen:
        return
    style = STYLES[codec]
    axes.plot(
        [point.bytes for point in lossy],
        [point.psnr_db for point in lossy],
        color=style.colour,
        marker=style.marker,
        markersize=5.5,
        linewidth=1.6,
    )
    _name(axes, codec, seen[min(place.point, len(seen) - 1)], place)


def _draw_lossless(strip: Any, exact: dict[str, Point]) -> None:
    # One below the other, because their bytes are too similar for names side by side.
    for row, (codec, point) in enumerate(sorted(exact.items(), key=lambda item: item[1].bytes)):
        style = STYLES[codec]
        face = "white" if codec == FULL else style.colour
        strip.plot([point.bytes], [-row], style.marker, color=style.colour, markerfacecolor=face, markersize=6.5)
        strip.annotate(
            f"{codec}  {point.bytes:.0f}",
            (point.bytes, -row),
            (-9, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=9,
            color=style.colour,
        )
    strip.set_ylim(-max(len(exact), 1) + 0.3, 0.7)


def _name(axes: Any, codec: str, point: Point, place: Place) -> None:
    axes.annotate(
        codec.replace(", ", ",\n"),
        (point.bytes, point.psnr_db),
        place.offset,
        textcoords="offset points",
        ha=place.horizontal,
        va=place.vertical,
        color=STYLES[codec].colour,
        weight="bold",
        fontsize=11,
        zorder=5,
    )


def _style_axes(axes: Any, strip: Any, sizes: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_xlim(min(sizes) / 2.6, max(sizes) * 1.1)
    axes.set_ylim(LEAST_DB, MOST_DB)
    for panel in (axes, strip):
        panel.xaxis.set_major_locator(FixedLocator(TICKS))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.grid(visible=True)
        panel.set_axisbelow(True)
        for side in ("top", "right"):
            panel.spines[side].set_visible(False)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("mean bytes of an image, with all headers (logarithmic)")
    axes.set_ylabel("quality: PSNR of the mean squared error, dB")
    axes.annotate(
        "better",
        (0.012, 0.985),
        (0.075, 0.905),
        xycoords="axes fraction",
        textcoords="axes fraction",
        ha="left",
        va="center",
        color=GREY,
        arrowprops={"arrowstyle": "->", "color": GREY},
    )
    strip.set_yticks([])
    strip.tick_params(labelbottom=False, length=0)
    strip.spines["bottom"].set_visible(False)
    strip.grid(visible=False, axis="y")
    strip.set_ylabel("lossless")
