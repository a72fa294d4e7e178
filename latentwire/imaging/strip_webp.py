"""WebP files -> the same files without metadata and all frames after the second, and their EXIF orientation."""

import struct

from latentwire.errors import InvalidImage
from latentwire.imaging.exif import UPRIGHT, read_orientation
from latentwire.imaging.file_bounds import check_size, parts_of

RIFF_SIGNATURE = b"RIFF"

_RIFF = struct.Struct("<4sI4s")
_CHUNK = struct.Struct("<4sI")
_EXTENDED, _FRAME = b"VP8X", b"ANMF"
_PICTURE = frozenset((_EXTENDED, b"VP8 ", b"VP8L", b"ALPH", b"ANIM"))
_SEVERAL_FRAMES = 2  # are enough to recognize an animation
# The flags of an animation and of transparency. The others announce metadata.
_KEPT_FLAGS = 0x12
# Bytes of a chunk that hold the width and the height. Each has 14 bits in a picture, and 24 in an extended header.
_HEADER_BYTES = 10
_SIDE_BITS = 14
_MAX_SIDE = (1 << _SIDE_BITS) - 1


def strip_webp(data: bytes) -> tuple[bytes, int]:
    """Return a WebP file's picture, or the first two frames of an animation, and the EXIF orientation, 1 to 8.

    Raises:
        InvalidImage: the file is truncated or damaged, has too many parts, or more bytes than its pixels can need.
    """
    if len(data) < _RIFF.size or (end_of_file := 8 + _RIFF.unpack_from(data)[1]) > len(data):
        raise InvalidImage("the WebP image is truncated")
    kept: list[bytes] = []
    orientation = UPRIGHT
    width = height = frames = 0
    offset = _RIFF.size
    for _ in parts_of(data, "WebP"):
        if offset + _CHUNK.size > end_of_file or frames == _SEVERAL_FRAMES:
            break
        kind, size = _CHUNK.unpack_from(data, offset)
        end = min(offset + _CHUNK.size + size + size % 2, end_of_file)
        chunk = data[offset:end]
        if kind == _EXTENDED:
            flags = chunk[_CHUNK.size : _CHUNK.size + 1]  # empty in a damaged file
            chunk = chunk[: _CHUNK.size] + bytes(byte & _KEPT_FLAGS for byte in flags) + chunk[_CHUNK.size + 1 :]
        frames += kind == _FRAME
        if kind in _PICTURE or kind == _FRAME:
            kept.append(chunk)
        if not width:
            width, height = _sides(kind, chunk)
        if kind == b"EXIF":
            orientation = read_orientation(chunk[_CHUNK.size :])
        offset = end
    picture = b"".join(kept)
    if frames < _SEVERAL_FRAMES:
        check_size(len(picture), width, height, "WebP")
    return _RIFF.pack(RIFF_SIGNATURE, len(picture) + 4, data[8:12]) + picture, orientation


def _sides(kind: bytes, chunk: bytes) -> tuple[int, int]:
    """Return the width and the height that a chunk names, or zeros."""
    content = chunk[_CHUNK.size : _CHUNK.size + _HEADER_BYTES]
    if len(content) < _HEADER_BYTES:
        return 0, 0
    if kind == _EXTENDED:
        return 1 + int.from_bytes(content[4:7], "little"), 1 + int.from_bytes(content[7:10], "little")
    if kind == b"VP8 ":
        return int.from_bytes(content[6:8], "little") & _MAX_SIDE, int.from_bytes(content[8:10], "little") & _MAX_SIDE
    if kind == b"VP8L":
        bits = int.from_bytes(content[1:5], "little")
        return 1 + (bits & _MAX_SIDE), 1 + (bits >> _SIDE_BITS & _MAX_SIDE)
    return 0, 0
