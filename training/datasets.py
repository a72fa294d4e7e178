"""Names of data sets -> their images and labels, as numpy arrays of pixels.

Knows where data lies, and how training images are told from validation images; knows no torch and no network.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from codec.model_card import ImageShape
from training.errors import InvalidRecipe
from training.mnist import load_mnist
from training.recipe import DatasetName, Recipe
from training.synthetic import draw_digits

REPOSITORY = Path(__file__).resolve().parent.parent
DATA_VARIABLE = "LATENTWIRE_DATA"

# Which images validate does not depend on a recipe's seed, so that runs which differ in it can be compared.
SPLIT_SEED = 1

SYNTHETIC_TRAIN, SYNTHETIC_TEST = 2000, 500

Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Images:
    """Pixels, uint8 (N, H, W, C), and their labels, uint8 (N)."""

    pixels: npt.NDArray[np.uint8]
    labels: Labels

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, indices: npt.NDArray[np.int64]) -> "Images":
        """Return those of these indices, in their order."""
        return Images(self.pixels[indices], self.labels[indices])


class Dataset(NamedTuple):
    """A data set's training and test images."""

    name: str
    train: Images
    test: Images

    @property
    def shape(self) -> ImageShape:
        """Of each image."""
        _, height, width, channels = self.train.pixels.shape
        return ImageShape(height=height, width=width, channels=channels)


class TrainingSplit(NamedTuple):
    """A data set's training images, cut in two: those that are trained on, and those that choose among epochs."""

    train: Images
    validation: Images


def default_data_dir() -> Path:
    """Return the folder of LATENTWIRE_DATA, else `../shared/data` beside the repository, else `data/` in it."""
    if configured := os.environ.get(DATA_VARIABLE):
        return Path(configured)
    beside = REPOSITORY.parent / "shared" / "data"
    return beside if beside.is_dir() else REPOSITORY / "data"


def load_dataset(name: DatasetName, data_dir: Path | None = None) -> Dataset:
    """Load a data set from `data_dir`, or from the default folder.

    Raises:
        MissingData: its files are not there.
        CorruptData: they are not what they should be.
    """
    return _LOADERS[name](data_dir or default_data_dir())


def split_training(dataset: Dataset, recipe: Recipe) -> TrainingSplit:
    """Cut the training images by a fixed permutation; the test images have no part in it.

    Raises:
        InvalidRecipe: it asks for more images than there are.
    """
    count = len(dataset.train)
    left = count - recipe.validation_images
    wanted = recipe.training_images or max(left, recipe.batch_size)
    if wanted > left or recipe.batch_size > wanted:
        raise InvalidRecipe(
            f"{dataset.name} has {count:,} training images: not enough for validation_images "
            f"{recipe.validation_images:,}, training_images {recipe.training_images:,} and batch_size "
            f"{recipe.batch_size:,}"
        )
    # numpy promises the stream of RandomState for good, but not that of its newer generators.
    order = np.random.RandomState(SPLIT_SEED).permutation(count)
    validation, train = order[: recipe.validation_images], order[recipe.validation_images :][:wanted]
    return TrainingSplit(dataset.train.take(train), dataset.train.take(validation))


def _mnist(data_dir: Path) -> Dataset:
    arrays = load_mnist(data_dir)
    return Dataset(
        "mnist",
        Images(arrays["train-images-idx3-ubyte"][..., None], arrays["train-labels-idx1-ubyte"]),
        Images(arrays["t10k-images-idx3-ubyte"][..., None], arrays["t10k-labels-idx1-ubyte"]),
    )


@lru_cache(maxsize=1)
def _drawn() -> Dataset:
    train, test = Images(*draw_digits(SYNTHETIC_TRAIN, seed=1)), Images(*draw_digits(SYNTHETIC_TEST, seed=2))
    for array in (train.pixels, train.labels, test.pixels, test.labels):
        array.flags.writeable = False  # all callers share them
    return Dataset("synthetic", train, test)


def _synthetic(_data_dir: Path) -> Dataset:
    return _drawn()


_LOADERS: dict[DatasetName, Callable[[Path], Dataset]] = {"mnist": _mnist, "synthetic": _synthetic}
