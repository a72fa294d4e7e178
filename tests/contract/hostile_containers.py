"""Writes containers that must not be read: `python -m tests.contract.hostile_containers`.

They lie in `hostile/`, one file for each malformation, named `container-<malformation>.bin`. They are of the tables and
the shape that stand here, so that no model's fate touches them.
"""

import sys
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from latentwire.errors import CodeError, DamagedChunk, InvalidCode, UnsupportedVersion
from latentwire.format.chunk_coder import ChunkCoder
from latentwire.format.container import Chunk
from latentwire.format.container_writer import FrameWriter
from latentwire.model.card import FrequencyTable, ImageShape

FOLDER = Path(__file__).parent / "hostile"
FINGERPRINT = bytes.fromhex("00ff10ab")
SHAPE = ImageShape(height=2, width=2, channels=1)
TABLES = (FrequencyTable(first=-1, frequencies=(16384, 32768, 16383), escape=1),) * 2
CODER = ChunkCoder(TABLES, SHAPE)

# Three coded images, the second with the symbol 5, which is outside its table; before the last, a lossless image.
CHUNK = Chunk(np.array([[0, 0], [5, -1], [1, 0]], dtype=np.int64), {2: bytes.fromhex("00000a141e")})


class Hostile(NamedTuple):
    """Bytes that are no container, the error that says so, and a part of its sentence."""

    data: bytes
    error: type[CodeError]
    says: str


def sound() -> bytes:
    """Return the container of which the hostile ones are made; the test vector of `docs/FORMAT.md`."""
    return _container(CODER.pack(CHUNK))


def hostile_containers() -> dict[str, Hostile]:
    """Return every malformation by its name."""
    whole, body = sound(), CODER.pack(CHUNK)
    header = whole[:14]
    flipped = bytearray(whole)
    flipped[30] ^= 4
    damaged_count = bytearray(whole)
    damaged_count[16] ^= 1
    lie = b"\1" + (4).to_bytes(2, "big")
    return {
        "empty": Hostile(b"", InvalidCode, "empty"),
        "wrong-magic": Hostile(b"L" + whole[1:], InvalidCode, "letter B"),
        "header-cut": Hostile(whole[:9], InvalidCode, "cut short"),
        "header-checksum": Hostile(header[:-1] + b"\0" + whole[14:], InvalidCode, "header is damaged"),
        "future-version": Hostile(_sealed(b"\x42\x02" + header[2:10]), UnsupportedVersion, "version 2"),
        "no-chunk-type": Hostile(header + b"\2" + whole[15:], DamagedChunk, "image 0 and any after it"),
        "chunk-head-cut": Hostile(whole[:20], DamagedChunk, "cut short"),
        "chunk-head-checksum": Hostile(bytes(damaged_count), DamagedChunk, "image 0 and any after it"),
        "chunk-body-cut": Hostile(whole[:30], DamagedChunk, "cut short"),
        "chunk-body-bit": Hostile(bytes(flipped), DamagedChunk, "images 0 to 3"),
        "chunk-checksum": Hostile(whole[:-10] + b"\0" + whole[-9:], DamagedChunk, "images 0 to 3"),
        "no-end": Hostile(whole[:-9], DamagedChunk, "cut short"),
        "end-cut": Hostile(whole[:-1], DamagedChunk, "cut short"),
        "end-checksum": Hostile(whole[:-1] + b"\0", DamagedChunk, "image 4 and any after it"),
        "end-of-another-count": Hostile(_container(body, total=3), InvalidCode, "its end mark says 3"),
        "bytes-after-the-end": Hostile(whole + b"\0", InvalidCode, "after its end"),
        "announced-more": Hostile(_container(body, announced=5), InvalidCode, "its header 5"),
        "announced-fewer": Hostile(_container(body, announced=3), InvalidCode, "more images than the 3"),
        "no-images": Hostile(_container(body, images=0), InvalidCode, "0 images"),
        "four-billion-images": Hostile(
            _container(b"", images=65535, announced=2**32 - 1), InvalidCode, "65,535 images"
        ),
        "four-gigabytes": Hostile(_headed(lie + b"\xff\xff\xff\xff"), InvalidCode, "4,294,967,295 bytes"),
        "more-images-than-words": Hostile(_container(body, images=16384), DamagedChunk, "lane"),
        "chunk-twice": Hostile(whole[:-9] + whole[14:], DamagedChunk, "image 4 and any after it"),
        "body-empty": Hostile(_container(b""), DamagedChunk, "cut short"),
        "more-lossless-than-images": Hostile(_container(b"\5" + body[1:]), DamagedChunk, "lossless images"),
        "index-beyond-the-images": Hostile(_container(b"\1\4" + body[2:]), DamagedChunk, "index 4"),
        "lossless-image-too-long": Hostile(
            _container(body[:2] + b"\6" + body[3:8] + b"\0" + body[8:]), DamagedChunk, "cannot have 6 bytes"
        ),
        "lossless-image-without-content": Hostile(
            _container(body[:2] + b"\1\0" + body[8:]), DamagedChunk, "cannot have 1 bytes"
        ),
        "lossless-image-cut": Hostile(_container(body[:5]), DamagedChunk, "5 more bytes"),
        "number-not-shortest": Hostile(_container(b"\x81\0" + body[1:]), DamagedChunk, "shortest"),
        "number-never-ends": Hostile(_container(b"\xff" * 9), DamagedChunk, "too long"),
        "distance-missing": Hostile(_container(body[:8] + b"\0" + body[10:]), DamagedChunk, "cut short"),
        "distance-too-many": Hostile(_container(body[:8] + b"\2\6\0" + body[10:]), DamagedChunk, "more distances"),
        "distance-not-shortest": Hostile(_container(body[:8] + b"\2\x86\0" + body[10:]), DamagedChunk, "shortest"),
        "symbol-of-33-bits": Hostile(
            _container(body[:8] + b"\5\xff\xff\xff\xff\x1f" + body[10:]), DamagedChunk, "more than 32 bits"
        ),
        "no-lane": Hostile(_container(body[:10]), DamagedChunk, "cannot have 0 bytes"),
        "state-too-small": Hostile(_container(body[:10] + b"\0\0" + body[12:]), DamagedChunk, "state"),
        "odd-words": Hostile(_container(body + b"\0"), DamagedChunk, "cannot have"),
        "word-missing": Hostile(_container(CODER.pack(_rare())[:-2], images=9), DamagedChunk, "end too early"),
        "word-too-many": Hostile(_container(body + b"\0\0"), DamagedChunk, "do not end"),
        "state-at-the-end": Hostile(_container(body[:14] + bytes([body[14] ^ 1])), DamagedChunk, ""),
    }


def main() -> int:
    """Write one file for each malformation, and remove those of malformations that are gone."""
    FOLDER.mkdir(exist_ok=True)
    hostile = hostile_containers()
    for path in FOLDER.glob("container-*.bin"):
        if path.stem.removeprefix("container-") not in hostile:
            path.unlink()
    for name, (data, _, _) in hostile.items():
        (FOLDER / f"container-{name}.bin").write_bytes(data)
    print(f"{len(hostile)} files")
    return 0


def _container(body: bytes, images: int = 4, announced: int = 0, total: int = 4) -> bytes:
    writer = FrameWriter(FINGERPRINT, announced)
    start = writer.header() + writer.chunk(images, body)
    writer.images = total
    return start + writer.end()


def _headed(head: bytes) -> bytes:
    """Return a container's header and a chunk's head, checksums and all, and nothing more."""
    header = FrameWriter(FINGERPRINT).header()
    return header + head + zlib.crc32(header[:-4] + head).to_bytes(4, "big")


def _rare() -> Chunk:
    return Chunk(np.full((9, 2), 9, dtype=np.int64))


def _sealed(head: bytes) -> bytes:
    return head + zlib.crc32(head).to_bytes(4, "big")


if __name__ == "__main__":
    sys.exit(main())
