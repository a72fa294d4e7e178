"""`data`, `sample` and `recipes`: what there is to train on and with."""

import argparse

from latentwire.imaging.image import write_png
from training.atomic import write_atomically
from training.data.datasets import default_data_dir, load_dataset
from training.data.download import MIRRORS, download_mnist
from training.errors import InvalidRecipe
from training.recipe import load_recipe, recipe_names


def data(arguments: argparse.Namespace) -> int:
    """Download MNIST."""
    for line in download_mnist(arguments.to or default_data_dir(), arguments.mirror or MIRRORS):
        print(line, flush=True)
    return 0


def sample(arguments: argparse.Namespace) -> int:
    """Write one test image as a PNG file."""
    dataset = load_dataset(arguments.dataset, arguments.data, strict=arguments.strict)
    test = dataset.test
    if arguments.index >= len(test):
        raise InvalidRecipe(f"{arguments.dataset} has {len(test):,} test images; index {arguments.index} is too large")
    write_atomically(arguments.out, write_png(test.pixels[arguments.index]))
    label = dataset.label_in_words(int(test.labels[arguments.index]))
    print(f"{arguments.out}: image {arguments.index} of {arguments.dataset}{label and f', labelled {label}'}")
    return 0


def recipes(_arguments: argparse.Namespace) -> int:
    """List the recipes with their descriptions."""
    names = recipe_names()
    width = max(map(len, names)) + 2
    for name in names:
        print(f"{name:{width}}{load_recipe(name).description}")
    return 0
