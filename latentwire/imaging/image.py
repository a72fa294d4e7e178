"""Image file bytes <-> pixels <-> x.

Pixels are uint8 (H, W, C) or (N, H, W, C); x is float32 (N, C, H, W) in [0, 1].
"""

import io
from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from latentwire.errors import ImageMismatch, ImageTooLarge
from latentwire.imaging.fitting import MODE_OF_CHANNELS, FittedImage, FittedImages
from latentwire.imaging.png_fast_path import write_grey_png
from latentwire.imaging.reader import AnySizeReader, ImageReader
from latentwire.model.card import ImageShape
from latentwire.options import Fit
from latentwire.timing import timed_stage

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Element = TypeVar("Element", bound=np.generic)

# Images, and values of images, in one run of a graph. More than about 30 images make no encoder faster, but the work
# around it; they make decoders slower, by up to a tenth.
ENCODE_BATCH_SIZE, DECODE_BATCH_SIZE = 128, 32
MAX_BATCH_VALUES = 1 << 22

# Larger PNG files are written in a quarter of the time, with 4 % more bytes.
_MAX_THOROUGH_VALUES = 1 << 20

# Largest image in an array of many; an array cannot be reduced while it arrives, as files can.
MAX_ARRAY_PIXELS = 1 << 22


def read_image(data: bytes, shape: ImageShape, fit: Fit = "strict") -> Pixels:
    """Read an image file as uint8 (H, W, C) pixels of the model's shape; see `ImageReader.read`."""
    return ImageReader(shape, fit).read(data).pixels


def as_pixels(array: npt.NDArray[np.generic]) -> Pixels:
    """Return one uint8 array, (H, W) or (H, W, C), as pixels (H, W, C).

    Raises:
        ImageMismatch: the array has another type, number of axes or number of channels, or no pixels.
    """
    if array.dtype != np.uint8 or array.ndim not in (2, 3):
        raise ImageMismatch(f"the array is {array.dtype} of shape {array.shape}; pass uint8 (H, W) or (H, W, C)")
    pixels: Pixels = np.atleast_3d(array)
    if not 1 <= pixels.shape[2] <= 4 or not pixels.size:
        raise ImageMismatch(f"the array is of shape {array.shape}; an image has pixels, of 1 to 4 channels")
    return pixels


def fit_array(array: Pixels, reader: ImageReader | AnySizeReader) -> FittedImage:
    """Fit one uint8 array, (H, W) or (H, W, C), as `reader` fits an image file.

    Raises:
        ImageMismatch: as `fit_arrays` and `as_pixels`.
    """
    pixels = as_pixels(array)
    if isinstance(reader, AnySizeReader):
        keeps_alpha = reader.background == "auto" and not (pixels[:, :, -1] == 255).all()
        if pixels.shape[2] in (1, 3) or keeps_alpha:
            return FittedImage(pixels, None)
    else:
        _check_convertible(pixels.shape, reader)
        if pixels.shape == reader.shape.as_tuple():
            return FittedImage(pixels, None)
    return reader.read_picture(to_picture(pixels))


def check_arrays(found: tuple[int, ...], reader: ImageReader | AnySizeReader) -> None:
    """Check that `fit_arrays` takes arrays of images of this height, width and number of channels.

    Raises:
        ImageTooLarge: the images have more than `MAX_ARRAY_PIXELS`, or more than the reader's limit.
        ImageMismatch: the images do not fit, under `strict`, or have another number of channels; or, for a model that
            takes any size, other than 1 to 4 channels, or no pixels.
    """
    height, width, channels = found
    if height * width > (max_pixels := min(reader.max_pixels, MAX_ARRAY_PIXELS)):
        raise ImageTooLarge(
            f"the images have {width} × {height} pixels; at most {max_pixels:,} are allowed in an array "
            "(--max-image-pixels); send larger images as files"
        )
    if isinstance(reader, ImageReader):
        _check_convertible(found, reader)
    elif not (height and width and 1 <= channels <= 4):
        raise ImageMismatch(
            f"the images are {width} × {height} with {channels} channels; images have 1 to 4, and pixels"
        )


def fit_arrays(pixels: Pixels, reader: ImageReader) -> FittedImages:
    """Fit uint8 (N, H, W, C) pixels of 1, 3 or 4 channels as `reader` fits image files.

    Raises:
        ImageTooLarge: as `check_arrays`.
        ImageMismatch: as `check_arrays`.
    """
    check_arrays(pixels.shape[1:], reader)
    if pixels.shape[1:] == reader.shape.as_tuple():
        return FittedImages(pixels, (None,) * len(pixels))
    return FittedImages.stack([reader.read_picture(to_picture(item)) for item in pixels], reader.shape)


@timed_stage("image")
def write_png(pixels: Pixels) -> bytes:
    """Encode uint8 (H, W, C) pixels as a PNG file."""
    level = 6 if pixels.size <= _MAX_THOROUGH_VALUES else 2
    return write_grey_png(pixels) if pixels.shape[2] == 1 else write_file(pixels, "PNG", compress_level=level)


def write_webp(pixels: Pixels) -> bytes:
    """Encode uint8 (H, W, C) pixels as a lossless WebP file.

    WebP has no grey: one channel is read back as three equal ones. `exact` keeps the colours of transparent pixels.
    """
    return write_file(pixels, "WEBP", lossless=True, exact=True)


def slices(
    array: npt.NDArray[Element], shape: ImageShape, images: int = ENCODE_BATCH_SIZE
) -> Iterator[npt.NDArray[Element]]:
    """Cut an array with a row for each image, (N, ...), into parts for one run of a graph each.

    Args:
        array: pixels, or anything else with N rows.
        shape: of the images.
        images: number of rows of a part; large images make smaller parts, of `MAX_BATCH_VALUES` values.
    """
    size = max(1, min(images, MAX_BATCH_VALUES // (shape.pixels * shape.channels)))
    for start in range(0, len(array), size):
        yield array[start : start + size]


def to_x(pixels: Pixels) -> Floats:
    """Turn uint8 (N, H, W, C) pixels into x, float32 (N, C, H, W) in [0, 1]."""
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(255)


def to_pixels(x_hat: Floats) -> Pixels:
    """Turn x_hat, float32 (N, C, H, W), into uint8 (N, H, W, C) pixels: clipped to [0, 1] and rounded."""
    levels = np.minimum(np.maximum(x_hat, np.float32(0)), np.float32(1))
    levels *= np.float32(255)
    pixels: Pixels = np.rint(levels, out=levels).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))


@timed_stage("image")
def write_file(pixels: Pixels, file_format: str, **options: object) -> bytes:
    """Encode uint8 (H, W, C) pixels as a file in one of Pillow's formats, with its options."""
    buffer = io.BytesIO()
    to_picture(pixels).save(buffer, file_format, **options)
    return buffer.getvalue()


def to_picture(pixels: Pixels) -> Image.Image:
    """Return uint8 (H, W, C) pixels as a Pillow image of the mode L, LA, RGB or RGBA."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def _check_convertible(found: tuple[int, ...], reader: ImageReader) -> None:
    height, width, channels = found
    if found == reader.shape.as_tuple():
        return
    if reader.fit == "strict" or channels not in MODE_OF_CHANNELS or not height or not width:
        raise ImageMismatch(
            f"the images are {width} × {height} with {channels} channels; the model takes {reader.shape}; ask for "
            "fit=resize or fit=pad to have images of 1, 3 or 4 channels converted"
        )
