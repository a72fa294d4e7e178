import gzip
from pathlib import Path

import numpy as np
import pytest

from training.data.idx import parse_idx, read_unpacked
from training.errors import CorruptData

ARRAY = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
CONTENT = b"\0\0\x08\x03" + np.array([2, 3, 4], ">u4").tobytes() + ARRAY.tobytes()


def test_an_array_of_any_dimensions_is_read() -> None:
    np.testing.assert_array_equal(parse_idx(CONTENT, "a"), ARRAY)
    np.testing.assert_array_equal(parse_idx(b"\0\0\x08\x01\0\0\0\x02\x07\x09", "a"), [7, 9])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not an IDX file"),
        (b"\0\0\x08", "not an IDX file"),
        (b"\0\0\x09\x01\0\0\0\0", "not an IDX file"),
        (b"\0\0\x08\x00", "not an IDX file"),
        (b"\x89PNG and more", "not an IDX file"),
        (CONTENT[:9], "within its header"),
        (CONTENT[:-1], "holds 23 values; its header says 24"),
        (CONTENT + b"\0", "holds 25 values; its header says 24"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "its header says 79,228"),
    ],
)
def test_anything_but_a_whole_idx_file_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(CorruptData, match=words):
        parse_idx(content, "a")


def test_plain_and_gzip_files_give_the_same_bytes(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a", tmp_path / "a.gz"
    plain.write_bytes(CONTENT)
    packed.write_bytes(gzip.compress(CONTENT))
    assert read_unpacked(plain, 1000) == read_unpacked(packed, 1000) == CONTENT


@pytest.mark.parametrize("damage", [lambda packed: packed[:-12], lambda packed: packed[:20] + b"\0\0" + packed[22:]])
def test_a_damaged_gzip_file_is_refused(tmp_path: Path, damage: object) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(damage(gzip.compress(CONTENT)))  # type: ignore[operator]
    with pytest.raises(CorruptData, match="damaged or truncated"):
        read_unpacked(path, 1000)


def test_a_file_that_unpacks_to_more_than_allowed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(bytes(10_000_000)))
    with pytest.raises(CorruptData, match="more than the 1,000 bytes"):
        read_unpacked(path, 1000)
