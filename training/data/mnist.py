"""MNIST's four files in a folder -> its arrays, each file known by the SHA-256 of its unpacked bytes.

LeCun, Cortes, Burges, "The MNIST database of handwritten digits". Copies may be compressed differently; the unpacked
bytes are the same.
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
    """SHA-256, in hex, and number of a file's unpacked bytes; and the SHA-256 of the `.gz` file that mirrors have."""

    sha256: str
    unpacked_bytes: int
    packed_sha256: str


FILES: Mapping[str, DataFile] = {
    "train-images-idx3-ubyte": DataFile(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        47_040_016,
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    "train-labels-idx1-ubyte": DataFile(
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        60_008,
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
    "t10k-images-idx3-ubyte": DataFile(
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        7_840_016,
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    "t10k-labels-idx1-ubyte": DataFile(
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        10_008,
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
}


def verified_bytes(path: Path, expected: DataFile) -> bytes:
    """Return the unpacked bytes of one data file.

    Raises:
        CorruptData: it is not the file that `expected` describes.
        OSError: it cannot be read.
    """
    content = read_unpacked(path, expected.unpacked_bytes)
    if hashlib.sha256(content).hexdigest() != expected.sha256:
        raise CorruptData(f"{path} has a wrong SHA-256; run `python -m training data` to download it again")
    return content


def load_mnist(data_dir: Path, files: Mapping[str, DataFile] = FILES) -> dict[str, npt.NDArray[np.uint8]]:
    """Load the files, plain or `.gz`, of `data_dir/mnist`: file name -> images (N, 28, 28) or labels (N).

    Raises:
        MissingData: a file does not exist.
        CorruptData: a file has other content.
    """
    folder = data_dir / FOLDER
    arrays = {}
    for name, expected in files.items():
        found = [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
        if not found:
            raise MissingData(
                f"{folder} holds no {name}.gz; run `python -m training data` to download MNIST, "
                "or set LATENTWIRE_DATA or --data to the folder that holds mnist/"
            )
        try:
            arrays[name] = parse_idx(verified_bytes(found[0], expected), found[0].name)
        except OSError as error:
            raise MissingData(f"{found[0]} cannot be read: {error.strerror}") from error
    return arrays
