"""Image file bytes -> the same picture without what else the file says, but for how it is to be turned.

A file may say much beside its picture, and have it in many parts, which takes Pillow time and memory: four megabytes of
EXIF in small parts keep it busy for minutes. So what it does not need, it does not see. No picture is decoded here.
"""

import struct
import zlib

from latentwire.errors import InvalidImage

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8"
# As a file comes from a camera or a drawing program: upright.
UPRIGHT = 1

# The last three are of animations, by which those are known.
_PNG_PICTURE = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"acTL", b"fcTL", b"fdAT"))
# Comments and applications' own, without JFIF's and Adobe's, which say what the colours are.
_JPEG_STRIPPED = frozenset((*range(0xE1, 0xEE), 0xEF, 0xFE))
# Of one byte: padding, and those that only mark a place.
_JPEG_LONE = frozenset((0x00, 0x01, *range(0xD0, 0xD9)))
_JPEG_EXIF, _JPEG_SCAN, _JPEG_END = 0xE1, 0xDA, 0xD9
# Encoders make some ten. Each may cost as much as the whole picture, and take no more than a few bytes.
MAX_SCANS = 100
_FEW_PARTS = 1000
_LEAST_PART_BYTES = 1024

_EXIF_START = b"Exif\0\0"
_EXIF_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_EXIF_ORIENTATION = 0x0112
_EXIF_SHORT = 3
_MAX_EXIF_TAGS = 1000


def strip(data: bytes) -> tuple[bytes, int]:
    """Return the file without what is not the picture, and how it is to be turned, from 1 to 8 as EXIF has it.

    Files that are neither PNG nor JPEG come back as they are.

    Raises:
        InvalidImage: damaged, or of too many parts.
    """
    if data.startswith(PNG_SIGNATURE):
        return strip_png(data)
    if data.startswith(JPEG_SIGNATURE):
        return strip_jpeg(data)
    return data, UPRIGHT


def strip_png(data: bytes) -> tuple[bytes, int]:
    """Do so for a PNG file. Check what Pillow passes over, and so may give another picture: checksums and the end.

    Raises:
        InvalidImage: a checksum is wrong, the end is missing, or there are too many parts.
    """
    kept: list[bytes] = []
    orientation = UPRIGHT
    at, kept_to = len(PNG_SIGNATURE), 0
    for _ in range(_most_parts(data)):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if len(data) < end:
            raise InvalidImage("the PNG image is truncated")
        kind = data[at + 4 : at + 8]
        if zlib.crc32(memoryview(data)[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise InvalidImage("the PNG image is damaged: a checksum does not match")
        if kind == b"IEND":
            return b"".join([*kept, data[kept_to:end]]) if kept else data, orientation
        if kind not in _PNG_PICTURE:
            kept.append(data[kept_to:at])
            kept_to = end
            if kind == b"eXIf":
                orientation = read_orientation(data[at + 8 : end - 4])
        at = end
    raise _too_many_parts("PNG")


def strip_jpeg(data: bytes) -> tuple[bytes, int]:
    """Do so for a JPEG file.

    Raises:
        InvalidImage: damaged before its picture begins, or of too many parts or scans.
    """
    kept: list[bytes] = []
    orientation = UPRIGHT
    at, kept_to = len(JPEG_SIGNATURE), 0
    for _ in range(_most_parts(data)):
        while data[at : at + 2] == b"\xff\xff":
            at += 1
        if len(data) < at + 4 or data[at] != 0xFF or data[at + 1] == _JPEG_END:
            raise InvalidImage("the JPEG image is truncated or damaged")
        marker = data[at + 1]
        if marker in _JPEG_LONE:
            at += 2
            continue
        if marker == _JPEG_SCAN:
            if data.count(b"\xff\xda", at) > MAX_SCANS:
                raise InvalidImage(f"the JPEG image has more than {MAX_SCANS} scans")
            return b"".join([*kept, data[kept_to:]]) if kept else data, orientation
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in _JPEG_STRIPPED:
            kept.append(data[kept_to:at])
            kept_to = end
            if marker == _JPEG_EXIF and data.startswith(_EXIF_START, at + 4) and orientation == UPRIGHT:
                orientation = read_orientation(data[at + 4 : end])
        at = end
    raise _too_many_parts("JPEG")


def read_orientation(exif: bytes) -> int:
    """Return how the picture is to be turned by its EXIF data, from 1 to 8; 1 if they say nothing that is sound."""
    exif = exif.removeprefix(_EXIF_START)
    order = _EXIF_ORDERS.get(exif[:4])
    if order is None:
        return UPRIGHT
    try:
        (at,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, at)
        for tag_at in range(at + 2, at + 2 + 12 * min(count, _MAX_EXIF_TAGS), 12):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", exif, tag_at)
            if tag == _EXIF_ORIENTATION:
                return value if kind == _EXIF_SHORT and 1 <= value <= 8 else UPRIGHT
    except struct.error:
        pass
    return UPRIGHT


def _most_parts(data: bytes) -> int:
    return _FEW_PARTS + len(data) // _LEAST_PART_BYTES


def _too_many_parts(file_format: str) -> InvalidImage:
    return InvalidImage(f"the {file_format} image is in too many small parts")
