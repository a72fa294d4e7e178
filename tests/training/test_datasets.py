import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from training import mnist
from training.datasets import Dataset, default_data_dir, load_dataset, split_training
from training.errors import CorruptData, InvalidRecipe, MissingData
from training.recipe import make_recipe
from training.synthetic import draw_digits


def test_drawn_digits_are_like_those_of_a_data_set(dataset: Dataset) -> None:
    assert dataset.train.pixels.shape == (2000, 28, 28, 1)
    assert dataset.train.pixels.dtype == np.uint8
    assert np.bincount(dataset.test.labels).tolist() == [50] * 10
    assert (dataset.train.pixels.max(axis=(1, 2, 3)) > 200).all()
    border = np.concatenate([dataset.train.pixels[:, 0], dataset.train.pixels[:, :, 0]])
    assert border.mean() < 5


def test_drawn_digits_of_one_class_differ_and_depend_on_the_seed_alone() -> None:
    first, labels = draw_digits(20, seed=3)
    again, _ = draw_digits(20, seed=3)
    other, _ = draw_digits(20, seed=4)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert labels[0] == labels[10]
    assert (first[0] != first[10]).any()


def test_the_images_of_the_drawn_data_set_cannot_be_changed_by_mistake(dataset: Dataset) -> None:
    with pytest.raises(ValueError, match="read-only"):
        dataset.train.pixels[0] = 0


def test_training_and_validation_images_are_cut_without_overlap_whatever_the_seed(dataset: Dataset) -> None:
    recipe = make_recipe({"name": "a", "validation_images": 300, "seed": 1, "batch_size": 32})
    split = split_training(dataset, recipe)
    assert (len(split.train), len(split.validation)) == (1700, 300)
    together = np.concatenate([split.train.pixels, split.validation.pixels])
    assert sorted(map(bytes, together)) == sorted(map(bytes, dataset.train.pixels))
    other = split_training(dataset, recipe.model_copy(update={"seed": 2, "training_images": 40}))
    np.testing.assert_array_equal(other.validation.pixels, split.validation.pixels)
    np.testing.assert_array_equal(other.train.pixels, split.train.pixels[:40])


@pytest.mark.parametrize(
    "fields",
    [
        {"validation_images": 2000},
        {"validation_images": 1000, "training_images": 1001},
        {"validation_images": 1990, "batch_size": 32},
        {"training_images": 16, "batch_size": 32},
    ],
)
def test_a_recipe_that_asks_for_more_images_than_there_are_is_refused(dataset: Dataset, fields: dict[str, int]) -> None:
    with pytest.raises(InvalidRecipe, match="not enough"):
        split_training(dataset, make_recipe({"name": "a", "validation_images": 100, "batch_size": 8, **fields}))


def test_the_data_folder_is_that_of_the_environment_if_it_is_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LATENTWIRE_DATA", str(tmp_path))
    assert default_data_dir() == tmp_path
    monkeypatch.delenv("LATENTWIRE_DATA")
    assert default_data_dir().name == "data"


def test_missing_mnist_is_told_with_the_command_that_brings_it(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"run `python -m training data` .* or set LATENTWIRE_DATA"):
        load_dataset("mnist", tmp_path)


def test_mnist_files_are_read_plain_or_packed_if_their_hash_is_right(tmp_path: Path) -> None:
    contents = {name: b"\0\0\x08\x01\0\0\0\x01" + bytes([at]) for at, name in enumerate(mnist.FILES)}
    files = {name: mnist.DataFile(hashlib.sha256(content).hexdigest(), 9) for name, content in contents.items()}
    folder = tmp_path / "mnist"
    folder.mkdir()
    for at, (name, content) in enumerate(contents.items()):
        if at % 2:
            (folder / name).write_bytes(content)
        else:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
    arrays = mnist.load_mnist(tmp_path, files)
    assert [array.tolist() for array in arrays.values()] == [[0], [1], [2], [3]]

    (folder / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x01\xff")
    with pytest.raises(CorruptData, match=r"train-labels-idx1-ubyte does not have the SHA-256"):
        mnist.load_mnist(tmp_path, files)


@pytest.mark.skipif(not (default_data_dir() / "mnist").is_dir(), reason="MNIST is not in the data folder")
def test_mnist_has_its_known_shape() -> None:
    dataset = load_dataset("mnist")
    assert dataset.train.pixels.shape == (60000, 28, 28, 1)
    assert dataset.test.pixels.shape == (10000, 28, 28, 1)
    assert np.bincount(dataset.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
