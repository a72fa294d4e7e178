"""Pixels <-> payload, losslessly: for images that the model cannot reproduce. `docs/FORMAT.md` specifies the layout.

A writer takes the smallest of three formats. A reader checks sizes before it decodes anything.
"""

import io
import zlib

import numpy as np
from PIL import Image

from latentwire.cancelling import check_cancelled
from latentwire.errors import InvalidCode, InvalidImage
from latentwire.imaging import image
from latentwire.imaging.fitting import MODE_OF_CHANNELS
from latentwire.imaging.strip_png import strip_png
from latentwire.model.card import ImageShape

# A payload of symbols never starts with these bytes: its first step takes 65,535 of 65,536 parts of the interval.
MARKER = b"\xff\xff"

RAW, PNG, WEBP = 0, 1, 2
_MODES = {**MODE_OF_CHANNELS, 2: "LA"}
_NAMES = {RAW: "raw", PNG: "png", WEBP: "webp"}

_HEADER_BYTES = len(MARKER) + 1

# Up to this many pixels, WebP tries everything: 4 ms for 28 × 28 pixels. From 64 × 64 on, that takes ten to twenty
# times as long as its usual effort, and saves nothing on photographs.
_MAX_THOROUGH_PIXELS = 2048
_THOROUGH, _USUAL = {"method": 6, "quality": 100}, {"method": 4, "quality": 75}

# Larger images are PNG files alone: reading a WebP file takes 16 bytes a pixel, however few bytes it has.
_MAX_WEBP_PIXELS, _MAX_WEBP_SIDE = 1 << 22, (1 << 14) - 1
# Deflate makes no more of a byte.
_MAX_INFLATION = 1032

# `may_fit` compares with deflated differences of neighbouring pixels. `write_payload` takes 0.5 to 1.05 times as many
# bytes for digits and photographs. It begins with a band of so many values, and goes on with larger ones. Deflate needs
# a byte for 226 equal values at best, WebP next to none.
_QUICK_RATIO = 2
_QUICK_VALUES, _MAX_QUICK_VALUES = 1 << 12, 1 << 20
_VALUES_A_BYTE = 226

_PNG_DEPTH_OFFSET = 24
_PNG_END = b"IEND\xaeB`\x82"

# RIFF, size, WEBP, VP8L, size, then the picture: a signature of 8 bits, width - 1 and height - 1 of 14 bits each.
_WEBP_PICTURE_OFFSET = 20
_WEBP_MIN_BYTES = 25
_VP8L_SIGNATURE = 0x2F


def kind_of(payload: bytes) -> str:
    """Return the format of the image in a payload that `write_payload` made: `raw`, `png` or `webp`."""
    return _NAMES[payload[len(MARKER)]]


def is_lossless(payload: bytes) -> bool:
    """Return whether a payload holds a lossless image, and not symbols."""
    return payload.startswith(MARKER)


def may_fit(pixels: image.Pixels, max_bytes: int) -> bool:
    """Estimate whether `write_payload` makes at most `max_bytes` of uint8 (H, W, C) pixels, in a hundredth of its time.

    For large images, the upper rows often decide. False is certain where `max_bytes` is less than any payload has, and
    otherwise wrong only for images whose patterns the estimate does not see.
    """
    if max_bytes < _HEADER_BYTES + min(pixels.size, _WEBP_MIN_BYTES):
        return False
    if max_bytes >= _HEADER_BYTES + pixels.size:
        return True
    height = len(pixels)
    top, rows = 0, max(1, _QUICK_VALUES * height // pixels.size)
    packer, packed_bytes = zlib.compressobj(1), 0
    while top < height:
        check_cancelled()
        band = pixels[top : top + rows]
        changes = band.copy()
        changes[:, 1:] -= band[:, :-1]
        packed_bytes += len(packer.compress(changes.data))
        top += len(band)
        if packed_bytes > _QUICK_RATIO * max_bytes + pixels[:top].size // _VALUES_A_BYTE:
            return False
        if changes.size < _MAX_QUICK_VALUES:
            rows *= 2
    packed_bytes += len(packer.flush())
    return packed_bytes <= _QUICK_RATIO * max_bytes + pixels.size // _VALUES_A_BYTE


def write_payload(pixels: image.Pixels) -> bytes:
    """Return the smallest payload that holds uint8 (H, W, C) pixels exactly."""
    height, width, channels = pixels.shape
    if height * width > _MAX_WEBP_PIXELS:
        return MARKER + bytes((PNG,)) + image.write_png(pixels)
    contents = {RAW: pixels.tobytes(), PNG: image.write_file(pixels, "PNG", optimize=True)}
    if max(height, width) <= _MAX_WEBP_SIDE:
        # WebP has no grey: it is written as three equal channels.
        colours = pixels[:, :, [0, 0, 0, 1][: channels + 2]] if channels < 3 else pixels
        effort = _THOROUGH if height * width <= _MAX_THOROUGH_PIXELS else _USUAL
        contents[WEBP] = image.write_file(colours, "WEBP", lossless=True, exact=True, **effort)
    kind = min(contents, key=lambda kind: len(contents[kind]))
    return MARKER + bytes((kind,)) + contents[kind]


def read_payload(payload: bytes, shape: ImageShape) -> image.Pixels:
    """Return the uint8 (H, W, C) pixels of a payload that `write_payload` made.

    Raises:
        InvalidCode: longer than the raw pixels, of an unknown kind, damaged, or not of this shape.
    """
    raw_bytes = shape.pixels * shape.channels
    if len(payload) > _HEADER_BYTES + raw_bytes:
        raise InvalidCode(
            f"the payload of a lossless image has {len(payload)} bytes; an image of this model needs at most "
            f"{_HEADER_BYTES + raw_bytes}"
        )
    if len(payload) <= _HEADER_BYTES:
        raise InvalidCode("the bitstream is cut short: it announces a lossless image, and has none")
    kind, data = payload[len(MARKER)], payload[_HEADER_BYTES:]
    if kind == RAW:
        if len(data) != raw_bytes:
            raise InvalidCode(f"the bitstream has {len(data)} bytes of pixels; an image of this model has {raw_bytes}")
        return np.frombuffer(data, np.uint8).reshape(shape.as_tuple()).copy()
    if kind == PNG:
        return _read_png(data, shape)
    if kind == WEBP:
        return _read_webp(data, shape)
    raise InvalidCode(f"the bitstream holds a lossless image of the unknown kind {kind}")


def _read_png(data: bytes, shape: ImageShape) -> image.Pixels:
    if shape.pixels * shape.channels > _MAX_INFLATION * len(data):
        raise InvalidCode("the bitstream is damaged: the PNG file in it has fewer bytes than its pixels need")
    try:
        strip_png(data)
    except InvalidImage as error:
        raise InvalidCode("the bitstream is damaged: the PNG file in it is not complete") from error
    if not data.endswith(_PNG_END):
        raise InvalidCode("the bitstream is damaged: bytes follow the PNG file in it")
    pixels = _load(data, "PNG", shape, (_MODES[shape.channels],))
    if data[_PNG_DEPTH_OFFSET] != 8:
        raise InvalidCode(f"the bitstream holds a PNG file of {data[_PNG_DEPTH_OFFSET]} bits a channel, not of 8")
    return pixels


def _read_webp(data: bytes, shape: ImageShape) -> image.Pixels:
    if shape.pixels > _MAX_WEBP_PIXELS:
        raise InvalidCode(f"the bitstream holds a WebP file; an image of {shape.pixels:,} pixels is a PNG file")
    # libwebp allocates memory for whatever size a file claims, and ignores bytes after the file.
    chunk_bytes = int.from_bytes(data[16:20], "little")
    complete = (
        len(data) >= _WEBP_MIN_BYTES
        and data[:4] == b"RIFF"
        and data[8:16] == b"WEBPVP8L"
        and int.from_bytes(data[4:8], "little") == len(data) - 8
        and chunk_bytes + chunk_bytes % 2 == len(data) - _WEBP_PICTURE_OFFSET
        and data[_WEBP_PICTURE_OFFSET] == _VP8L_SIGNATURE
        and not any(data[_WEBP_PICTURE_OFFSET + chunk_bytes :])
    )
    if not complete:
        raise InvalidCode("the bitstream is damaged: its content is not exactly one lossless WebP file")
    sides = int.from_bytes(data[_WEBP_PICTURE_OFFSET + 1 : _WEBP_MIN_BYTES], "little")
    _check_size((sides & 0x3FFF) + 1, (sides >> 14 & 0x3FFF) + 1, shape)
    # Pillow returns three channels for a WebP file without any transparency.
    has_alpha = shape.channels % 2 == 0
    colours = _load(data, "WEBP", shape, ("RGBA", "RGB") if has_alpha else ("RGB",))
    if has_alpha and colours.shape[2] == 3:
        colours = np.dstack([colours, np.full(colours.shape[:2], 255, np.uint8)])
    if shape.channels < 3:
        if (colours[:, :, :3] != colours[:, :, :1]).any():
            raise InvalidCode("the bitstream holds a WebP file in colours; the image is grey")
        return np.ascontiguousarray(colours[:, :, [0, 3][: shape.channels]])
    return colours


def _load(data: bytes, file_format: str, shape: ImageShape, modes: tuple[str, ...]) -> image.Pixels:
    try:
        header = Image.open(io.BytesIO(data), formats=(file_format,))
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises many kinds for hostile files; all mean the same
        raise InvalidCode(f"the bitstream is damaged: the {file_format} file in it cannot be read") from error
    _check_size(header.width, header.height, shape)
    if header.mode not in modes:
        raise InvalidCode(f"the bitstream holds a {file_format} file of mode {header.mode}; the model takes {modes[0]}")
    try:
        header.load()
    except MemoryError:
        raise
    except Exception as error:
        raise InvalidCode(f"the bitstream is damaged: the {file_format} file in it cannot be read") from error
    pixels = np.array(header, dtype=np.uint8)
    return pixels.reshape(shape.height, shape.width, -1)


def _check_size(width: int, height: int, shape: ImageShape) -> None:
    if (height, width) != (shape.height, shape.width):
        raise InvalidCode(
            f"the bitstream holds an image of {width} × {height} pixels; the model takes {shape.width} × {shape.height}"
        )
