"""A chunk of images <-> the body of a chunk in a container: the lossless images, then the coded ones by rANS."""

from collections.abc import Sequence
from functools import cached_property

from latentwire.entropy.rans import RansCoder, read_varint, write_varint
from latentwire.errors import InvalidCode
from latentwire.format.container import MAX_CHUNK_SYMBOLS, Chunk, Frame
from latentwire.model.card import FrequencyTable, ImageShape
from latentwire.timing import timed_stage

# A writer closes a chunk at this many images. Larger chunks would save next to nothing, and be lost together.
MAX_WRITTEN_IMAGES = 1 << 12


class ChunkCoder:
    """Packs and unpacks the bodies of chunks of one model, whose card holds the tables and the shape."""

    def __init__(self, tables: Sequence[FrequencyTable], shape: ImageShape) -> None:
        self._tables = tables
        # A lossless image is at most a kind byte and its raw pixels.
        self._max_payload_bytes = 1 + shape.pixels * shape.channels

    @cached_property
    def _rans(self) -> RansCoder:
        # Only containers need it, and it takes milliseconds to make for long codes.
        return RansCoder(self._tables)

    @property
    def chunk_images(self) -> int:
        """The number of images that a writer puts into a chunk."""
        return min(MAX_WRITTEN_IMAGES, MAX_CHUNK_SYMBOLS // self._rans.code_size)

    @timed_stage("entropy")
    def pack(self, chunk: Chunk) -> bytes:
        """Return the body of a chunk.

        Raises:
            UncodableImage: a symbol does not fit in 32 bits.
        """
        parts = [write_varint(len(chunk.payloads))]
        next_index = 0
        for index, payload in sorted(chunk.payloads.items()):
            parts += [write_varint(index - next_index), write_varint(len(payload)), payload]
            next_index = index + 1
        distances, stream = self._rans.encode(chunk.symbols)
        return b"".join([*parts, write_varint(len(distances)), distances, stream])

    def unpack(self, frame: Frame) -> Chunk:
        """Unpack a body that `pack` returned.

        Raises:
            DamagedChunk: no chunk of this many images has this body.
        """
        try:
            return self._unpack(frame.body, frame.images)
        except InvalidCode as error:
            raise frame.damaged(str(error)) from error

    @timed_stage("entropy")
    def _unpack(self, body: bytes, images: int) -> Chunk:
        payloads, offset = read_lossless(body, images, self._max_payload_bytes)
        length, offset = read_varint(body, offset)
        distances, offset = _take(body, offset, length)
        coded = images - len(payloads)
        if coded * self._rans.code_size > MAX_CHUNK_SYMBOLS:
            raise InvalidCode(f"it has more than {MAX_CHUNK_SYMBOLS:,} symbols")
        return Chunk(self._rans.decode(distances, body[offset:], coded), payloads)


def read_lossless(body: bytes, images: int, max_payload_bytes: int) -> tuple[dict[int, bytes], int]:
    """Read the lossless images at the start of the body of a chunk. This needs no model.

    Args:
        body: of the chunk.
        images: number of images in the chunk.
        max_payload_bytes: bound on the kind byte and content of one image.

    Returns:
        Index in the chunk -> kind byte and content, and the offset of what follows them in the body.

    Raises:
        InvalidCode: no chunk of this many images has this body.
    """
    count, offset = read_varint(body, 0)
    if count > images:
        raise InvalidCode(f"it has {images:,} images, and claims {count:,} lossless images")
    payloads: dict[int, bytes] = {}
    next_index = 0
    for _ in range(count):
        gap, offset = read_varint(body, offset)
        index = next_index + gap
        next_index = index + 1
        if index >= images:
            raise InvalidCode(f"it has {images:,} images, and claims a lossless image at index {index:,}")
        length, offset = read_varint(body, offset)
        if not 2 <= length <= max_payload_bytes:
            raise InvalidCode(f"a lossless image cannot have {length:,} bytes")
        payloads[index], offset = _take(body, offset, length)
    return payloads, offset


def _take(body: bytes, offset: int, length: int) -> tuple[bytes, int]:
    if len(body) - offset < length:
        raise InvalidCode(f"it claims {length:,} more bytes at offset {offset:,}, and has {len(body) - offset:,}")
    return body[offset : offset + length], offset + length
