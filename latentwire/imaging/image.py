"""Image file bytes <-> pixels <-> x.

Pixels are uint8 (H, W, C) or (N, H, W, C); x is float32 (N, C, H, W) in [0, 1].
"""

import io
import warnings
from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from latentwire.errors import ImageMismatch, ImageTooLarge, InvalidImage
from latentwire.imaging.exif import UPRIGHT
from latentwire.imaging.png_fast_path import read_plain_png, write_grey_png
from latentwire.imaging.strip_metadata import strip
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

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
MODE_OF_CHANNELS = {1: "L", 3: "RGB", 4: "RGBA"}

_MODE_IN_WORDS = {"L": "grey", "LA": "grey with alpha", "P": "palette colours", "1": "black and white"}

# 2048 × 2048 pixels; converting them takes about 50 MiB if they have transparency.
DEFAULT_MAX_PIXELS = 1 << 22
# 67 million pixels: of images for models that take any size.
ANY_SIZE_MAX_PIXELS = 1 << 26

_PNG_DEPTH_OFFSET = 24

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

# Between one and two times its own limit, Pillow only warns.
warnings.simplefilter("error", Image.DecompressionBombWarning)


@timed_stage("image")
def read_image(data: bytes, shape: ImageShape, fit: Fit = "strict", max_pixels: int = DEFAULT_MAX_PIXELS) -> Pixels:
    """Decode an image file into pixels of the model's shape.

    Args:
        data: a PNG, JPEG, WebP, BMP or GIF file. Its EXIF orientation is applied.
        shape: of the model's images.
        fit: `strict` takes only images of this size, number of channels and depth. `resize` scales to the size
            (Lanczos); `pad` keeps the proportions, shrinks larger images and centres them on black. Both also convert
            colours to grey (ITU-R 601 luma) and 16 bits to the upper 8, and lay transparent pixels on black.
        max_pixels: bound on width × height, checked in the header before anything is decoded.

    Returns:
        uint8 (H, W, C).

    Raises:
        InvalidImage: the data is not such a file, or damaged.
        ImageTooLarge: the image has more than `max_pixels`.
        ImageMismatch: the image does not fit, under `strict`, or has more than one frame.
    """
    if not data:
        raise InvalidImage("the image file is empty")
    data, orientation = strip(data)
    if orientation == UPRIGHT and shape.pixels <= max_pixels and (plain := read_plain_png(data, shape)) is not None:
        return plain
    header = _open(data, max_pixels)
    deep = header.mode.startswith("I") or (header.format == "PNG" and data[_PNG_DEPTH_OFFSET] == 16)
    return _read_pixels(header, shape, fit, max_pixels, deep, orientation)


@timed_stage("image")
def read_any_image(data: bytes, max_pixels: int = ANY_SIZE_MAX_PIXELS) -> Pixels:
    """Decode an image file of any size into pixels, for a model that takes any size.

    Args:
        data: a PNG, JPEG, WebP, BMP or GIF file. Its EXIF orientation is applied.
        max_pixels: bound on width × height, checked in the header before anything is decoded.

    Returns:
        uint8 (H, W, C), C being 1 for grey and 3 for RGB. Of 16 bits, the upper 8 are taken.

    Raises:
        InvalidImage: the data is not such a file, or damaged.
        ImageTooLarge: the image has more than `max_pixels`.
        ImageMismatch: the image has transparent pixels, or more than one frame.
    """
    if not data:
        raise InvalidImage("the image file is empty")
    data, orientation = strip(data)
    return _read_any(_open(data, max_pixels), max_pixels, orientation)


def any_pixels(picture: Image.Image, max_pixels: int = ANY_SIZE_MAX_PIXELS) -> Pixels:
    """Turn a Pillow image of any size into pixels, as `read_any_image` does; raise as it does."""
    return _read_any(picture, max_pixels, UPRIGHT)


def any_array(array: Pixels) -> Pixels:
    """Return one uint8 array, (H, W), (H, W, 1) or (H, W, 3), as (H, W, C).

    Raises:
        ImageMismatch: the array has another type or shape.
    """
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3)):
        raise ImageMismatch(f"the array is {array.dtype} of shape {array.shape}; pass uint8 (H, W) or (H, W, 1 or 3)")
    return np.atleast_3d(array)


def fit_picture(
    picture: Image.Image, shape: ImageShape, fit: Fit = "strict", max_pixels: int = DEFAULT_MAX_PIXELS
) -> Pixels:
    """Turn a Pillow image into uint8 (H, W, C) pixels of the model's shape, as `read_image` does; raise as it does."""
    return _read_pixels(picture, shape, fit, max_pixels, picture.mode.startswith("I"), UPRIGHT)


def fit_array(array: Pixels, shape: ImageShape, fit: Fit = "strict") -> Pixels:
    """Turn one uint8 array, (H, W) or (H, W, C), into pixels of the model's shape, as `fit_pixels` does.

    Raises:
        ImageMismatch: as `fit_pixels`; the array has another type or number of axes.
    """
    if array.dtype != np.uint8 or array.ndim not in (2, 3):
        raise ImageMismatch(f"the array is {array.dtype} of shape {array.shape}; pass uint8 (H, W) or (H, W, C)")
    pixels: Pixels = fit_pixels(np.atleast_3d(array)[None], shape, fit)[0]
    return pixels


def fit_pixels(pixels: Pixels, shape: ImageShape, fit: Fit = "strict") -> Pixels:
    """Turn uint8 (N, H, W, C) pixels of 1, 3 or 4 channels into pixels of the model's shape, as `read_image` does.

    Raises:
        ImageMismatch: the images do not fit, under `strict`, or have another number of channels.
    """
    if pixels.shape[1:] == shape.as_tuple():
        return pixels
    height, width, channels = pixels.shape[1:]
    if fit == "strict" or channels not in MODE_OF_CHANNELS or not height or not width:
        raise ImageMismatch(
            f"the images are {height} × {width} with {channels} channels; the model takes {shape}; ask for fit=resize "
            "or fit=pad to have images of 1, 3 or 4 channels converted"
        )
    fitted = np.empty((len(pixels), *shape.as_tuple()), dtype=np.uint8)
    for index, item in enumerate(pixels):
        fitted[index] = np.asarray(_fit(to_picture(item), shape, fit), dtype=np.uint8).reshape(shape.as_tuple())
    return fitted


@timed_stage("image")
def write_png(pixels: Pixels) -> bytes:
    """Encode uint8 (H, W, C) pixels as a PNG file."""
    return write_grey_png(pixels) if pixels.shape[2] == 1 else write_file(pixels, "PNG", compress_level=6)


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
    """Return uint8 (H, W, C) pixels as a Pillow image of the mode L, RGB or RGBA."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def _open(data: bytes, max_pixels: int) -> Image.Image:
    """Read the header of an image file."""
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLarge(f"the image has more than the {max_pixels:,} pixels that are allowed") from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises many kinds of errors for hostile files
        raise InvalidImage(f"the file is not a readable {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image") from error


def _read_any(header: Image.Image, max_pixels: int, orientation: int) -> Pixels:
    _check_pixels(header, max_pixels)
    try:
        upright = _load_upright(header, orientation)
        picture = _without_opaque_alpha(_to_8_bits(upright))
        if picture.mode not in ("L", "RGB"):
            picture = picture.convert("L" if picture.mode == "1" else "RGB")
    except (ImageMismatch, MemoryError):
        raise
    except Exception as error:  # Pillow raises many kinds of errors for hostile files
        raise InvalidImage("the image is truncated or damaged") from error
    return np.atleast_3d(np.asarray(picture, dtype=np.uint8))


def _without_opaque_alpha(picture: Image.Image) -> Image.Image:
    """Return a picture without an alpha channel; raise ImageMismatch if a pixel is transparent."""
    if not _has_alpha(picture):
        return picture
    layer = picture.convert("RGBA")
    if layer.getchannel("A").getextrema() != (255, 255):
        raise ImageMismatch("the image has transparent pixels, which this model cannot encode; lay it on a background")
    return layer.convert("L" if picture.mode in ("L", "LA", "La") else "RGB")


def _check_pixels(header: Image.Image, max_pixels: int) -> None:
    if header.width * header.height > max_pixels:
        raise ImageTooLarge(
            f"the image has {header.height} × {header.width} pixels; at most {max_pixels:,} are allowed"
        )


def _read_pixels(
    header: Image.Image, shape: ImageShape, fit: Fit, max_pixels: int, deep: bool, orientation: int
) -> Pixels:
    _check_pixels(header, max_pixels)
    try:
        fitted = _load(header, shape, fit, deep, orientation)
    except (ImageMismatch, MemoryError):
        raise
    except Exception as error:  # Pillow raises many kinds of errors for hostile files
        raise InvalidImage("the image is truncated or damaged") from error
    return np.asarray(fitted, dtype=np.uint8).reshape(shape.as_tuple())


def _load(header: Image.Image, shape: ImageShape, fit: Fit, deep: bool, orientation: int) -> Image.Image:
    if fit != "strict":
        return _fit(_load_upright(header, orientation), shape, fit)
    _check_one_frame(header)
    _check_fits(header, shape, deep, swapped=orientation >= 5)
    return _load_upright(header, orientation)


def _load_upright(header: Image.Image, orientation: int) -> Image.Image:
    _check_one_frame(header)
    turn = _TURNS.get(orientation)
    header.load()
    return header if turn is None else header.transpose(turn)


def _check_one_frame(header: Image.Image) -> None:
    if getattr(header, "n_frames", 1) > 1:
        raise ImageMismatch("the image is animated; send a single frame")


def _check_fits(image: Image.Image, shape: ImageShape, deep: bool, *, swapped: bool) -> None:
    """Check that the image fits once it is turned upright, which may swap its height and width."""
    wanted_mode = MODE_OF_CHANNELS[shape.channels]
    size = (image.height, image.width) if swapped else (image.width, image.height)
    if size == (shape.width, shape.height) and image.mode == wanted_mode and not deep:
        return
    raise ImageMismatch(
        f"the image is {size[1]} × {size[0]}, {_in_words(image.mode, deep)}; the model takes "
        f"{shape.height} × {shape.width} (height × width), {_in_words(wanted_mode, deep=False)}; "
        "ask for fit=resize or fit=pad to have it converted"
    )


def _in_words(mode: str, deep: bool) -> str:
    if mode.startswith("I"):
        return "grey of 16 bits or more"
    bits = {"1": ""}.get(mode, " of 16 bits" if deep else " of 8 bits")
    return _MODE_IN_WORDS.get(mode, mode) + bits


def _fit(image: Image.Image, shape: ImageShape, fit: Fit) -> Image.Image:
    image = _to_8_bits(image)
    mode = MODE_OF_CHANNELS[shape.channels]
    if mode != "RGBA" and _has_alpha(image):
        layer = image.convert("RGBA")
        image = Image.new("RGB", layer.size)
        image.paste(layer, mask=layer.getchannel("A"))
    image = image.convert(mode)
    size = (shape.width, shape.height)
    if fit == "resize":
        return image.resize(size, Image.Resampling.LANCZOS)
    if image.width > shape.width or image.height > shape.height:
        image = ImageOps.contain(image, size, Image.Resampling.LANCZOS)
    canvas = Image.new(mode, size)
    canvas.paste(image, ((shape.width - image.width) // 2, (shape.height - image.height) // 2))
    return canvas


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Return the upper 8 of 16 bits; Pillow's own conversion clips at 255 instead of scaling."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("LA", "PA", "RGBA", "RGBa", "La") or "transparency" in image.info
