"""The parts of a container, which holds many images of one model. `docs/FORMAT.md` specifies the layout.

A container is a header, chunks, and an end mark with the number of images. `container_writer` writes it and
`container_reader` reads it; `chunk_coder` packs the images of a chunk into its body. All of them work on bytes that the
caller moves, so that containers stream through files, sockets and threads alike, with one chunk in memory at a time.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from latentwire.entropy.symbols import Symbols
from latentwire.errors import DamagedChunk

MAGIC = 0x42  # "B"
VERSION = 1
FINGERPRINT_BYTES = 4
CHECKSUM_BYTES = 4

END, CHUNK = 0, 1
HEADER_BYTES = 2 + FINGERPRINT_BYTES + 4 + CHECKSUM_BYTES
CHUNK_HEAD_BYTES = 1 + 2 + 4 + CHECKSUM_BYTES
END_BYTES = 1 + 4 + CHECKSUM_BYTES

MAX_IMAGES = (1 << 32) - 1
MAX_CHUNK_IMAGES = 1 << 14
MAX_CHUNK_SYMBOLS = 1 << 22
MAX_CHUNK_BYTES = 1 << 27


class Header(NamedTuple):
    """The header of a container: the model's fingerprint (4 bytes), and the announced number of images, or 0."""

    fingerprint: bytes
    announced: int


class Frame(NamedTuple):
    """One undamaged chunk, still packed: its number and that of its first image, both from 0, and its image count."""

    number: int
    first: int
    images: int
    body: bytes

    def damaged(self, why: str) -> DamagedChunk:
        """Return the error that says that this chunk is lost, and why."""
        last = self.first + self.images - 1
        sentence = f"chunk {self.number}, with the images {self.first:,} to {last:,}, is damaged: {why}"
        return DamagedChunk(sentence, self.number, self.first, self.images)


class PackedImages(NamedTuple):
    """Images of a container that are not decoded yet.

    Attributes:
        size: the bytes that they take.
        pixels: width × height of the only image, of any size; 0 for images of a vector model.
        decoding: gives the images, uint8 (N, H, W, C), a few at a time.
    """

    size: int
    pixels: int
    decoding: Iterator[npt.NDArray[np.uint8]]


class Chunk(NamedTuple):
    """Successive images: the symbols, int64 (coded, code size), of the coded ones, in their order.

    `payloads` holds the lossless images: index in the chunk -> kind byte and content.
    """

    symbols: Symbols
    payloads: Mapping[int, bytes] = MappingProxyType({})

    @property
    def images(self) -> int:
        """The number of images, coded and lossless."""
        return len(self.symbols) + len(self.payloads)

    def coded(self) -> npt.NDArray[np.bool_]:
        """Return for each image, bool (images), whether it is coded."""
        mask = np.ones(self.images, dtype=np.bool_)
        mask[list(self.payloads)] = False
        return mask
