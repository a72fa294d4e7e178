"""MNIST's four files in a folder -> its arrays, each file known by the SHA-256 of its unpacked bytes.

LeCun, Cortes, Burges, "The MNIST database of handwritten digits". The gzip wrappers differ from mirror to mirror, the
unpacked bytes do not.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from training.data.idx import parse_idx, read_unpacked
from training.errors import CorruptData, MissingData

FOLDER = "mnist"


class DataFile(NamedTuple):
    """What a file must hold: hex SHA-256 and number of its unpacked bytes."""

    sha256: str
    unpacked_bytes: int


FILES: Mapping[str, DataFile] = {
    "train-images-idx3-ubyte": DataFile("ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db", 47_040_016),
    "train-labels-idx1-ubyte": DataFile("65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5", 60_008),
    "t10k-images-idx3-ubyte": DataFile("0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7", 7_840_016),
    "t10k-labels-idx1-ubyte": DataFile("ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2", 10_008),
}


def verified_bytes(path: Path, expected: DataFile) -> bytes:
    """Return the unpacked bytes of one data file.

    Raises:
        CorruptData: it is not the file that `expected` describes.
        OSError: it cannot be read.
    """
    content = read_unpacked(path, expected.unpacked_bytes)
    if hashlib.sha256(content).hexdigest() != expected.sha256:
        raise CorruptData(f"{path} does not have the SHA-256 that it should; run `python -m training data`")
    return content


def load_mnist(data_dir: Path, files: Mapping[str, DataFile] = FILES) -> dict[str, npt.NDArray[np.uint8]]:
    """Load the files, plain or `.gz`, of `data_dir/mnist`: file name -> images (N, 28, 28) or labels (N).

    Raises:
        MissingData: a file is not there.
        CorruptData: a file is not what it should be.
    """
    folder = data_dir / FOLDER
    arrays = {}
    for name, expected in files.items():
        found = [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
        if not found:
            raise MissingData(
                f"{folder} holds no {name}.gz; run `python -m training data` to download MNIST, "
                "or set LATENTWIRE_DATA to the folder that holds mnist/"
            )
        try:
            arrays[name] = parse_idx(verified_bytes(found[0], expected), found[0].name)
        except OSError as error:
            raise MissingData(f"{found[0]} cannot be read: {error.strerror}") from error
    return arrays
