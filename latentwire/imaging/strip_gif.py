"""GIF files -> the same files without comments, application data and all frames after the second."""

import re
from collections.abc import Iterator

from latentwire.errors import InvalidImage
from latentwire.imaging.file_bounds import check_size, parts_of

GIF_SIGNATURES = (b"GIF87a", b"GIF89a")

_SCREEN_END = 13
_EXTENSION, _IMAGE, _END = b"!", b",", b";"
_IMAGE_HEADER_BYTES = 10
# The extension that holds a frame's transparent colour.
_GRAPHIC_CONTROL = b"\xf9"
# Pillow passes over bytes between blocks, too.
_BLOCK_START = re.compile(rb"[!,;]")
# A data block has at most 255 bytes. Few encoders write short ones.
_MIN_BLOCK_BYTES = 64


def strip_gif(data: bytes) -> bytes:
    """Return a GIF file's palettes and its first two frames: two are enough to recognize an animation.

    Raises:
        InvalidImage: the file is cut short or damaged, has too many parts, or more bytes than its pixels can need.
    """
    parts = parts_of(data, "GIF", _MIN_BLOCK_BYTES)
    width, height = _integer(data, 6), _integer(data, 8)
    offset = _after_palette(data, 10, _SCREEN_END)
    kept = [data[:offset]]
    control = b""
    frames = 0
    while frames < 2 and (start := _BLOCK_START.search(data, offset)) is not None:
        next(parts)
        block, offset = start[0], start.start()
        if block == _END:
            break
        if block == _EXTENSION:
            end = _after_blocks(data, offset + 2, parts)
            if data[offset + 1 : offset + 2] == _GRAPHIC_CONTROL:
                control = data[offset:end]
        else:
            width = max(width, _integer(data, offset + 1) + _integer(data, offset + 5))
            height = max(height, _integer(data, offset + 3) + _integer(data, offset + 7))
            blocks_at = _after_palette(data, offset + 9, offset + _IMAGE_HEADER_BYTES) + 1
            end = _after_blocks(data, blocks_at, parts)
            if frames == 0:
                check_size(end - offset, width, height, "GIF")
            kept += [control, data[offset:end]]
            control = b""
            frames += 1
        offset = end
    return b"".join([*kept, _END])


def _integer(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 2], "little")


def _after_palette(data: bytes, flags_at: int, palette_at: int) -> int:
    """Return the offset after the palette that the flags announce."""
    if len(data) <= flags_at:
        raise InvalidImage("the GIF image is truncated")
    flags = data[flags_at]
    return palette_at + (3 << (flags & 7) + 1 if flags & 0x80 else 0)


def _after_blocks(data: bytes, offset: int, parts: Iterator[None]) -> int:
    """Return the offset after a sequence of data blocks, which an empty block ends."""
    for _ in parts:
        if offset >= len(data):
            break
        size = data[offset]
        offset += 1 + size
        if not size:
            return offset
    raise InvalidImage("the GIF image is truncated")
