"""Options -> the data set of a recipe, a run or a model."""

import argparse
import sys

from latentwire.model.card import load_card
from latentwire.options import Fit
from training.data.datasets import Dataset, TargetShape, is_known, load_dataset, skipped_in_words, target_shape
from training.errors import InvalidRun
from training.recipe import Recipe
from training.release import pipeline
from training.release.artifacts import Source


def load_dataset_of_recipe(recipe: Recipe, arguments: argparse.Namespace) -> Dataset:
    """Load a recipe's data set, as images of the shape that the recipe wants."""
    return _load(recipe.dataset, target_shape(recipe), arguments)


def load_dataset_of_source(
    source: Source, arguments: argparse.Namespace, name: str | None = None, fit: Fit | None = None
) -> Dataset:
    """Load the data set of a run's or a model's recipe, or the data set `name`, in the shape that the network takes.

    A run that lacks graphs or a quantizer gets them first, if `name` is given: by its own images, and not by these.

    Raises:
        InvalidRun: the data set of a model is not known, and none is named.
    """
    recipe = source.recipe
    wanted = name or (recipe.dataset if recipe else None)
    if wanted is None:
        raise InvalidRun("the card does not say which data set the model was trained on; name one with --dataset")
    if source.run is None:
        shape = load_card(source.path).image
        if name is None and not is_known(wanted, arguments.data):
            raise InvalidRun(
                f"'{wanted}', which model '{source.name}' was trained on, is not in the data folder; say where it is "
                "with --dataset"
            )
    else:
        if name is not None and not pipeline.is_prepared(source.run):
            pipeline.prepare(source.run, load_dataset_of_recipe(source.run.recipe(), arguments))
        shape = source.run.image_shape()
    target = target_shape(recipe) if recipe else TargetShape()
    height, width, channels = shape.as_tuple()
    target = target._replace(height=height, width=width, channels=channels, fit=fit or target.fit)
    return _load(wanted, target, arguments)


def _load(name: str, target: TargetShape, arguments: argparse.Namespace) -> Dataset:
    dataset = load_dataset(name, arguments.data, target, strict=arguments.strict)
    if dataset.skipped:
        print(skipped_in_words(dataset), file=sys.stderr)
    return dataset
