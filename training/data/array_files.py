"""Files of arrays -> images: `.npz` of numpy, and the IDX files of MNIST and its like.

images, labels                        in one .npz; labels may be missing
x_train, y_train, x_test, y_test      in one .npz, as Keras has them
[any-]train-images-idx3-ubyte[.gz]    IDX files in a folder, labels-idx1 beside images-idx3; test or t10k to test
"""

import re
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from training.data.idx import parse_idx, read_unpacked
from training.data.images import MAX_DATASET_BYTES, Images, Labels, shape_of
from training.errors import CorruptData, MissingData

_IDX = re.compile(r"(?P<before>.*?)(?P<part>train|test|t10k)?-?images[-.]idx[34]-ubyte(\.gz)?")


class Parts(NamedTuple):
    """Training images, and test images if the source has its own."""

    train: Images
    test: Images | None


def load_npz(path: Path) -> Parts:
    """Load the images of one `.npz` file.

    Raises:
        MissingData: it cannot be read.
        CorruptData: it is damaged, too large, or lacks arrays of the above names.
    """
    try:
        # Opened here, because numpy leaves a damaged file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            names = set(archive.files)
            if "images" in names:
                return Parts(_member(archive, path, "images", "labels"), None)
            if {"x_train", "x_test"} <= names:
                return Parts(_member(archive, path, "x_train", "y_train"), _member(archive, path, "x_test", "y_test"))
    except OSError as error:
        raise MissingData(f"{path} cannot be read: {error.strerror or 'not a whole file'}") from error
    except (ValueError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
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


def _member(archive: np.lib.npyio.NpzFile, path: Path, images: str, labels: str) -> Images:
    for name in (images, labels):
        if name in archive.files and archive.zip is not None:
            size = archive.zip.getinfo(f"{name}.npy").file_size
            if size > MAX_DATASET_BYTES:
                raise CorruptData(f"{path} holds {size:,} bytes of {name}; {MAX_DATASET_BYTES:,} are allowed")
    return _images(archive[images], archive[labels] if labels in archive.files else None, str(path))


def _idx_images(path: Path) -> Images:
    labels_name = path.name.replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1")
    plain = labels_name.removesuffix(".gz")
    candidates = [path.with_name(plain), path.with_name(f"{plain}.gz")]
    labels = next((candidate for candidate in candidates if candidate.is_file()), None)
    return _images(_idx_array(path), None if labels is None else _idx_array(labels), str(path))


def _idx_array(path: Path) -> npt.NDArray[np.uint8]:
    try:
        return parse_idx(read_unpacked(path, MAX_DATASET_BYTES), str(path))
    except OSError as error:
        raise MissingData(f"{path} cannot be read: {error.strerror}") from error


def _images(pixels: npt.NDArray[np.uint8], labels: Labels | None, what: str) -> Images:
    if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4):
        raise CorruptData(
            f"{what} holds images of {pixels.dtype} with {pixels.ndim} dimensions; they should be uint8, "
            "(count, height, width) or (count, height, width, channels)"
        )
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    shape_of(pixels, what)
    if labels is None:
        return Images(pixels, np.zeros(len(pixels), np.uint8))
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != (len(pixels),) or not np.issubdtype(labels.dtype, np.integer):
        raise CorruptData(f"{what} holds {len(pixels):,} images, but not one whole number for each as its label")
    return Images(pixels, labels)
