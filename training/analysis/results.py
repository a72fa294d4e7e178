"""Runs and models -> their errors on all test images, beside those that the articles print.

Each network is measured through its exported graphs with the code as floats; a run without graphs is exported first.
Unfinished or failing runs are named and skipped.
"""

import json
import math
import tomllib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from latentwire.errors import CodecError, ImageMismatch
from latentwire.imaging import image
from latentwire.model.card import CARD_FILE, load_card
from training.batches import parts
from training.data.datasets import Dataset
from training.data.noise import make_noisy
from training.errors import InvalidRecipe, InvalidRun, TrainingError
from training.loop.early_stopping import EarlyStopping
from training.recipe import Recipe, load_recipe
from training.release.artifacts import Source, find_source
from training.release.onnx_pair import Floats, GraphPair, open_pair
from training.runs import RunFolder

FIGURES_FILE = Path(__file__).parent / "article_figures.toml"

OUTLIERS_FILE = "results.jsonl"


# Fields that change neither the network nor its training.
_WITHOUT_EFFECT = {"name", "description", "licence", "device", "threads", "max_rmse_increase"}


class Published(NamedTuple):
    """A published figure: RMSE in [0, 1], and its source."""

    rmse: float
    where: str


class Figures(NamedTuple):
    """Published figures on one data set, by the name of a recipe and by the size of the code."""

    dataset: str
    by_recipe: dict[str, Published]
    by_size: dict[int, Published]


class Measured(NamedTuple):
    """One network's figures on all test images of its data set.

    `changes` names the options in which the recipe as run differs from the project's of that name; it is empty for a
    recipe as written. `rmse` is that of clean images; `noisy_rmse` that between the clean images and reconstructions of
    noisy ones, and `noise_rmse` that of the noisy images themselves, both None unless the network was trained on noise.
    The best run is that of the least `validation_rmse`.
    """

    name: str
    recipe: Recipe
    changes: str
    data: str
    pair: GraphPair
    rmse: float
    validation_rmse: float
    noisy_rmse: float | None
    noise_rmse: float | None


class Skipped(NamedTuple):
    """A folder that is not in the tables, and the reason."""

    path: Path
    reason: str


class HiddenOutliers(NamedTuple):
    """Results of `python -m training outliers`: the ranks of the hidden images by each error."""

    recipe: Recipe
    ranks: dict[str, list[int]]


def find_networks(paths: Sequence[Path]) -> Iterable[Path]:
    """Yield the folders of runs and models among the paths, and within paths that are neither."""
    for path in paths:
        within = sorted(filter(_is_network, path.iterdir())) if path.is_dir() and not _is_network(path) else []
        yield from within or [path]


def measure_all(
    paths: Sequence[Path], load: Callable[[Recipe], Dataset], report: Callable[[Measured | Skipped], None]
) -> tuple[list[Measured], list[Skipped]]:
    """Measure each run and model, and report each result.

    Args:
        paths: folders of runs, of models, and folders that contain such folders.
        load: returns the data set of a recipe.
        report: called with each network that is measured or skipped.

    Raises:
        InvalidRun: no network can be measured.
    """
    measured: list[Measured] = []
    skipped: list[Skipped] = []
    for path in find_networks(paths):
        try:
            found: Measured | Skipped = _measure(find_source(path), load)
        except (TrainingError, CodecError) as error:
            found = Skipped(path, str(error))
        report(found)
        if isinstance(found, Measured):
            measured.append(found)
        else:
            skipped.append(found)
    if not measured:
        raise InvalidRun(f"no finished run and no model in {', '.join(map(str, paths))}")
    return measured, skipped


def load_figures(path: Path = FIGURES_FILE) -> Figures:
    """Read the published figures.

    Raises:
        InvalidRecipe: the file is damaged.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        return Figures(
            content["dataset"],
            {figure["recipe"]: Published(float(figure["rmse"]), figure["where"]) for figure in content["system"]},
            {int(figure["size"]): Published(float(figure["rmse"]), figure["where"]) for figure in content["code"]},
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidRecipe(f"the published figures in {path} cannot be read") from error


def load_hidden_outliers(folder: Path) -> HiddenOutliers:
    """Read the results that `python -m training outliers` left in its folder.

    Raises:
        InvalidRun: it is not such a folder, or it has no result yet.
    """
    recipe, path = RunFolder(folder).recipe(), folder / OUTLIERS_FILE
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        ranks = {label: [int(line[field]) for line in lines] for field, label in _RANKS.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidRun(f"{folder} does not hold the results of `python -m training outliers`") from error
    if not lines:
        raise InvalidRun(f"{folder} has no result yet; run `python -m training outliers` again")
    return HiddenOutliers(recipe, ranks)


def _measure(source: Source, load: Callable[[Recipe], Dataset]) -> Measured:
    if source.recipe is None:
        raise InvalidRun("its card does not contain the recipe that it was made by")
    if source.run is not None:
        _check_finished(source.run, source.recipe)
    dataset = load(source.recipe)
    pair = open_pair(source, dataset)
    if pair.shape != dataset.shape:
        raise ImageMismatch(f"it takes {pair.shape}; {dataset.name} has {dataset.shape}")
    noisy = _rmse_under_noise(pair, source.recipe, dataset) if is_noisy(source.recipe) else (None, None)
    return Measured(
        name=source.path.resolve().name,
        recipe=source.recipe,
        changes=_changes(source.recipe),
        data=dataset.name,
        pair=pair,
        rmse=_rmse(pair, dataset),
        validation_rmse=_validation_rmse(source),
        noisy_rmse=noisy[0],
        noise_rmse=noisy[1],
    )


def _check_finished(run: RunFolder, recipe: Recipe) -> None:
    metrics = run.metrics()
    stopping = EarlyStopping(recipe.patience, recipe.min_change)
    if recipe.stop_on != "none":
        for epoch in metrics:
            stopping.record(float(epoch["train_loss" if recipe.stop_on == "training" else "validation_loss"]))
    if len(metrics) < recipe.epochs and not (recipe.stop_on != "none" and stopping.should_stop):
        raise InvalidRun(f"the run is not finished: it has {len(metrics)} of {recipe.epochs} epochs")


def _validation_rmse(source: Source) -> float:
    if source.run is not None:
        return float(source.run.read_json(source.run.export_file, "export")["validation_rmse"])
    # A model whose card lacks the figure is never the best.
    return float(load_card(source.path).provenance.get("validation_rmse", math.inf))


def _changes(recipe: Recipe) -> str:
    try:
        written = load_recipe(recipe.name)
    except InvalidRecipe:
        return "a recipe of its own"
    before = written.options()
    changed = [
        f"{field} {_in_words(value)} instead of {_in_words(before.get(field, 'none'))}"
        for field, value in recipe.options().items()
        if field not in _WITHOUT_EFFECT and value != before.get(field)
    ]
    return ", ".join(changed)


def _in_words(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _rmse(pair: GraphPair, dataset: Dataset) -> float:
    squares = 0.0
    for part in parts(len(dataset.test), dataset.shape.as_tuple()):
        x = image.to_x(dataset.test.pixels[part])
        squares += _squares(pair.reconstruct(x), x)
    return math.sqrt(squares / dataset.test.pixels.size)


def _rmse_under_noise(pair: GraphPair, recipe: Recipe, dataset: Dataset) -> tuple[float, float]:
    """Return the RMSE from the clean images, of reconstructions of noisy ones and of the noisy ones."""
    reconstructed = unchanged = 0.0
    for part in parts(len(dataset.test), dataset.shape.as_tuple()):
        x = image.to_x(dataset.test.pixels[part])
        noisy = make_noisy(x, recipe.noise, recipe.noise_std, seed=part.start)
        reconstructed += _squares(pair.reconstruct(noisy), x)
        unchanged += _squares(noisy, x)
    size = dataset.test.pixels.size
    return math.sqrt(reconstructed / size), math.sqrt(unchanged / size)


def _squares(x_hat: Floats, x: Floats) -> float:
    return float(np.square(x_hat.astype(np.float64).clip(0, 1) - x).sum())


def is_noisy(recipe: Recipe) -> bool:
    """Return whether a recipe trains on noisy images."""
    return recipe.noise > 0 or recipe.noise_std > 0


def _is_network(path: Path) -> bool:
    return (path / CARD_FILE).is_file() or RunFolder(path).recipe_file.is_file()


_RANKS = {"rank": "RMSE", "rank_by_mae": "mean absolute error", "rank_by_coarse": "coarse error"}
