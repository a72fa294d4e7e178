"""Means of test sets -> a picture of curves: PSNR over bytes of the model and of the classical codecs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.ticker import ScalarFormatter

from benchmarks.photo.classical import AVIF, JPEG, JPEG_2000, JPEG_XL, WEBP
from benchmarks.photo.figures import Mean
from benchmarks.photo.measure import OURS
from training.plots.canvas import figure, save

# From the palette of Okabe and Ito; each colour or marker identifies a codec alone.
STYLES = {
    OURS: ("#0072b2", "o"),
    JPEG: ("#e69f00", "s"),
    JPEG_2000: ("#56b4e9", "v"),
    WEBP: ("#009e73", "D"),
    AVIF: ("#cc79a7", "^"),
    JPEG_XL: ("#d55e00", "P"),
}
LEAST_DB, MOST_DB = 20, 42


def plot_curves(panels: Sequence[tuple[str, Mapping[str, Sequence[Mean]]]], out: Path) -> None:
    """Draw panels side by side.

    Args:
        panels: title, and means by codec, of each; codecs without a style, the fast settings, are left out.
        out: the PNG file, 1,000 pixels wide.

    Raises:
        CannotWrite: the file cannot be written.
    """
    with figure(4.6) as made:
        for number, (title, curves) in enumerate(panels):
            axes = made.add_subplot(1, len(panels), number + 1)
            for codec, points in curves.items():
                if codec not in STYLES:
                    continue
                colour, marker = STYLES[codec]
                seen = [point for point in points if LEAST_DB <= point.psnr_db <= MOST_DB]
                axes.plot(
                    [point.bytes for point in seen],
                    [point.psnr_db for point in seen],
                    color=colour,
                    marker=marker,
                    markersize=4.5,
                    linewidth=2.4 if codec == OURS else 1.3,
                    zorder=4 if codec == OURS else 3,
                    label=codec,
                )
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(ScalarFormatter())
            axes.xaxis.set_minor_formatter("")
            axes.set_title(title, fontsize=11, weight="bold", loc="left")
            axes.set_xlabel("mean bytes of a picture, with headers")
            axes.grid(visible=True, which="both", linewidth=0.4)
            for side in ("top", "right"):
                axes.spines[side].set_visible(False)
            if number == 0:
                axes.set_ylabel("mean PSNR, dB")
                axes.legend(fontsize=9, loc="lower right")
        made.tight_layout()
        save(made, out)
