"""Options -> the data set of a recipe, a run or a model."""

import argparse
import sys

from training.data.datasets import Dataset, load_dataset, skipped_in_words, target_shape
from training.errors import InvalidRun
from training.recipe import Recipe, make_recipe
from training.release.artifacts import Source


def load_dataset_of_recipe(recipe: Recipe, arguments: argparse.Namespace, name: str | None = None) -> Dataset:
    """Load the recipe's data set, or the data set `name`, as images of the shape that the recipe wants."""
    dataset = load_dataset(name or recipe.dataset, arguments.data, target_shape(recipe), strict=arguments.strict)
    if dataset.skipped:
        print(skipped_in_words(dataset), file=sys.stderr)
    return dataset


def load_dataset_of_source(source: Source, arguments: argparse.Namespace, name: str | None = None) -> Dataset:
    """Load the data set of a run's or a model's recipe, or the data set `name`, in the shape that the recipe wants.

    Raises:
        InvalidRun: the source has no recipe, and no data set is named.
    """
    recipe = source.recipe
    if recipe is None and name:
        recipe = make_recipe({"name": "unknown"})
    if recipe is None:
        raise InvalidRun("the card does not say which data set the model was trained on; name one with --dataset")
    return load_dataset_of_recipe(recipe, arguments, name)
