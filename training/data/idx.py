"""IDX files, the format of MNIST: bytes of a file, plain or gzip -> a uint8 array.

Layout: two zero bytes, 0x08 for uint8, the number of dimensions, each dimension as a big-endian uint32, then the
values.
"""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.errors import CorruptData

GZIP_MAGIC = b"\x1f\x8b"
_UINT8 = 0x08


def read_unpacked(path: Path, max_bytes: int) -> bytes:
    """Return the bytes of a file, unpacked if it is gzip.

    Raises:
        CorruptData: a damaged gzip file, or one that holds more than `max_bytes`.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    try:
        # One byte more than allowed detects a file that is too long without unpacking all of it.
        with gzip.open(path) if packed else path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise CorruptData(f"{path} is a damaged or truncated gzip file") from error
    if len(content) > max_bytes:
        raise CorruptData(f"{path} holds more than the {max_bytes:,} bytes that it should")
    return content


def parse_idx(content: bytes, what: str) -> npt.NDArray[np.uint8]:
    """Return the array of an IDX file of uint8 values.

    Args:
        content: the file's unpacked bytes.
        what: the file's name, for error messages.

    Raises:
        CorruptData: not an IDX file of uint8, or not exactly as long as its header says.
    """
    if len(content) < 4 or content[:3] != bytes((0, 0, _UINT8)) or content[3] == 0:
        raise CorruptData(f"{what} is not an IDX file of bytes")
    header = 4 + 4 * content[3]
    if len(content) < header:
        raise CorruptData(f"{what} is cut short within its header")
    shape = tuple(int(size) for size in np.frombuffer(content[4:header], ">u4"))
    if len(content) - header != math.prod(shape):
        raise CorruptData(f"{what} holds {len(content) - header:,} values; its header says {math.prod(shape):,}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
