"""`results` and `latency`: figures of many runs and models."""

import argparse
import sys

from training.analysis.latency import latency_lines, measure_latency
from training.analysis.results import Measured, Skipped, load_hidden_outliers, measure_all
from training.analysis.results_page import write_page
from training.cli.sources import load_dataset_of_recipe
from training.data.datasets import Dataset, TargetShape, target_shape
from training.errors import TrainingError
from training.plots.canvas import write_picture
from training.recipe import Recipe
from training.release.artifacts import find_source
from training.release.onnx_pair import open_pair


def results(arguments: argparse.Namespace) -> int:
    """Write the page of results."""
    loaded: dict[tuple[str, TargetShape], Dataset] = {}

    def load(recipe: Recipe) -> Dataset:
        key = (recipe.dataset, target_shape(recipe))
        if key not in loaded:
            loaded[key] = load_dataset_of_recipe(recipe, arguments)
        return loaded[key]

    outliers = []
    for folder in arguments.outliers:
        try:
            outliers.append(load_hidden_outliers(folder))
        except TrainingError as error:
            _print_result(Skipped(folder, str(error)))
    measured, skipped = measure_all(arguments.sources, load, _print_result)
    write_picture(arguments.out, write_page(measured, skipped, outliers, load).encode())
    print(arguments.out)
    return 0


def latency(arguments: argparse.Namespace) -> int:
    """Print the latencies of graphs."""
    pairs = []
    for source in map(find_source, arguments.sources):
        # A published model needs no data set.
        dataset = load_dataset_of_recipe(source.run.recipe(), arguments) if source.run else None
        pairs.append(open_pair(source, dataset))
    print("\n".join(latency_lines(measure_latency(pairs, arguments.rounds))))
    return 0


def _print_result(found: Measured | Skipped) -> None:
    if isinstance(found, Measured):
        print(f"{found.name}: {found.data}, code of {found.recipe.code_size:,}, RMSE {found.rmse:.4f}", flush=True)
    else:
        print(f"left out: {found.path}: {found.reason}", file=sys.stderr, flush=True)
