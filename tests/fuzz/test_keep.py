"""What is kept of what fuzzing found."""

from pathlib import Path

from latentwire.entropy.rans import read_varint
from latentwire.errors import InvalidCode
from tests.fuzz.keep import keep


def read(data: bytes) -> None:
    try:
        read_varint(data, 0)
    except InvalidCode:
        return


def test_the_shortest_inputs_that_go_new_ways_are_kept(tmp_path: Path) -> None:
    (tmp_path / "stale").touch()
    found = [b"\x01", b"\x02", b"\x81\x01", b"\x82\x01", b"\x81\x81\x01", b"\x80\x00", b"\x80" * 9, b""]
    kept = keep(read, [b"\x03"], found, tmp_path)
    assert kept == [b"", b"\x80\x00"]
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == kept


def test_nothing_is_kept_that_goes_known_ways(tmp_path: Path) -> None:
    assert keep(read, [b"\x81\x01"], [b"\x82\x01", b"\x81\x01"], tmp_path) == []
