"""Image files -> the same files without metadata, and their EXIF orientation.

Metadata in many small parts takes Pillow minutes: four megabytes of EXIF are enough. So Pillow only gets the parts that
it needs. No picture is decoded here.
"""

import struct
import zlib

from latentwire.errors import InvalidImage

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8"
# The EXIF orientation of an upright picture.
UPRIGHT = 1

# The last three belong to animations, which are recognized by them.
_PNG_PICTURE = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"acTL", b"fcTL", b"fdAT"))
# Comments and application segments, but for those of JFIF and Adobe, which define the colours.
_JPEG_STRIPPED = frozenset((*range(0xE1, 0xEE), 0xEF, 0xFE))
# Markers without a segment: padding, and markers of a position.
_JPEG_LONE = frozenset((0x00, 0x01, *range(0xD0, 0xD9)))
_JPEG_EXIF, _JPEG_SCAN, _JPEG_END = 0xE1, 0xDA, 0xD9
# Encoders write about ten scans. A scan of a few bytes may take as long to decode as the whole picture.
MAX_SCANS = 100
_FEW_PARTS = 1000
_MIN_PART_BYTES = 1024

_EXIF_START = b"Exif\0\0"
_EXIF_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_EXIF_ORIENTATION = 0x0112
_EXIF_SHORT = 3
_MAX_EXIF_TAGS = 1000


def strip(data: bytes) -> tuple[bytes, int]:
    """Return the file without its metadata, and its EXIF orientation, 1 to 8.

    Files that are neither PNG nor JPEG are returned unchanged, as upright.

    Raises:
        InvalidImage: the file is damaged, or has too many parts.
    """
    if data.startswith(PNG_SIGNATURE):
        return strip_png(data)
    if data.startswith(JPEG_SIGNATURE):
        return strip_jpeg(data)
    return data, UPRIGHT


def strip_png(data: bytes) -> tuple[bytes, int]:
    """Strip a PNG file as `strip` does, and check the checksums and the end, which Pillow ignores.

    Raises:
        InvalidImage: a checksum is wrong, the end is missing, or the file has too many parts.
    """
    kept: list[bytes] = []
    orientation = UPRIGHT
    offset, kept_to = len(PNG_SIGNATURE), 0
    for _ in range(_max_parts(data)):
        end = offset + 12 + int.from_bytes(data[offset : offset + 4], "big")
        if len(data) < end:
            raise InvalidImage("the PNG image is truncated")
        kind = data[offset + 4 : offset + 8]
        if zlib.crc32(memoryview(data)[offset + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise InvalidImage("the PNG image is damaged: a checksum does not match")
        if kind == b"IEND":
            return b"".join([*kept, data[kept_to:end]]) if kept else data, orientation
        if kind not in _PNG_PICTURE:
            kept.append(data[kept_to:offset])
            kept_to = end
            if kind == b"eXIf":
                orientation = read_orientation(data[offset + 8 : end - 4])
        offset = end
    raise _too_many_parts("PNG")


def strip_jpeg(data: bytes) -> tuple[bytes, int]:
    """Strip a JPEG file as `strip` does.

    Raises:
        InvalidImage: the file is damaged before its picture begins, or has too many parts or scans.
    """
    kept: list[bytes] = []
    orientation = UPRIGHT
    offset, kept_to = len(JPEG_SIGNATURE), 0
    for _ in range(_max_parts(data)):
        while data[offset : offset + 2] == b"\xff\xff":
            offset += 1
        if len(data) < offset + 4 or data[offset] != 0xFF or data[offset + 1] == _JPEG_END:
            raise InvalidImage("the JPEG image is truncated or damaged")
        marker = data[offset + 1]
        if marker in _JPEG_LONE:
            offset += 2
            continue
        if marker == _JPEG_SCAN:
            if data.count(b"\xff\xda", offset) > MAX_SCANS:
                raise InvalidImage(f"the JPEG image has more than {MAX_SCANS} scans")
            return b"".join([*kept, data[kept_to:]]) if kept else data, orientation
        end = offset + 2 + int.from_bytes(data[offset + 2 : offset + 4], "big")
        if marker in _JPEG_STRIPPED:
            kept.append(data[kept_to:offset])
            kept_to = end
            if marker == _JPEG_EXIF and data.startswith(_EXIF_START, offset + 4) and orientation == UPRIGHT:
                orientation = read_orientation(data[offset + 4 : end])
        offset = end
    raise _too_many_parts("JPEG")


def read_orientation(exif: bytes) -> int:
    """Return the orientation in EXIF data, 1 to 8; 1 if it is missing or invalid."""
    exif = exif.removeprefix(_EXIF_START)
    order = _EXIF_ORDERS.get(exif[:4])
    if order is None:
        return UPRIGHT
    try:
        (offset,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, offset)
        for tag_offset in range(offset + 2, offset + 2 + 12 * min(count, _MAX_EXIF_TAGS), 12):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", exif, tag_offset)
            if tag == _EXIF_ORIENTATION:
                return value if kind == _EXIF_SHORT and 1 <= value <= 8 else UPRIGHT
    except struct.error:
        pass
    return UPRIGHT


def _max_parts(data: bytes) -> int:
    return _FEW_PARTS + len(data) // _MIN_PART_BYTES


def _too_many_parts(file_format: str) -> InvalidImage:
    return InvalidImage(f"the {file_format} image is in too many small parts")
