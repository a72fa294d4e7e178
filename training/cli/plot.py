"""`plot` and `report`: pictures of runs and models."""

import argparse

from training.analysis.report import write_report
from training.cli.sources import load_dataset_of_source
from training.errors import InvalidRecipe, InvalidRun
from training.plots.catalogue import KINDS, Options, check_request
from training.release.artifacts import find_source, model_source, open_sources


def plot(arguments: argparse.Namespace) -> int:
    """Draw one picture."""
    kind, out = KINDS[arguments.picture], arguments.out
    options = Options(arguments.count, arguments.noise, arguments.noise_level, arguments.seed)
    check_request(arguments.picture, len(arguments.sources) + len(arguments.model), out, options)
    sources = [*map(find_source, arguments.sources), *map(model_source, arguments.model)]
    if kind.draw is not None:
        dataset = load_dataset_of_source(sources[0], arguments, arguments.dataset, arguments.fit)
        with open_sources(sources, dataset) as folders:
            kind.draw(folders, dataset, out, options)
    elif kind.draw_run is not None:
        if sources[0].run is None:
            raise InvalidRun(f"plot {arguments.picture} needs the folder of a run; {sources[0].path} is a model")
        kind.draw_run(sources[0].run, out)
    print(out)
    return 0


def report(arguments: argparse.Namespace) -> int:
    """Write the report of a run or a model."""
    if (arguments.source is None) == (arguments.model is None):
        raise InvalidRecipe("report takes either the folder of a run or --model with that of a published model")
    source = find_source(arguments.source) if arguments.source is not None else model_source(arguments.model)
    dataset = load_dataset_of_source(source, arguments, arguments.dataset, arguments.fit)
    pictures = write_report(source, dataset, arguments.out)
    print(f"{arguments.out}: {', '.join(pictures)}")
    return 0
