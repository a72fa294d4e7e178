import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data import mnist
from training.data.datasets import (
    Dataset,
    Images,
    TargetShape,
    default_data_dir,
    load_dataset,
    load_images,
    skipped_in_words,
    split_training,
    target_shape,
)
from training.data.synthetic import draw_digits
from training.errors import CorruptData, InvalidRecipe, MissingData
from training.recipe import make_recipe


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
    assert default_data_dir() == Path("data")


def test_missing_mnist_is_told_with_the_command_that_brings_it(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"run `python -m training data` .* or set LATENTWIRE_DATA or --data"):
        load_dataset("mnist", tmp_path)


def test_mnist_files_are_read_plain_or_packed_if_their_hash_is_right(tmp_path: Path) -> None:
    contents = {name: b"\0\0\x08\x01\0\0\0\x01" + bytes([at]) for at, name in enumerate(mnist.FILES)}
    files = {name: mnist.DataFile(hashlib.sha256(content).hexdigest(), 9, "") for name, content in contents.items()}
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
    with pytest.raises(CorruptData, match=r"train-labels-idx1-ubyte has a wrong SHA-256"):
        mnist.load_mnist(tmp_path, files)


def test_mnist_has_its_known_shape(mnist_root: Path) -> None:
    dataset = load_dataset("mnist", mnist_root)
    assert dataset.train.pixels.shape == (60000, 28, 28, 1)
    assert dataset.test.pixels.shape == (10000, 28, 28, 1)
    assert np.bincount(dataset.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def _save(path: Path, count: int, side: int = 5) -> None:
    path.parent.mkdir(exist_ok=True)
    pixels = np.arange(count, dtype=np.uint8)[:, None, None].repeat(side, 1).repeat(side, 2)
    np.savez(path, images=pixels, labels=np.arange(count))


def test_a_tenth_of_images_without_a_part_for_testing_is_always_the_same_test(tmp_path: Path) -> None:
    _save(tmp_path / "mine.npz", 40)
    for name in ("mine.npz", str(tmp_path / "mine.npz")):
        first = load_dataset(name, tmp_path)
        assert first.name == "mine"
        assert (len(first.train), len(first.test)) == (36, 4)
        together = np.concatenate([first.train.labels, first.test.labels])
        assert sorted(together.tolist()) == list(range(40))
        again = load_dataset(name, tmp_path)
        np.testing.assert_array_equal(first.test.pixels, again.test.pixels)
    assert load_images("mine.npz", tmp_path).labels.tolist() == list(range(40))


def test_a_folder_in_the_data_folder_is_a_data_set_by_its_name(tmp_path: Path) -> None:
    _save(tmp_path / "pair" / "train.npz", 6)
    _save(tmp_path / "pair" / "test.npz", 3)
    found = load_dataset("pair", tmp_path)
    assert (found.name, len(found.train), len(found.test)) == ("pair", 6, 3)
    assert len(load_images("pair", tmp_path)) == 9
    _save(tmp_path / "single" / "any.npz", 10)
    assert len(load_dataset("single", tmp_path).test) == 1


def test_training_and_test_images_of_different_sizes_are_refused_unless_they_are_fitted(tmp_path: Path) -> None:
    _save(tmp_path / "pair" / "train.npz", 6, side=5)
    _save(tmp_path / "pair" / "test.npz", 6, side=7)
    with pytest.raises(InvalidRecipe, match="5 × 5 pixels, 1 channel, its test images 7 × 7"):
        load_dataset("pair", tmp_path)
    assert load_dataset("pair", tmp_path, TargetShape(6, 6, 3, "resize")).test.pixels.shape == (6, 6, 6, 3)


def test_a_folder_of_image_files_is_a_data_set_with_the_files_that_could_not_be_read(tmp_path: Path) -> None:
    for at in range(12):
        path = tmp_path / "zoo" / ("cat" if at % 2 else "dog") / f"{at:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 8), (at, 0, 0)).save(path)
    (tmp_path / "zoo" / "cat" / "broken.png").write_bytes(b"\x89PNG")
    found = load_dataset(str(tmp_path / "zoo"))
    assert found.classes == ("cat", "dog")
    assert (len(found.train), len(found.test)) == (11, 1)
    assert found.shape.as_tuple() == (8, 9, 3)
    assert skipped_in_words(found).startswith("1 file of zoo cannot be read: cat/broken.png (")
    with pytest.raises(CorruptData, match="1 file of zoo cannot be read"):
        load_dataset(str(tmp_path / "zoo"), strict=True)


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("mnits", InvalidRecipe, "there is no data set 'mnits'; did you mean 'mnist'"),
        ("quite-different", InvalidRecipe, "there are mnist, synthetic, and any path"),
        ("here/not.npz", MissingData, "not.npz to take images from"),
        ("./not", MissingData, "there is no not to take images from"),
        ("one.npz", CorruptData, "one holds only one image"),
        ("several", CorruptData, "2 .npz files; name one of them"),
        ("notes.txt", InvalidRecipe, "neither a .npz file nor a folder"),
    ],
)
def test_what_is_no_data_set_is_told_in_one_sentence(
    tmp_path: Path, name: str, error: type[Exception], words: str
) -> None:
    _save(tmp_path / "one.npz", 1)
    _save(tmp_path / "several" / "a.npz", 3)
    _save(tmp_path / "several" / "b.npz", 3)
    (tmp_path / "notes.txt").write_text("notes")
    with pytest.raises(error, match=words):
        load_dataset(name, tmp_path)


def test_a_recipe_says_as_which_images_it_wants_its_data_set() -> None:
    recipe = make_recipe({"name": "a", "image_height": 16, "channels": "3", "fit": "pad"})
    assert target_shape(recipe) == TargetShape(16, 0, 3, "pad")
    with pytest.raises(InvalidRecipe, match="no images of 2 channels"):
        make_recipe({"name": "a", "channels": 2})


def test_a_label_is_a_name_a_number_or_nothing(dataset: Dataset) -> None:
    assert dataset.label_in_words(3) == "3"
    assert dataset._replace(classes=("ant", "bee")).label_in_words(1) == "bee"
    none = Images(dataset.train.pixels[:4], np.zeros(4, np.uint8))
    assert dataset._replace(train=none, test=none).label_in_words(0) == ""
