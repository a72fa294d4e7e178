"""Plain PNG files <-> pixels, by zlib alone: of the commonest small files, in a quarter of Pillow's time.

Plain is a file of 8 bits a channel, not interlaced, without palette, and read here only if all of its filters are
simple. Whatever is different in any way, or damaged, is left to Pillow, which says what is wrong with it.
"""

import struct
import zlib

import numpy as np
import numpy.typing as npt

from latentwire.imaging.strip_metadata import PNG_SIGNATURE
from latentwire.model.card import ImageShape

Pixels = npt.NDArray[np.uint8]

_HEAD = struct.Struct(">IIBBBBB")
_SIZE = struct.Struct(">I")
_COLOURS = {1: 0, 3: 2, 4: 6}
# Filters of lines: each byte as it is; less the one a pixel before; less the one above.
_NONE, _SUB, _UP = 0, 1, 2
_SIMPLE_FILTERS = frozenset((_NONE, _SUB, _UP))


def read_plain_png(data: bytes, shape: ImageShape) -> Pixels | None:
    """Read a PNG file, whose chunks are known to be whole, as uint8 (H, W, C); None if not plain and of this shape."""
    wanted = _HEAD.pack(shape.width, shape.height, 8, _COLOURS[shape.channels], 0, 0, 0)
    head_at = len(PNG_SIGNATURE) + 8
    if not data.startswith(PNG_SIGNATURE) or not data.startswith(wanted, head_at):
        return None
    at, parts = head_at + len(wanted) + 4, []
    while data.startswith(b"IDAT", at + 4):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        parts.append(data[at + 8 : end - 4])
        at = end
    if not data.startswith(b"IEND", at + 4):
        return None
    line_bytes = 1 + shape.width * shape.channels
    inflate = zlib.decompressobj()
    try:
        lines = inflate.decompress(b"".join(parts), shape.height * line_bytes + 1)
    except zlib.error:
        return None
    filters = lines[::line_bytes]
    if not inflate.eof or len(lines) != shape.height * line_bytes or not _SIMPLE_FILTERS.issuperset(filters):
        return None
    pixels = np.frombuffer(lines, np.uint8).reshape(shape.height, line_bytes)[:, 1:].copy()
    if any(filters):
        for row, kind in enumerate(filters):
            if kind == _SUB:
                steps = pixels[row].reshape(shape.width, shape.channels)
                np.add.accumulate(steps, axis=0, dtype=np.uint8, out=steps)
            elif kind == _UP and row:
                pixels[row] += pixels[row - 1]
    return pixels.reshape(shape.as_tuple())


def write_grey_png(pixels: Pixels) -> bytes:
    """Write uint8 (H, W, 1) pixels as a PNG file without filters, which of digits is smaller than one with them."""
    height, width, _ = pixels.shape
    lines = np.zeros((height, 1 + width), np.uint8)
    lines[:, 1:] = pixels[:, :, 0]
    head = _HEAD.pack(width, height, 8, _COLOURS[1], 0, 0, 0)
    chunks = [_chunk(b"IHDR", head), _chunk(b"IDAT", zlib.compress(lines.tobytes(), 6)), _chunk(b"IEND", b"")]
    return b"".join([PNG_SIGNATURE, *chunks])


def _chunk(kind: bytes, data: bytes) -> bytes:
    return _SIZE.pack(len(data)) + kind + data + _SIZE.pack(zlib.crc32(kind + data))
