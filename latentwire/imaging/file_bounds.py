"""What a file of a picture may cost: its parts are counted, and its bytes are bounded by its pixels."""

from collections.abc import Iterator

from latentwire.errors import InvalidImage

_FEW_PARTS = 1000
_MIN_PART_BYTES = 1024

# No encoder writes more: 16 bits in each of four channels are 8 bytes, and deflate may add an eighth. Tables and
# palettes come on top. Encoders code whole blocks, of 16 × 16 pixels at most.
_MAX_PIXEL_BYTES = 10
_MAX_TABLE_BYTES = 1 << 15
_BLOCK = 16


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
