"""The alpha of a part of an image <-> bytes, exactly. `docs/FORMAT.md` specifies the layout.

The bytes are those of a lossless WebP file whose green is the alpha, without its beginning, which the size tells.
"""

import io

import numpy as np
from PIL import Image

from latentwire.entropy.rans import read_varint, write_varint
from latentwire.errors import InvalidCode
from latentwire.format.any_size import Header, parts_of, pixels_of
from latentwire.imaging import image

# RIFF, size, WEBP, VP8L, size; then a signature of 8 bits, width - 1 and height - 1 of 14 bits each, and 4 bits of 0.
_RIFF_BYTES, _BEGIN_BYTES = 20, 25
_SIGNATURE = b"\x2f"

_DAMAGED = "the bitstream is damaged: the alpha of a part cannot be read"


def write_alphas(pixels: image.Pixels, header: Header) -> list[bytes]:
    """Return what the body of each part begins with: nothing without alpha.

    Args:
        pixels: of the image, uint8 (H, W, C).
        header: of its payload.
    """
    areas = [pixels_of(part, header) for part in parts_of(header)]
    if not header.has_alpha:
        return [b""] * len(areas)
    coded = (write_alpha(pixels[area.rows, area.columns, -1]) for area in areas)
    return [write_varint(len(alpha)) + alpha for alpha in coded]


def split_body(body: bytes) -> tuple[bytes, bytes]:
    """Return the alpha that a part's body begins with, and what follows it.

    Raises:
        InvalidCode: the body is cut short.
    """
    length, start = read_varint(body, 0)
    if len(body) < start + length:
        raise InvalidCode("the bitstream is cut short: the alpha of a part is not complete")
    return body[start : start + length], body[start + length :]


def write_alpha(alpha: image.Pixels) -> bytes:
    """Return the bytes of alpha, uint8 (h, w), of which neither side is over 16,384."""
    colours = np.zeros((*alpha.shape, 3), np.uint8)
    colours[:, :, 1] = alpha
    file = image.write_file(colours, "WEBP", lossless=True, exact=True, method=6, quality=100)
    end = _RIFF_BYTES + int.from_bytes(file[_RIFF_BYTES - 4 : _RIFF_BYTES], "little")
    return file[_BEGIN_BYTES:end]


def read_alpha(data: bytes, height: int, width: int) -> image.Pixels:
    """Return the alpha, uint8 (height, width), that `write_alpha` made these bytes of.

    Raises:
        InvalidCode: they are damaged.
    """
    content = _SIGNATURE + (width - 1 | height - 1 << 14).to_bytes(4, "little") + data
    padded = content + bytes(len(content) % 2)
    chunk = b"WEBPVP8L" + len(content).to_bytes(4, "little") + padded
    try:
        with Image.open(io.BytesIO(b"RIFF" + len(chunk).to_bytes(4, "little") + chunk), formats=("WEBP",)) as file:
            colours = np.asarray(file)
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises many kinds for damaged files; all mean the same
        raise InvalidCode(_DAMAGED) from error
    if colours.shape != (height, width, 3) or colours[:, :, ::2].any():
        raise InvalidCode(_DAMAGED)
    return colours[:, :, 1]
