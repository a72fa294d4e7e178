"""Image file bytes <-> pixels <-> x.

Pixels are uint8 (H, W, C) or (N, H, W, C); x is float32 (N, C, H, W) in [0, 1]. This room knows the shape that a model
wants, and nothing else of the model.
"""

import io
import warnings
from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, ImageOps

from latentwire.errors import ImageMismatch, ImageTooLarge, InvalidImage
from latentwire.imaging.png_fast_path import read_plain_png, write_grey_png
from latentwire.imaging.strip_metadata import UPRIGHT, read_orientation, strip
from latentwire.model.card import ImageShape
from latentwire.options import Fit
from latentwire.timing import timed_stage

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Element = TypeVar("Element", bound=np.generic)

# How many images, and how many of their values, a graph is run on at once. No encoder is quicker with more than some
# thirty, but all that is done around it; decoders are, by up to a tenth, slower.
ENCODE_BATCH_SIZE, DECODE_BATCH_SIZE = 128, 32
MAX_BATCH_VALUES = 1 << 22

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
MODE_OF_CHANNELS = {1: "L", 3: "RGB", 4: "RGBA"}

_MODE_IN_WORDS = {"L": "grey", "LA": "grey with alpha", "P": "palette colours", "1": "black and white"}

# 2048 × 2048; converting that many pixels with transparency takes some 50 MiB.
DEFAULT_MAX_PIXELS = 1 << 22

_PNG_DEPTH_OFFSET = 24

# What makes a picture upright, by its EXIF orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow only warns between one and two times its own limit. Ours is lower, but must not depend on that.
warnings.simplefilter("error", Image.DecompressionBombWarning)


@timed_stage("image")
def read_image(data: bytes, shape: ImageShape, fit: Fit = "strict", max_pixels: int = DEFAULT_MAX_PIXELS) -> Pixels:
    """Decode an image file into pixels of the model's shape.

    Args:
        data: a PNG, JPEG, WebP, BMP or GIF file. An EXIF orientation is applied: what is coded is what people see.
        shape: what the model takes.
        fit: `strict` takes only images that are already of that size, channels and depth. `resize` stretches to the
            size (Lanczos); `pad` keeps the proportions, shrinks what is larger and centres it on black. Both also
            convert colours (ITU-R 601 luma), 16 bits to the upper 8, and lay transparent pixels on black.
        max_pixels: bound on width × height, checked in the header before anything is decoded.

    Returns:
        uint8 (H, W, C).

    Raises:
        InvalidImage: not such a file, or a damaged one.
        ImageTooLarge: more than `max_pixels`.
        ImageMismatch: does not fit, under `strict`; more than one frame, always.
    """
    if not data:
        raise InvalidImage("the image file is empty")
    data, orientation = strip(data)
    if orientation == UPRIGHT and shape.pixels <= max_pixels and (plain := read_plain_png(data, shape)) is not None:
        return plain
    try:
        header = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLarge(f"the image has more than the {max_pixels:,} pixels that are allowed") from error
    except Exception as error:  # Pillow raises many kinds for hostile files; all mean the same to the sender
        raise InvalidImage(f"the file is not a readable {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image") from error
    if header.width * header.height > max_pixels:
        raise ImageTooLarge(
            f"the image has {header.height} × {header.width} pixels; at most {max_pixels:,} in all are allowed"
        )
    deep = header.mode.startswith("I") or (header.format == "PNG" and data[_PNG_DEPTH_OFFSET] == 16)
    try:
        fitted = _load(header, shape, fit, deep, orientation)
    except ImageMismatch:
        raise
    except Exception as error:
        raise InvalidImage("the image is truncated or damaged") from error
    return np.asarray(fitted, dtype=np.uint8).reshape(shape.as_tuple())


def fit_pixels(pixels: Pixels, shape: ImageShape, fit: Fit = "strict") -> Pixels:
    """Turn uint8 (N, H, W, C) pixels of 1, 3 or 4 channels into those of the model's shape, as `read_image` does.

    Raises:
        ImageMismatch: they do not fit, under `strict`; any other number of channels.
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
    for at, one in enumerate(pixels):
        fitted[at] = np.asarray(_fit(_picture_of(one), shape, fit), dtype=np.uint8).reshape(shape.as_tuple())
    return fitted


@timed_stage("image")
def write_png(pixels: Pixels) -> bytes:
    """Encode uint8 (H, W, C) pixels as a PNG file."""
    return write_grey_png(pixels) if pixels.shape[2] == 1 else write_file(pixels, "PNG", compress_level=6)


def write_webp(pixels: Pixels) -> bytes:
    """Encode uint8 (H, W, C) pixels as a lossless WebP file.

    WebP has no grey: one channel comes back as three equal ones. `exact` keeps colours under full transparency.
    """
    return write_file(pixels, "WEBP", lossless=True, exact=True)


def slices(
    array: npt.NDArray[Element], shape: ImageShape, images: int = ENCODE_BATCH_SIZE
) -> Iterator[npt.NDArray[Element]]:
    """Cut an array, (N, ...), of whatever images of this shape have, into parts that a graph is run on at once.

    A part has so many `images`, or fewer if they are large, for the sake of memory.
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
    """Encode uint8 (H, W, C) pixels as a file of one of Pillow's formats, with its options."""
    buffer = io.BytesIO()
    _picture_of(pixels).save(buffer, file_format, **options)
    return buffer.getvalue()


def _load(header: ImageFile.ImageFile, shape: ImageShape, fit: Fit, deep: bool, orientation: int) -> Image.Image:
    if getattr(header, "n_frames", 1) > 1:
        raise ImageMismatch("the image is animated; send a single frame")
    # Of WebP; what PNG and JPEG have of it has been taken out.
    orientation = read_orientation(header.info["exif"]) if "exif" in header.info else orientation
    turn = _TURNS.get(orientation)
    if fit == "strict":
        _check_fits(header, shape, deep, swapped=orientation >= 5)
    header.load()
    upright = header if turn is None else header.transpose(turn)
    if fit != "strict":
        return _fit(upright, shape, fit)
    return upright


def _picture_of(pixels: Pixels) -> Image.Image:
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def _check_fits(image: Image.Image, shape: ImageShape, deep: bool, *, swapped: bool) -> None:
    """Check that the image fits once it has been turned, which may swap its height and width."""
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
    if image.mode.startswith("I"):
        # Pillow's own conversion clips at 255 instead of scaling.
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    mode = MODE_OF_CHANNELS[shape.channels]
    if mode != "RGBA" and (image.mode in ("LA", "PA", "RGBA", "RGBa", "La") or "transparency" in image.info):
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
