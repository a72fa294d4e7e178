"""Reads containers: bytes in pieces of any length -> frames, and an error for each damage, with the images it takes."""

import zlib
from collections.abc import Callable, Iterable, Iterator

from latentwire.errors import CodeError, DamagedChunk, InvalidCode, UnsupportedVersion
from latentwire.format.container import (
    CHECKSUM_BYTES,
    CHUNK,
    CHUNK_HEAD_BYTES,
    END,
    END_BYTES,
    HEADER_BYTES,
    MAGIC,
    MAX_CHUNK_BYTES,
    MAX_CHUNK_IMAGES,
    MAX_IMAGES,
    VERSION,
    Frame,
    Header,
)


class FrameReader:
    """Reads the frames of one container: feed bytes, take frames, and call `finish` after the last bytes.

    After a `DamagedChunk` with a number of lost images, the frames that follow can still be taken. All other errors are
    final. The reader keeps the bytes that were fed and not yet taken.
    """

    def __init__(self, max_chunk_bytes: int = MAX_CHUNK_BYTES) -> None:
        """Read chunks with bodies of at most `max_chunk_bytes`, of any model."""
        self._max_chunk_bytes = max_chunk_bytes
        self._buffer = bytearray()
        self._checksum = 0
        self._open: tuple[int, int] | None = None  # images and bytes of a chunk whose head was read, and not its body
        self._error: CodeError | None = None
        self.header: Header | None = None
        self.chunks = 0
        self.images = 0
        self.ended = False

    def feed(self, data: bytes) -> None:
        """Add the bytes that come next."""
        self._buffer += data

    def take(self) -> Frame | None:
        """Return the next frame, or None if it needs more bytes; `header` is set as soon as its bytes are complete.

        Raises:
            InvalidCode: not a container, one with bytes after its end, or one that contradicts itself.
            UnsupportedVersion: undamaged as far as the checksum tells, but of another version.
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
            InvalidCode: it is empty, or shorter than a header.
            DamagedChunk: it has no end mark.
        """
        if self.ended:
            return
        if self.header is None:
            raise InvalidCode("the container is cut short" if self._buffer else "the container is empty")
        raise self._lost("the container is cut short")

    def _take(self) -> Frame | None:
        if self.header is None and not self._read_header():
            return None
        if self.ended:
            if self._buffer:
                raise InvalidCode("the container has bytes after its end")
            return None
        if self._open is None and not self._read_head():
            return None
        return self._read_body()

    def _read_header(self) -> bool:
        if self._buffer and self._buffer[0] != MAGIC:
            raise InvalidCode("this is not a container: it does not start with the letter B")
        if (head := self._read(HEADER_BYTES)) is None:
            return False
        if not self._matches_checksum(head):
            raise InvalidCode("the container's header is damaged: its checksum does not match")
        if head[1] != VERSION:
            raise UnsupportedVersion(f"the container has version {head[1]}; this program reads version {VERSION}")
        self.header = Header(head[2:6], int.from_bytes(head[6:10], "big"))
        return True

    def _read_head(self) -> bool:
        """Read the head of a chunk, or the end mark; return whether the body of a chunk follows."""
        if not self._buffer:
            return False
        if self._buffer[0] not in (CHUNK, END):
            raise self._lost("the container is damaged")
        if (head := self._read(CHUNK_HEAD_BYTES if self._buffer[0] == CHUNK else END_BYTES)) is None:
            return False
        if not self._matches_checksum(head):
            raise self._lost("the container is damaged")
        if head[0] == END:
            self._end(int.from_bytes(head[1:5], "big"))
            return False
        images, length = int.from_bytes(head[1:3], "big"), int.from_bytes(head[3:7], "big")
        if not 1 <= images <= MAX_CHUNK_IMAGES:
            raise InvalidCode(f"chunk {self.chunks} claims {images:,} images; 1 to {MAX_CHUNK_IMAGES:,} are allowed")
        if length > self._max_chunk_bytes:
            raise InvalidCode(f"chunk {self.chunks} claims {length:,} bytes; {self._max_chunk_bytes:,} are allowed")
        max_images = self._announced or MAX_IMAGES
        if self.images + images > max_images:
            raise InvalidCode(f"the container has more images than the {max_images:,} that are allowed or announced")
        self._open = images, length
        return True

    def _read_body(self) -> Frame | None:
        if self._open is None:
            return None
        images, length = self._open
        if (body := self._read(length + CHECKSUM_BYTES)) is None:
            return None
        frame = Frame(self.chunks, self.images, images, body[:length])
        self._open = None
        self.chunks += 1
        self.images += images
        if zlib.crc32(frame.body, self._checksum).to_bytes(CHECKSUM_BYTES, "big") != body[length:]:
            raise frame.damaged("its checksum does not match")
        return frame

    def _end(self, total: int) -> None:
        if total != self.images or self._announced not in (0, total):
            raise InvalidCode(
                f"the container has {self.images:,} images; its end mark says {total:,}, its header {self._announced:,}"
            )
        self.ended = True
        if self._buffer:
            raise InvalidCode("the container has bytes after its end")

    @property
    def _announced(self) -> int:
        return self.header.announced if self.header else 0

    def _read(self, size: int) -> bytes | None:
        if len(self._buffer) < size:
            return None
        data = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        return data

    def _matches_checksum(self, head: bytes) -> bool:
        self._checksum = zlib.crc32(head[:-CHECKSUM_BYTES], self._checksum)
        return self._checksum.to_bytes(CHECKSUM_BYTES, "big") == head[-CHECKSUM_BYTES:]

    def _lost(self, what: str) -> DamagedChunk:
        lost = f"image {self.images:,} and any after it are lost"
        if self.images < self._announced:
            lost = f"the images {self.images:,} to {self._announced - 1:,} are lost"
        return DamagedChunk(f"{what} at chunk {self.chunks}: {lost}", self.chunks, self.images, None)


def read_frames(stream: Iterable[bytes], check_fingerprint: Callable[[bytes], None]) -> Iterator[Frame]:
    """Read a whole container, with one frame in memory at a time.

    Args:
        stream: bytes of the container, in pieces of any length.
        check_fingerprint: raises if the container is of another model; called before the first frame.

    Yields:
        Each frame.

    Raises:
        CodeError: see `FrameReader`; DamagedChunk also if the container is cut short.
    """
    reader = FrameReader()
    for piece in stream:
        reader.feed(piece)
        frame = reader.take()
        if reader.header is not None:
            check_fingerprint(reader.header.fingerprint)
        while frame is not None:
            yield frame
            frame = reader.take()
    reader.finish()
