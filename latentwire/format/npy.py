"""Reads an npy file as its bytes arrive, in blocks of rows, and writes npy headers. Nothing is ever unpickled."""

import io
import math
from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from latentwire.errors import InvalidArray

MAX_HEADER_BYTES = 4096
MAX_DIMENSIONS = 4

# By format version: bytes of the field that holds the header's length, and the function that reads both.
_HEADER_FORMATS = {
    (1, 0): (2, np.lib.format.read_array_header_1_0),
    (2, 0): (4, np.lib.format.read_array_header_2_0),
}


def npy_header(dtype: npt.DTypeLike, shape: tuple[int, ...]) -> bytes:
    """Return the bytes that precede the numbers in the file of an array."""
    buffer = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


class NpyReader:
    """Reads one npy file: feed bytes, take blocks of rows, and call `finish` after the last bytes.

    `shape` is None until the header has arrived.
    """

    def __init__(self, dtypes: Collection[npt.DTypeLike], expected: str) -> None:
        """Read an array of one of these types; `expected` names them in error messages."""
        self._dtypes = [np.dtype(dtype) for dtype in dtypes]
        self._expected = expected
        self._buffer = bytearray()
        self._dtype = self._dtypes[0]
        self._rows_left = 0
        self.shape: tuple[int, ...] | None = None

    @property
    def buffered_bytes(self) -> int:
        """The number of bytes that were fed and not taken."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take in the bytes that come next.

        Raises:
            InvalidArray: not an npy file, not of an expected type, or bytes after its end.
        """
        self._buffer += data
        if self.shape is None:
            self._read_header()
        if self.shape is not None and len(self._buffer) > self._rows_left * self._row_bytes:
            raise InvalidArray("the array has bytes after its end")

    def take(self, rows: int) -> npt.NDArray[np.generic] | None:
        """Return the next `rows` rows, or all that are left; None if they have not arrived, or if none is left."""
        rows = min(rows, self._rows_left)
        size = rows * self._row_bytes
        if not rows or len(self._buffer) < size or self.shape is None:
            return None
        data = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        self._rows_left -= rows
        return np.frombuffer(data, self._dtype).reshape(rows, *self.shape[1:])

    def finish(self) -> None:
        """Check that the array is complete.

        Raises:
            InvalidArray: it is not.
        """
        if self.shape is None:
            raise InvalidArray("the header of the array is cut short" if self._buffer else "the body is empty")
        if self._rows_left * self._row_bytes > len(self._buffer):
            missing = self._rows_left - len(self._buffer) // self._row_bytes
            raise InvalidArray(f"the array is cut short: its last {missing:,} of {self.shape[0]:,} rows are missing")

    @property
    def _row_bytes(self) -> int:
        # Python's integers do not overflow, whatever a header claims.
        return math.prod((self.shape or ())[1:], start=self._dtype.itemsize)

    def _read_header(self) -> None:
        """Set `shape` if the whole header has arrived."""
        magic = bytes(self._buffer[: np.lib.format.MAGIC_LEN])
        if not magic.startswith(np.lib.format.MAGIC_PREFIX[: len(magic)]):
            raise InvalidArray("the body is not an npy file, as numpy.save writes it")
        if len(magic) < np.lib.format.MAGIC_LEN:
            return
        version = (magic[-2], magic[-1])
        if version not in _HEADER_FORMATS:
            raise InvalidArray(f"the array is of npy version {version[0]}, which is not supported; use version 1 or 2")
        length_bytes, read_header = _HEADER_FORMATS[version]
        start = len(magic) + length_bytes
        length = int.from_bytes(self._buffer[len(magic) : start], "little")
        if len(self._buffer) < start:
            return
        if length > MAX_HEADER_BYTES:
            raise InvalidArray(f"the array's header claims {length:,} bytes; {MAX_HEADER_BYTES:,} are allowed")
        if len(self._buffer) < start + length:
            return
        try:
            header = io.BytesIO(self._buffer[len(magic) : start + length])
            shape, fortran_order, self._dtype = read_header(header, max_header_size=MAX_HEADER_BYTES)
        except MemoryError:
            raise
        except Exception as error:  # numpy passes on what ast, tokenize and dtype raise
            raise InvalidArray("the array's header cannot be read") from error
        if self._dtype not in self._dtypes:
            raise InvalidArray(f"the array is of the type {str(self._dtype)[:64]}; send {self._expected}")
        if not 1 <= len(shape) <= MAX_DIMENSIONS or not all(type(n) is int and 0 <= n < 1 << 63 for n in shape):
            raise InvalidArray(f"the array has the shape {str(shape)[:64]}, which is not valid")
        if fortran_order:
            raise InvalidArray("the array is in Fortran order; send numpy.ascontiguousarray of it")
        del self._buffer[: start + length]
        self._rows_left = shape[0]
        self.shape = shape
