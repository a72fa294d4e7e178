"""Many images of one model <-> a container, chunk by chunk. The layout is specified in `docs/FORMAT.md`.

A container is a header, chunks, and an end mark with the number of images. Its frames are written by `FrameWriter` and
read by `FrameReader`, which know neither tables nor images; a frame's body is packed and unpacked by `ChunkCoder`.
`ContainerWriter` makes a whole container of codes that come little by little. All of them work on bytes that the caller
moves, so that containers stream through files, sockets and threads alike, and one chunk is held at a time. Damage is
said with the images it took: see `DamagedChunk`.
"""

import zlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from latentwire.entropy.rans import RansCoder, Symbols, read_varint, write_varint
from latentwire.errors import CodeError, DamagedChunk, InvalidCode, UnsupportedVersion
from latentwire.model.card import FrequencyTable, ImageShape
from latentwire.timing import timed_stage

MAGIC = 0x42  # "B"
VERSION = 1
FINGERPRINT_BYTES = 4
CHECK_BYTES = 4

END, CHUNK = 0, 1
HEADER_BYTES = 2 + FINGERPRINT_BYTES + 4 + CHECK_BYTES
CHUNK_HEAD_BYTES = 1 + 2 + 4 + CHECK_BYTES
END_BYTES = 1 + 4 + CHECK_BYTES

MAX_IMAGES = (1 << 32) - 1
MAX_CHUNK_IMAGES = 1 << 14
MAX_CHUNK_SYMBOLS = 1 << 22
MAX_CHUNK_BYTES = 1 << 27

# What a writer puts into a chunk. More would save next to nothing, and be lost together.
CHUNK_IMAGES = 1 << 12
CHUNK_IMAGE_BYTES = 1 << 22


class Header(NamedTuple):
    """What a container says of itself: its model, and the number of its images, 0 if that was not known."""

    fingerprint: bytes
    announced: int


class Frame(NamedTuple):
    """One undamaged chunk, not unpacked: its number and that of its first image, both from 0, and its images' count."""

    number: int
    first: int
    images: int
    body: bytes

    def damaged(self, why: str) -> DamagedChunk:
        """Return the error that this chunk is lost by."""
        last = self.first + self.images - 1
        sentence = f"chunk {self.number}, with the images {self.first:,} to {last:,}, is damaged: {why}"
        return DamagedChunk(sentence, self.number, self.first, self.images)


class Chunk(NamedTuple):
    """Some successive images: the symbols, int64 (coded, code size), of those that are coded, in their order.

    `payloads` holds the others, images losslessly: place in the chunk -> byte of kind and content.
    """

    symbols: Symbols
    payloads: Mapping[int, bytes] = MappingProxyType({})

    @property
    def images(self) -> int:
        """How many images there are in all."""
        return len(self.symbols) + len(self.payloads)

    def coded(self) -> npt.NDArray[np.bool_]:
        """Return for each place whether the image there is coded."""
        mask = np.ones(self.images, dtype=np.bool_)
        mask[list(self.payloads)] = False
        return mask


class ChunkCoder:
    """Packs and unpacks the bodies of chunks of one model, whose card holds the tables and the shape."""

    def __init__(self, tables: Sequence[FrequencyTable], shape: ImageShape) -> None:
        self._tables = tables
        # As itself an image is at most a byte of kind and its raw pixels.
        self._max_payload_bytes = 1 + shape.pixels * shape.channels

    @cached_property
    def _rans(self) -> RansCoder:
        # Only who has batches needs it; of long codes it takes a millisecond.
        return RansCoder(self._tables)

    @property
    def chunk_images(self) -> int:
        """How many images a writer puts into a chunk."""
        return min(CHUNK_IMAGES, MAX_CHUNK_SYMBOLS // self._rans.code_size)

    @timed_stage("entropy")
    def pack(self, chunk: Chunk) -> bytes:
        """Return the body of a chunk.

        Raises:
            UncodableImage: a symbol does not fit in 32 bits.
        """
        parts = [write_varint(len(chunk.payloads))]
        next_place = 0
        for place, payload in sorted(chunk.payloads.items()):
            parts += [write_varint(place - next_place), write_varint(len(payload)), payload]
            next_place = place + 1
        distances, stream = self._rans.encode(chunk.symbols)
        return b"".join([*parts, write_varint(len(distances)), distances, stream])

    def unpack(self, frame: Frame) -> Chunk:
        """Undo `pack`.

        Raises:
            DamagedChunk: no chunk of this many images has this body.
        """
        try:
            return self._unpack(frame.body, frame.images)
        except InvalidCode as error:
            raise frame.damaged(str(error)) from error

    @timed_stage("entropy")
    def _unpack(self, body: bytes, images: int) -> Chunk:
        payloads, at = read_payloads(body, images, self._max_payload_bytes)
        length, at = read_varint(body, at)
        distances, at = _take(body, at, length)
        coded = images - len(payloads)
        if coded * self._rans.code_size > MAX_CHUNK_SYMBOLS:
            raise InvalidCode(f"it has more than {MAX_CHUNK_SYMBOLS:,} symbols")
        return Chunk(self._rans.decode(distances, body[at:], coded), payloads)


def read_payloads(body: bytes, images: int, max_payload_bytes: int) -> tuple[dict[int, bytes], int]:
    """Read the images losslessly of a chunk of so many images; that needs no model.

    Returns:
        place in the chunk -> byte of kind and content, and the offset of what follows them in the body.

    Raises:
        InvalidCode: no chunk of this many images has this body.
    """
    count, at = read_varint(body, 0)
    if count > images:
        raise InvalidCode(f"{count:,} of its {images:,} images are said to be there losslessly")
    payloads: dict[int, bytes] = {}
    next_place = 0
    for _ in range(count):
        gap, at = read_varint(body, at)
        place = next_place + gap
        next_place = place + 1
        if place >= images:
            raise InvalidCode(f"it has {images:,} images, and one at place {place:,}")
        length, at = read_varint(body, at)
        if not 2 <= length <= max_payload_bytes:
            raise InvalidCode(f"an image losslessly cannot have {length:,} bytes")
        payloads[place], at = _take(body, at, length)
    return payloads, at


class FrameWriter:
    """Writes the frames of one container, in the order `header`, `chunk` for each chunk, `end`."""

    def __init__(self, fingerprint: bytes, announced: int = 0) -> None:
        """Begin a container of the model with this fingerprint (4 bytes).

        Args:
            fingerprint: of the model.
            announced: number of images, if it is known. A container that turns out otherwise is refused by readers.
        """
        self._head = bytes((MAGIC, VERSION)) + fingerprint + announced.to_bytes(4, "big")
        self._check = 0
        self.images = 0

    def header(self) -> bytes:
        """Return the header."""
        return self._checked(self._head)

    def chunk(self, images: int, body: bytes) -> bytes:
        """Return the frame of a chunk of so many images, 1 or more."""
        head = self._checked(bytes((CHUNK,)) + images.to_bytes(2, "big") + len(body).to_bytes(4, "big"))
        self.images += images
        return head + body + zlib.crc32(body, self._check).to_bytes(CHECK_BYTES, "big")

    def end(self) -> bytes:
        """Return the end mark."""
        return self._checked(bytes((END,)) + self.images.to_bytes(4, "big"))

    def _checked(self, head: bytes) -> bytes:
        # Each checksum covers all heads so far, so that chunks cannot change places, nor go missing.
        self._check = zlib.crc32(head, self._check)
        return head + self._check.to_bytes(CHECK_BYTES, "big")


class ContainerWriter:
    """Writes one container: gathers codes into chunks, and gives the bytes that are ready. Holds one chunk."""

    def __init__(self, coder: ChunkCoder, fingerprint: bytes, announced: int = 0) -> None:
        """Begin a container; see `FrameWriter` for the arguments."""
        self._coder = coder
        self._frames = FrameWriter(fingerprint, announced)
        self._ready = [self._frames.header()]
        self._gathered: list[Chunk] = []
        self._images = self._payload_bytes = 0

    @property
    def images(self) -> int:
        """How many images have been added."""
        return self._frames.images + self._images

    def add(self, codes: Chunk) -> bytes:
        """Add some images' codes, at most as many as a chunk takes; return the bytes that are ready, maybe none.

        Raises:
            UncodableImage: a symbol does not fit in 32 bits.
        """
        if self._images + codes.images > self._coder.chunk_images:
            self._flush()
        if codes.images:
            self._gathered.append(codes)
            self._images += codes.images
            self._payload_bytes += sum(map(len, codes.payloads.values()))
        if self._images == self._coder.chunk_images or self._payload_bytes >= CHUNK_IMAGE_BYTES:
            self._flush()
        return self._take_ready()

    def finish(self) -> bytes:
        """Return the last bytes."""
        self._flush()
        self._ready.append(self._frames.end())
        return self._take_ready()

    def _flush(self) -> None:
        if not self._gathered:
            return
        payloads, first = {}, 0
        for codes in self._gathered:
            payloads.update({first + place: payload for place, payload in codes.payloads.items()})
            first += codes.images
        chunk = Chunk(np.concatenate([codes.symbols for codes in self._gathered]), payloads)
        self._gathered, self._images, self._payload_bytes = [], 0, 0
        self._ready.append(self._frames.chunk(chunk.images, self._coder.pack(chunk)))

    def _take_ready(self) -> bytes:
        ready, self._ready = b"".join(self._ready), []
        return ready


class FrameReader:
    """Reads the frames of one container: feed bytes, take frames, and call `finish` when there are no more bytes.

    After a `DamagedChunk` that names its last image, the frames that follow can still be taken; all other errors are
    final. What has been fed and not been taken is held here.
    """

    def __init__(self, max_chunk_bytes: int = MAX_CHUNK_BYTES) -> None:
        """Read chunks with bodies of at most so many bytes, of any model."""
        self._max_chunk_bytes = max_chunk_bytes
        self._held = bytearray()
        self._check = 0
        self._open: tuple[int, int] | None = None  # images and bytes of a chunk of which only the head has been read
        self._error: CodeError | None = None
        self.header: Header | None = None
        self.chunks = 0
        self.images = 0
        self.ended = False

    def feed(self, data: bytes) -> None:
        """Take in the bytes that come next."""
        self._held += data

    def take(self) -> Frame | None:
        """Return the next frame, or None if that needs more bytes; `header` is there as soon as its bytes are.

        Raises:
            InvalidCode: not a container, one with bytes after its end, or one that contradicts itself.
            UnsupportedVersion: undamaged as far as can be told, but of another version.
            DamagedChunk: the next chunk is damaged.
        """
        if self._error is not None:
            raise self._error
        try:
            return self._take()
        except DamagedChunk as error:
            if error.images is None:
                self._error = error
            raise
        except CodeError as error:
            self._error = error
            raise

    def finish(self) -> None:
        """Check that the container has ended.

        Raises:
            InvalidCode: there is nothing, or less than a header.
            DamagedChunk: there is no end mark.
        """
        if self.ended:
            return
        if self.header is None:
            raise InvalidCode("the container is empty" if not self._held else "the container is cut short")
        raise self._lost("the container is cut short")

    def _take(self) -> Frame | None:
        if self.header is None and not self._read_header():
            return None
        if self.ended:
            if self._held:
                raise InvalidCode("the container has bytes after its end")
            return None
        if self._open is None and not self._read_head():
            return None
        return self._read_body()

    def _read_header(self) -> bool:
        if self._held and self._held[0] != MAGIC:
            raise InvalidCode("this is not a container of codes: it does not start with the letter B")
        if (head := self._read(HEADER_BYTES)) is None:
            return False
        if not self._is_sound(head):
            raise InvalidCode("the container's header is damaged: its checksum does not match")
        if head[1] != VERSION:
            raise UnsupportedVersion(f"the container is of version {head[1]}; this codec reads version {VERSION}")
        self.header = Header(head[2:6], int.from_bytes(head[6:10], "big"))
        return True

    def _read_head(self) -> bool:
        """Read the head of a chunk, or the end mark; return whether a chunk is open."""
        if not self._held:
            return False
        if self._held[0] not in (CHUNK, END):
            raise self._lost("the container is damaged")
        if (head := self._read(CHUNK_HEAD_BYTES if self._held[0] == CHUNK else END_BYTES)) is None:
            return False
        if not self._is_sound(head):
            raise self._lost("the container is damaged")
        if head[0] == END:
            self._end(int.from_bytes(head[1:5], "big"))
            return False
        images, length = int.from_bytes(head[1:3], "big"), int.from_bytes(head[3:7], "big")
        if not 1 <= images <= MAX_CHUNK_IMAGES:
            raise InvalidCode(f"chunk {self.chunks} is said to have {images:,} images; 1 to {MAX_CHUNK_IMAGES:,} fit")
        if length > self._max_chunk_bytes:
            raise InvalidCode(
                f"chunk {self.chunks} is said to have {length:,} bytes; {self._max_chunk_bytes:,} are allowed"
            )
        announced = self.header.announced if self.header else 0
        if self.images + images > (announced or MAX_IMAGES):
            raise InvalidCode(f"the container has more than the {announced or MAX_IMAGES:,} images that it may have")
        self._open = images, length
        return True

    def _read_body(self) -> Frame | None:
        if self._open is None:
            return None
        images, length = self._open
        if (body := self._read(length + CHECK_BYTES)) is None:
            return None
        frame = Frame(self.chunks, self.images, images, body[:length])
        self._open = None
        self.chunks += 1
        self.images += images
        if zlib.crc32(frame.body, self._check).to_bytes(CHECK_BYTES, "big") != body[length:]:
            raise frame.damaged("its checksum does not match")
        return frame

    def _end(self, total: int) -> None:
        announced = self.header.announced if self.header else 0
        if total != self.images or announced not in (0, total):
            raise InvalidCode(
                f"the container has {self.images:,} images, its end says {total:,} and its header {announced:,}"
            )
        self.ended = True
        if self._held:
            raise InvalidCode("the container has bytes after its end")

    def _read(self, size: int) -> bytes | None:
        if len(self._held) < size:
            return None
        data = bytes(memoryview(self._held)[:size])
        del self._held[:size]
        return data

    def _is_sound(self, head: bytes) -> bool:
        self._check = zlib.crc32(head[:-CHECK_BYTES], self._check)
        return self._check.to_bytes(CHECK_BYTES, "big") == head[-CHECK_BYTES:]

    def _lost(self, what: str) -> DamagedChunk:
        announced = self.header.announced if self.header else 0
        lost = f"image {self.images:,} and what follows it, if anything, is lost"
        if self.images < announced:
            lost = f"the images {self.images:,} to {announced - 1:,} are lost"
        return DamagedChunk(f"{what} at chunk {self.chunks}: {lost}", self.chunks, self.images, None)


def _take(body: bytes, at: int, length: int) -> tuple[bytes, int]:
    if len(body) - at < length:
        raise InvalidCode(f"it is said to have {length:,} more bytes at offset {at:,}, and has {len(body) - at:,}")
    return body[at : at + length], at + length
