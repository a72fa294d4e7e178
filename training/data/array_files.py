"""Files of arrays -> images: `.npz` of numpy, and the IDX files of MNIST and its like.

images, labels                        in one .npz; labels may be missing
x_train, y_train, x_test, y_test      in one .npz, as Keras has them
[any-]train-images-idx3-ubyte[.gz]    IDX files in a folder, labels-idx1 beside images-idx3; test or t10k to test

Images are unpacked in small blocks to where there is room for them, so that a file may be larger than memory.
"""

import re
import zipfile
import zlib
from io import BufferedIOBase
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from training.data.idx import open_unpacked, read_shape
from training.data.images import Images, Labels, read_pixels
from training.errors import CorruptData, MissingData

_NPY_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}

_IDX = re.compile(r"(?P<before>.*?)(?P<part>train|test|t10k)?-?images[-.]idx[34]-ubyte(\.gz)?")


class Parts(NamedTuple):
    """Training images, and test images if the source has its own."""

    train: Images
    test: Images | None


def load_npz(path: Path) -> Parts:
    """Load the images of one `.npz` file.

    Raises:
        MissingData: it cannot be read.
        CorruptData: it is damaged, or lacks arrays of the above names.
        InvalidRecipe: there is no room for the images.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist()}
            if "images" in names:
                return Parts(_members(archive, path, "images", "labels"), None)
            if {"x_train", "x_test"} <= names:
                return Parts(_members(archive, path, "x_train", "y_train"), _members(archive, path, "x_test", "y_test"))
    except OSError as error:
        raise MissingData(f"{path} cannot be read: {error.strerror or 'not a whole file'}") from error
    except (ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise CorruptData(f"{path} is damaged, or not a .npz file of plain arrays") from error
    raise CorruptData(
        f"{path} holds {', '.join(sorted(names)) or 'nothing'}; it should hold images and perhaps labels, "
        "or x_train, y_train, x_test and y_test"
    )


def idx_files(folder: Path) -> list[Path]:
    """Return the IDX files of images that lie in a folder, sorted."""
    return sorted(path for path in folder.iterdir() if _IDX.fullmatch(path.name) and path.is_file())


def load_idx(folder: Path) -> Parts:
    """Load the images of a folder's IDX files.

    Raises:
        CorruptData: a file is damaged, or the folder holds several of a kind.
        MissingData: one cannot be read.
    """
    found: dict[str, Path] = {}
    for path in idx_files(folder):
        match = _IDX.fullmatch(path.name)
        part = "test" if match and match["part"] in ("test", "t10k") else "train"
        if part in found:
            raise CorruptData(f"{folder} holds both {found[part].name} and {path.name}; keep one of them")
        found[part] = path
    parts = {part: _idx_images(path) for part, path in found.items()}
    if "train" not in parts:
        return Parts(parts["test"], None)
    return Parts(parts["train"], parts.get("test"))


def _members(archive: zipfile.ZipFile, path: Path, images: str, labels: str) -> Images:
    with archive.open(f"{images}.npy") as file:
        shape, is_fortran, dtype = _read_npy_header(file)
        if dtype != np.uint8 or len(shape) not in (3, 4):
            raise _not_images(path, dtype, len(shape))
        pixels = read_pixels(file, shape, str(path), "F" if is_fortran else "C")
    if f"{labels}.npy" not in archive.namelist():
        return Images(pixels, np.zeros(len(pixels), np.uint8))
    with archive.open(f"{labels}.npy") as file:
        shape, _, dtype = _read_npy_header(file)
        return Images(pixels, _read_labels(file, shape, dtype, len(pixels), path))


def _read_npy_header(file: IO[bytes] | BufferedIOBase) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, whether the first dimension varies fastest, and type of the values; raise ValueError or KeyError.

    `numpy.load` would read the values as well.
    """
    shape, is_fortran, dtype = _NPY_HEADERS[np.lib.format.read_magic(file)](file)
    return shape, is_fortran, dtype


def _idx_images(path: Path) -> Images:
    labels_name = path.name.replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1")
    plain = labels_name.removesuffix(".gz")
    candidates = [path.with_name(plain), path.with_name(f"{plain}.gz")]
    labels = next((candidate for candidate in candidates if candidate.is_file()), None)
    opened = path
    try:
        with open_unpacked(path) as file:
            shape = read_shape(file, str(path))
            if len(shape) not in (3, 4):
                raise _not_images(path, np.dtype(np.uint8), len(shape))
            pixels = read_pixels(file, shape, str(path))
        if labels is None:
            return Images(pixels, np.zeros(len(pixels), np.uint8))
        opened = labels
        with open_unpacked(labels) as file:
            shape = read_shape(file, str(labels))
            return Images(pixels, _read_labels(file, shape, np.dtype(np.uint8), len(pixels), labels))
    except OSError as error:
        raise MissingData(f"{opened} cannot be read: {error.strerror}") from error


def _not_images(path: Path, dtype: np.dtype[Any], dimensions: int) -> CorruptData:
    return CorruptData(
        f"{path} holds images of {dtype} with {dimensions} dimensions; they should be uint8, "
        "(count, height, width) or (count, height, width, channels)"
    )


def _read_labels(
    file: IO[bytes] | BufferedIOBase, shape: tuple[int, ...], dtype: np.dtype[Any], count: int, path: Path
) -> Labels:
    """Return the rest of a file as the labels of `count` images: integers (N), in the file perhaps (N, 1)."""
    if shape not in ((count,), (count, 1)) or not np.issubdtype(dtype, np.integer):
        raise CorruptData(f"{path} holds labels, but not one whole number for each of {count:,} images")
    content = file.read(count * dtype.itemsize)
    if len(content) != count * dtype.itemsize or file.read(1):
        raise CorruptData(f"{path} holds more or fewer labels than the {count:,} that its header says")
    return np.frombuffer(content, dtype)
