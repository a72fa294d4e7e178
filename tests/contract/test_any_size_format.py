"""What `docs/FORMAT.md` says of images of any size, by a second reader, and that nothing damaged is read."""

import json
from pathlib import Path

import numpy as np
import pytest

from latentwire import Codec, CodeError
from latentwire.entropy.lanes import SymbolWriter, Tables
from latentwire.format.any_size import Header, read_header
from tests.contract.any_size_reader import AnySizeReader, Lanes
from tests.contract.goldens import REPOSITORY
from tests.contract.hostile_codes import TABLES
from tests.tiny_any_size_model import drawn_picture

TEXT = (REPOSITORY / "docs" / "FORMAT.md").read_text(encoding="utf-8")

VECTORS = TEXT.partition("\n## Test vectors of images of any size\n")[2].partition("\n# ")[0]

SIZES = [(1, 1), (16, 16), (17, 40), (129, 131), (200, 90)]


@pytest.fixture(scope="module")
def codec(any_size_model: Path) -> Codec:
    return Codec.load(any_size_model)


def rows(columns: str) -> list[list[str]]:
    """The rows of the table of vectors with these columns."""
    lines = VECTORS.partition(f"| {columns} |\n")[2].partition("\n\n")[0].splitlines()[1:]
    assert len(lines) >= 5
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("row", rows("height × width | channels | quality index | header"), ids=lambda row: row[0])
def test_the_headers_of_the_document(row: list[str]) -> None:
    height, width = map(int, row[0].split(" × "))
    header = Header(height, width, 1 if row[1] == "grey" else 3, int(row[2]))
    assert header.write().hex() == row[3]
    assert read_header(bytes.fromhex(row[3])) == (header, len(row[3]) // 2)


@pytest.mark.parametrize("row", rows("symbols | K | check | bytes after K"), ids=lambda row: f"{row[0]}-{row[1]}")
def test_the_symbols_of_the_document(row: list[str]) -> None:
    symbols = [] if row[0] == "none" else json.loads(f"[{row[0]}]")
    lanes, check, data = int(row[1]), int(row[2], 16), bytes.fromhex(row[3])
    numbers = np.arange(len(symbols)) % len(TABLES)
    writer = SymbolWriter(Tables(TABLES))
    writer.write(numbers, np.array(symbols, np.int64))
    assert writer.finish(check, lanes) == data
    second = Lanes(data, lanes)
    assert second.group([TABLES[number].model_dump() for number in numbers]) == symbols
    second.end(check)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_second_reader_reads_what_the_codec_writes(
    codec: Codec, any_size_model: Path, size: tuple[int, int], channels: int
) -> None:
    pixels = drawn_picture(*size, channels)
    payload = codec.encode(pixels, quality=60, framing="raw").bitstream
    received = codec.decode(payload, framing="raw").astype(np.int16)
    assert np.abs(AnySizeReader(any_size_model).read(payload) - received).max() <= 1


def test_the_second_reader_reads_many_parts_and_many_lanes(codec: Codec, any_size_model: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (70, 1050, 3), np.uint8)
    payload = codec.encode(noise, quality=100, framing="raw").bitstream
    received = codec.decode(payload, framing="raw").astype(np.int16)
    assert np.abs(AnySizeReader(any_size_model).read(payload) - received).max() <= 1


def damaged(bitstream: bytes) -> list[bytes]:
    """Each single bit flipped, each cut, and a byte appended."""
    flipped = []
    for position in range(8 * len(bitstream)):
        changed = bytearray(bitstream)
        changed[position // 8] ^= 1 << position % 8
        flipped.append(bytes(changed))
    cut = [bitstream[:length] for length in range(len(bitstream))]
    return [*flipped, *cut, *(bitstream + bytes((value,)) for value in range(256))]


def test_no_damage_to_a_bitstream_goes_unseen(codec: Codec) -> None:
    for number in range(20):
        pixels = drawn_picture(8 + 7 * number, 70 - 3 * number, 1 + 2 * (number % 2))
        bitstream = codec.encode(pixels, quality=5 * number).bitstream
        for data in damaged(bitstream):
            with pytest.raises(CodeError):
                codec.decode(data)
