"""The payload of an image of any size: a header, and parts that are coded and checked each on its own.

`docs/FORMAT.md` specifies the layout. A part is a rectangle of latents of at most 64 × 64. An image of one part has
neither a directory nor checksums in its payload: the bitstream's own checksum is about all of it.
"""

import zlib
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from latentwire.entropy.rans import read_varint, write_varint
from latentwire.errors import InvalidCode

MAX_SIDE = 65_535
STRIDE = 16  # pixels on a side of a latent
HYPER_STRIDE = 4  # latents on a side of a value of z
PART_HYPER_SIDE = 16  # of a part at most, in values of z

# Parts of at most so many latent positions have one lane, and no byte that says how many.
ONE_LANE_POSITIONS = 64

# The least that a part takes: its lanes, and a state.
MIN_PART_BYTES = 4
CHECKSUM_BYTES = 4

_SIZE_CLASSES = 4
CHANNELS: tuple[Literal[1, 2, 3, 4], ...] = (1, 3, 2, 4)


class Header(NamedTuple):
    """What a payload says first: size in pixels, channels, and the quality index, 0 to 255.

    1 channel is grey, 3 are RGB; 2 and 4 are the same with alpha.
    """

    height: int
    width: int
    channels: Literal[1, 2, 3, 4]
    quality: int

    @property
    def has_alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return self.channels % 2 == 0

    @property
    def colours(self) -> int:
        """Number of channels without alpha: 1 or 3."""
        return self.channels - self.has_alpha

    @property
    def latent_height(self) -> int:
        """Rows of latents."""
        return -(-self.height // STRIDE)

    @property
    def latent_width(self) -> int:
        """Columns of latents."""
        return -(-self.width // STRIDE)

    def write(self) -> bytes:
        """Return 3 to 6 bytes: more for larger images."""
        size_class = next(
            size for size in range(_SIZE_CLASSES) if max(self.height, self.width) <= 1 << _side_bits(size)
        )
        bits = _side_bits(size_class)
        packed = CHANNELS.index(self.channels) << 2 | size_class
        for value, width in ((self.quality, 8), (self.height - 1, bits), (self.width - 1, bits)):
            packed = packed << width | value
        return packed.to_bytes(_header_bytes(size_class), "big")


class Part(NamedTuple):
    """A rectangle of latents."""

    top: int
    left: int
    height: int
    width: int


class Rectangle(NamedTuple):
    """A rectangle of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def rows(self) -> slice:
        """Its rows."""
        return slice(self.top, self.top + self.height)

    @property
    def columns(self) -> slice:
        """Its columns."""
        return slice(self.left, self.left + self.width)


class Parsed(NamedTuple):
    """What is whole of a payload.

    Attributes:
        header: of the image.
        bodies: of its parts; None for each that is damaged or missing.
        excess: whether bytes follow the last part.
    """

    header: Header
    bodies: list[bytes | None]
    excess: bool

    def check_whole(self) -> None:
        """Check that all parts are whole, and that nothing follows the last.

        Raises:
            InvalidCode: a part is damaged or missing, or bytes follow.
        """
        if lost := self.bodies.count(None):
            raise InvalidCode(f"{lost:,} of the payload's {len(self.bodies):,} parts are damaged or missing")
        if self.excess:
            raise InvalidCode("the payload is damaged: bytes follow its last part")


def read_header(payload: bytes) -> tuple[Header, int]:
    """Return the header, and its number of bytes.

    Raises:
        InvalidCode: it is cut short, or none that a writer makes.
    """
    if not payload:
        raise InvalidCode("the payload is empty")
    channels, size_class = payload[0] >> 6, payload[0] >> 4 & 3
    length, bits = _header_bytes(size_class), _side_bits(size_class)
    if len(payload) < length:
        raise InvalidCode("the payload is cut short: its header is not complete")
    packed = int.from_bytes(payload[:length], "big")
    height, width = (packed >> bits & (1 << bits) - 1) + 1, (packed & (1 << bits) - 1) + 1
    if max(height, width) > MAX_SIDE:
        raise InvalidCode(f"the payload claims {width:,} × {height:,} pixels; a side has at most {MAX_SIDE:,}")
    header = Header(height, width, CHANNELS[channels], packed >> 2 * bits & 0xFF)
    if header.write() != payload[:length]:
        raise InvalidCode("the header is not written in its shortest form")
    return header, length


def ends_row(part: Part, header: Header) -> bool:
    """Return whether a part is the last one of its row of parts."""
    return part.left + part.width == header.latent_width


def parts_of(header: Header) -> list[Part]:
    """Return an image's parts, row by row: as even as they can be, in whole values of z."""
    rows, columns = (list(_cuts(side)) for side in (header.latent_height, header.latent_width))
    return [Part(top, left, bottom - top, right - left) for top, bottom in rows for left, right in columns]


def pixels_of(part: Part, header: Header) -> Rectangle:
    """Return the pixels that a part's latents are of; the last part ends where the image does."""
    top, left = part.top * STRIDE, part.left * STRIDE
    height, width = part.height * STRIDE, part.width * STRIDE
    return Rectangle(top, left, min(height, header.height - top), min(width, header.width - left))


def part_count(header: Header) -> int:
    """Return the number of an image's parts, without making them."""
    return _cut_count(header.latent_height) * _cut_count(header.latent_width)


def write_payload(header: Header, bodies: Sequence[bytes]) -> bytes:
    """Return the payload of an image whose parts have these bodies."""
    head = header.write()
    if len(bodies) == 1:
        return head + bodies[0]
    head += b"".join(write_varint(len(body)) for body in bodies)
    head += _checksum(head)
    return head + b"".join(body + _part_checksum(head, number, body) for number, body in enumerate(bodies))


def read_payload(payload: bytes) -> Parsed:
    """Take a payload apart, damaged or not.

    Raises:
        InvalidCode: nothing can be read, as header or directory are damaged.
    """
    header, offset = read_header(payload)
    count = part_count(header)
    if count == 1:
        return Parsed(header, [payload[offset:]], False)
    # Each part has at least a byte in the directory, a body, and a checksum: checked before anything is made of it.
    if len(payload) < offset + count + CHECKSUM_BYTES:
        raise InvalidCode(f"the payload is cut short: {header.width:,} × {header.height:,} pixels have {count:,} parts")
    lengths = []
    for _ in range(count):
        length, offset = read_varint(payload, offset)
        lengths.append(length)
    head = payload[: offset + CHECKSUM_BYTES]
    if head[offset:] != _checksum(head[:offset]):
        raise InvalidCode("the directory of the payload's parts is damaged")
    end = len(head) + sum(lengths) + CHECKSUM_BYTES * count
    return Parsed(header, list(_read_bodies(payload, head, lengths)), len(payload) > end)


def has_lanes_byte(part: Part) -> bool:
    """Return whether the body of a part begins with its number of lanes."""
    return part.height * part.width > ONE_LANE_POSITIONS


def _read_bodies(payload: bytes, head: bytes, lengths: Sequence[int]) -> Iterator[bytes | None]:
    start = len(head)
    for number, length in enumerate(lengths):
        body, checksum = payload[start : start + length], payload[start + length : start + length + CHECKSUM_BYTES]
        start += length + CHECKSUM_BYTES
        whole = len(body) == length and checksum == _part_checksum(head, number, body)
        yield body if whole else None


def _checksum(head: bytes) -> bytes:
    return zlib.crc32(head).to_bytes(CHECKSUM_BYTES, "big")


def _part_checksum(head: bytes, number: int, body: bytes) -> bytes:
    """Return the CRC-32 of the head, the number of a part in 4 bytes, and its body."""
    return zlib.crc32(body, zlib.crc32(head + number.to_bytes(4, "big"))).to_bytes(CHECKSUM_BYTES, "big")


def _side_bits(size_class: int) -> int:
    return 6 + 4 * size_class


def _header_bytes(size_class: int) -> int:
    return 3 + size_class


def _cut_count(side: int) -> int:
    return -(-side // (HYPER_STRIDE * PART_HYPER_SIDE))


def _cuts(side: int) -> Iterator[tuple[int, int]]:
    """Yield from where to where the parts along a side of latents go."""
    hyper_side, count = -(-side // HYPER_STRIDE), _cut_count(side)
    for number in range(count):
        start, end = (hyper_side * edge // count * HYPER_STRIDE for edge in (number, number + 1))
        yield start, min(end, side)
