"""Pixels of any size <-> payload, losslessly. `docs/FORMAT.md` specifies the layout.

The payload is that of a vector model's lossless image, with a header after its marker that says what shape it has. No
payload of latents begins with the marker: its header would have a side of over 65,535 pixels.
"""

from typing import Any

from latentwire.errors import InvalidCode
from latentwire.format import lossless
from latentwire.format.any_size import CHANNELS, Header, read_header
from latentwire.format.lossless import MARKER
from latentwire.imaging.image import Pixels
from latentwire.model.card import ImageShape

# Drawings and screenshots have more pixels in a byte, photographs fewer than 1.
DRAWING_PIXELS_A_BYTE = 10
SAMPLED_VALUES = 1 << 21


def may_fit(pixels: Pixels, max_bytes: int) -> bool:
    """Estimate whether `write_payload` makes at most `max_bytes` of pixels, uint8 (H, W, C); see `lossless.may_fit`."""
    return lossless.may_fit(pixels, max_bytes - len(_header_of(pixels).write()))


def is_drawing(pixels: Pixels) -> bool:
    """Estimate whether an image, uint8 (H, W, C), takes few bytes losslessly, as drawings do, by some of its rows."""
    rows = pixels[:: -(-pixels.size // SAMPLED_VALUES)]
    return lossless.may_fit(rows, rows.shape[0] * rows.shape[1] // DRAWING_PIXELS_A_BYTE)


def write_payload(pixels: Pixels) -> bytes:
    """Return the smallest payload that holds pixels, uint8 (H, W, C), exactly."""
    return MARKER + _header_of(pixels).write() + lossless.write_payload(pixels)[len(MARKER) :]


def read_lossless_header(payload: bytes) -> Header:
    """Return the header of a payload that begins with the marker.

    Raises:
        InvalidCode: it is cut short, or none that a writer makes.
    """
    header, _ = read_header(payload[len(MARKER) :])
    if header.quality:
        raise InvalidCode(f"the lossless image has the quality index {header.quality}; a writer gives it 0")
    return header


def read_pixels(payload: bytes, header: Header) -> Pixels:
    """Return the pixels, uint8 (H, W, C), of a payload with this header.

    Raises:
        InvalidCode: damaged, or not of the shape that the header says.
    """
    # A card's own shape has a smaller limit, and no alpha beside grey.
    channels: Any = header.channels
    shape = ImageShape.model_construct(height=header.height, width=header.width, channels=channels)
    return lossless.read_payload(_without_header(payload, header), shape)


def kind_of(payload: bytes) -> str:
    """Return the format of the image in a payload that `write_payload` made: `raw`, `png` or `webp`."""
    return lossless.kind_of(_without_header(payload, read_lossless_header(payload)))


def _without_header(payload: bytes, header: Header) -> bytes:
    return MARKER + payload[len(MARKER) + len(header.write()) :]


def _header_of(pixels: Pixels) -> Header:
    height, width, channels = pixels.shape
    return Header(height, width, CHANNELS[CHANNELS.index(channels)], 0)
