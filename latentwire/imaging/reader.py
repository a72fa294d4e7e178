"""Image files and Pillow images -> pixels of a model's shape."""

import io
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Lock
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from latentwire.errors import ImageMismatch, ImageTooLarge, InvalidImage
from latentwire.imaging.exif import UPRIGHT, read_orientation
from latentwire.imaging.fitting import (
    REDUCING_GAP,
    FittedImage,
    check_fits,
    colours_of,
    convert_loaded,
    fit_loaded,
    is_turned_aside,
    scaled_size,
)
from latentwire.imaging.formats import DEFAULT_FORMATS, FORMATS, decoding_bytes, describe, pillow_names, recognize
from latentwire.imaging.png_fast_path import read_plain_png
from latentwire.imaging.strip_metadata import strip
from latentwire.model.card import ImageShape
from latentwire.options import Background, Fit
from latentwire.timing import timed_stage

# More than a camera of 48 megapixels makes.
DEFAULT_MAX_PIXELS = 50_000_000
# 67 million pixels: of images for models that take any size.
ANY_SIZE_MAX_PIXELS = 1 << 26

# Memory for decoding, for each pixel of the limit: that of decoded pixels in colour.
_BYTES_PER_PIXEL = 4
_SMALL_BYTES = 1 << 22

# EXIF orientation -> the operation that turns the picture upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Decoders of the other formats turn the picture themselves.
_TURNED_BY_EXIF = frozenset(("JPEG", "PNG", "WEBP", "AVIF"))

# The start of the pixels and, 12 bytes on, the height; the bits of a pixel and, 2 bytes on, the compression.
_BMP_START_OFFSET, _BMP_BITS_OFFSET = 10, 28
_BMP_32_BITS = struct.pack("<HI", 32, 0)

_JPEG_SCAN = b"\xff\xda"

# Between one and two times its own limit, Pillow only warns.
warnings.simplefilter("error", Image.DecompressionBombWarning)


class _DecodingMemory:
    """Lets threads decode as long as all of them together stay within a number of bytes; the others wait in a queue."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._queue = Lock()
        self._used_bytes = 0

    @contextmanager
    def reserve(self, size_bytes: int, total_bytes: int) -> Iterator[None]:
        with self._queue, self._changed:
            self._changed.wait_for(lambda: not self._used_bytes or self._used_bytes + size_bytes <= total_bytes)
            self._used_bytes += size_bytes
        try:
            yield
        finally:
            with self._changed:
                self._used_bytes -= size_bytes
                self._changed.notify_all()


_memory = _DecodingMemory()


@dataclass(frozen=True, slots=True)
class ImageReader:
    """Reads images as pixels of a model's shape.

    Attributes:
        shape: of the model's images.
        fit: `strict` takes only images of this size, number of channels and depth. `resize` scales to the size
            (Lanczos); `pad` keeps the proportions, shrinks larger images and centres them. Both also convert colours to
            grey (ITU-R 601 luma) and 16 bits to the upper 8, and lay transparent pixels on the background.
        background: `white`, `black`, or `auto` for the one that the visible pixels differ more from: the sum of alpha ×
            difference in luma decides, differences over 64 levels count as 64, and white is taken if both are equal.
            Padding has the same colour; it is black around an image without transparency, unless the background is
            `white`.
        max_pixels: bound on width × height, checked in the header before anything is decoded. All images that are
            decoded at one time take about 4 bytes of memory for each of these pixels.
        formats: names in `latentwire.imaging.formats.FORMATS` of the formats to read.
    """

    shape: ImageShape
    fit: Fit = "strict"
    background: Background = "auto"
    max_pixels: int = DEFAULT_MAX_PIXELS
    formats: tuple[str, ...] = DEFAULT_FORMATS

    @timed_stage("image")
    def read(self, data: bytes) -> FittedImage:
        """Read an image file, whose EXIF orientation is applied.

        Raises:
            InvalidImage: the data is not a file of these formats, or damaged.
            ImageTooLarge: the image has more than `max_pixels`, or takes as much memory to decode.
            ImageMismatch: the image does not fit, under `strict`, or has more than one frame.
        """
        if (plain := self._read_plain(data)) is not None:
            return plain
        data, orientation = _strip(data)
        if orientation == UPRIGHT and (plain := self._read_plain(data)) is not None:
            return plain
        file = _open(data, orientation, self.formats, self.max_pixels)
        return _wrapping_damage(self._fit, file)

    def read_picture(self, picture: Image.Image) -> FittedImage:
        """Read a Pillow image, whatever its size and format; raise as `read` does."""
        return _wrapping_damage(self._fit, _Opened(picture))

    def _read_plain(self, data: bytes) -> FittedImage | None:
        pixels = read_plain_png(data, self.shape) if self.shape.pixels <= self.max_pixels else None
        return None if pixels is None else FittedImage(pixels, None)

    def _fit(self, file: "_Opened") -> FittedImage:
        picture, size, turn = file.picture, file.picture.size, _TURNS.get(file.orientation)
        _check_frames(picture)
        colours = colours_of(picture)
        if self.fit == "strict":
            check_fits(size[::-1] if is_turned_aside(turn) else size, colours, self.shape)
        elif file.max_pixels is not None and picture.format == "JPEG":
            # JPEG can be decoded at an eighth, a quarter or half of its size, in as much less memory.
            width, height = scaled_size(size, self.shape, self.fit, swapped=is_turned_aside(turn))
            picture.draft(picture.mode, (REDUCING_GAP * width, REDUCING_GAP * height))
        with _decoded(file):
            if self.fit != "strict":
                return fit_loaded(picture, colours, size, self.shape, self.fit, self.background, turn)
            upright = picture if turn is None else picture.transpose(turn)
            return FittedImage(np.asarray(upright, dtype=np.uint8).reshape(self.shape.as_tuple()), None)


@dataclass(frozen=True, slots=True)
class AnySizeReader:
    """Reads images for a model that takes any size, as grey pixels or as RGB, with alpha if a pixel is transparent.

    Attributes:
        background: `auto` keeps transparency; `white` and `black` are laid behind it.
        max_pixels: as in `ImageReader`.
        formats: as in `ImageReader`.
    """

    background: Background = "auto"
    max_pixels: int = ANY_SIZE_MAX_PIXELS
    formats: tuple[str, ...] = DEFAULT_FORMATS

    @timed_stage("image")
    def read(self, data: bytes) -> FittedImage:
        """Read an image file as uint8 (H, W, C), C being 1 for grey, 3 for RGB, and 2 and 4 for these with alpha.

        Raises:
            ImageError: as `ImageReader.read`.
        """
        return _wrapping_damage(self._convert, self._open(data))

    def pixels_of(self, data: bytes) -> int:
        """Return width × height of an image file, by its header; raise as `read`, for what the header says."""
        picture = self._open(data).picture
        return picture.width * picture.height

    def _open(self, data: bytes) -> "_Opened":
        data, orientation = _strip(data)
        return _open(data, orientation, self.formats, self.max_pixels)

    def read_picture(self, picture: Image.Image) -> FittedImage:
        """Read a Pillow image as `read` reads a file."""
        return _wrapping_damage(self._convert, _Opened(picture))

    def _convert(self, file: "_Opened") -> FittedImage:
        _check_frames(file.picture)
        colours = colours_of(file.picture)
        with _decoded(file):
            return convert_loaded(file.picture, colours, self.background, _TURNS.get(file.orientation))


class _Opened(NamedTuple):
    """A picture that is not decoded yet; its EXIF orientation; and, for a file, its limit and what libjpeg keeps."""

    picture: Image.Image
    orientation: int = UPRIGHT
    max_pixels: int | None = None
    pixels_kept: int = 0


def shape_of_file(path: Path, formats: tuple[str, ...] = DEFAULT_FORMATS) -> tuple[int, int, int]:
    """Return the height, width and number of channels of an image file that is turned upright, by its header.

    Unlike `ImageReader.read` this is for files of one's own: their metadata are read as they are.

    Raises:
        InvalidImage: the file cannot be read.
        ImageMismatch: the white of its pixels is not known.
    """
    try:
        with Image.open(path, formats=pillow_names(formats)) as picture:
            colours, size = colours_of(picture), picture.size
            exif = picture.getexif() if picture.format in _TURNED_BY_EXIF else {}
    except ImageMismatch:
        raise
    except Exception as error:  # Pillow raises many kinds of errors for damaged files
        raise InvalidImage(f"the file is not a readable {describe(formats)} image") from error
    width, height = size[::-1] if is_turned_aside(_TURNS.get(exif.get(ExifTags.Base.Orientation, UPRIGHT))) else size
    return height, width, 4 if colours.transparent else 1 if colours.is_grey else 3


def _strip(data: bytes) -> tuple[bytes, int]:
    if not data:
        raise InvalidImage("the image file is empty")
    return strip(data)


def _open(data: bytes, orientation: int, formats: tuple[str, ...], max_pixels: int) -> _Opened:
    """Open a stripped file, and check its size."""
    try:
        picture: Image.Image = Image.open(io.BytesIO(data), formats=pillow_names(formats))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLarge(f"the image has more than the {Image.MAX_IMAGE_PIXELS:,} pixels that are read") from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises many kinds of errors for hostile files
        found = recognize(data)
        if found is not None and found not in formats:
            raise InvalidImage(
                f"the file is of the format {FORMATS[found].name}, which is not read here; send {describe(formats)}, "
                f"or have {found} added to the formats (--image-formats)"
            ) from error
        raise InvalidImage(f"the file is not a readable {describe(formats)} image") from error
    pixels = picture.width * picture.height
    if pixels > max_pixels:
        raise _too_large(f"has {picture.width} × {picture.height} pixels", max_pixels)
    if picture.format == "BMP":
        picture = _with_alpha(picture, data)
    if picture.format == "AVIF" and "exif" in picture.info:
        orientation = read_orientation(picture.info["exif"])
    # libjpeg keeps the coefficients of a picture that comes in several scans.
    several_scans = picture.format == "JPEG" and data.count(_JPEG_SCAN) > 1
    return _Opened(picture, orientation, max_pixels, pixels if several_scans else 0)


def _with_alpha(picture: Image.Image, data: bytes) -> Image.Image:
    """Return a BMP picture of 32 bits a pixel with the alpha in its fourth bytes, which Pillow leaves out.

    Encoders without alpha write 0 or 255 everywhere.
    """
    if data[_BMP_BITS_OFFSET : _BMP_BITS_OFFSET + 6] != _BMP_32_BITS:
        return picture
    start, height = struct.unpack_from("<I8xi", data, _BMP_START_OFFSET)
    rows = data[start : start + 4 * picture.width * picture.height]
    if len(rows) < 4 * picture.width * picture.height or len(set(rows[3::4])) < 2:
        return picture
    upwards = -1 if height > 0 else 1
    return Image.frombuffer("RGBA", picture.size, rows, "raw", "BGRA", 0, upwards)


@contextmanager
def _decoded(file: _Opened) -> Iterator[None]:
    """Decode a picture; while it is in use, count the memory of a file's."""
    needed_bytes = decoding_bytes(file.picture, file.pixels_kept)
    if file.max_pixels is None or needed_bytes <= _SMALL_BYTES:
        file.picture.load()
        yield
        return
    total_bytes = _BYTES_PER_PIXEL * file.max_pixels
    if needed_bytes > total_bytes:
        as_many = needed_bytes // _BYTES_PER_PIXEL
        raise _too_large(f"takes as much memory to decode as {as_many:,} pixels", file.max_pixels)
    with _memory.reserve(needed_bytes, total_bytes):
        file.picture.load()
        yield


def _too_large(what: str, max_pixels: int) -> ImageTooLarge:
    return ImageTooLarge(f"the image {what}; at most {max_pixels:,} pixels are allowed (--max-image-pixels)")


def _check_frames(picture: Image.Image) -> None:
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        several = bool(picture.tag_v2.next)  # counting the pages would read all of them
    else:
        # A HEIF file may hold pictures beside its primary one.
        several = picture.format != "HEIF" and getattr(picture, "n_frames", 1) > 1
    if several:
        raise ImageMismatch("the image is animated, or has several pages; send a single one")


def _wrapping_damage(work: Callable[[_Opened], FittedImage], file: _Opened) -> FittedImage:
    """Return what `work` makes of a file; for damaged files Pillow raises many kinds of errors, here `InvalidImage`."""
    try:
        return work(file)
    except (ImageMismatch, ImageTooLarge, MemoryError):
        raise
    except Exception as error:
        raise InvalidImage("the image is truncated or damaged") from error
