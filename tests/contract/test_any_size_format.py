"""What `docs/FORMAT.md` says of images of any size, by a second reader, and that nothing damaged is read."""

import json
import math
import re
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from latentwire import Codec, CodeError, DamagedChunk
from latentwire.any_size.transparency import clear_transparent
from latentwire.entropy import lanes
from latentwire.entropy.coder_tables import Tables
from latentwire.entropy.lanes import SymbolWriter
from latentwire.format import any_size_lossless
from latentwire.format.alpha import read_alpha, write_alpha
from latentwire.format.any_size import Header, read_header, read_payload
from latentwire.format.any_size_container import PayloadContainerWriter, read_payloads
from latentwire.format.container import Frame
from latentwire.format.container_reader import FrameReader
from tests.contract.any_size_reader import AnySizeReader, Lanes, container, plane
from tests.contract.goldens import REPOSITORY
from tests.contract.hostile_codes import TABLES
from tests.tiny_any_size_model import drawn_logo

TEXT = (REPOSITORY / "docs" / "FORMAT.md").read_text(encoding="utf-8")

VECTORS = TEXT.partition("\n## Test vectors of images of any size\n")[2].partition("\n# ")[0]

CHANNELS: dict[str, Literal[1, 2, 3, 4]] = {"grey": 1, "RGB": 3, "grey and alpha": 2, "RGB and alpha": 4}

SIZES = [(1, 1), (16, 16), (17, 40), (129, 131), (200, 90)]


@pytest.fixture(scope="module")
def codec(any_size_model: Path) -> Codec:
    return Codec.load(any_size_model)


def rows(columns: str) -> list[list[str]]:
    """The rows of the table of vectors with these columns."""
    lines = VECTORS.partition(f"| {columns} |\n")[2].partition("\n\n")[0].splitlines()[1:]
    assert len(lines) >= 4
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("row", rows("height × width | channels | quality index | header"), ids=lambda row: row[0])
def test_the_headers_of_the_document(row: list[str]) -> None:
    height, width = map(int, row[0].split(" × "))
    header = Header(height, width, CHANNELS[row[1]], int(row[2]))
    assert header.write().hex() == row[3]
    assert read_header(bytes.fromhex(row[3])) == (header, len(row[3]) // 2)


@pytest.mark.parametrize("row", rows("symbols | K | check | bytes after K"), ids=lambda row: f"{row[0]}-{row[1]}")
def test_the_symbols_of_the_document(row: list[str]) -> None:
    symbols = [] if row[0] == "none" else json.loads(f"[{row[0]}]")
    count, check, data = int(row[1]), int(row[2], 16), bytes.fromhex(row[3])
    numbers = np.arange(len(symbols)) % len(TABLES)
    writer = SymbolWriter(Tables(TABLES))
    writer.write(numbers, np.array(symbols, np.int64))
    assert writer.finish(check, count) == data
    second = Lanes(data, count)
    assert second.group([TABLES[number].model_dump() for number in numbers]) == symbols
    second.end(check)


@pytest.mark.parametrize("row", rows("alpha, row by row | bytes"), ids=lambda row: row[0])
def test_the_alpha_of_the_document(row: list[str]) -> None:
    alpha = np.array([[int(level) for level in line.split()] for line in row[0].split(";")], np.uint8)
    data = bytes.fromhex(row[1])
    assert np.array_equal(read_alpha(data, *alpha.shape), alpha)
    assert np.array_equal(plane(data, *alpha.shape), alpha)
    assert len(write_alpha(alpha)) <= len(data)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_the_second_reader_reads_what_the_codec_writes(
    codec: Codec, any_size_model: Path, size: tuple[int, int], channels: int
) -> None:
    pixels = drawn_logo(*size, channels)
    payload = codec.encode(pixels, quality=60, framing="raw").bitstream
    received = codec.decode(payload, framing="raw").astype(np.int16)
    assert np.abs(AnySizeReader(any_size_model).read(payload) - received).max() <= 1


def test_the_second_reader_reads_many_parts_and_many_lanes(
    codec: Codec, any_size_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (70, 1050, 3), np.uint8)
    monkeypatch.setattr(lanes, "MIN_LANES", 2)
    payload = codec.encode(noise, quality=100, framing="raw").bitstream
    assert all(body and body[0] > 1 for body in read_payload(payload).bodies)
    received = codec.decode(payload, framing="raw").astype(np.int16)
    assert np.abs(AnySizeReader(any_size_model).read(payload) - received).max() <= 1


def test_the_second_reader_reads_lossless_images(codec: Codec, any_size_model: Path) -> None:
    for channels in (1, 2, 3, 4):
        for size in ((2, 3), (90, 70)):
            pixels = clear_transparent(drawn_logo(*size, channels) // 50 * 50)
            payload = any_size_lossless.write_payload(pixels)
            assert np.array_equal(codec.decode(payload, framing="raw"), pixels)
            assert np.array_equal(AnySizeReader(any_size_model).read(payload), pixels)
    flat = np.full((90, 70, 4), 90, np.uint8)
    flat[40:, :, 3] = 0
    encoded = codec.encode(flat)
    assert (encoded.sent_as, encoded.psnr_db, encoded.quality) == ("webp", math.inf, None)
    assert np.array_equal(codec.decode(encoded.bitstream), clear_transparent(flat))


def test_the_container_of_the_document() -> None:
    part = TEXT.partition("\n## Test vector of a container of images of any size\n")[2]
    vector = bytes.fromhex("".join(re.findall(r"^\| .* \| `([0-9a-f]+)` \|$", part, flags=re.MULTILINE)))
    images = [np.full((1, 1, 1), 129, np.uint8), np.array([[[10, 20], [0, 0]]], np.uint8)]
    payloads = [any_size_lossless.write_payload(pixels) for pixels in images]
    assert container(vector) == payloads
    writer = PayloadContainerWriter(bytes.fromhex("00ff10ab"))
    assert writer.add(payloads[0]) + writer.add(payloads[1]) + writer.finish() == vector
    reader = FrameReader()
    reader.feed(vector)
    frame = reader.take()
    assert frame is not None
    assert read_payloads(frame) == payloads


def test_a_container_holds_images_of_all_sizes(codec: Codec, any_size_model: Path) -> None:
    images = [drawn_logo(20 + number, 90 - number, 1 + number % 4) for number in range(8)]
    many = codec.encode_many(images, quality=70)
    assert many.images == 8
    payloads = [codec.encode(pixels, quality=70, framing="raw").bitstream for pixels in images]
    assert container(many.container) == payloads
    received = list(codec.decode_many(many.container))
    for pixels, payload, one in zip(images, payloads, received, strict=True):
        assert one.shape == pixels.shape
        assert np.array_equal(one, codec.decode(payload, framing="raw"))
    with pytest.raises(DamagedChunk):
        list(codec.decode_many(many.container[:-1]))
    for changed in (many.container[:20] + b"x" + many.container[21:], b"C" + many.container[1:]):
        with pytest.raises(CodeError):
            list(codec.decode_many([changed]))


@pytest.mark.parametrize(
    "body", [b"", b"\0", b"\2a", b"\1a\1", b"\1a\1b\1c", b"\xff\xff\xff\xff\xff", b"\xff\xff\xff\xff\x7fa"]
)
def test_a_chunk_that_is_not_that_of_its_images_is_refused(body: bytes) -> None:
    with pytest.raises(DamagedChunk):
        read_payloads(Frame(0, 0, 2, body))


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
        pixels = drawn_logo(8 + 7 * number, 70 - 3 * number, 1 + number % 4)
        bitstream = codec.encode(pixels, quality=5 * number).bitstream
        for data in damaged(bitstream):
            with pytest.raises(CodeError):
                codec.decode(data)


def test_no_damage_to_a_bitstream_of_many_lanes_goes_unseen(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "MIN_LANES", 2)
    pixels = np.random.default_rng(0).integers(0, 256, (140, 150, 3), np.uint8)
    encoded = codec.encode(pixels, quality=10)
    assert encoded.quality is not None
    for data in damaged(encoded.bitstream):
        with pytest.raises(CodeError):
            codec.decode(data)


def test_damage_that_a_checksum_would_find_is_refused_or_decoded(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "MIN_LANES", 2)
    pixels = np.random.default_rng(0).integers(0, 256, (140, 150, 3), np.uint8)
    payload = codec.encode(pixels, quality=10, framing="raw").bitstream
    (body,) = read_payload(payload).bodies
    assert body
    assert body[0] > 1
    refused = 0
    changes = damaged(payload)[::5]
    for data in changes:
        try:
            codec.decode(data, framing="raw")
        except CodeError:
            refused += 1
    assert refused > 0.95 * len(changes)
