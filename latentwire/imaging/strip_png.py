"""PNG files -> the same files without metadata, and their EXIF orientation."""

import struct
import zlib
from collections.abc import Iterator

from latentwire.errors import InvalidImage
from latentwire.imaging.exif import UPRIGHT, read_orientation
from latentwire.imaging.file_bounds import UNCHECKED_BYTES, check_density, check_size, parts_of

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

# The last two belong to animations, which are recognized by them.
_PICTURE = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"acTL", b"fcTL"))
_SIDES, _SIDES_AT = struct.Struct(">II"), len(PNG_SIGNATURE) + 8

# Four channels of 16 bits, and the filter of a line of one pixel.
_MAX_PIXEL_BYTES = 9


def strip_png(data: bytes) -> tuple[bytes, int]:
    """Return a PNG file without its metadata, and the EXIF orientation, 1 to 8.

    It checks the checksums and the end, which Pillow ignores.

    Raises:
        InvalidImage: a checksum is wrong, the end is missing, the file has too many parts, or more bytes than its
            pixels can need, all in all or in one place.
    """
    kept: list[bytes] = []
    orientation = UPRIGHT
    offset, kept_to = len(PNG_SIGNATURE), 0
    for _ in parts_of(data, "PNG"):
        end = offset + 12 + int.from_bytes(data[offset : offset + 4], "big")
        if len(data) < end:
            raise InvalidImage("the PNG image is truncated")
        kind = data[offset + 4 : offset + 8]
        if zlib.crc32(memoryview(data)[offset + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise InvalidImage("the PNG image is damaged: a checksum does not match")
        is_first = offset == len(PNG_SIGNATURE)
        if (kind == b"IHDR") != is_first:
            raise InvalidImage("the PNG image is damaged: its header is not its first part, or there are two")
        if kind == b"IEND":
            break
        if kind not in _PICTURE:
            kept.append(data[kept_to:offset])
            kept_to = end
            if kind == b"eXIf":
                orientation = read_orientation(data[offset + 8 : end - 4])
        offset = end
    stripped = b"".join([*kept, data[kept_to:end]])
    width, height = _SIDES.unpack_from(data, _SIDES_AT)
    check_size(len(stripped), width, height, "PNG")
    if len(stripped) > UNCHECKED_BYTES:
        check_density([_compressed_parts(stripped)], _MAX_PIXEL_BYTES * width * height, "PNG")
    return stripped, orientation


def _compressed_parts(data: bytes) -> Iterator[bytes]:
    offset = len(PNG_SIGNATURE)
    while offset < len(data):
        end = offset + 12 + int.from_bytes(data[offset : offset + 4], "big")
        if data.startswith(b"IDAT", offset + 4):
            yield data[offset + 8 : end - 4]
        offset = end
