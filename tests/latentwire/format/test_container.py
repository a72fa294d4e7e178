import numpy as np
import pytest

from latentwire.errors import CodeError, DamagedChunk, InvalidCode, UnsupportedVersion
from latentwire.format.chunk_coder import ChunkCoder
from latentwire.format.container import (
    CHUNK_HEAD_BYTES,
    END_BYTES,
    HEADER_BYTES,
    MAX_CHUNK_IMAGES,
    Chunk,
    Frame,
    Header,
)
from latentwire.format.container_reader import FrameReader
from latentwire.format.container_writer import ContainerWriter, FrameWriter
from latentwire.model.card import ImageShape
from tests.latentwire.tables import draw_symbols, ideal_bytes, peaked_table

FINGERPRINT = bytes.fromhex("00ff10ab")
SHAPE = ImageShape(height=8, width=6, channels=1)
TABLES = [peaked_table(-9, 20, scale, escape=200) for scale in (0.5, 2, 5)]
CODER = ChunkCoder(TABLES, SHAPE)


def chunk_of(coded: int, payloads: dict[int, bytes] | None = None, seed: int = 0) -> Chunk:
    return Chunk(draw_symbols(np.random.default_rng(seed), TABLES, coded), payloads or {})


def write(*chunks: Chunk, announced: int = 0) -> bytes:
    writer = FrameWriter(FINGERPRINT, announced)
    parts = [writer.header()]
    parts += [writer.chunk(chunk.images, CODER.pack(chunk)) for chunk in chunks]
    return b"".join([*parts, writer.end()])


def read(data: bytes) -> list[Chunk]:
    reader = FrameReader()
    reader.feed(data)
    chunks = []
    while (frame := reader.take()) is not None:
        chunks.append(CODER.unpack(frame))
    reader.finish()
    return chunks


def assert_same(found: list[Chunk], *expected: Chunk) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.symbols, other.symbols)
        assert one.payloads == other.payloads


CHUNKS = (
    chunk_of(70, {0: b"\0abc", 71: b"\1x", 33: b"\2yz"}),
    chunk_of(0, {0: b"\0only", 1: b"\0such"}),
    chunk_of(300, seed=1),
)
WHOLE = write(*CHUNKS, announced=375)


@pytest.mark.parametrize("announced", [0, 375])
def test_chunks_come_back(announced: int) -> None:
    assert_same(read(write(*CHUNKS, announced=announced)), *CHUNKS)


def test_a_container_of_no_images_is_read() -> None:
    empty = write()
    assert len(empty) == HEADER_BYTES + END_BYTES
    assert read(empty) == []


def test_what_is_read_is_written_again_to_the_same_bytes() -> None:
    assert write(*read(WHOLE), announced=375) == WHOLE


def test_bytes_may_come_in_any_pieces() -> None:
    reader = FrameReader()
    frames = []
    for at in range(len(WHOLE)):
        reader.feed(WHOLE[at : at + 1])
        if (frame := reader.take()) is not None:
            frames.append(frame)
    reader.finish()
    assert_same([CODER.unpack(frame) for frame in frames], *CHUNKS)
    assert [(frame.number, frame.first, frame.images) for frame in frames] == [(0, 0, 73), (1, 73, 2), (2, 75, 300)]


def test_the_header_is_known_as_soon_as_it_has_come() -> None:
    reader = FrameReader()
    reader.feed(WHOLE[: HEADER_BYTES - 1])
    assert reader.take() is None
    assert reader.header is None
    reader.feed(WHOLE[HEADER_BYTES - 1 : HEADER_BYTES])
    assert reader.take() is None
    assert reader.header == Header(FINGERPRINT, 375)


def test_places_are_those_of_the_coded_images() -> None:
    assert chunk_of(3, {1: b"\0a", 3: b"\0b"}).coded().tolist() == [True, False, True, False, True]


def test_a_chunk_has_no_more_symbols_than_a_reader_takes() -> None:
    assert CODER.chunk_images == 4096
    assert ChunkCoder(TABLES[:1] * 4096, SHAPE).chunk_images == 1024


def test_codes_that_come_little_by_little_are_gathered_into_chunks() -> None:
    writer = ContainerWriter(CODER, FINGERPRINT, announced=5000)
    pieces = [writer.add(chunk_of(24, {3: b"\0ab"}, seed=seed)) for seed in range(200)]
    assert writer.images == 5000
    pieces.append(writer.finish())
    chunks = read(b"".join(pieces))
    assert [chunk.images for chunk in chunks] == [4075, 925]
    assert sorted(chunks[0].payloads) == list(range(3, 4075, 25))
    assert np.array_equal(chunks[0].symbols[24:48], chunk_of(24, seed=1).symbols)
    assert len(pieces[0]) == HEADER_BYTES
    assert sum(map(bool, pieces)) == 3


def test_many_lossless_images_fill_a_chunk_by_their_bytes() -> None:
    writer = ContainerWriter(CODER, FINGERPRINT)
    writer.add(Chunk(np.empty((0, 3), np.int64), {0: bytes(1 << 21)}))
    assert len(writer.add(Chunk(np.empty((0, 3), np.int64), {0: bytes(1 << 21)}))) > 1 << 22


def test_overhead_is_below_a_tenth_of_a_byte_an_image() -> None:
    size, images = CODER.chunk_images, 10_000
    chunks = [chunk_of(min(size, images - start), seed=start) for start in range(0, images, size)]
    coded = sum(ideal_bytes(TABLES, chunk.symbols) for chunk in chunks)
    distances = sum(len(ChunkCoder(TABLES, SHAPE)._rans.encode(chunk.symbols)[0]) for chunk in chunks)
    assert len(write(*chunks, announced=images)) - coded - distances < 0.1 * images


def test_every_flip_of_one_bit_is_refused() -> None:
    container = write(chunk_of(5, {2: b"\0ab"}), chunk_of(3), announced=9)
    assert read(container)
    for at in range(8 * len(container)):
        damaged = bytearray(container)
        damaged[at // 8] ^= 1 << at % 8
        with pytest.raises(CodeError):
            read(bytes(damaged))


def test_every_truncation_is_refused_with_what_is_lost() -> None:
    starts = [HEADER_BYTES]
    for chunk in CHUNKS:
        starts.append(starts[-1] + CHUNK_HEAD_BYTES + len(CODER.pack(chunk)) + 4)
    firsts = [0, 73, 75, 375]
    for length in range(HEADER_BYTES, len(WHOLE)):
        with pytest.raises(DamagedChunk, match="cut short") as caught:
            read(WHOLE[:length])
        number = sum(length >= start for start in starts) - 1
        assert (caught.value.chunk, caught.value.first, caught.value.images) == (number, firsts[number], None)
    for length in range(HEADER_BYTES):
        with pytest.raises(InvalidCode, match=r"cut short|empty"):
            read(WHOLE[:length])


def test_bytes_after_the_end_are_refused_whenever_they_come() -> None:
    with pytest.raises(InvalidCode, match="after its end"):
        read(WHOLE + b"\0")
    reader = FrameReader()
    reader.feed(WHOLE)
    while reader.take() is not None:
        pass
    reader.feed(b"\0")
    with pytest.raises(InvalidCode, match="after its end"):
        reader.take()


def test_damage_names_its_images_and_leaves_the_others() -> None:
    damaged = bytearray(WHOLE)
    damaged[HEADER_BYTES + CHUNK_HEAD_BYTES + 40] ^= 8
    reader = FrameReader()
    reader.feed(bytes(damaged))
    with pytest.raises(DamagedChunk, match=r"chunk 0, with the images 0 to 72, is damaged") as caught:
        reader.take()
    assert (caught.value.chunk, caught.value.first, caught.value.images) == (0, 0, 73)
    frames = [reader.take(), reader.take()]
    assert reader.take() is None
    reader.finish()
    assert_same([CODER.unpack(frame) for frame in frames if frame], *CHUNKS[1:])


def test_damage_in_a_head_is_final() -> None:
    damaged = bytearray(WHOLE)
    damaged[HEADER_BYTES + 1] ^= 1
    reader = FrameReader()
    reader.feed(bytes(damaged))
    for _ in range(2):
        with pytest.raises(DamagedChunk, match="images 0 to 374 are lost") as caught:
            reader.take()
        assert caught.value.images is None


def test_chunks_that_changed_places_or_went_missing_are_refused() -> None:
    # Of the same length, so that their heads are the same but for the checksums.
    chunks = [Chunk(np.empty((0, 3), np.int64), {0: payload}) for payload in (b"\0a", b"\0b")]
    whole = write(*chunks)
    size = (len(whole) - HEADER_BYTES - END_BYTES) // 2
    header, first, second = whole[:HEADER_BYTES], whole[HEADER_BYTES:][:size], whole[HEADER_BYTES + size :][:size]
    end = whole[-END_BYTES:]
    assert read(header + first + second + end)
    for wrong in ((second, first), (second,), (first,), (first, first, second), (first, second, second)):
        with pytest.raises(CodeError):
            read(header + b"".join(wrong) + end)


def test_lengths_that_lie_are_refused_before_anything_is_read() -> None:
    reader = FrameReader(max_chunk_bytes=100)
    writer = FrameWriter(FINGERPRINT)
    reader.feed(writer.header() + writer.chunk(5, bytes(101))[:CHUNK_HEAD_BYTES])
    with pytest.raises(InvalidCode, match="101 bytes"):
        reader.take()


@pytest.mark.parametrize("images", [0, MAX_CHUNK_IMAGES + 1, 65535])
def test_counts_that_lie_are_refused(images: int) -> None:
    writer = FrameWriter(FINGERPRINT)
    with pytest.raises(InvalidCode, match="images"):
        read(writer.header() + writer.chunk(images, b""))


def test_more_images_than_announced_are_refused_at_their_chunk() -> None:
    writer = FrameWriter(FINGERPRINT, announced=4)
    with pytest.raises(InvalidCode, match="more images than the 4"):
        read(writer.header() + writer.chunk(5, CODER.pack(chunk_of(5))))


def test_fewer_images_than_announced_are_refused_at_the_end() -> None:
    with pytest.raises(InvalidCode, match="its header 6"):
        read(write(chunk_of(5), announced=6))


def test_another_version_is_told_from_damage() -> None:
    class Later(FrameWriter):
        def header(self) -> bytes:
            self._head = self._head[:1] + b"\x02" + self._head[2:]
            return super().header()

    with pytest.raises(UnsupportedVersion, match="version 2"):
        read(Later(FINGERPRINT).header())


@pytest.mark.parametrize(
    ("images", "body", "says"),
    [
        (1, "", "cut short"),
        (1, "02", "lossless images"),
        (2, "010202000000", "index 2"),
        (2, "0100010000", "cannot have 1 bytes"),
        (2, "010032" + 50 * "00", "cannot have 50 bytes"),
        (1, "01000300", "3 more bytes"),
        (1, "8000", "shortest"),
        (1, "010002000000" + "00", "no coded image"),
        (1, "0005", "5 more bytes"),
        (1, "0000" + 4 * "00", "cannot have 4 bytes"),
        (1, "0000" + 5 * "00", "state"),
    ],
)
def test_bodies_that_no_chunk_has_are_refused(images: int, body: str, says: str) -> None:
    with pytest.raises(DamagedChunk, match=says) as caught:
        CODER.unpack(Frame(3, 100, images, bytes.fromhex(body)))
    assert (caught.value.chunk, caught.value.first, caught.value.images) == (3, 100, images)


def test_too_many_symbols_are_refused_before_they_are_decoded() -> None:
    wide = ChunkCoder(TABLES[:1] * 4096, SHAPE)
    with pytest.raises(DamagedChunk, match="4,194,304 symbols"):
        wide.unpack(Frame(0, 0, MAX_CHUNK_IMAGES, bytes(1000)))
