"""JPEG files -> the same files without metadata and what follows their first picture, and their EXIF orientation."""

import re

from latentwire.errors import InvalidImage
from latentwire.imaging.exif import UPRIGHT, read_orientation
from latentwire.imaging.file_bounds import check_size, parts_of

JPEG_SIGNATURE = b"\xff\xd8"

# Comments and application segments, but for those of JFIF and Adobe, which define the colours.
_STRIPPED = frozenset((*range(0xE1, 0xEE), 0xEF, 0xFE))
# Markers without a segment: padding, and markers of a position.
_LONE = frozenset((0x00, 0x01, *range(0xD0, 0xD9)))
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_EXIF, _SCAN, _END = 0xE1, 0xDA, 0xD9
_EXIF_START = b"Exif\0\0"
# Any number of fill bytes may stand before a marker's code.
_MARKER = re.compile(rb"\xff+([^\xff])", re.DOTALL)
# Within a scan, 0xFF is a value if 0 follows, and a position if 0xD0 to 0xD7 do.
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")

# Encoders write about ten scans. A scan of a few bytes may take as long to decode as the whole picture.
MAX_SCANS = 100
_MAX_SCANS_OF_LARGE, _LARGE_PIXELS = 20, 1 << 22


def strip_jpeg(data: bytes) -> tuple[bytes, int]:
    """Return a JPEG file without its metadata and what follows its first picture, and the EXIF orientation, 1 to 8.

    Raises:
        InvalidImage: the file is damaged before its picture begins, has too many parts or scans, or more bytes than its
            pixels can need.
    """
    kept = [JPEG_SIGNATURE]
    orientation = UPRIGHT
    scans = width = height = 0
    offset = len(JPEG_SIGNATURE)
    for _ in parts_of(data, "JPEG"):
        found = _MARKER.match(data, offset)
        code = _END if found is None else found[1][0]
        if found is None or code == _END or len(data) < found.end() + 2:
            if not scans:
                raise InvalidImage("the JPEG image is truncated or damaged")
            kept.append(data[offset : None if found is None else found.end()])
            break
        start = found.end()
        end = start + int.from_bytes(data[start : start + 2], "big")
        if code in _LONE:
            end = start
        elif code not in _STRIPPED:
            kept.append(b"\xff" + data[start - 1 : end])
        elif code == _EXIF and data.startswith(_EXIF_START, start + 2) and orientation == UPRIGHT:
            orientation = read_orientation(data[start + 2 : end])
        if code in _FRAMES:
            height, width = (int.from_bytes(data[at : at + 2], "big") for at in (start + 3, start + 5))
        scans += code == _SCAN
        offset = end
        if scans:
            after = _AFTER_SCAN.search(data, end)
            offset = len(data) if after is None else after.start()
            kept.append(data[end:offset])
    max_scans = MAX_SCANS if width * height <= _LARGE_PIXELS else _MAX_SCANS_OF_LARGE
    if scans > max_scans:
        raise InvalidImage(f"the JPEG image has more than {max_scans} scans")
    stripped = b"".join(kept)
    check_size(len(stripped), width, height, "JPEG")
    return stripped, orientation
