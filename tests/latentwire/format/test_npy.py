import io
import warnings
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pytest

from latentwire.errors import InvalidArray
from latentwire.format.npy import MAX_HEADER_BYTES, NpyReader, npy_header

ARRAY = np.arange(60, dtype=np.uint8).reshape(5, 4, 3)


def saved(array: npt.NDArray[np.generic], version: tuple[int, int] = (1, 0)) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=version, allow_pickle=False)
    return buffer.getvalue()


def npy_file(header: str, data: bytes = b"", magic: bytes = b"\x93NUMPY\1\0") -> bytes:
    return magic + len(header).to_bytes(2, "little") + header.encode("latin-1") + data


def claims(shape: str = "(1, 2)", descr: str = "'|u1'", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}"


def read(pieces: Iterable[bytes], rows: int = 2) -> list[npt.NDArray[np.generic]]:
    reader, blocks = NpyReader([np.uint8], "uint8"), []
    for piece in pieces:
        reader.feed(piece)
        while (block := reader.take(rows)) is not None:
            blocks.append(block)
    reader.finish()
    return blocks


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
@pytest.mark.parametrize("piece_bytes", [1, 7, 1000])
def test_an_array_in_any_pieces_is_read_in_blocks_of_rows(version: tuple[int, int], piece_bytes: int) -> None:
    data = saved(ARRAY, version)
    blocks = read(data[start : start + piece_bytes] for start in range(0, len(data), piece_bytes))
    assert [len(block) for block in blocks] == [2, 2, 1]
    assert np.array_equal(np.concatenate(blocks), ARRAY)


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (7,), (2, 3, 1, 2)])
def test_the_shape_is_known_once_the_header_has_arrived(shape: tuple[int, ...]) -> None:
    data = saved(np.zeros(shape, np.uint8))
    reader = NpyReader([np.uint8], "uint8")
    reader.feed(data[:9])
    assert reader.shape is None
    reader.feed(data[9:])
    assert reader.shape == shape
    reader.finish()


@pytest.mark.parametrize("dtype", ["<f4", ">f4"])
def test_each_expected_type_is_read_in_its_own_byte_order(dtype: str) -> None:
    array = np.array([[1.5, -2], [3, 4]], dtype)
    reader = NpyReader(["<f4", ">f4"], "float32")
    reader.feed(saved(array))
    found = reader.take(10)
    assert found is not None
    assert np.array_equal(found, array)
    assert reader.take(10) is None


def test_bytes_that_were_not_taken_are_counted() -> None:
    reader = NpyReader([np.uint8], "uint8")
    reader.feed(saved(ARRAY))
    assert reader.buffered_bytes == ARRAY.nbytes
    reader.take(2)
    assert reader.buffered_bytes == ARRAY.nbytes - 24


def test_a_header_of_our_own_is_one_that_numpy_reads() -> None:
    assert np.array_equal(np.load(io.BytesIO(npy_header(np.uint8, ARRAY.shape) + ARRAY.tobytes())), ARRAY)


INVALID: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty"),
    "another format": (b"PK\3\4", "not an npy file"),
    "the magic string alone": (b"\x93NUMPY", "cut short"),
    "a header that is cut short": (npy_file(claims())[:-3], "cut short"),
    "format version 3": (npy_file(claims(), bytes(2), b"\x93NUMPY\3\0"), "version 3, which is not supported"),
    "a long header": (npy_file(" " * (MAX_HEADER_BYTES + 1)), "claims 4,097 bytes"),
    "a header of 4 GB": (b"\x93NUMPY\2\0\xff\xff\xff\xff{", "claims 4,294,967,295 bytes"),
    "code": (npy_file("__import__('os')"), "cannot be read"),
    "deep nesting": (npy_file("(" * 4000), "cannot be read"),
    "deep nesting in a type": (npy_file(claims(descr="[" * 2000 + "]" * 2000)), "cannot be read"),
    "a list": (npy_file("[]"), "cannot be read"),
    "a field too many": (npy_file(claims()[:-1] + ", 'x': 1}"), "cannot be read"),
    "a null byte": (npy_file("\0"), "cannot be read"),
    "an unknown type": (npy_file(claims(descr="'zzz'")), "cannot be read"),
    "a type with a comma and a bracket": (npy_file(claims(descr="'u1,('")), "cannot be read"),
    "objects": (npy_file(claims(descr="'|O'"), b"\x80\x04."), "type object; send uint8"),
    "records": (npy_file(claims(descr="[('a', '|u1')]")), "send uint8"),
    "floats": (saved(np.zeros(2, np.float32)), "type float32; send uint8"),
    "Fortran order": (npy_file(claims(order="True"), bytes(2)), "ascontiguousarray"),
    "a negative length": (npy_file(claims("(-1, 2)")), "shape"),
    "a length that is a boolean": (npy_file(claims("(True, 2)"), bytes(2)), "shape"),
    "a length that is a fraction": (npy_file(claims("(1.0, 2)")), "cannot be read"),
    "no dimension": (npy_file(claims("()"), bytes(1)), "shape"),
    "five dimensions": (npy_file(claims("(1, 1, 1, 1, 1)"), bytes(1)), "shape"),
    "more rows than fit into 64 bits": (npy_file(claims(f"({1 << 63}, 1)")), "shape"),
    "missing rows": (npy_file(claims("(3, 2)"), bytes(3)), "its last 2 of 3 rows are missing"),
    "bytes after the end": (npy_file(claims(), bytes(3)), "after its end"),
}


@pytest.mark.parametrize(("data", "says"), INVALID.values(), ids=INVALID)
def test_anything_else_is_refused(data: bytes, says: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy warns of headers that Python 2 may have written
        with pytest.raises(InvalidArray, match=says):
            read([data])
        with pytest.raises(InvalidArray, match=says):
            read(data[index : index + 1] for index in range(len(data)))


def test_a_claim_of_many_rows_takes_no_memory() -> None:
    reader = NpyReader([np.uint8], "uint8")
    reader.feed(npy_file(claims(f"({1 << 40}, {1 << 20})"), bytes(10)))
    assert reader.shape == (1 << 40, 1 << 20)
    assert reader.take(1) is None
