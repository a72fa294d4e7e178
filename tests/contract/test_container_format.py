"""What `docs/FORMAT.md` says of containers, and the hostile ones that lie in `hostile/`."""

import re
import tracemalloc
import zlib

import numpy as np
import pytest

from latentwire.format.container import Chunk
from latentwire.format.container_reader import FrameReader
from tests.contract.goldens import REPOSITORY
from tests.contract.hostile_containers import CHUNK, CODER, FOLDER, Hostile, hostile_containers, sound

HOSTILE = hostile_containers()


def read(data: bytes) -> list[Chunk]:
    reader = FrameReader()
    reader.feed(data)
    chunks = []
    while (frame := reader.take()) is not None:
        chunks.append(CODER.unpack(frame))
    reader.finish()
    return chunks


def test_the_test_vector_of_the_document_is_written_and_read() -> None:
    text = (REPOSITORY / "docs" / "FORMAT.md").read_text(encoding="utf-8")
    table = text.split("## Test vector of a container")[1].split("\n#")[0]
    vector = bytes.fromhex("".join(re.findall(r"^\| .* \| `([0-9a-f]+)` \|$", table, flags=re.MULTILINE)))
    assert sound() == vector
    [chunk] = read(vector)
    assert np.array_equal(chunk.symbols, CHUNK.symbols)
    assert chunk.payloads == CHUNK.payloads


def test_the_checksum_is_that_of_the_document() -> None:
    assert zlib.crc32(b"123456789") == 0xCBF43926


@pytest.mark.parametrize(("name", "hostile"), HOSTILE.items(), ids=HOSTILE)
def test_hostile_containers_are_refused_for_what_they_are(name: str, hostile: Hostile) -> None:
    data = (FOLDER / f"container-{name}.bin").read_bytes()
    assert data == hostile.data, "run python -m tests.contract.hostile_containers"
    tracemalloc.start()
    try:
        with pytest.raises(hostile.error) as caught:
            read(data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert type(caught.value) is hostile.error
    assert hostile.says in str(caught.value)


def test_no_file_lies_there_that_no_malformation_has() -> None:
    assert {path.stem for path in FOLDER.glob("container-*.bin")} == {f"container-{name}" for name in HOSTILE}
