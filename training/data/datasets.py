"""Names and paths of data sets -> their images and labels, as numpy arrays of pixels.

A data set is found by its name in the data folder, or by its path; its training images are split into those that are
trained on and those that validate.
"""

import difflib
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from latentwire.model.card import ImageShape
from training.data.array_files import idx_files, load_idx, load_npz
from training.data.image_folder import Skipped, load_folder
from training.data.images import Images, Labels, TargetShape, fit_pixels, join, shape_of
from training.data.mnist import load_mnist
from training.data.synthetic import draw_digits
from training.errors import CorruptData, InvalidRecipe, MissingData
from training.recipe import Recipe

DATA_VARIABLE = "LATENTWIRE_DATA"

# Seed of the split, apart from the recipe's seed, so that runs with different seeds can be compared.
SPLIT_SEED = 1

# Fraction of images that are cut out for testing, if a data set has no test images of its own.
TEST_FRACTION = 0.1

# Fraction of the training images that validate, if the recipe gives no number; and the largest number that this takes.
VALIDATION_FRACTION = 0.1
MAX_VALIDATION_IMAGES = 5000

SYNTHETIC_TRAIN, SYNTHETIC_TEST = 2000, 500

AS_THEY_ARE = TargetShape()

# Number of unreadable files that an error names one by one.
_NAMED = 20


class Dataset(NamedTuple):
    """A data set's training and test images.

    `classes` are the names of the labels, where they have names; `skipped` are the files that could not be read.
    """

    name: str
    train: Images
    test: Images
    classes: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()

    def label_in_words(self, label: int) -> str:
        """Return the name of a class, or its number where it has no name; nothing where there are no classes."""
        if self.classes:
            return self.classes[label]
        return str(label) if self.train.labels.any() or self.test.labels.any() else ""

    @property
    def shape(self) -> ImageShape:
        """Shape of each image."""
        _, height, width, channels = self.train.pixels.shape
        return ImageShape(height=height, width=width, channels=channels)


class TrainingSplit(NamedTuple):
    """A data set's training images, cut in two: those to train on, and those to choose the best epoch by."""

    train: Images
    validation: Images


def default_data_dir() -> Path:
    """Return the folder that LATENTWIRE_DATA names, else `data` in the working directory."""
    return Path(os.environ.get(DATA_VARIABLE) or "data")


def load_dataset(
    name: str, data_dir: Path | None = None, target: TargetShape = AS_THEY_ARE, *, strict: bool = False
) -> Dataset:
    """Load a data set.

    Args:
        name: `mnist`, `synthetic`, a file or folder in the data folder, or the path of one anywhere: a `.npz` file, or
            a folder with one, with `train.npz` and `test.npz`, with IDX files, or with image files.
        data_dir: the data folder; None takes the default one.
        target: size, channels and fit of the images.
        strict: whether an unreadable file is an error; otherwise it is skipped and named in `skipped`.

    If the data set has no test images, a fixed tenth of its images is cut out for testing.

    Raises:
        InvalidRecipe: the data set is unknown, or its images do not fit.
        MissingData: its files do not exist.
        CorruptData: they are damaged, or have another content.
    """
    found = _load(name, data_dir, target)
    train, test = (found.train, found.test) if found.test is not None else _cut(found)
    dataset = Dataset(found.name, train, test, found.classes, found.skipped)
    if dataset.skipped and strict:
        raise CorruptData(skipped_in_words(dataset))
    if shape_of(train.pixels.shape, found.name) != shape_of(test.pixels.shape, found.name):
        raise InvalidRecipe(
            f"the training images of {found.name} are {shape_of(train.pixels.shape, found.name)}, its test images "
            f"{shape_of(test.pixels.shape, found.name)}; set image_height, image_width, channels and fit"
        )
    return dataset


def load_images(name: str, data_dir: Path | None = None, target: TargetShape = AS_THEY_ARE) -> Images:
    """Load all images of a data set, in their order, for training and for testing together.

    Arguments and errors are those of `load_dataset`.
    """
    found = _load(name, data_dir, target)
    if found.test is None:
        return found.train
    if shape_of(found.train.pixels.shape, found.name) != shape_of(found.test.pixels.shape, found.name):
        raise InvalidRecipe(f"the training and the test images of {found.name} are not of one size")
    return join(found.train, found.test)


def target_shape(recipe: Recipe) -> TargetShape:
    """Return the shape and fit in which a recipe wants its images."""
    return TargetShape(recipe.image_height, recipe.image_width, recipe.channels, recipe.fit, recipe.background)


def skipped_in_words(dataset: Dataset) -> str:
    """Return the sentence that counts and names the files that could not be read."""
    count = len(dataset.skipped)
    named = "; ".join(f"{path} ({reason})" for path, reason in dataset.skipped[:_NAMED])
    more = f"; and {count - _NAMED:,} more" if count > _NAMED else ""
    return f"{count:,} file{'s' * (count > 1)} of {dataset.name} cannot be read: {named}{more}"


def split_training(dataset: Dataset, recipe: Recipe) -> TrainingSplit:
    """Split the training images by a fixed permutation; test images play no part.

    Raises:
        InvalidRecipe: it asks for more images than the data set has.
    """
    trained, validated = split_sizes(dataset.name, len(dataset.train), recipe)
    # numpy promises the stream of RandomState for good, but not that of its newer generators.
    order = np.random.RandomState(SPLIT_SEED).permutation(len(dataset.train))
    validation, train = order[:validated], order[validated:][:trained]
    return TrainingSplit(dataset.train.take(train), dataset.train.take(validation))


def split_sizes(dataset: str, count: int, recipe: Recipe) -> tuple[int, int]:
    """Return how many of a data set's `count` training images a recipe trains on, and how many validate.

    Raises:
        InvalidRecipe: it asks for more images than the data set has.
    """
    share = max(1, min(MAX_VALIDATION_IMAGES, round(VALIDATION_FRACTION * count)))
    validated = recipe.validation_images or share
    trained = recipe.training_images or count - validated
    if not 2 <= trained <= count - validated:
        given = f"validation_images {validated:,}" + (
            f" and training_images {recipe.training_images:,}" if recipe.training_images else ""
        )
        raise InvalidRecipe(
            f"{dataset} has {count:,} training images: not enough for {given}, as at least 2 are needed to train "
            "on; set fewer, or take more images"
        )
    if recipe.batch_size > trained:
        raise InvalidRecipe(
            f"{dataset} has {count:,} training images: {trained:,} to train on are not enough for batch_size "
            f"{recipe.batch_size:,}; set it lower"
        )
    return trained, validated


class _Found(NamedTuple):
    """A data set as found, perhaps without test images."""

    name: str
    train: Images
    test: Images | None
    classes: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()


def _load(name: str, data_dir: Path | None, target: TargetShape) -> _Found:
    folder = data_dir or default_data_dir()
    found = _LOADERS[name](folder) if name in _LOADERS else _from_path(_find(name, folder), target)

    def fitted(images: Images) -> Images:
        return Images(fit_pixels(images.pixels, target, found.name), images.labels)

    return found._replace(train=fitted(found.train), test=None if found.test is None else fitted(found.test))


def _cut(found: _Found) -> tuple[Images, Images]:
    """Cut test images out of the training images."""
    count = len(found.train)
    if count < 2:
        raise CorruptData(f"{found.name} holds only one image; at least four are needed, to train, validate and test")
    order = np.random.RandomState(SPLIT_SEED).permutation(count)
    tested = max(1, round(TEST_FRACTION * count))
    return found.train.take(np.sort(order[tested:])), found.train.take(np.sort(order[:tested]))


def _mnist(data_dir: Path) -> _Found:
    arrays = load_mnist(data_dir)
    return _Found(
        "mnist",
        Images(arrays["train-images-idx3-ubyte"][..., None], arrays["train-labels-idx1-ubyte"]),
        Images(arrays["t10k-images-idx3-ubyte"][..., None], arrays["t10k-labels-idx1-ubyte"]),
    )


@lru_cache(maxsize=1)
def _drawn() -> _Found:
    train, test = Images(*draw_digits(SYNTHETIC_TRAIN, seed=1)), Images(*draw_digits(SYNTHETIC_TEST, seed=2))
    for array in (train.pixels, train.labels, test.pixels, test.labels):
        array.flags.writeable = False  # all callers share them
    return _Found("synthetic", train, test)


def _synthetic(_data_dir: Path) -> _Found:
    return _drawn()


def is_known(name: str, data_dir: Path | None = None) -> bool:
    """Return whether there is a data set of this name or path."""
    return name in _LOADERS or any(place.exists() for place in _places(name, data_dir or default_data_dir()))


def public_name(name: str) -> str:
    """Return the name or path of a data set without its folders, which are nobody's business but the user's."""
    path = Path(name)
    return name if path.name == name and name != ".." else path.resolve().name


def _places(name: str, data_dir: Path) -> list[Path]:
    # `.` and `./pictures` are relative to the working directory alone, as elsewhere on a command line.
    return [Path(name)] if name.startswith(".") else list(dict.fromkeys([data_dir / name, Path(name)]))


def _find(name: str, data_dir: Path) -> Path:
    places = _places(name, data_dir)
    for place in places:
        if place.exists():
            return place
    if Path(name).name == name and not Path(name).suffix:
        beside = [path.name for path in data_dir.iterdir()] if data_dir.is_dir() else []
        close = difflib.get_close_matches(name, {*_LOADERS, *beside}, n=1)
        known = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(sorted(_LOADERS))}, and any path"
        raise InvalidRecipe(f"there is no data set '{name}'; {known}")
    raise MissingData(f"there is no {' and no '.join(map(str, places))} to take images from")


def _from_path(path: Path, target: TargetShape) -> _Found:
    name = path.resolve().stem if path.is_file() else path.resolve().name
    try:
        if path.is_file():
            if path.suffix != ".npz":
                raise InvalidRecipe(f"{path} is neither a .npz file nor a folder of images")
            return _Found(name, *load_npz(path))
        archives = sorted(path.glob("*.npz"))
        pair = {archive.stem: archive for archive in archives}
        if {"train", "test"} <= pair.keys():
            return _Found(name, load_npz(pair["train"]).train, load_npz(pair["test"]).train)
        if len(archives) == 1:
            return _Found(name, *load_npz(archives[0]))
        if archives:
            raise CorruptData(
                f"{path} holds {len(archives)} .npz files; name one of them, or rename them to train.npz and test.npz"
            )
        if idx_files(path):
            return _Found(name, *load_idx(path))
        found = load_folder(path, target)
    except OSError as error:
        raise MissingData(f"{path} cannot be read: {error.strerror}") from error
    return _Found(name, *found)


_LOADERS: dict[str, Callable[[Path], _Found]] = {"mnist": _mnist, "synthetic": _synthetic}

__all__ = [
    "AS_THEY_ARE",
    "Dataset",
    "Images",
    "Labels",
    "TargetShape",
    "TrainingSplit",
    "default_data_dir",
    "is_known",
    "load_dataset",
    "load_images",
    "public_name",
    "skipped_in_words",
    "split_sizes",
    "split_training",
    "target_shape",
]
