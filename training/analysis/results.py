"""Many runs and models -> one page of Markdown: their errors beside those that the articles print, and beside PCA's.

Each network is measured here, on all test images, through its exported graphs with the code as floats; a run without
graphs gets them first. What is not finished, or fails, is named and passed over. Knows no torch, unless graphs have to
be made or noise to be drawn.
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
from training.analysis.latency import MAX_BYTES, MAX_MS, Latency, measure_latency, met
from training.data.datasets import Dataset
from training.errors import InvalidRecipe, InvalidRun, TrainingError
from training.loop.early_stopping import EarlyStopping
from training.pca import Pca, fit_pca
from training.recipe import Recipe, load_recipe
from training.release.artifacts import Source, find_source
from training.release.onnx_pair import Floats, GraphPair, open_pair
from training.runs import RunFolder

FIGURES_FILE = Path(__file__).parent / "article_figures.toml"

OUTLIERS_FILE = "results.jsonl"

BATCH = 500

# What changes neither the network nor how it is trained.
_WITHOUT_EFFECT = {"name", "description", "device", "threads", "max_rmse_increase"}


class Published(NamedTuple):
    """A figure that somebody printed: RMSE in [0, 1], and where it stands."""

    rmse: float
    where: str


class Figures(NamedTuple):
    """Published figures on one data set, by the name of a recipe and by the size of the code."""

    dataset: str
    by_recipe: dict[str, Published]
    by_size: dict[int, Published]


class Measured(NamedTuple):
    """One network's figures on all test images of its data set.

    `changes` tells in which fields the recipe as run differs from the project's of that name; it is empty for a recipe
    as written. `rmse` is of clean images; `noisy_rmse` that between the clean images and what the network makes of
    noisy ones, and `noise_rmse` that of the noisy images themselves, both None unless it was trained on noise.
    `validation_rmse` is what the best run is chosen by.
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
    """A folder that is not in the tables, and why."""

    path: Path
    reason: str


class HiddenOutliers(NamedTuple):
    """What `python -m training outliers` found: how many images were hidden, and which ranks they got by each error."""

    recipe: Recipe
    ranks: dict[str, list[int]]


def find_networks(paths: Sequence[Path]) -> Iterable[Path]:
    """Yield the folders of runs and models among the paths, and those within paths that are neither."""
    for path in paths:
        within = sorted(filter(_is_network, path.iterdir())) if path.is_dir() and not _is_network(path) else []
        yield from within or [path]


def measure_all(
    paths: Sequence[Path], load: Callable[[Recipe], Dataset], report: Callable[[Measured | Skipped], None]
) -> tuple[list[Measured], list[Skipped]]:
    """Measure each run and model, and tell of each by `report`.

    Args:
        paths: of runs, of models, and of folders with such folders in them.
        load: gives the data set of a recipe.
        report: is called with each one that is measured or passed over.

    Raises:
        InvalidRun: nothing of it can be measured.
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
        raise InvalidRun(f"there is no finished run and no model in {', '.join(map(str, paths))}")
    return measured, skipped


def load_figures(path: Path = FIGURES_FILE) -> Figures:
    """Read what others published.

    Raises:
        InvalidRecipe: the file is not what it should be.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        return Figures(
            content["dataset"],
            {one["recipe"]: Published(float(one["rmse"]), one["where"]) for one in content["system"]},
            {int(one["size"]): Published(float(one["rmse"]), one["where"]) for one in content["code"]},
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidRecipe(f"the published figures in {path} cannot be read") from error


def load_hidden_outliers(folder: Path) -> HiddenOutliers:
    """Read the results that `python -m training outliers` left in its folder.

    Raises:
        InvalidRun: it is not such a folder, or not one image was hidden yet.
    """
    recipe, path = RunFolder(folder).recipe(), folder / OUTLIERS_FILE
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        ranks = {
            label: [int(line[field]) for line in lines]
            for field, label in _RANKS.items()
            if lines and field in lines[0]
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidRun(f"{folder} does not hold the results of `python -m training outliers`") from error
    if not ranks:
        raise InvalidRun(f"in {folder} no image was hidden yet")
    return HiddenOutliers(recipe, ranks)


def write_page(
    measured: Sequence[Measured],
    skipped: Sequence[Skipped],
    outliers: Sequence[HiddenOutliers],
    load: Callable[[Recipe], Dataset],
) -> str:
    """Return the page as Markdown."""
    parts = [_HEAD]
    by_data: dict[str, list[Measured]] = {}
    for one in measured:
        by_data.setdefault(one.data, []).append(one)
    figures = load_figures()
    for data, group in by_data.items():
        dataset = load(group[0].recipe)
        known = figures if figures.dataset == data else figures._replace(by_recipe={}, by_size={})
        parts += _section(dataset, group, known, fit_pca(dataset.train.pixels))
    if outliers:
        parts += ["## A strange image hidden among the training images", _OUTLIERS, _outlier_table(outliers)]
    parts += ["## Size and time", _TIMES, _time_table(measure_latency([one.pair for one in measured]))]
    if skipped:
        parts += [
            "## Left out",
            "\n".join(f"- `{one.path.name}`: {one.reason.replace(str(one.path), one.path.name)}" for one in skipped),
        ]
    return "\n\n".join(parts) + "\n"


def _measure(source: Source, load: Callable[[Recipe], Dataset]) -> Measured:
    if source.recipe is None:
        raise InvalidRun("its card does not tell by which recipe it was made")
    if source.run is not None:
        _check_finished(source.run, source.recipe)
    dataset = load(source.recipe)
    pair = open_pair(source, dataset)
    if pair.shape != dataset.shape:
        raise ImageMismatch(f"it takes {pair.shape}; {dataset.name} has {dataset.shape}")
    noisy = _rmse_under_noise(pair, source.recipe, dataset) if _is_noisy(source.recipe) else (None, None)
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
            stopping.see(float(epoch["train_loss" if recipe.stop_on == "training" else "validation_loss"]))
    if len(metrics) < recipe.epochs and not (recipe.stop_on != "none" and stopping.ends):
        raise InvalidRun(f"it is not finished: {len(metrics)} of {recipe.epochs} epochs are run")


def _validation_rmse(source: Source) -> float:
    if source.run is not None:
        return float(source.run.read_json(source.run.export_file, "export")["validation_rmse"])
    # A card that was written by hand need not tell; such a model is never the best.
    return float(load_card(source.path).provenance.get("validation_rmse", math.inf))


def _changes(recipe: Recipe) -> str:
    try:
        written = load_recipe(recipe.name)
    except InvalidRecipe:
        return "a recipe of its own"
    changed = [
        f"{field} {_in_words(getattr(recipe, field))} instead of {_in_words(getattr(written, field))}"
        for field in Recipe.model_fields
        if field not in _WITHOUT_EFFECT and getattr(recipe, field) != getattr(written, field)
    ]
    return ", ".join(changed)


def _in_words(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _rmse(pair: GraphPair, dataset: Dataset) -> float:
    squares = 0.0
    for start in range(0, len(dataset.test), BATCH):
        x = image.to_x(dataset.test.pixels[start : start + BATCH])
        squares += _squares(pair.reconstruct(x), x)
    return math.sqrt(squares / dataset.test.pixels.size)


def _rmse_under_noise(pair: GraphPair, recipe: Recipe, dataset: Dataset) -> tuple[float, float]:
    """Return the RMSE, from the clean images, of what the network makes of noisy ones, and of the noisy ones."""
    from training.loop.noise import make_noisy  # it needs torch, which takes seconds to load

    made = given = 0.0
    for start in range(0, len(dataset.test), BATCH):
        x = image.to_x(dataset.test.pixels[start : start + BATCH])
        noisy = make_noisy(x, recipe.noise, recipe.noise_std, seed=start)
        made += _squares(pair.reconstruct(noisy), x)
        given += _squares(noisy, x)
    size = dataset.test.pixels.size
    return math.sqrt(made / size), math.sqrt(given / size)


def _squares(x_hat: Floats, x: Floats) -> float:
    return float(np.square(x_hat.astype(np.float64).clip(0, 1) - x).sum())


def _is_noisy(recipe: Recipe) -> bool:
    return recipe.noise > 0 or recipe.noise_std > 0


def _is_linear(recipe: Recipe) -> bool:
    kinds = (recipe.activation, recipe.code_activation, recipe.output_activation, recipe.normalisation)
    return recipe.architecture == "dense" and set(kinds) == {"none"}


def _section(dataset: Dataset, group: Sequence[Measured], known: Figures, pca: Pca) -> list[str]:
    sizes = sorted({one.recipe.code_size for one in group})
    best = {
        size: min((one for one in group if one.recipe.code_size == size), key=lambda one: one.validation_rmse)
        for size in sizes
    }
    values = dataset.shape.pixels * dataset.shape.channels
    line = {size: pca.clipped_rmse(dataset.test.pixels, min(size, values)) for size in sizes}
    parts = [f"## {dataset.name}: {len(dataset.test):,} test images of {dataset.shape}"]
    if written := [one for one in group if not one.changes]:
        parts += [f"### Systems\n\n{_SYSTEMS}", _system_table(written, known, best, line)]
    parts += [f"### How many numbers are enough\n\n{_SIZES}", _size_table(sizes, known, best, line)]
    if noisy := [one for one in group if one.noisy_rmse is not None]:
        parts += [f"### Noisy in, clean out\n\n{_NOISY}", _noise_table(noisy)]
    if changed := [one for one in group if one.changes]:
        parts += ["### Other runs", _changed_table(changed)]
    return parts


def _system_table(
    written: Sequence[Measured], known: Figures, best: dict[int, Measured], line: dict[int, float]
) -> str:
    rows = []
    for one in sorted(written, key=lambda one: one.recipe.name):
        size = one.recipe.code_size
        published = known.by_recipe.get(one.recipe.name)
        note = _LINEAR if _is_linear(one.recipe) else _CLEAN if _is_noisy(one.recipe) else ""
        ours = f"**{one.rmse:.4f}**" if published and one.rmse < published.rmse else f"{one.rmse:.4f}"
        rows.append(
            [f"`{one.name}`", f"{size:,}", _published(published), ours, _best(best[size]), _pca(line[size]), note]
        )
    return _table(["system", ">code", ">article", ">as written", ">ours at best", ">PCA", "measured"], rows)


def _size_table(sizes: Sequence[int], known: Figures, best: dict[int, Measured], line: dict[int, float]) -> str:
    rows = [[f"{size:,}", _published(known.by_size.get(size)), _best(best[size]), _pca(line[size])] for size in sizes]
    return _table([">numbers", ">published", ">ours at best", ">PCA"], rows)


def _noise_table(noisy: Sequence[Measured]) -> str:
    rows = []
    for one in noisy:
        kinds = [f"{one.recipe.noise:.0%} of the pixels black"] if one.recipe.noise else []
        kinds += [f"Gaussian, standard deviation {one.recipe.noise_std:g}"] if one.recipe.noise_std else []
        rows.append([f"`{one.name}`", " and ".join(kinds), f"{one.noise_rmse:.4f}", f"{one.noisy_rmse:.4f}"])
    return _table(["system", "noise", ">noisy image", ">what the network makes of it"], rows)


def _changed_table(changed: Sequence[Measured]) -> str:
    rows = [
        [f"`{one.name}`", f"`{one.recipe.name}`", one.changes, f"{one.recipe.code_size:,}", f"{one.rmse:.4f}"]
        for one in changed
    ]
    return _table(["run", "recipe", "changed", ">code", ">RMSE"], rows)


def _outlier_table(outliers: Sequence[HiddenOutliers]) -> str:
    rows = [
        [f"`{one.recipe.name}`", f"{one.recipe.epochs}", error, f"{ranks.count(1)} of {len(ranks)}", f"{max(ranks):,}"]
        for one in outliers
        for error, ranks in one.ranks.items()
    ]
    return _table(["recipe", ">epochs", "ranked by", ">found first", ">worst rank"], rows)


def _time_table(latencies: Sequence[Latency]) -> str:
    rows = [
        [
            f"`{one.name}`",
            f"{one.encoder_bytes:,}",
            f"{one.decoder_bytes:,}",
            f"{one.encoder_ms:.3f}",
            f"{one.decoder_ms:.3f}",
            met(one.small_enough),
            met(one.quick_enough),
        ]
        for one in latencies
    ]
    bounds = [f"≤ {MAX_BYTES / 1e6:g} MB", f"≤ {MAX_MS:g} ms"]
    return _table(["network", ">encoder, bytes", ">decoder, bytes", ">encoder, ms", ">decoder, ms", *bounds], rows)


def _published(figure: Published | None) -> str:
    return f"{figure.rmse:.4g} ({figure.where})" if figure else "–"


def _best(one: Measured) -> str:
    return f"{one.rmse:.4f} (`{one.name}`)"


def _pca(rmse: float) -> str:
    return f"{rmse:.4f}"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of Markdown; a heading that begins with `>` is that of a column of numbers."""
    names = [heading.removeprefix(">") for heading in headings]
    rule = ["---:" if heading.startswith(">") else "---" for heading in headings]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (names, rule, *rows))


def _is_network(path: Path) -> bool:
    return (path / CARD_FILE).is_file() or RunFolder(path).recipe_file.is_file()


_RANKS = {"rank": "RMSE", "rank_by_mae": "mean absolute error", "rank_by_coarse": "coarse error"}

_LINEAR = "a linear network: PCA is the best that it can come to"
_CLEAN = "clean images, though it was trained on noisy ones; those are below"

_HEAD = """# Results

Written by `python -m training results RUN…`, which measures each run and model anew: RMSE over all pixels of all test
images, pixels in [0, 1], through the exported encoder and decoder with the code as floats; what comes out is clipped to
[0, 1], also that of PCA, but nothing is quantized.

"Ours at best" is the network with as many numbers in the code that has the least error on the *validation* images. PCA
is the best that a linear encoder and decoder can do. What others print is in `training/article_figures.toml`."""

_SYSTEMS = """Each recipe as it is written in `training/recipes/`, without a change; bold is better than the article."""

_SIZES = "The best that was published, the best of ours, and PCA."

_NOISY = """RMSE from the clean image: of the noisy image itself, and of what the network makes of it. Noise is that of
the training, drawn anew for the test images."""

_OUTLIERS = """Article 004's experiment, once for each of several images that are no digits: a network is trained with
one of them among its training images, and all are ranked by reconstruction error. "Found first" is rank 1."""

_TIMES = """Of each graph by itself: bytes of its file, and median milliseconds for one image on one core of the machine
that wrote this page."""
