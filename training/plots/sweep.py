"""Test RMSE over code size, of several models, with PCA as the baseline."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.ticker import FixedLocator, NullLocator

from latentwire.model.card import load_card
from training.data.datasets import Dataset
from training.pca import fit_pca
from training.plots.canvas import BLUE, GREY, ORANGE, figure, save
from training.release.evaluate import evaluate_model


def plot_sweep(folders: Sequence[Path], dataset: Dataset, out: Path) -> None:
    """Draw the RMSE of each model's test images over the size of its code, and that of PCA for all sizes.

    A card's own figures are taken if they are of this data set; otherwise the model is measured.

    Args:
        folders: models' folders, at least one.
        dataset: data set of the test images; PCA is fitted to all its training images.
        out: the PNG file, 1,000 pixels wide.

    Raises:
        ModelError: a model's files cannot be used.
        ImageMismatch: a model's images are not of the data set's shape.
        CannotWrite: the file cannot be written.
    """
    cards = [load_card(folder) for folder in folders]
    qualities = []
    for card, folder in zip(cards, folders, strict=True):
        known = card.quality is not None and card.quality.dataset == f"{dataset.name} test"
        qualities.append(card.quality if known and card.quality else evaluate_model(folder, dataset))
    sizes = [card.code_size for card in cards]
    values = dataset.shape.pixels * dataset.shape.channels
    dimensions = choose_dimensions(sizes, values)
    components = fit_pca(dataset.train.pixels)
    line = [components.clipped_rmse(dataset.test.pixels, size) for size in dimensions]
    best = {
        size: min(quality.float_rmse for quality, its_size in zip(qualities, sizes, strict=True) if its_size == size)
        for size in sizes
    }
    with figure(5.2) as made:
        axes = made.add_axes((0.08, 0.12, 0.56, 0.78))
        axes.plot(dimensions, line, color=GREY, marker=".", label="PCA, float code: the baseline")
        axes.plot(
            sorted(best),
            [best[size] for size in sorted(best)],
            color=BLUE,
            linewidth=0.8,
            label="best model of each size",
        )
        axes.plot(sizes, [quality.float_rmse for quality in qualities], "o", color=BLUE, label="model, float code")
        axes.plot(
            sizes,
            [quality.rmse for quality in qualities],
            "o",
            color=ORANGE,
            markerfacecolor="none",
            markersize=9,
            label="model, as delivered",
        )
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(sorted({*sizes, dimensions[0], dimensions[-1]})))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlim(dimensions[0] / 1.25, max(dimensions[-1], *sizes, 1) * 1.25)
        axes.set_ylim(0, 1.08 * max(*line, *(quality.rmse for quality in qualities)))
        axes.set_xlabel("numbers in the code")
        axes.set_ylabel("RMSE of the test images, pixels in [0, 1]")
        axes.grid(visible=True)
        axes.legend(loc="lower left", frameon=True, framealpha=1, edgecolor="none")
        order = sorted(range(len(cards)), key=lambda index: (sizes[index], qualities[index].float_rmse))
        table = [f"{'code':>5} {'PCA':>7} {'float':>7} {'deliv.':>7}  model"]
        for index in order:
            pca = line[dimensions.index(min(sizes[index], values))]
            figures = f"{sizes[index]:5} {pca:7.4f} {qualities[index].float_rmse:7.4f} {qualities[index].rmse:7.4f}"
            table.append(f"{figures}  {_cut(cards[index].name)}")
        made.text(0.655, 0.89, "\n".join(table), va="top", family="monospace", fontsize=8.5, linespacing=1.5)
        made.text(
            0.02,
            0.975,
            f"{dataset.name}: reconstruction error over code size",
            va="top",
            fontsize=12,
            weight="bold",
        )
        save(made, out)


def _cut(name: str, length: int = 17) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"


def choose_dimensions(sizes: Sequence[int], values: int) -> list[int]:
    """Return the numbers of components for which PCA is drawn.

    They are the sizes of all codes, and more in between, a third of an octave apart, from half the shortest code to
    the longest, but at most the number of an image's values.
    """
    smallest, largest = max(1, min(*sizes, values) // 2), min(max(sizes), values)
    between = {round(smallest * 2 ** (step / 3)) for step in range(60)}
    return sorted({size for size in between if size <= largest} | {min(size, values) for size in sizes})
