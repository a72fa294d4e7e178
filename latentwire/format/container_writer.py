"""Writes containers: `FrameWriter` header, chunks and end mark; `ContainerWriter` a whole container, chunk by chunk."""

import zlib

import numpy as np

from latentwire.format.chunk_coder import ChunkCoder
from latentwire.format.container import CHECKSUM_BYTES, CHUNK, END, MAGIC, VERSION, Chunk

# A writer closes a chunk when its lossless images have this many bytes.
MAX_WRITTEN_PAYLOAD_BYTES = 1 << 22


class FrameWriter:
    """Writes the frames of one container: `header`, then `chunk` for each chunk, then `end`."""

    def __init__(self, fingerprint: bytes, announced: int = 0) -> None:
        """Begin a container.

        Args:
            fingerprint: of the model, 4 bytes.
            announced: number of images, 0 if unknown. Readers refuse a container that holds another number.
        """
        self._head = bytes((MAGIC, VERSION)) + fingerprint + announced.to_bytes(4, "big")
        self._checksum = 0
        self.images = 0

    def header(self) -> bytes:
        """Return the header."""
        return self._with_checksum(self._head)

    def chunk(self, images: int, body: bytes) -> bytes:
        """Return the frame of a chunk of this many images, 1 or more."""
        head = self._with_checksum(bytes((CHUNK,)) + images.to_bytes(2, "big") + len(body).to_bytes(4, "big"))
        self.images += images
        return head + body + zlib.crc32(body, self._checksum).to_bytes(CHECKSUM_BYTES, "big")

    def end(self) -> bytes:
        """Return the end mark."""
        return self._with_checksum(bytes((END,)) + self.images.to_bytes(4, "big"))

    def _with_checksum(self, head: bytes) -> bytes:
        # Each checksum covers all heads so far, so that a reader notices chunks that are missing or in another order.
        self._checksum = zlib.crc32(head, self._checksum)
        return head + self._checksum.to_bytes(CHECKSUM_BYTES, "big")


class ContainerWriter:
    """Writes one container: gathers images into chunks, one in memory at a time, and returns bytes when ready."""

    def __init__(self, coder: ChunkCoder, fingerprint: bytes, announced: int = 0) -> None:
        """Begin a container; see `FrameWriter` for the arguments."""
        self._coder = coder
        self._frames = FrameWriter(fingerprint, announced)
        self._ready = [self._frames.header()]
        self._gathered: list[Chunk] = []
        self._images = self._payload_bytes = 0

    @property
    def images(self) -> int:
        """The number of images added so far."""
        return self._frames.images + self._images

    def add(self, part: Chunk) -> bytes:
        """Add images, at most `ChunkCoder.chunk_images`; return the bytes that are ready, often none.

        Raises:
            UncodableImage: a symbol does not fit in 32 bits.
        """
        if self._images + part.images > self._coder.chunk_images:
            self._flush()
        if part.images:
            self._gathered.append(part)
            self._images += part.images
            self._payload_bytes += sum(map(len, part.payloads.values()))
        if self._images == self._coder.chunk_images or self._payload_bytes >= MAX_WRITTEN_PAYLOAD_BYTES:
            self._flush()
        return self._take_ready()

    def finish(self) -> bytes:
        """Return the last bytes.

        Raises:
            UncodableImage: a symbol does not fit in 32 bits.
        """
        self._flush()
        self._ready.append(self._frames.end())
        return self._take_ready()

    def _flush(self) -> None:
        if not self._gathered:
            return
        payloads, first = {}, 0
        for part in self._gathered:
            payloads.update({first + index: payload for index, payload in part.payloads.items()})
            first += part.images
        chunk = Chunk(np.concatenate([part.symbols for part in self._gathered]), payloads)
        self._gathered, self._images, self._payload_bytes = [], 0, 0
        self._ready.append(self._frames.chunk(chunk.images, self._coder.pack(chunk)))

    def _take_ready(self) -> bytes:
        ready, self._ready = b"".join(self._ready), []
        return ready
