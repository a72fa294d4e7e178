"""TIFF files -> the same files with the tags that their first picture needs."""

import struct
from collections.abc import Iterator, Sequence

from latentwire.errors import InvalidImage
from latentwire.imaging.file_bounds import UNCHECKED_BYTES, check_density, check_size

TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_CLASSIC = (b"II*\0", b"MM\0*")
_WIDTH, _HEIGHT, _COMPRESSION = 256, 257, 259
_STRIPS, _STRIP_BYTES, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES = 273, 279, 322, 323, 324, 325
_NEEDED = frozenset(
    {
        *(_WIDTH, _HEIGHT, _COMPRESSION, _STRIP_BYTES, _TILE_WIDTH, _TILE_HEIGHT, _TILE_BYTES),
        *(
            258,
            262,
            266,
            273,
            274,
            277,
            278,
            284,
        ),  # depth, colours, bit order, strips, orientation, channels, rows, planes
        *(292, 293, 317, 320, 324, 332),  # fax options, predictor, palette, tiles, inks
        *(338, 339, 347, 529, 530, 531, 532),  # alpha, kind of numbers, tables and colours of JPEG
    }
)
_SIZE_OF_TYPE = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_FORMAT_OF_TYPE = {1: "B", 3: "H", 4: "I"}
_TAG_BYTES = 12
# Encoders write some tens.
_MAX_TAGS = 1000
# All tags together; each number of a list takes tens of bytes in Python.
_MAX_TAG_DATA_BYTES = 1 << 18
_MAX_TILE_PIXELS = 1 << 20
# None, fax, LZW, JPEG, deflate, runs. Of others the cost is not known.
_NO_COMPRESSION, _DEFLATE = 1, (8, 32946)
_COMPRESSIONS = (_NO_COMPRESSION, 2, 3, 4, 5, 7, *_DEFLATE, 32773)
# Four channels of 16 bits, with whole tiles.
_MAX_PIXEL_BYTES = 16


def strip_tiff(data: bytes) -> bytes:
    """Return a TIFF file with a directory of the tags that its first picture needs.

    That directory still tells whether another picture follows.

    Raises:
        InvalidImage: the file is truncated or damaged, of the kind BigTIFF, compressed by a rare method, has too many
            tags or too long ones, or more bytes than its pixels can need, all in all or in one place.
    """
    if not data.startswith(_CLASSIC):
        raise InvalidImage("the file is a BigTIFF image, which is not read; save it as PNG")
    order = "<" if data.startswith(b"II") else ">"
    try:
        (directory_at,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, directory_at)
        if count > _MAX_TAGS:
            raise InvalidImage(f"the TIFF image has more than {_MAX_TAGS:,} tags")
        tags_at = directory_at + 2
        tags: dict[int, bytes] = {}
        for at in range(tags_at, tags_at + count * _TAG_BYTES, _TAG_BYTES):
            (tag,) = struct.unpack_from(order + "H", data, at)
            if tag in _NEEDED:
                tags.setdefault(tag, data[at : at + _TAG_BYTES])
        next_at = tags_at + count * _TAG_BYTES
        next_directory = data[next_at : next_at + 4].ljust(4, b"\0")
        _check_tags(data, order, tags)
    except struct.error as error:
        raise InvalidImage("the TIFF image is truncated or damaged") from error
    start = len(data) + len(data) % 2
    directory = struct.pack(order + "H", len(tags)) + b"".join(tags.values()) + next_directory
    return b"".join([data[:4], struct.pack(order + "I", start), data[8:], bytes(start - len(data)), directory])


def _check_tags(data: bytes, order: str, tags: dict[int, bytes]) -> None:
    tag_bytes = sum(_size_of(order, tag) for tag in tags.values())
    if tag_bytes > _MAX_TAG_DATA_BYTES:
        raise InvalidImage(f"the tags of the TIFF image have more than {_MAX_TAG_DATA_BYTES:,} bytes")
    width, height, tile_width, tile_height = (
        max(_numbers(data, order, tags[tag]), default=0) if tag in tags else 0
        for tag in (_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT)
    )
    if tile_width * tile_height > max(_MAX_TILE_PIXELS, width * height):
        raise InvalidImage("the TIFF image has tiles of more pixels than itself")
    # Several parts of the picture may claim the same bytes.
    sizes = (_numbers(data, order, tags[tag]) for tag in (_STRIP_BYTES, _TILE_BYTES) if tag in tags)
    claimed = sum(map(sum, sizes))
    if claimed > len(data):
        raise InvalidImage("the TIFF image is truncated or damaged: its parts are longer than the file")
    check_size(claimed, max(width, tile_width), max(height, tile_height), "TIFF")
    compression = max(_numbers(data, order, tags[_COMPRESSION]), default=0) if _COMPRESSION in tags else _NO_COMPRESSION
    if compression not in _COMPRESSIONS:
        raise InvalidImage(
            f"the TIFF image is compressed by the method {compression}, which is not read; save it with LZW or deflate"
        )
    if claimed > UNCHECKED_BYTES and compression in _DEFLATE:
        check_density(
            _streams(data, order, tags), _MAX_PIXEL_BYTES * max(width, tile_width) * max(height, tile_height), "TIFF"
        )


def _streams(data: bytes, order: str, tags: dict[int, bytes]) -> Iterator[list[bytes]]:
    for offsets, sizes in ((_STRIPS, _STRIP_BYTES), (_TILES, _TILE_BYTES)):
        if offsets in tags and sizes in tags:
            pairs = zip(_numbers(data, order, tags[offsets]), _numbers(data, order, tags[sizes]), strict=False)
            yield from ([data[offset : offset + size]] for offset, size in pairs)


def _size_of(order: str, tag: bytes) -> int:
    kind, count = struct.unpack_from(order + "HI", tag, 2)
    size: int = _SIZE_OF_TYPE.get(kind, 1) * count
    return size


def _numbers(data: bytes, order: str, tag: bytes) -> Sequence[int]:
    kind, count = struct.unpack_from(order + "HI", tag, 2)
    form = order + str(count) + _FORMAT_OF_TYPE.get(kind, "B")
    if _size_of(order, tag) <= 4:
        return struct.unpack_from(form, tag, 8)
    (offset,) = struct.unpack_from(order + "I", tag, 8)
    return struct.unpack_from(form, data, offset)
