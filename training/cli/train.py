"""`train` and `resume`."""

import argparse

from training.cli.parser import recipe_options
from training.cli.sources import load_dataset_of_recipe
from training.data.datasets import Dataset, split_sizes
from training.errors import InvalidRecipe
from training.loop import trainer
from training.loop.listeners import take_snapshots, tensorboard_listeners
from training.loop.warm_start import load_initial_weights
from training.recipe import Recipe, load_recipe, make_recipe
from training.runs import RunFolder, create_run

# The recipe of `train --layers …` without --recipe.
PLAIN_RECIPE = "plain"

# Least number of steps in an epoch, unless the command line says how large batches are.
LEAST_STEPS = 8


def train(arguments: argparse.Namespace) -> int:
    """Train into a new run folder."""
    options = recipe_options(arguments)
    if arguments.recipe is None and "layers" not in options:
        raise InvalidRecipe("train needs a --recipe, or --layers as in 784,512,128,10")
    recipe = load_recipe(arguments.recipe or PLAIN_RECIPE, options)
    dataset = load_dataset_of_recipe(recipe, arguments)
    if "batch_size" not in options:
        recipe = with_smaller_batches(recipe, dataset)
    trainer.check(recipe, dataset)
    source = arguments.start_from
    initial_weights = None if source is None else load_initial_weights(source, recipe, dataset)
    run = create_run(recipe, arguments.run)
    try:
        # After the run's folder, in which TensorBoard's may lie.
        with tensorboard_listeners(arguments.log_dir, recipe, dataset) as listeners:
            print(_plan(recipe, dataset, run), flush=True)
            every_epoch = [print_epoch, take_snapshots(run, dataset), *listeners]
            trainer.train(recipe, dataset, run, every_epoch, initial_weights)
    except BaseException:
        run.discard()
        raise
    _print_end(run)
    return 0


def resume(arguments: argparse.Namespace) -> int:
    """Continue a run from its last checkpoint."""
    run = RunFolder(arguments.run)
    recipe = run.recipe()
    dataset = load_dataset_of_recipe(recipe, arguments)
    with tensorboard_listeners(arguments.log_dir, recipe, dataset) as listeners:
        resumed = trainer.resume(run, dataset, [print_epoch, take_snapshots(run, dataset), *listeners])
    if resumed:
        _print_end(run)
    else:
        print(f"{run} is complete: it has run its last epoch")
    return 0


def with_smaller_batches(recipe: Recipe, dataset: Dataset) -> Recipe:
    """Return the recipe with batches of at most an eighth of the training images, so that small folders can be used."""
    trained, _ = split_sizes(dataset.name, len(dataset.train), recipe.model_copy(update={"batch_size": 2}))
    largest = max(2, trained // LEAST_STEPS)
    return recipe if recipe.batch_size <= largest else make_recipe(recipe.model_dump(), {"batch_size": largest})


def _plan(recipe: Recipe, dataset: Dataset, run: RunFolder) -> str:
    trained, validated = split_sizes(dataset.name, len(dataset.train), recipe)
    return (
        f"{recipe.name}: {dataset.name}, images of {dataset.shape}; {trained:,} to train on in batches of "
        f"{recipe.batch_size:,}, {validated:,} to choose the best epoch by, {len(dataset.test):,} to test; into {run}"
    )


def print_epoch(end: trainer.EpochEnd) -> None:
    """Print an epoch's figures."""
    print(end.report, flush=True)


def _print_end(run: RunFolder) -> None:
    metrics, recipe = run.metrics(), run.recipe()
    if len(metrics) < recipe.epochs:
        fall = f"fell by no more than {recipe.min_change:g}"
        print(f"stopped early: the {recipe.stop_on} loss {fall} in {recipe.patience} epochs")
    best = metrics[int(metrics[-1]["best_epoch"]) - 1]
    size = f" at {best['validation_bits'] / 8:.2f} bytes" if "validation_bits" in best else ""
    print(f"best: epoch {best['epoch']}, validation RMSE {best['validation_rmse']:.5f}{size}")
    print(f"next: python -m training publish {run}")
