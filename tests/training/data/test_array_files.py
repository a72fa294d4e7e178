import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from training.data.array_files import load_idx, load_npz
from training.data.datasets import load_images
from training.errors import CorruptData, MissingData

PIXELS = np.arange(5 * 4 * 6, dtype=np.uint8).reshape(5, 4, 6)


def _idx(array: npt.NDArray[np.uint8]) -> bytes:
    header = bytes((0, 0, 8, array.ndim)) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.tobytes()


def test_grey_images_get_a_channel_and_labels_of_0_if_they_have_none(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=PIXELS)
    train, test = load_npz(tmp_path / "a.npz")
    np.testing.assert_array_equal(train.pixels, PIXELS[..., None])
    assert train.labels.tolist() == [0] * 5
    assert test is None


def test_keras_names_hold_training_and_test_images(tmp_path: Path) -> None:
    colour = np.zeros((3, 4, 4, 3), np.uint8)
    np.savez_compressed(
        tmp_path / "a.npz", x_train=colour, y_train=[[4], [5], [6]], x_test=colour[:2], y_test=np.array([1, 2])
    )
    train, test = load_npz(tmp_path / "a.npz")
    assert train.labels.tolist() == [4, 5, 6]
    assert test is not None
    assert test.pixels.shape == (2, 4, 4, 3)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"pictures": PIXELS}, "holds pictures; it should hold images"),
        ({"images": PIXELS.astype(np.float32)}, "float32 with 3 dimensions; they should be uint8"),
        ({"images": PIXELS[0]}, "uint8 with 2 dimensions"),
        ({"images": PIXELS[:0]}, "holds no image"),
        ({"images": np.zeros((2, 3, 8, 8), np.uint8)}, "arrays of 3 × 8 × 8; an image has height × width × channels"),
        ({"images": PIXELS, "labels": [1, 2]}, "not one whole number for each"),
        ({"images": PIXELS, "labels": [0.5] * 5}, "not one whole number for each"),
        ({"images": np.array([object()], dtype=object)}, "object with 1 dimensions; they should be uint8"),
    ],
)
def test_an_npz_of_anything_else_is_told_in_one_sentence(
    tmp_path: Path, content: dict[str, object], words: str
) -> None:
    np.savez(tmp_path / "a.npz", **content)  # type: ignore[arg-type]
    with pytest.raises(CorruptData, match=words):
        load_npz(tmp_path / "a.npz")


def test_a_damaged_or_missing_npz_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with pytest.raises(MissingData, match="cannot be read"):
        load_npz(path)
    np.savez(path, images=PIXELS)
    whole = path.read_bytes()
    for damaged in (b"", whole[:-40], b"PK\x03\x04" + bytes(100), b"text", whole[:60] + b"\xff" + whole[61:]):
        path.write_bytes(damaged)
        with pytest.raises(CorruptData, match=r"is damaged, or not a \.npz"):
            load_npz(path)


def _write_npz(folder: Path, pixels: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]) -> None:
    np.savez_compressed(folder / "a.npz", images=pixels, labels=labels)


def _write_npz_by_columns(folder: Path, pixels: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]) -> None:
    np.savez(folder / "a.npz", images=np.asfortranarray(pixels), labels=labels.astype(">i8"))


def _write_idx(folder: Path, pixels: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]) -> None:
    (folder / "a-images-idx3-ubyte").write_bytes(_idx(pixels))
    (folder / "a-labels-idx1-ubyte").write_bytes(_idx(labels))


def _write_packed_idx(folder: Path, pixels: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]) -> None:
    (folder / "a-images-idx4-ubyte.gz").write_bytes(gzip.compress(_idx(pixels[..., None])))
    (folder / "a-labels-idx1-ubyte.gz").write_bytes(gzip.compress(_idx(labels)))


@pytest.mark.parametrize("write", [_write_npz, _write_npz_by_columns, _write_idx, _write_packed_idx])
def test_a_file_larger_than_memory_is_read_block_by_block_onto_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., None]
) -> None:
    monkeypatch.setattr("training.data.images.MAX_MEMORY_BYTES", 100)
    monkeypatch.setattr("training.data.images._BLOCK_BYTES", 7)
    labels = np.arange(5, dtype=np.uint8)
    write(tmp_path, PIXELS, labels)
    found = load_images(str(tmp_path))
    mapped = found.pixels
    while not isinstance(mapped, np.memmap):
        assert isinstance(mapped.base, np.ndarray)
        mapped = mapped.base
    np.testing.assert_array_equal(found.pixels[..., 0], PIXELS)
    np.testing.assert_array_equal(found.labels, labels)


def test_idx_files_are_found_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "emnist-train-images-idx3-ubyte").write_bytes(_idx(PIXELS))
    (tmp_path / "emnist-train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(_idx(np.arange(5, dtype=np.uint8))))
    (tmp_path / "emnist-test-images-idx3-ubyte.gz").write_bytes(gzip.compress(_idx(PIXELS[:2])))
    train, test = load_idx(tmp_path)
    np.testing.assert_array_equal(train.pixels[..., 0], PIXELS)
    assert train.labels.tolist() == [0, 1, 2, 3, 4]
    assert test is not None
    assert test.labels.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a-images-idx3-ubyte", _idx(PIXELS)[:-1], "ends after 119 of 120 values"),
        ("a-images-idx3-ubyte", _idx(PIXELS) + b"1", "more than the 120 values"),
        ("a-images-idx3-ubyte.gz", gzip.compress(_idx(PIXELS))[:-9], "damaged or truncated gzip"),
        ("a-images-idx3-ubyte", _idx(PIXELS[0]), "uint8 with 2 dimensions"),
        ("a-labels-idx1-ubyte", _idx(np.zeros(4, np.uint8)), "not one whole number for each of 5 images"),
        ("a-labels-idx1-ubyte", _idx(np.zeros(5, np.uint8))[:-1], "fewer labels than the 5"),
    ],
)
def test_a_damaged_idx_file_is_told_in_one_sentence(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / "a-images-idx3-ubyte").write_bytes(_idx(PIXELS))
    (tmp_path / "a-images-idx3-ubyte").rename(tmp_path / name.replace("labels-idx1", "images-idx3"))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorruptData, match=words):
        load_idx(tmp_path)


def test_a_single_idx_file_of_any_name_is_for_training_and_test(tmp_path: Path) -> None:
    (tmp_path / "my-images-idx4-ubyte").write_bytes(_idx(np.zeros((4, 5, 5, 3), np.uint8)))
    train, test = load_idx(tmp_path)
    assert train.pixels.shape == (4, 5, 5, 3)
    assert test is None


def test_two_idx_files_of_one_part_are_refused(tmp_path: Path) -> None:
    for name in ("train-images-idx3-ubyte", "train-images-idx3-ubyte.gz"):
        (tmp_path / name).write_bytes(_idx(PIXELS))
    with pytest.raises(CorruptData, match="keep one of them"):
        load_idx(tmp_path)
