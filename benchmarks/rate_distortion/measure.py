"""Images through a codec or a model, on real bytes -> points.

Classical codecs take images one by one, or all together in one picture; models go through the library's Encoder and
Decoder, which share nothing but the bytes.
"""

import hashlib
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.rate_distortion.classical import Grey, Setting
from benchmarks.rate_distortion.points import ALONE, BATCH, FULL, LOSSLESS, PAYLOAD, TOGETHER, Arrangement, Point
from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from latentwire.imaging.image import Pixels

# Number of images in a batch of a model.
CHUNK = 500

Advance = Callable[[int], object]


def measure_alone(setting: Setting, pixels: Pixels, advance: Advance) -> Point:
    """Measure a codec on grey images (N, H, W, 1), each in a file of its own; call `advance(1)` after each image."""
    size = error = 0
    for one in pixels:
        written = setting.write(one[:, :, 0])
        size += len(written)
        error += _error(one, setting.read(written))
        advance(1)
    return _point(_names(setting), ALONE, pixels, size, error)


def measure_together(setting: Setting, pixels: Pixels, advance: Advance) -> Point:
    """Measure a codec on grey images (N, H, W, 1), laid out in one picture; call `advance(1)` after it.

    The error is that of the images alone; empty cells of the last row add only bytes.
    """
    picture = lay_out(pixels)
    written = setting.write(picture)
    delivered = cut_up(setting.read(written), pixels.shape)
    advance(1)
    return _point(_names(setting), TOGETHER, pixels, len(written), _error(pixels, delivered))


def measure_model(folder: Path, pixels: Pixels, advance: Advance) -> list[Point]:
    """Measure a model on images of its shape: payload alone, full framing, and all images in one container.

    The full framing, which holds the payload, and the container are decoded; `advance` counts each image twice.

    Raises:
        ModelError: the model's files cannot be used.
    """
    encoder, decoder = Encoder.open(folder), Decoder.open(folder)
    payload_bytes = bitstream_bytes = error = 0
    for start in range(0, len(pixels), CHUNK):
        chunk = pixels[start : start + CHUNK]
        encoded = encoder.encode(chunk)
        delivered = decoder.decode([one.bitstream for one in encoded])
        payload_bytes += sum(len(one.payload) for one in encoded)
        bitstream_bytes += sum(len(one.bitstream) for one in encoded)
        error += _error(chunk, delivered)
        advance(len(chunk))
    container = b"".join(encoder.encode_batch([pixels], announced=len(pixels)))
    done = batch_error = 0
    for part in decoder.decode_batch([container]):
        batch_error += _error(pixels[done : done + len(part)], part)
        done += len(part)
        advance(len(part))
    names = (encoder.card.name, encoder.card.full_name)
    return [
        _point((PAYLOAD, *names), ALONE, pixels, payload_bytes, error),
        _point((FULL, *names), ALONE, pixels, bitstream_bytes, error),
        _point((BATCH, *names), TOGETHER, pixels, len(container), batch_error),
    ]


def measure_lossless(folder: Path, pixels: Pixels, advance: Advance) -> list[Point]:
    """Measure images in the lossless form of a model's bitstream: payload alone and full framing.

    Raises:
        ModelError: the model's files cannot be used.
    """
    encoder, decoder = Encoder.open(folder), Decoder.open(folder)
    payload_bytes = bitstream_bytes = error = 0
    for one in pixels:
        encoded = encoder.encode_lossless(one[None])[0]
        payload_bytes += len(encoded.payload)
        bitstream_bytes += len(encoded.bitstream)
        error += _error(one, decoder.decode([encoded.bitstream]))
        advance(1)
    names = (LOSSLESS, encoder.card.full_name)
    return [
        _point((PAYLOAD, *names), ALONE, pixels, payload_bytes, error),
        _point((FULL, *names), ALONE, pixels, bitstream_bytes, error),
    ]


def lay_out(pixels: Pixels) -> Grey:
    """Lay grey images (N, H, W, 1) out in rows and columns of one picture, as many of each as possible."""
    count, height, width, _ = pixels.shape
    columns = math.isqrt(count - 1) + 1
    rows = -(-count // columns)
    cells = np.zeros((rows * columns, height, width), np.uint8)
    cells[:count] = pixels[..., 0]
    picture = cells.reshape(rows, columns, height, width).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(picture.reshape(rows * height, columns * width))


def cut_up(picture: Grey, shape: tuple[int, ...]) -> Pixels:
    """Undo `lay_out`: return the images of `shape` (N, H, W, 1)."""
    count, height, width, _ = shape
    rows, columns = picture.shape[0] // height, picture.shape[1] // width
    cells = picture.reshape(rows, height, columns, width).transpose(0, 2, 1, 3)
    return cells.reshape(rows * columns, height, width, 1)[:count]


def name_images(pixels: Pixels) -> str:
    """Return an identifier of these images: their number and a SHA-256."""
    return f"{len(pixels)}@{hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()}"


def _error(pixels: Pixels, delivered: Pixels) -> int:
    """Return the sum of the squared differences, in 8-bit levels."""
    difference = pixels.astype(np.int64) - delivered.reshape(pixels.shape)
    return int(np.square(difference).sum())


def _names(setting: Setting) -> tuple[str, str, str]:
    return (setting.codec, setting.name, setting.library)


def _point(names: tuple[str, str, str], arrangement: Arrangement, pixels: Pixels, size: int, error: int) -> Point:
    codec, setting, library = names
    return Point(
        codec=codec,
        setting=setting,
        library=library,
        arrangement=arrangement,
        count=len(pixels),
        images=name_images(pixels),
        bytes=size / len(pixels),
        mse=error / (255**2 * pixels.size),
    )
