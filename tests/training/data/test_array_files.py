import gzip
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from training.data.array_files import load_idx, load_npz
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
        ({"images": np.array([object()], dtype=object)}, "not a .npz file of plain arrays"),
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


def test_an_array_that_is_too_large_is_refused_by_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.data.array_files.MAX_DATASET_BYTES", 100)
    np.savez_compressed(tmp_path / "a.npz", images=np.zeros((100, 8, 8), np.uint8))
    with pytest.raises(CorruptData, match=r"6,\d+ bytes of images; 100 are allowed"):
        load_npz(tmp_path / "a.npz")


def test_idx_files_are_found_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "emnist-train-images-idx3-ubyte").write_bytes(_idx(PIXELS))
    (tmp_path / "emnist-train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(_idx(np.arange(5, dtype=np.uint8))))
    (tmp_path / "emnist-test-images-idx3-ubyte.gz").write_bytes(gzip.compress(_idx(PIXELS[:2])))
    train, test = load_idx(tmp_path)
    np.testing.assert_array_equal(train.pixels[..., 0], PIXELS)
    assert train.labels.tolist() == [0, 1, 2, 3, 4]
    assert test is not None
    assert test.labels.tolist() == [0, 0]


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
