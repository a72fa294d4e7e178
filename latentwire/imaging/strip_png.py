"""PNG files -> the same files without metadata, and their EXIF orientation."""

import struct
import zlib

from latentwire.errors import InvalidImage
from latentwire.imaging.exif import UPRIGHT, read_orientation
from latentwire.imaging.file_bounds import check_size, parts_of

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

# The last two belong to animations, which are recognized by them.
_PICTURE = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"acTL", b"fcTL"))
_SIDES, _SIDES_AT = struct.Struct(">II"), len(PNG_SIGNATURE) + 8

# Empty blocks of compressed data of this size take a tenth of a second.
_UNCHECKED_BYTES = 1 << 20
_PIECE_BYTES = 1 << 16
# Compressed data is at most an eighth longer than what it holds. A window may delay some of it.
_MIN_DENSITY = 0.8
_MAX_WRITTEN_BYTES = 1 << 20
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
    if len(stripped) > _UNCHECKED_BYTES:
        _check_density(stripped, _MAX_PIXEL_BYTES * width * height)
    return stripped, orientation


def _check_density(data: bytes, most: int) -> None:
    """Check that all parts of the compressed data hold pixels: blocks without any cost the most time a byte.

    Nothing after the first `most` bytes of pixels is looked at, nor by Pillow.
    """
    inflate = zlib.decompressobj()
    read = written = all_written = 0
    offset = len(PNG_SIGNATURE)
    while offset < len(data):
        end = offset + 12 + int.from_bytes(data[offset : offset + 4], "big")
        pieces = range(offset + 8, end - 4, _PIECE_BYTES) if data.startswith(b"IDAT", offset + 4) else ()
        for at in pieces:
            piece = data[at : min(at + _PIECE_BYTES, end - 4)]
            read += len(piece)
            while piece and all_written < most:
                try:
                    size = len(inflate.decompress(piece, _MAX_WRITTEN_BYTES))
                except zlib.error:
                    return  # Pillow refuses it
                piece = inflate.unconsumed_tail
                written += size
                all_written += size
            if inflate.eof or all_written >= most:
                return
            if read >= _PIECE_BYTES:
                if written < _MIN_DENSITY * read:
                    raise InvalidImage("the PNG image has compressed data without pixels")
                read = written = 0
        offset = end
