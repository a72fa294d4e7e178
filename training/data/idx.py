"""IDX files, the format of MNIST, plain or gzip: their header, and their values as a uint8 array.

Layout: two zero bytes, 0x08 for uint8, the number of dimensions, each dimension as a big-endian uint32, then the
values.
"""

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase, BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.errors import CorruptData

GZIP_MAGIC = b"\x1f\x8b"
_UINT8 = 0x08


@contextmanager
def open_unpacked(path: Path) -> Iterator[BufferedIOBase]:
    """Open a file, whose bytes are unpacked as they are read if it is gzip.

    Raises:
        CorruptData: a damaged gzip file, also while it is read.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            yield file
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise CorruptData(f"{path} is a damaged or truncated gzip file") from error


def read_unpacked(path: Path, max_bytes: int) -> bytes:
    """Return the bytes of a file, unpacked if it is gzip.

    Raises:
        CorruptData: a damaged gzip file, or one that holds more than `max_bytes`.
        OSError: the file cannot be read.
    """
    with open_unpacked(path) as file:
        # One byte more than allowed detects a file that is too long without unpacking all of it.
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise CorruptData(f"{path} holds more than the {max_bytes:,} bytes that it should")
    return content


def read_shape(file: BufferedIOBase, what: str) -> tuple[int, ...]:
    """Return the shape in the header of an IDX file of uint8 values, which follow in the file.

    Args:
        file: at its start.
        what: its name, for error messages.

    Raises:
        CorruptData: it is not an IDX file of uint8.
    """
    kind = file.read(4)
    if len(kind) < 4 or kind[:3] != bytes((0, 0, _UINT8)) or kind[3] == 0:
        raise CorruptData(f"{what} is not an IDX file of bytes")
    sizes = file.read(4 * kind[3])
    if len(sizes) < 4 * kind[3]:
        raise CorruptData(f"{what} is cut short within its header")
    return tuple(int(size) for size in np.frombuffer(sizes, ">u4"))


def parse_idx(content: bytes, what: str) -> npt.NDArray[np.uint8]:
    """Return the array of an IDX file of uint8 values.

    Args:
        content: the file's unpacked bytes.
        what: the file's name, for error messages.

    Raises:
        CorruptData: not an IDX file of uint8, or not exactly as long as its header says.
    """
    file = BytesIO(content)
    shape = read_shape(file, what)
    if len(content) - file.tell() != math.prod(shape):
        raise CorruptData(f"{what} holds {len(content) - file.tell():,} values; its header says {math.prod(shape):,}")
    return np.frombuffer(content, np.uint8, offset=file.tell()).reshape(shape)
