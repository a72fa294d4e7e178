"""An image losslessly <-> payload: for images that the model would not give back. `docs/FORMAT.md` has the layout.

Pixels enter and the very same pixels leave. Of three ways to write them the one with the fewest bytes is taken. What
comes from the wire is bounded before it is decoded. This room knows the model's image shape, and nothing else of it.
"""

import io

import numpy as np
from PIL import Image

from latentwire.errors import InvalidCode, InvalidImage
from latentwire.imaging import image
from latentwire.imaging.strip_metadata import strip_png
from latentwire.model.card import ImageShape

# The last of the 65,536 parts of the first step of a payload; all others are symbols.
MARKER = b"\xff\xff"

RAW, PNG, WEBP = 0, 1, 2
_NAMES = {RAW: "raw", PNG: "png", WEBP: "webp"}

_HEADER_BYTES = len(MARKER) + 1

_PNG_DEPTH_OFFSET = 24
_PNG_END = b"IEND\xaeB`\x82"

# RIFF, size, WEBP, VP8L, size, then the picture: a signature of 8 bits, width - 1 and height - 1 of 14 bits each.
_WEBP_PICTURE_OFFSET = 20
_WEBP_LEAST_BYTES = 25
_VP8L_SIGNATURE = 0x2F


def kind_of(payload: bytes) -> str:
    """Return how a payload that `write_payload` made holds its image: `raw`, `png` or `webp`."""
    return _NAMES[payload[len(MARKER)]]


def is_lossless(payload: bytes) -> bool:
    """Whether a payload holds an image losslessly, and not symbols."""
    return payload.startswith(MARKER)


def min_bytes(shape: ImageShape) -> int:
    """Return a size, in bytes, that no payload of an image of this shape losslessly is below."""
    return _HEADER_BYTES + min(shape.pixels * shape.channels, _WEBP_LEAST_BYTES)


def write_payload(pixels: image.Pixels) -> bytes:
    """Write uint8 (H, W, C) pixels as the smallest payload that holds them as they are."""
    # WebP has no grey: one channel is written as three equal ones.
    colours = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
    ways = {
        RAW: pixels.tobytes(),
        PNG: image.write_file(pixels, "PNG", optimize=True),
        WEBP: image.write_file(colours, "WEBP", lossless=True, exact=True, method=6, quality=100),
    }
    kind = min(ways, key=lambda kind: len(ways[kind]))
    return MARKER + bytes((kind,)) + ways[kind]


def read_payload(payload: bytes, shape: ImageShape) -> image.Pixels:
    """Undo `write_payload`: return uint8 (H, W, C) pixels.

    Raises:
        InvalidCode: longer than the pixels alone would be, of an unknown kind, damaged, or not of this shape.
    """
    raw_bytes = shape.pixels * shape.channels
    if len(payload) > _HEADER_BYTES + raw_bytes:
        raise InvalidCode(
            f"the code holds an image losslessly in {len(payload)} bytes; this model's images need "
            f"{_HEADER_BYTES + raw_bytes} at most"
        )
    if len(payload) <= _HEADER_BYTES:
        raise InvalidCode("the code is cut short: it holds an image losslessly, without the image")
    kind, data = payload[len(MARKER)], payload[_HEADER_BYTES:]
    if kind == RAW:
        if len(data) != raw_bytes:
            raise InvalidCode(f"the code holds {len(data)} bytes of pixels; this model's images have {raw_bytes}")
        return np.frombuffer(data, np.uint8).reshape(shape.as_tuple()).copy()
    if kind == PNG:
        return _read_png(data, shape)
    if kind == WEBP:
        return _read_webp(data, shape)
    raise InvalidCode(f"the code holds an image losslessly, of a kind {kind} that there is not")


def _read_png(data: bytes, shape: ImageShape) -> image.Pixels:
    try:
        strip_png(data)
    except InvalidImage as error:
        raise InvalidCode("the code is damaged: the PNG file that it holds is not whole") from error
    if not data.endswith(_PNG_END):
        raise InvalidCode("the code is damaged: bytes follow the PNG file that it holds")
    pixels = _load(data, "PNG", shape, (image.MODE_OF_CHANNELS[shape.channels],))
    if data[_PNG_DEPTH_OFFSET] != 8:
        raise InvalidCode(f"the code holds a PNG file of {data[_PNG_DEPTH_OFFSET]} bits a channel, not of 8")
    return pixels


def _read_webp(data: bytes, shape: ImageShape) -> image.Pixels:
    # Looked at here, as libwebp takes memory for whatever size a file claims, and passes over what follows it.
    chunk_bytes = int.from_bytes(data[16:20], "little")
    whole = (
        len(data) >= _WEBP_LEAST_BYTES
        and data[:4] == b"RIFF"
        and data[8:16] == b"WEBPVP8L"
        and int.from_bytes(data[4:8], "little") == len(data) - 8
        and chunk_bytes + chunk_bytes % 2 == len(data) - _WEBP_PICTURE_OFFSET
        and data[_WEBP_PICTURE_OFFSET] == _VP8L_SIGNATURE
        and not any(data[_WEBP_PICTURE_OFFSET + chunk_bytes :])
    )
    if not whole:
        raise InvalidCode("the code is damaged: what it holds is not exactly one lossless WebP file")
    sides = int.from_bytes(data[_WEBP_PICTURE_OFFSET + 1 : _WEBP_LEAST_BYTES], "little")
    _check_size((sides & 0x3FFF) + 1, (sides >> 14 & 0x3FFF) + 1, shape)
    # A picture without any transparency comes without its fourth channel.
    colours = _load(data, "WEBP", shape, ("RGBA", "RGB") if shape.channels == 4 else ("RGB",))
    if shape.channels == 4 and colours.shape[2] == 3:
        return np.dstack([colours, np.full(colours.shape[:2], 255, np.uint8)])
    if shape.channels == 1:
        if (colours != colours[:, :, :1]).any():
            raise InvalidCode("the code holds a WebP file in colours; the model takes grey images")
        return np.ascontiguousarray(colours[:, :, :1])
    return colours


def _load(data: bytes, file_format: str, shape: ImageShape, modes: tuple[str, ...]) -> image.Pixels:
    try:
        header = Image.open(io.BytesIO(data), formats=(file_format,))
    except Exception as error:  # Pillow raises many kinds for hostile files; all mean the same
        raise InvalidCode(f"the code is damaged: the {file_format} file that it holds cannot be read") from error
    _check_size(header.width, header.height, shape)
    if header.mode not in modes:
        raise InvalidCode(f"the code holds a {file_format} file of mode {header.mode}; the model takes {modes[0]}")
    try:
        header.load()
    except Exception as error:
        raise InvalidCode(f"the code is damaged: the {file_format} file that it holds cannot be read") from error
    pixels = np.array(header, dtype=np.uint8)
    return pixels.reshape(shape.height, shape.width, -1)


def _check_size(width: int, height: int, shape: ImageShape) -> None:
    if (height, width) != (shape.height, shape.width):
        raise InvalidCode(
            f"the code holds an image of {height} × {width} pixels; the model takes {shape.height} × {shape.width}"
        )
