"""EXIF data -> the orientation of their picture. Nothing else in them is looked at."""

import struct

# The EXIF orientation of an upright picture.
UPRIGHT = 1

_EXIF_START = b"Exif\0\0"
_EXIF_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_EXIF_ORIENTATION = 0x0112
_EXIF_SHORT = 3
_MAX_EXIF_TAGS = 1000


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
