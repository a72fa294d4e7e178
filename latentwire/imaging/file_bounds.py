"""What a file of a picture may cost: its parts are counted, and its bytes are bounded by its pixels."""

import zlib
from collections.abc import Iterable, Iterator

from latentwire.errors import InvalidImage

_FEW_PARTS = 1000
_MIN_PART_BYTES = 1024

# No encoder writes more: 16 bits in each of four channels are 8 bytes, and deflate may add an eighth. Tables and
# palettes come on top. Encoders code whole blocks, of 16 × 16 pixels at most.
_MAX_PIXEL_BYTES = 10
_MAX_TABLE_BYTES = 1 << 15
_BLOCK = 16

# Empty blocks of deflate of this size take a tenth of a second.
UNCHECKED_BYTES = 1 << 20
_PIECE_BYTES = 1 << 16
# Data that deflate cannot compress get at most an eighth longer.
_MIN_DENSITY = 0.8
_MAX_INFLATED_BYTES = 1 << 20


def parts_of(data: bytes, file_format: str, min_part_bytes: int = _MIN_PART_BYTES) -> Iterator[None]:
    """Yield once for each part that a file of this length may have, then raise `InvalidImage`."""
    for _ in range(_FEW_PARTS + len(data) // min_part_bytes):
        yield
    raise InvalidImage(f"the {file_format} image is in too many small parts")


def check_size(picture_bytes: int, width: int, height: int, file_format: str) -> None:
    """Check that a picture has no more bytes than its pixels can need.

    Bytes without pixels cost time: fill bytes, empty blocks of compressed data, unused tables.

    Raises:
        InvalidImage: it has more.
    """
    whole_blocks = -(-width // _BLOCK) * -(-height // _BLOCK) * _BLOCK * _BLOCK
    if picture_bytes > _MAX_TABLE_BYTES + _MAX_PIXEL_BYTES * whole_blocks:
        raise InvalidImage(
            f"the {file_format} image has {picture_bytes:,} bytes, more than {width} × {height} pixels can need"
        )


def check_density(streams: Iterable[Iterable[bytes]], most: int, file_format: str) -> None:
    """Check that compressed data hold pixels everywhere: empty blocks cost the most time for a byte.

    Args:
        streams: of zlib, each in parts.
        most: number of bytes of pixels that are looked at; Pillow looks at no more.
        file_format: for the message.

    Raises:
        InvalidImage: they do not.
    """
    read = inflated = all_inflated = 0
    for stream in streams:
        inflate = zlib.decompressobj()
        for piece in _pieces(stream):
            read += len(piece)
            tail = piece
            while tail and all_inflated < most:
                try:
                    size = len(inflate.decompress(tail, _MAX_INFLATED_BYTES))
                except zlib.error:
                    return  # Pillow refuses it
                tail = inflate.unconsumed_tail
                inflated += size
                all_inflated += size
            if all_inflated >= most:
                return
            if inflate.eof:
                break
            if read >= _PIECE_BYTES:
                if inflated < _MIN_DENSITY * read:
                    raise InvalidImage(f"the {file_format} image has compressed data without pixels")
                read = inflated = 0


def _pieces(parts: Iterable[bytes]) -> Iterator[bytes]:
    for part in parts:
        for at in range(0, len(part), _PIECE_BYTES):
            yield part[at : at + _PIECE_BYTES]
