"""Pixels -> the best WebP, AVIF, JPEG or PNG file within a number of bytes: what a model's code is compared with."""

import base64
import io
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from PIL import Image, features

from latentwire.cancelling import check_cancelled
from latentwire.errors import ImageTooLarge
from latentwire.imaging import image
from latentwire.imaging.image import Pixels

# The search writes some tens of files, so that larger pictures would take minutes.
MAX_PIXELS = 1 << 19
# Longest side of a WebP file; those of AVIF and JPEG may be longer.
_MAX_SIDE = 16_383
# Lossless files of fewer pixels are small enough to be tried always; of more, from one bit a pixel on.
_SMALL_PIXELS = 1 << 12
# Speeds of AVIF's encoder, by the pixels of the picture: 0.1 s for 400,000 pixels.
_AVIF_SPEED_SMALL, _AVIF_SPEED, _SMALL_FOR_AVIF = 4, 6, 1 << 16
_MAX_QUALITY = 100
# The search for a quality ends at a file that uses this share of the bytes.
_CLOSE = 0.98


class ClassicalFile(NamedTuple):
    """A file of a classical codec.

    Attributes:
        format: `WebP`, `AVIF`, `JPEG` or `PNG`.
        quality: of the codec, from 0 to 100; None if it is lossless.
        reduced: factor by which the picture's sides were divided before it was written.
        content: the whole file.
        pixels: what the file shows, uint8 (H, W, C), at the size of the original.
        mse: mean squared error against the original, with values in [0, 1].
    """

    format: str
    quality: int | None
    reduced: int
    content: bytes
    pixels: Pixels
    mse: float

    @property
    def psnr_db(self) -> float:
        """PSNR in dB; infinite if the file is exact."""
        return -10 * math.log10(self.mse) if self.mse else math.inf

    def to_dict(self) -> dict[str, object]:
        """Return the figures, and what the file shows as a PNG file in base64, as JSON has them."""
        return {
            "format": self.format,
            "file_bytes": len(self.content),
            "lossless": self.quality is None,
            "reduced": self.reduced,
            "psnr_db": self.psnr_db if self.mse else None,
            "image": base64.b64encode(image.write_png(self.pixels)).decode(),
        }


Write = Callable[[Image.Image, int], bytes]


def best_file(pixels: Pixels, max_bytes: int) -> ClassicalFile:
    """Return the file of at most `max_bytes` that comes closest to uint8 (H, W, C) pixels, of 1 or 3 channels.

    The search goes over formats, qualities and reductions of the picture by powers of two. If no file is so small, it
    returns the smallest that it has seen.

    Raises:
        ImageTooLarge: more than `MAX_PIXELS`.
        Cancelled: the search was given up.
    """
    height, width = pixels.shape[:2]
    if height * width > MAX_PIXELS:
        raise ImageTooLarge(
            f"the image has {width} × {height} pixels; at most {MAX_PIXELS:,} are compared with other codecs; "
            "send a smaller picture"
        )
    found = [*_lossless(pixels, max_bytes)]
    for name, write in _writers().items():
        found += _lossy(pixels, max_bytes, name, write)
    fitting = [file for file in found if len(file.content) <= max_bytes]
    if fitting:
        return min(fitting, key=lambda file: (file.mse, len(file.content)))
    return min(found, key=lambda file: len(file.content))


def _lossless(pixels: Pixels, max_bytes: int) -> Iterator[ClassicalFile]:
    count = pixels.shape[0] * pixels.shape[1]
    if count > _SMALL_PIXELS and 8 * max_bytes < count:
        return
    picture = image.to_picture(pixels)
    method = 6 if count <= _SMALL_PIXELS else 0
    for name, options in (("WebP", {"lossless": True, "exact": True, "method": method}), ("PNG", {"optimize": True})):
        if name == "PNG" or (features.check("webp") and max(picture.size) <= _MAX_SIDE):
            yield ClassicalFile(name, None, 1, _save(picture, name, **options), pixels, 0.0)


def _lossy(pixels: Pixels, max_bytes: int, name: str, write: Write) -> Iterator[ClassicalFile]:
    """Yield the best file of a format at each reduction, until a further one makes it worse."""
    original = image.to_picture(pixels)
    reduced, best_mse = 1, math.inf
    while reduced < 2 * max(original.size):
        size = (-(-original.width // reduced), -(-original.height // reduced))
        if max(size) > _MAX_SIDE:
            reduced *= 2
            continue
        picture = original if reduced == 1 else original.resize(size, Image.Resampling.LANCZOS)
        quality, content = _highest_quality(partial(write, picture), max_bytes)
        shown = _read(content, pixels)
        error = shown.astype(np.float32) - pixels
        mse = float(np.mean(error * error, dtype=np.float64)) / 255**2
        yield ClassicalFile(name, quality, reduced, content, shown, mse)
        if len(content) <= max_bytes:
            if mse >= best_mse:
                return
            best_mse = mse
        reduced *= 2


def _highest_quality(write: Callable[[int], bytes], max_bytes: int) -> tuple[int, bytes]:
    """Return the highest quality whose file has at most `max_bytes`, and that file; if none has, the lowest quality."""
    low, best = 0, write(0)
    if len(best) > max_bytes:
        return 0, best
    high = _MAX_QUALITY + 1
    while high - low > 1 and len(best) < _CLOSE * max_bytes:
        check_cancelled()
        middle = (low + high) // 2
        content = write(middle)
        if len(content) <= max_bytes:
            low, best = middle, content
        else:
            high = middle
    return low, best


def _read(content: bytes, like: Pixels) -> Pixels:
    """Return what a file shows at the size and in the colours of the original."""
    with Image.open(io.BytesIO(content)) as picture:
        shown = picture.convert("L" if like.shape[2] == 1 else "RGB")
    if shown.size != (like.shape[1], like.shape[0]):
        shown = shown.resize((like.shape[1], like.shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(shown, dtype=np.uint8).reshape(like.shape)


def _writers() -> dict[str, Write]:
    """Return the lossy formats that Pillow can write here."""
    feature_of = {"WebP": "webp", "AVIF": "avif", "JPEG": "jpg"}
    writers: dict[str, Write] = {"WebP": _webp, "AVIF": _avif, "JPEG": _jpeg}
    return {name: write for name, write in writers.items() if features.check(feature_of[name])}


def _webp(picture: Image.Image, quality: int) -> bytes:
    return _save(picture, "WebP", quality=quality, method=6)


def _avif(picture: Image.Image, quality: int) -> bytes:
    # By default the encoder weighs more than the squared error. Its slower speeds gain a tenth of the bytes.
    return _save(
        picture,
        "AVIF",
        quality=quality,
        speed=_AVIF_SPEED_SMALL if picture.width * picture.height <= _SMALL_FOR_AVIF else _AVIF_SPEED,
        advanced={"tune": "psnr"},
        subsampling="4:0:0" if picture.mode == "L" else "4:2:0",
        max_threads=1,
    )


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    # Several scans take fewer bytes from some thousand pixels on.
    progressive = picture.width * picture.height > _SMALL_PIXELS
    return _save(picture, "JPEG", quality=max(1, quality), optimize=True, progressive=progressive)


def _save(picture: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()
