"""NumPy's npy files, as their bytes come, <-> blocks of rows.

Only plain numbers in C order are read, and nothing is ever unpickled. A header is bounded before it is parsed, and
parsed as a literal. What the numbers mean is not known here.
"""

import ast
import io
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from service.errors import InvalidArray

MAGIC = b"\x93NUMPY"
MAX_HEADER_BYTES = 4096
MAX_DIMENSIONS = 4

# Bytes of the field that holds the header's length, by the file's major version.
_LENGTH_BYTES = {1: 2, 2: 4, 3: 4}
_FIELDS = {"descr", "fortran_order", "shape"}


def npy_header(dtype: npt.DTypeLike, shape: tuple[int, ...]) -> bytes:
    """Return what stands before the numbers in the file of an array."""
    buffer = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


class NpyReader:
    """Reads one npy file: feed bytes, take blocks of rows, and call `finish` when there are no more bytes."""

    def __init__(self, dtypes: Mapping[str, npt.DTypeLike], wanted: str) -> None:
        """Read an array of one of these kinds.

        Args:
            dtypes: what is taken: the `descr` of a header -> its type.
            wanted: the kind in words, for the sentence of an error.
        """
        self._dtypes: dict[str, np.dtype[np.generic]] = {descr: np.dtype(dtype) for descr, dtype in dtypes.items()}
        self._wanted = wanted
        self._held = bytearray()
        self._dtype: np.dtype[np.generic] = np.dtype(np.uint8)
        self._left = 0
        self.shape: tuple[int, ...] | None = None

    @property
    def held_bytes(self) -> int:
        """How many bytes have been fed and not been taken."""
        return len(self._held)

    def feed(self, data: bytes) -> None:
        """Take in the bytes that come next; `shape` is there as soon as the header is.

        Raises:
            InvalidArray: not an npy file, or not one of the wanted kind, or bytes after its end.
        """
        self._held += data
        if self.shape is None and not self._read_header():
            return
        if len(self._held) > self._left * self._row_bytes:
            raise InvalidArray("the array has bytes after its end")

    def take(self, rows: int) -> npt.NDArray[np.generic] | None:
        """Return the next rows, so many or else the last ones, or None if they have not all come or there are none."""
        rows = min(rows, self._left)
        size = rows * self._row_bytes
        if not rows or len(self._held) < size or self.shape is None:
            return None
        data = bytes(memoryview(self._held)[:size])
        del self._held[:size]
        self._left -= rows
        return np.frombuffer(data, self._dtype).reshape(rows, *self.shape[1:])

    def finish(self) -> None:
        """Check that the array has come to its end.

        Raises:
            InvalidArray: it has not.
        """
        if self.shape is None:
            raise InvalidArray("the array is cut short: its header is not whole" if self._held else "the body is empty")
        if self._left * self._row_bytes > len(self._held):
            missing = self._left - len(self._held) // self._row_bytes
            raise InvalidArray(f"the array is cut short: its last {missing:,} of {self.shape[0]:,} rows are missing")

    @property
    def _row_bytes(self) -> int:
        # Python's own integers cannot overflow, whatever a header claims.
        size = self._dtype.itemsize
        for length in (self.shape or ())[1:]:
            size *= length
        return size

    def _read_header(self) -> bool:
        start = bytes(self._held[: len(MAGIC) + 2])
        if not start.startswith(MAGIC[: len(start)]):
            raise InvalidArray("the body is not an npy file, as numpy.save writes it")
        if len(start) < len(MAGIC) + 2:
            return False
        length_bytes = _LENGTH_BYTES.get(start[len(MAGIC)])
        if length_bytes is None:
            raise InvalidArray(f"the array is of npy version {start[len(MAGIC)]}, which is not known here")
        begin = len(start) + length_bytes
        length = int.from_bytes(self._held[len(start) : begin], "little")
        if length > MAX_HEADER_BYTES:
            raise InvalidArray(f"the array's header claims {length:,} bytes; {MAX_HEADER_BYTES:,} are allowed")
        if len(self._held) < begin + length:
            return False
        self.shape = self._parse(bytes(self._held[begin : begin + length]))
        self._left = self.shape[0]
        del self._held[: begin + length]
        return True

    def _parse(self, text: bytes) -> tuple[int, ...]:
        try:
            header = ast.literal_eval(text.decode("latin-1").strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
            raise InvalidArray("the array's header cannot be read") from error
        if not isinstance(header, dict) or set(header) != _FIELDS:
            raise InvalidArray("the array's header does not have just the fields descr, fortran_order and shape")
        descr, shape = header["descr"], header["shape"]
        dtype = self._dtypes.get(descr) if isinstance(descr, str) else None
        if dtype is None:
            raise InvalidArray(f"the array is of the type {str(descr)[:64]}; {self._wanted} is taken")
        if (
            not isinstance(shape, tuple)
            or not 1 <= len(shape) <= MAX_DIMENSIONS
            or not all(type(length) is int and 0 <= length < 1 << 63 for length in shape)
        ):
            raise InvalidArray(f"the array has the shape {str(shape)[:64]}, which no array here can have")
        if header["fortran_order"] is not False:
            raise InvalidArray("the array is in Fortran order; send numpy.ascontiguousarray of it")
        self._dtype = dtype
        return shape
