"""A picture of any size and colours -> pixels of a model's shape, and what was changed for it.

A large picture is first reduced by whole factors, band by band, so that only a small one is converted and scaled.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, TiffImagePlugin

from latentwire.errors import ImageError, ImageMismatch
from latentwire.model.card import ImageShape
from latentwire.options import Background, Fit

Pixels = npt.NDArray[np.uint8]
Size = tuple[int, int]

MODE_OF_CHANNELS = {1: "L", 3: "RGB", 4: "RGBA"}

_GREY_MODES = ("1", "L", "LA", "La")
# Of which grey, RGB, and these with alpha hold every level.
_EXACT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
_STEPS = ("flattened", "converted", "resized", "padded")

# Differences from the background, in levels of luma: what is seen for sure, and what may not be seen.
_CLEAR_DIFFERENCE, _HIDDEN_DIFFERENCE = 64, 16

_UNKNOWN_WHITE = {"I": "whole numbers of 32 bits", "F": "fractions", "LAB": "of the L*a*b* colour space"}
_TURNED_ASIDE = frozenset(
    (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270, Image.Transpose.TRANSPOSE, Image.Transpose.TRANSVERSE)
)
# The same operations as views of pixels, (H, W, C).
_TURNED: dict[Image.Transpose, Callable[[Pixels], Pixels]] = {
    Image.Transpose.FLIP_LEFT_RIGHT: lambda pixels: pixels[:, ::-1],
    Image.Transpose.FLIP_TOP_BOTTOM: lambda pixels: pixels[::-1],
    Image.Transpose.ROTATE_180: lambda pixels: pixels[::-1, ::-1],
    Image.Transpose.ROTATE_90: lambda pixels: np.rot90(pixels),
    Image.Transpose.ROTATE_270: lambda pixels: np.rot90(pixels, -1),
    Image.Transpose.TRANSPOSE: lambda pixels: pixels.swapaxes(0, 1),
    Image.Transpose.TRANSVERSE: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
}
_MODE_IN_WORDS = {"L": "grey", "LA": "grey with alpha", "P": "palette colours", "1": "black and white"}

# A picture is reduced to no less than this multiple of the size that it is scaled to. Then the filter, which reaches
# over three pixels of its result on each side, sees nearly the same as without.
REDUCING_GAP = 3
_BAND_PIXELS = 1 << 18


class Fitting(NamedTuple):
    """How an image was changed to fit a model. Each attribute is None if that was not done.

    Attributes:
        flattened: the background, `white` or `black`, that transparent pixels were laid on.
        hidden: the share of the visible pixels, weighted by alpha, that look like that background.
        converted: the former colours in words; `RGB of 8 bits`.
        resized: the former height and width in pixels.
        padded: the height and width in pixels without the padding.
    """

    flattened: Literal["white", "black"] | None = None
    hidden: float | None = None
    converted: str | None = None
    resized: Size | None = None
    padded: Size | None = None

    @property
    def steps(self) -> tuple[str, ...]:
        """The names of what was done."""
        return tuple(step for step in _STEPS if getattr(self, step) is not None)

    @property
    def sentence(self) -> str:
        """What was done, in words."""
        hides = f", which hides {self.hidden:.0%} of what is visible" if self.hidden else ""
        words = {
            "flattened": f"laid on {self.flattened}{hides}",
            "converted": f"converted from {self.converted}",
            "resized": f"scaled from {_size_in_words(self.resized)}",
            "padded": f"padded from {_size_in_words(self.padded)}",
        }
        return "the image was " + ", ".join(words[step] for step in self.steps)

    def to_dict(self) -> dict[str, object]:
        """Return the attributes and the sentence, as JSON has them."""
        return {**self._asdict(), "sentence": self.sentence}


class _Ground(NamedTuple):
    """A background, and the share of the visible pixels that look like it."""

    name: Literal["white", "black"]
    hidden: float


class FittedImage(NamedTuple):
    """An image of a model's shape, uint8 (H, W, C), and how it was changed; None if its pixels are the source's."""

    pixels: Pixels
    fitting: Fitting | None

    def explain(self, error: ImageError) -> ImageError:
        """Return an error about the pixels; the sentence then says how they were changed before."""
        if self.fitting is None:
            return error
        return type(error)(f"{error}; the pixels judged are those after {self.fitting.sentence}")


class FittedImages(NamedTuple):
    """Many images of a model's shape, uint8 (N, H, W, C), and how each was changed; None if it was not."""

    pixels: Pixels
    fittings: Sequence[Fitting | None]

    @classmethod
    def stack(cls, images: Sequence[FittedImage], shape: ImageShape) -> "FittedImages":
        """Return images of this shape, or none, as one array."""
        pixels = np.empty((len(images), *shape.as_tuple()), dtype=np.uint8)
        for index, image in enumerate(images):
            pixels[index] = image.pixels
        return cls(pixels, [image.fitting for image in images])


class SourceColours(NamedTuple):
    """What a picture's samples mean, beyond its Pillow mode.

    Attributes:
        mode: of Pillow.
        bits: of a sample in the file, as far as it matters: 1, 2, 4, 8, 12 or 16.
        key: the one transparent colour, in samples of the file; None if there is none.
        transparent: whether any pixel may be transparent.
        inverted: whether 0 is white.
    """

    mode: str
    bits: int
    key: tuple[int, ...] | None
    transparent: bool
    inverted: bool = False

    @property
    def deep(self) -> bool:
        """Whether a sample has more than 8 bits."""
        return self.bits > 8

    @property
    def is_grey(self) -> bool:
        """Whether there are no colours."""
        return self.mode in _GREY_MODES or self.mode.startswith("I")

    def __str__(self) -> str:
        bits = "" if self.mode == "1" else f" of {max(8, self.bits)} bits"
        mode = "L" if self.mode.startswith("I;") else self.mode
        hidden = " with transparency" if self.transparent and not mode.endswith(("A", "a")) else ""
        return _MODE_IN_WORDS.get(mode, mode) + bits + hidden


def colours_of(picture: Image.Image) -> SourceColours:
    """Return what the samples of a Pillow image mean, best before its pixels are loaded.

    Raises:
        ImageMismatch: they are whole numbers of 32 bits or fractions, whose white is not known.
    """
    if picture.mode in _UNKNOWN_WHITE and not (picture.mode == "I" and picture.format == "PNG"):
        kind = _UNKNOWN_WHITE[picture.mode]
        raise ImageMismatch(f"the pixels of the image are {kind}, whose white is not known; convert them to 8 bits")
    key = picture.info.get("transparency")
    if isinstance(key, int):
        key = (key,)
    if not isinstance(key, tuple) or picture.mode not in ("1", "L", "RGB", "I", "I;16"):
        key = None
    # Pillow inverts such TIFF files, but not those of 16 bits.
    is_inverted = (
        isinstance(picture, TiffImagePlugin.TiffImageFile)
        and picture.mode.startswith("I")
        and picture.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0
    )
    return SourceColours(picture.mode, _bits_of(picture), key, picture.has_transparency_data, is_inverted)


def check_fits(size: Size, colours: SourceColours, shape: ImageShape) -> None:
    """Check that an image of this width and height, and of these colours, needs no fitting.

    Raises:
        ImageMismatch: it does.
    """
    wanted = SourceColours(MODE_OF_CHANNELS[shape.channels], 8, None, shape.channels == 4)
    if size == (shape.width, shape.height) and colours == wanted._replace(bits=min(8, colours.bits)):
        return
    raise ImageMismatch(
        f"the image is {size[0]} × {size[1]} pixels, {colours}; the model takes "
        f"{shape.width} × {shape.height}, {wanted}; "
        "ask for fit=resize or fit=pad to have it converted"
    )


def fit_loaded(
    picture: Image.Image,
    colours: SourceColours,
    size: Size,
    shape: ImageShape,
    fit: Fit,
    background: Background,
    turn: Image.Transpose | None = None,
) -> FittedImage:
    """Fit a picture, under `resize` or `pad`.

    Args:
        picture: loaded, perhaps smaller than it was.
        colours: of the picture.
        size: its former width and height.
        shape: of the model's images.
        fit: `resize` or `pad`.
        background: what shows through transparent pixels, and what is around a padded image.
        turn: what turns the picture upright.
    """
    swapped = is_turned_aside(turn)
    target = scaled_size(size, shape, fit, swapped=swapped)
    picture, box = _reduce(picture, colours, target)
    mode, flattened, hidden = MODE_OF_CHANNELS[shape.channels], None, None
    if picture.mode == "RGBA" and mode != "RGBA":
        ground = _choose_ground(picture, colours_of(picture), background)
        if ground is not None:
            flattened, hidden = ground
        picture = _flatten(picture, flattened)
    picture = picture.convert(mode)
    if size != target:
        picture = picture.resize(target, Image.Resampling.LANCZOS, box)
    if turn is not None:
        picture = picture.transpose(turn)
    padded = picture.size != (shape.width, shape.height)
    if padded:
        picture = _pad(picture, shape, flattened or ("white" if background == "white" else "black"))
    fitting = Fitting(
        flattened,
        hidden,
        None if colours.mode == mode and not colours.deep else str(colours),
        None if size == target else size if swapped else size[::-1],
        None if not padded else target if swapped else target[::-1],
    )
    pixels = np.asarray(picture, dtype=np.uint8).reshape(shape.as_tuple())
    return FittedImage(pixels, fitting if fitting.steps else None)


def convert_loaded(
    picture: Image.Image, colours: SourceColours, background: Background, turn: Image.Transpose | None
) -> FittedImage:
    """Convert a loaded picture, without changing its size, to grey, uint8 (H, W, 1), or RGB, uint8 (H, W, 3).

    If pixels are transparent and the background is `auto`, alpha follows as the last channel. A picture whose red,
    green and blue are equal everywhere becomes grey.
    """
    ground = _choose_ground(picture, colours, background) if colours.transparent else None
    keeps_alpha = ground is not None and background == "auto"
    mode = "L" if colours.is_grey or _is_grey(picture, colours) else "RGB"
    wanted = mode + "A" * keeps_alpha
    # Not a Pillow image, which takes 4 bytes a pixel in colour, beside the one that is read.
    pixels = np.empty((picture.height, picture.width, len(wanted)), np.uint8)
    for top, band in _bands(picture):
        layer = _convert(band, colours, "RGBA" if colours.transparent else mode)
        if ground is not None and not keeps_alpha:
            layer = _flatten(layer, ground.name)
        pixels[top : top + band.height] = np.atleast_3d(np.asarray(layer.convert(wanted)))
    fitting = Fitting(
        None if ground is None or keeps_alpha else ground.name,
        None if ground is None or keeps_alpha else ground.hidden,
        None if colours.mode in _EXACT_MODES and not colours.deep and (ground is None or keeps_alpha) else str(colours),
    )
    return FittedImage(pixels if turn is None else _TURNED[turn](pixels), fitting if fitting.steps else None)


def _is_grey(picture: Image.Image, colours: SourceColours) -> bool:
    """Return whether red, green and blue are equal in each pixel of a loaded picture."""
    for _, band in _bands(picture):
        layer = _convert(band, colours, "RGBA" if colours.transparent else "RGB")
        red, green, blue = (layer.getchannel(channel).tobytes() for channel in "RGB")
        if not red == green == blue:
            return False
    return True


def is_turned_aside(turn: Image.Transpose | None) -> bool:
    """Return whether an operation swaps width and height."""
    return turn in _TURNED_ASIDE


def scaled_size(size: Size, shape: ImageShape, fit: Fit, *, swapped: bool) -> Size:
    """Return the width and height that a picture is scaled to, before it is turned and padded."""
    width, height = (shape.height, shape.width) if swapped else (shape.width, shape.height)
    if fit == "resize":
        return width, height
    scale = min(1.0, width / size[0], height / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _reduce(
    picture: Image.Image, colours: SourceColours, target: Size
) -> tuple[Image.Image, tuple[float, float, float, float]]:
    """Return the picture as L, RGB or, if it may be transparent, RGBA, reduced; and the part of it that is picture."""
    across, down = (max(1, own // (REDUCING_GAP * wanted)) for own, wanted in zip(picture.size, target, strict=True))
    mode = "RGBA" if colours.transparent else "L" if colours.is_grey else "RGB"
    if across == down == 1:
        return _convert(picture, colours, mode), (0, 0, *picture.size)
    reduced = Image.new(mode, (math.ceil(picture.width / across), math.ceil(picture.height / down)))
    for top, band in _bands(picture, down):
        reduced.paste(_convert(band, colours, mode).reduce((across, down)), (0, top // down))
    return reduced, (0, 0, picture.width / across, picture.height / down)


def _convert(picture: Image.Image, colours: SourceColours, mode: str) -> Image.Image:
    """Return a loaded picture in the mode L, RGB or RGBA, with 8 bits a sample."""
    opaque = None
    if picture.mode.startswith("I"):
        # Pillow's own conversion clips at 255 instead of scaling.
        samples = np.asarray(picture)
        opaque = None if colours.key is None else samples != colours.key[0]
        levels = (samples >> (colours.bits - 8)).astype(np.uint8)
        picture = Image.fromarray(255 - levels if colours.inverted else levels)
    elif colours.key is not None:
        # Pillow compares the transparent colour as it stands in the file with samples of 8 bits.
        picture = picture.convert("L") if picture.mode == "1" else picture.copy()
        del picture.info["transparency"]
        key = [_in_8_bits(sample, colours.bits) for sample in colours.key]
        opaque = (np.atleast_3d(np.asarray(picture)) != key).any(axis=2)
    # Pillow converts premultiplied grey to nothing else.
    converted = (picture.convert("LA") if picture.mode == "La" else picture).convert(mode)
    if opaque is not None:
        converted.putalpha(Image.fromarray(opaque.astype(np.uint8) * 255))
    return converted


def _bits_of(picture: Image.Image) -> int:
    """Return the bits of a sample in the file, which Pillow only knows before it loads the pixels."""
    if picture.mode == "1":
        return 1
    raw_mode = picture.mode
    if tile := getattr(picture, "tile", None):
        arguments = tile[0][3]
        raw_mode = str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)
    # As in `L;2`, `I;16B` and `RGB;16L`; `BGR;16` has 16 bits a pixel.
    kind, _, rest = raw_mode.partition(";")
    digits = "".join(filter(str.isdigit, rest))
    if picture.mode.startswith("I"):
        return 12 if digits == "12" else 16
    if picture.format == "HEIF":
        return int(picture.info.get("bit_depth", 8))
    return int(digits) if kind != "BGR" and digits in ("2", "4", "16") else 8


def _in_8_bits(sample: int, bits: int) -> int:
    if bits == 1:
        return 255 if sample else 0
    if bits < 8:
        return sample * 255 // ((1 << bits) - 1)
    return sample >> 8 if bits > 8 or sample > 255 else sample


def _bands(picture: Image.Image, multiple: int = 1) -> Iterator[tuple[int, Image.Image]]:
    """Yield bands of a picture, whose heights are a multiple of a number of rows, each with its first row."""
    rows = max(1, _BAND_PIXELS // (picture.width * multiple)) * multiple
    for top in range(0, picture.height, rows):
        yield top, picture.crop((0, top, picture.width, min(top + rows, picture.height)))


def _flatten(picture: Image.Image, ground: str | None) -> Image.Image:
    """Return an RGBA picture as RGB, laid on a background if there is one."""
    if ground is None:
        return picture.convert("RGB")
    flat = Image.new("RGB", picture.size, ground)
    flat.paste(picture, mask=picture.getchannel("A"))
    return flat


def _choose_ground(picture: Image.Image, colours: SourceColours, background: Background) -> _Ground | None:
    """Return the background for a picture that may be transparent; None if no pixel is.

    `auto` is the one that the visible pixels differ more from: by their alpha times the difference, of which no more
    counts than is clear to see. It is white if both are equal.
    """
    opaque, total = True, 0
    differences, hidden = np.zeros(2), np.zeros(2)
    for _, band in _bands(picture):
        layer = _convert(band, colours, "RGBA")
        alpha = np.asarray(layer.getchannel("A"), dtype=np.int64)
        luma = np.asarray(layer.convert("RGB").convert("L"), dtype=np.int64)
        opaque = opaque and bool((alpha == 255).all())
        total += int(alpha.sum())
        for index, difference in enumerate((255 - luma, luma)):
            differences[index] += (alpha * np.minimum(difference, _CLEAR_DIFFERENCE)).sum()
            hidden[index] += alpha[difference < _HIDDEN_DIFFERENCE].sum()
    if opaque:
        return None
    black = background == "black" or (background == "auto" and differences[1] > differences[0])
    return _Ground("black" if black else "white", float(round(hidden[int(black)] / total, 4)) if total else 0.0)


def _pad(picture: Image.Image, shape: ImageShape, ground: str) -> Image.Image:
    """Centre a picture on a ground of the model's size, which is transparent if the picture can be."""
    canvas = Image.new(picture.mode, (shape.width, shape.height), 0 if picture.mode == "RGBA" else ground)
    canvas.paste(picture, ((shape.width - picture.width) // 2, (shape.height - picture.height) // 2))
    return canvas


def _size_in_words(size: Size | None) -> str:
    # Width × height, as people say it.
    return "" if size is None else f"{size[1]} × {size[0]} pixels"
