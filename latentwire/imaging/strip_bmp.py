"""BMP files, of which Pillow decodes run lengths in Python."""

import struct

from latentwire.errors import InvalidImage

BMP_SIGNATURE = b"BM"

_HEADER = struct.Struct("<14x I i i 4x I")  # after the file's header: own size, width, height, compression
_MIN_HEADER_BYTES = 40
_RUN_LENGTHS = (1, 2)  # RLE8 and RLE4
# Decoding that much takes a tenth of a second. A run or a mark of two bytes costs as much as many pixels.
MAX_RUN_LENGTH_BYTES = 1 << 19
MAX_RUN_LENGTH_PIXELS = 1 << 20


def check_bmp(data: bytes) -> None:
    """Check that a BMP file is not run-length encoded, or short.

    Raises:
        InvalidImage: it is run-length encoded, and has more than `MAX_RUN_LENGTH_BYTES` or `MAX_RUN_LENGTH_PIXELS`.
    """
    if len(data) < _HEADER.size:
        return
    header_bytes, width, height, compression = _HEADER.unpack_from(data)
    if header_bytes < _MIN_HEADER_BYTES or compression not in _RUN_LENGTHS:
        return
    if len(data) > MAX_RUN_LENGTH_BYTES or abs(width * height) > MAX_RUN_LENGTH_PIXELS:
        raise InvalidImage(
            f"the BMP image is run-length encoded and has more than {MAX_RUN_LENGTH_BYTES:,} bytes or "
            f"{MAX_RUN_LENGTH_PIXELS:,} pixels; save it without compression, or as PNG"
        )
