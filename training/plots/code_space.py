"""The distribution of codes: all of them in the plane and in space, and each number by itself."""

import math
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.lines import Line2D

from training.data.datasets import Dataset
from training.plots.canvas import BLUE, CLASS_COLOURS, GREY, ORANGE, figure, save
from training.plots.subject import Subject

SHOWN_CODES = 3000
SHOWN_COORDINATES = 20

Floats = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]

# Largest number of classes with colours that can be told apart, and thus a legend.
_MAX_CLASSES = 20


def plot_codes(folder: Path, dataset: Dataset, out: Path, count: int = SHOWN_CODES) -> None:
    """Draw the codes of test images as points, coloured by class.

    A code of 1, 2 or 3 numbers is drawn as it is. Longer ones are laid out in the plane and in space by kernel PCA
    with a Gaussian kernel (Schölkopf, Smola, Müller 1998) of the codes, each coordinate scaled to a variance of 1.

    Args:
        folder: a model's folder.
        dataset: data set whose test images are encoded.
        out: the PNG file, 1,000 pixels wide.
        count: largest number of images; kernel PCA needs memory for its square.

    Raises:
        ModelError: the model's files cannot be used.
        ImageMismatch: its images are not of the data set's shape.
        CannotWrite: the file cannot be written.
    """
    subject = Subject(folder, dataset)
    images = dataset.test.take(np.arange(min(count, len(dataset.test))))
    y = subject.codes(images.pixels).astype(np.float64)
    size = subject.card.code_size
    number = f"{len(y):,} test images"
    with figure(5.0 if size == 3 else 5.6) as made:
        if size == 1:
            _draw_line(made, y, images.labels, dataset)
            title = f"{subject.card.name}: the codes of {number}, one number each"
        elif size == 2:
            _scatter(made.add_axes((0.08, 0.1, 0.74, 0.8)), y, images.labels, ("number 1", "number 2"))
            title = f"{subject.card.name}: the codes of {number}, two numbers each"
        elif size == 3:
            names = ("number 1", "number 2", "number 3")
            for index, angle in enumerate((-60, 120)):
                axes: Any = made.add_axes((0.0 + 0.44 * index, 0.0, 0.42, 0.94), projection="3d")
                _scatter(axes, y, images.labels, names)
                axes.set_box_aspect((4, 4, 3.6), zoom=1.08)
                axes.view_init(elev=22, azim=angle)
            title = f"{subject.card.name}: the codes of {number}, three numbers each, from two sides"
        else:
            points = kernel_pca(y)
            names = ("component 1", "component 2", "component 3")
            _scatter(made.add_axes((0.085, 0.1, 0.385, 0.78)), points[:, :2], images.labels, names[:2])
            _scatter(made.add_axes((0.47, 0.02, 0.41, 0.88), projection="3d"), points, images.labels, names)
            title = f"{subject.card.name}: kernel PCA of the codes of {number}, {subject.code_in_words} each"
        made.text(0.02, 0.975, title, va="top", fontsize=12, weight="bold")
        if size > 1:  # the lines of a single number are labelled
            _legend(made, images.labels, dataset)
        save(made, out)


def plot_histograms(folder: Path, dataset: Dataset, out: Path) -> None:
    """Draw the histogram of each coordinate of the test images' codes, the first twenty of them.

    A line shows the normal distribution of the same mean and variance; the shaded part lies beyond the symbols of
    the table, and costs more bytes. Arguments and errors are those of `plot_codes`.
    """
    subject = Subject(folder, dataset)
    y = subject.codes(dataset.test.pixels).astype(np.float64)
    shown = min(y.shape[1], SHOWN_COORDINATES)
    columns = min(shown, 5)
    lines = math.ceil(shown / columns)
    low, high = subject.outermost_levels
    with figure(0.75 + max(1.75 * lines, 2.6 if lines == 1 else 0)) as made:
        panels = np.atleast_1d(made.subplots(lines, columns, squeeze=False)).ravel()
        for index, axes in enumerate(panels):
            if index >= shown:
                axes.set_axis_off()
                continue
            values = y[:, index]
            axes.hist(values, bins=50, density=True, color=BLUE)
            _draw_normal(axes, values)
            left, right = axes.get_xlim()
            for start, end in ((left, low[index]), (high[index], right)):
                if start < end:
                    axes.axvspan(start, end, color=GREY, alpha=0.25, linewidth=0)
            axes.set_xlim(left, right)
            axes.set_yticks([])
            axes.tick_params(axis="x", labelsize=8)
            axes.set_title(f"number {index + 1}", fontsize=9, pad=3)
        of = f"the first {shown} of {y.shape[1]:,} numbers" if shown < y.shape[1] else f"the {subject.code_in_words}"
        made.text(
            0.02,
            1 - 0.1 / made.get_figheight(),
            f"{subject.card.name}: {of} of the code, over {len(y):,} test images",
            va="top",
            fontsize=12,
            weight="bold",
        )
        made.tight_layout(rect=(0, 0, 1, 1 - 0.38 / made.get_figheight()))
        save(made, out)


def kernel_pca(y: Points, components: int = 3) -> Points:
    """Return the first components, (N, components), of codes (N, code size) by kernel PCA with a Gaussian kernel."""
    from sklearn.decomposition import KernelPCA  # takes a second to load, and other pictures do not need it

    spread = y.std(axis=0)
    scaled = (y - y.mean(axis=0)) / np.where(spread > 0, spread, 1)
    method = KernelPCA(min(components, len(y)), kernel="rbf", gamma=1 / y.shape[1], random_state=0)
    points: Points = method.fit_transform(scaled)
    if points.shape[1] < components:
        points = np.pad(points, ((0, 0), (0, components - points.shape[1])))
    return points


def _draw_line(made: Any, y: Points, labels: npt.NDArray[Any], dataset: Dataset) -> None:
    left = 0.17 if dataset.classes else 0.08
    axes = made.add_axes((left, 0.1, 0.97 - left, 0.8))
    classes = np.unique(labels)
    rank = np.searchsorted(classes, labels)
    jitter = np.random.default_rng(0).uniform(-0.35, 0.35, len(y))
    axes.scatter(y[:, 0], rank + jitter, c=_colours(len(classes))(rank % 20), s=7, linewidths=0)
    axes.set_yticks(range(len(classes)), [_name(label, dataset) for label in classes])
    axes.set_xlabel("the number")
    if len(classes) > 1:
        axes.set_ylabel(_kind_of_class(dataset))
    axes.invert_yaxis()


def _scatter(axes: Any, points: Points, labels: npt.NDArray[Any], names: tuple[str, ...]) -> None:
    classes = np.unique(labels)
    rank = np.searchsorted(classes, labels)
    colours = _colours(len(classes))(rank % 20)
    if len(names) == 2:
        axes.scatter(*points.T, c=colours, s=7, linewidths=0, alpha=0.75)
        axes.set_xlabel(names[0])
        axes.set_ylabel(names[1])
        return
    axes.patch.set_visible(False)  # it would cover the plot beside it
    axes.scatter(*points.T, c=colours, s=5, linewidths=0, alpha=0.75, depthshade=False)
    for name, setter in zip(names, (axes.set_xlabel, axes.set_ylabel, axes.set_zlabel), strict=True):
        setter(name, fontsize=9, labelpad=-4)
    axes.tick_params(labelsize=7, pad=-2)


def _legend(made: Any, labels: npt.NDArray[Any], dataset: Dataset) -> None:
    classes = np.unique(labels)
    if not 1 < len(classes) <= _MAX_CLASSES:
        return
    colours = _colours(len(classes))
    points = [
        Line2D([], [], color=colours(index), marker="o", linestyle="", markersize=7, label=_name(label, dataset))
        for index, label in enumerate(classes)
    ]
    place = {"loc": "center right", "bbox_to_anchor": (0.985, 0.5)}
    made.legend(handles=points, title=_kind_of_class(dataset), handletextpad=0.2, **place)


def _draw_normal(axes: Any, values: Points) -> None:
    spread = values.std()
    if spread == 0:
        return
    grid = np.linspace(values.min(), values.max(), 200)
    density = np.exp(-(((grid - values.mean()) / spread) ** 2) / 2) / (spread * math.sqrt(2 * math.pi))
    axes.plot(grid, density, color=ORANGE, linewidth=1.2)


def _colours(count: int) -> Any:
    return CLASS_COLOURS if count <= 10 else mpl.colormaps["tab20"]


def _kind_of_class(dataset: Dataset) -> str:
    return "class" if dataset.classes or dataset.name not in _DIGIT_DATASETS else "digit"


def _name(label: int, dataset: Dataset) -> str:
    return dataset.label_in_words(label)[:14]


_DIGIT_DATASETS = ("mnist", "synthetic")
