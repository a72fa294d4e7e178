"""Measured networks -> one page of Markdown: their errors beside those that the articles print, and beside PCA's."""

from collections.abc import Callable, Sequence
from operator import attrgetter

from training.analysis.latency import MAX_BYTES, MAX_MS, Latency, measure_latency, met
from training.analysis.results import Figures, HiddenOutliers, Measured, Published, Skipped, is_noisy, load_figures
from training.data.datasets import Dataset
from training.pca import Pca, fit_pca
from training.recipe import Dense, Recipe


def write_page(
    measured: Sequence[Measured],
    skipped: Sequence[Skipped],
    outliers: Sequence[HiddenOutliers],
    load: Callable[[Recipe], Dataset],
) -> str:
    """Return the page as Markdown."""
    parts = [_HEAD]
    by_data: dict[str, list[Measured]] = {}
    for network in measured:
        by_data.setdefault(network.data, []).append(network)
    figures = load_figures()
    for data, group in by_data.items():
        dataset = load(group[0].recipe)
        known = figures if figures.dataset == data else figures._replace(by_recipe={}, by_size={})
        parts += _section(dataset, group, known, fit_pca(dataset.train.pixels))
    if outliers:
        parts += ["## An outlier hidden among the training images", _OUTLIERS, _outlier_table(outliers)]
    parts += ["## Size and time", _TIMES, _time_table(measure_latency([network.pair for network in measured]))]
    if skipped:
        parts += [
            "## Left out",
            "\n".join(
                f"- `{skip.path.name}`: {skip.reason.replace(str(skip.path), skip.path.name)}" for skip in skipped
            ),
        ]
    return "\n\n".join(parts) + "\n"


def _is_linear(recipe: Recipe) -> bool:
    network = recipe.architecture
    if not isinstance(network, Dense):
        return False
    return {network.activation, network.code_activation, network.output_activation, network.normalisation} == {"none"}


def _section(dataset: Dataset, group: Sequence[Measured], known: Figures, pca: Pca) -> list[str]:
    sizes = sorted({network.recipe.code_size for network in group})
    best = {
        size: min((network for network in group if network.recipe.code_size == size), key=attrgetter("validation_rmse"))
        for size in sizes
    }
    values = dataset.shape.pixels * dataset.shape.channels
    line = {size: pca.clipped_rmse(dataset.test.pixels, min(size, values)) for size in sizes}
    parts = [f"## {dataset.name}: {len(dataset.test):,} test images of {dataset.shape}"]
    if written := [network for network in group if not network.changes]:
        parts += [f"### Systems\n\n{_SYSTEMS}", _system_table(written, known, best, line)]
    parts += [f"### RMSE over code size\n\n{_SIZES}", _size_table(sizes, known, best, line)]
    if noisy := [network for network in group if network.noisy_rmse is not None]:
        parts += [f"### Denoising\n\n{_NOISY}", _noise_table(noisy)]
    if changed := [network for network in group if network.changes]:
        parts += ["### Other runs", _changed_table(changed)]
    return parts


def _system_table(
    written: Sequence[Measured], known: Figures, best: dict[int, Measured], line: dict[int, float]
) -> str:
    rows = []
    for network in sorted(written, key=attrgetter("recipe.name")):
        size = network.recipe.code_size
        published = known.by_recipe.get(network.recipe.name)
        note = _LINEAR if _is_linear(network.recipe) else _CLEAN if is_noisy(network.recipe) else ""
        ours = f"**{network.rmse:.4f}**" if published and network.rmse < published.rmse else f"{network.rmse:.4f}"
        rows.append(
            [f"`{network.name}`", f"{size:,}", _published(published), ours, _best(best[size]), _pca(line[size]), note]
        )
    return _table(["system", ">code", ">article", ">as written", ">our best", ">PCA", "note"], rows)


def _size_table(sizes: Sequence[int], known: Figures, best: dict[int, Measured], line: dict[int, float]) -> str:
    rows = [[f"{size:,}", _published(known.by_size.get(size)), _best(best[size]), _pca(line[size])] for size in sizes]
    return _table([">numbers", ">published", ">our best", ">PCA"], rows)


def _noise_table(noisy: Sequence[Measured]) -> str:
    rows = []
    for network in noisy:
        kinds = [f"{network.recipe.noise:.0%} of the pixels black"] if network.recipe.noise else []
        kinds += [f"Gaussian, standard deviation {network.recipe.noise_std:g}"] if network.recipe.noise_std else []
        rows.append(
            [f"`{network.name}`", " and ".join(kinds), f"{network.noise_rmse:.4f}", f"{network.noisy_rmse:.4f}"]
        )
    return _table(["system", "noise", ">noisy image", ">reconstruction"], rows)


def _changed_table(changed: Sequence[Measured]) -> str:
    rows = [
        [
            f"`{network.name}`",
            f"`{network.recipe.name}`",
            network.changes,
            f"{network.recipe.code_size:,}",
            f"{network.rmse:.4f}",
        ]
        for network in changed
    ]
    return _table(["run", "recipe", "changed", ">code", ">RMSE"], rows)


def _outlier_table(outliers: Sequence[HiddenOutliers]) -> str:
    rows = [
        [
            f"`{experiment.recipe.name}`",
            f"{experiment.recipe.epochs}",
            error,
            f"{ranks.count(1)} of {len(ranks)}",
            f"{max(ranks):,}",
        ]
        for experiment in outliers
        for error, ranks in experiment.ranks.items()
    ]
    return _table(["recipe", ">epochs", "ranked by", ">found first", ">worst rank"], rows)


def _time_table(latencies: Sequence[Latency]) -> str:
    rows = [
        [
            f"`{latency.name}`",
            f"{latency.encoder_bytes:,}",
            f"{latency.decoder_bytes:,}",
            f"{latency.encoder_ms:.3f}",
            f"{latency.decoder_ms:.3f}",
            met(latency.is_small),
            met(latency.is_fast),
        ]
        for latency in latencies
    ]
    bounds = [f"≤ {MAX_BYTES / 1e6:g} MB", f"≤ {MAX_MS:g} ms"]
    return _table(["network", ">encoder, bytes", ">decoder, bytes", ">encoder, ms", ">decoder, ms", *bounds], rows)


def _published(figure: Published | None) -> str:
    return f"{figure.rmse:.4g} ({figure.where})" if figure else "–"


def _best(network: Measured) -> str:
    return f"{network.rmse:.4f} (`{network.name}`)"


def _pca(rmse: float) -> str:
    return f"{rmse:.4f}"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; a heading that begins with `>` is that of a column of numbers."""
    names = [heading.removeprefix(">") for heading in headings]
    rule = ["---:" if heading.startswith(">") else "---" for heading in headings]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (names, rule, *rows))


_LINEAR = "a linear network, whose optimum is PCA"
_CLEAN = "clean images; trained on noisy ones, which are below"

_HEAD = """# Results

`python -m training results RUN…` writes this page and measures each run and model: RMSE over all pixels of all test
images, pixels in [0, 1], through the exported encoder and decoder, with the code as floats. Reconstructions, also those
of PCA, are clipped to [0, 1] but not quantized.

"Our best" is the network of the same code size with the least error on the *validation* images. PCA is the optimum of a
linear encoder and decoder. `training/analysis/article_figures.toml` has the published figures."""

_SYSTEMS = """Each recipe as written in `training/recipes/`, without changes; bold is better than the article."""

_SIZES = "The best published figure, our best, and PCA."

_NOISY = """RMSE from the clean image: of the noisy image itself, and of its reconstruction. The noise is like that of
the training, drawn for the test images."""

_OUTLIERS = """Article 004's experiment, once for each of several images that are not digits: a network is trained with
one of them among its training images, and all are ranked by reconstruction error. "Found first" is rank 1."""

_TIMES = """Size of each graph's file in bytes, and median time of one image in milliseconds, on one core of the machine
that wrote this page."""
