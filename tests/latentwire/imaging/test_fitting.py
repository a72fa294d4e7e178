"""What becomes of transparency, colours, depth and size, in every format and by every way an image comes in."""

import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from latentwire.errors import ImageMismatch
from latentwire.imaging.fitting import Fitting
from latentwire.imaging.formats import installed_formats, pillow_names
from latentwire.imaging.image import Pixels, fit_array, fit_arrays
from latentwire.imaging.reader import ImageReader
from latentwire.model.card import ImageShape
from latentwire.options import Background
from tests.latentwire.pictures import file_of, picture, png_chunk

SIDE = 12
GREY = ImageShape(height=SIDE, width=SIDE, channels=1)
COLOUR = ImageShape(height=SIDE, width=SIDE, channels=3)
ALPHA = ImageShape(height=SIDE, width=SIDE, channels=4)
INK = (slice(4, 8), slice(2, 10))
ALPHA_FORMATS = [name for name in installed_formats() if name not in ("jpeg", "bmp")]


def drawing(ink: int, scale: int = 1) -> Image.Image:
    """A bar of ink on transparent pixels that are as dark as a canvas leaves them."""
    pixels = np.zeros((SIDE * scale, SIDE * scale, 4), np.uint8)
    rows, columns = (slice(part.start * scale, part.stop * scale) for part in INK)
    pixels[rows, columns] = (ink, ink, ink, 255)
    return Image.fromarray(pixels)


def png(bits: int, colour_type: int, samples: Any, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file of samples (H, W) or (H, W, channels), with chunks before the picture."""
    height, width = samples.shape[:2]
    rows = b""
    for row in samples.reshape(height, -1).tolist():
        digits = "".join(f"{sample:0{bits}b}" for sample in row)
        digits += "0" * (-len(digits) % 8)
        rows += b"\0" + bytes(int(digits[at : at + 8], 2) for at in range(0, len(digits), 8))
    head = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, data) for kind, data in parts)


def bar(ground: int, ink: int) -> Any:
    samples = np.full((SIDE, SIDE), ground)
    samples[INK] = ink
    return samples


def read(data: bytes, shape: ImageShape = GREY, background: Background = "auto") -> tuple[Pixels, Fitting]:
    image = ImageReader(shape, "resize", background, formats=installed_formats()).read(data)
    assert image.fitting is not None
    return image.pixels, image.fitting


@pytest.mark.parametrize("ink", [0, 0x22, 100, 200, 255])
@pytest.mark.parametrize("scale", [1, 2, 7])
@pytest.mark.parametrize("name", ALPHA_FORMATS)
def test_ink_on_transparent_pixels_stays_visible(name: str, scale: int, ink: int) -> None:
    options: dict[str, Any] = {"avif": {"quality": 100}, "heif": {"quality": -1, "chroma": 444}}.get(name, {})
    (pillow,) = pillow_names((name,))
    pixels, fitting = read(file_of(drawing(ink, scale), pillow, **(options or {"lossless": True})))
    ground, bar_of_ink = int(pixels[0, 0, 0]), int(pixels[6, 6, 0])
    assert abs(ground - (0 if ink > 127 else 255)) <= 8  # some formats lose a little
    assert abs(bar_of_ink - ink) <= 12
    assert fitting.flattened == ("black" if ink > 127 else "white")
    assert fitting.resized == (None if scale == 1 else (SIDE * scale, SIDE * scale))


@pytest.mark.parametrize("ink", [0, 255])
def test_alpha_in_a_bmp_file_is_used_if_it_says_anything(ink: int) -> None:
    data = file_of(drawing(ink), "BMP")
    pixels, fitting = read(data)
    assert (pixels[0, 0], pixels[6, 6]) == (255 - ink, ink)
    assert (pixels[4, 2], pixels[3, 2], pixels[8, 2]) == (ink, 255 - ink, 255 - ink)
    assert fitting.flattened == ("black" if ink else "white")
    for alpha in (0, 255):
        image = drawing(ink)
        image.putalpha(alpha)
        pixels, fitting = read(file_of(image, "BMP"))
        assert (pixels[0, 0], pixels[6, 6], fitting.flattened) == (0, ink, None)


def test_a_tiff_file_in_which_0_is_white_is_not_a_negative() -> None:
    samples = bar(60000, 300).astype(np.uint16)
    data = bytearray(file_of(Image.fromarray(samples), "TIFF"))
    data[data.find(struct.pack("<HHI", 262, 3, 1)) + 8] = 0
    pixels, _ = read(bytes(data))
    assert (pixels[0, 0], pixels[6, 6]) == (255 - (60000 >> 8), 255 - 1)


@pytest.mark.parametrize("mode", ["RGBa", "La"])
def test_rare_modes_of_pillow_images_are_flattened(mode: str) -> None:
    image = drawing(9)
    image = image.convert("LA").convert(mode) if mode == "La" else image.convert(mode)
    pixels, fitting = ImageReader(GREY, "resize").read_picture(image)
    assert (pixels[0, 0], pixels[6, 6]) == (255, 9)
    assert fitting is not None
    assert fitting.flattened == "white"


@pytest.mark.parametrize("background", ["white", "black"])
def test_a_background_may_be_chosen(background: Background) -> None:
    for shape in (GREY, COLOUR):
        pixels, fitting = read(file_of(drawing(90)), shape, background)
        assert pixels[0, 0].tolist() == [255 if background == "white" else 0] * shape.channels
        assert fitting.flattened == background


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("colours", ["grey", "RGB"])
def test_one_transparent_colour_is_transparent_at_every_depth(bits: int, inverted: bool, colours: str) -> None:
    if colours == "RGB" and bits < 8:
        return  # there is no such file
    most = (1 << bits) - 1
    ground, ink = (most, 0) if inverted else (0, most)
    samples, channels = bar(ground, ink), 1
    if colours == "RGB":
        samples, channels = np.repeat(samples[:, :, None], 3, axis=2), 3
    data = png(bits, 2 if channels == 3 else 0, samples, (b"tRNS", struct.pack(f">{channels}H", *[ground] * channels)))
    for background, level in (("white", 255), ("black", 0)):
        pixels, fitting = read(data, GREY, background)  # type: ignore[arg-type]
        assert pixels[0, 0] == level
        assert pixels[6, 6] == (0 if inverted else 255)
        assert fitting.flattened == background
    pixels, fitting = read(data)
    assert abs(int(pixels[0, 0, 0]) - int(pixels[6, 6, 0])) == 255
    pixels, _ = read(data, ALPHA)
    assert (pixels[0, 0, 3], pixels[6, 6, 3]) == (0, 255)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("ink", [0, 255])
def test_a_palette_with_transparency_is_flattened(bits: int, ink: int) -> None:
    palette = bytes([255 - ink] * 3 + [ink] * 3)
    for alphas in (b"\0", b"\0\xff"):
        pixels, fitting = read(png(bits, 3, bar(0, 1), (b"PLTE", palette), (b"tRNS", alphas)))
        assert (pixels[0, 0], pixels[6, 6]) == (255 - ink, ink)
        assert fitting.flattened == ("black" if ink else "white")
    hidden = png(bits, 3, bar(0, 1), (b"PLTE", bytes([ink] * 6)), (b"tRNS", b"\0"))
    pixels, _ = read(hidden)  # both colours are equal: only the alpha tells them apart
    assert (pixels[0, 0], pixels[6, 6]) == (255 - ink, ink)


def test_a_transparent_colour_of_16_bits_is_exactly_that_colour() -> None:
    samples = bar(300, 65535)
    samples[0, 0] = 301
    pixels, _ = read(png(16, 0, samples, (b"tRNS", struct.pack(">H", 300))), ALPHA)
    assert (pixels[0, 0, 3], pixels[0, 1, 3]) == (255, 0)


def test_inks_of_both_kinds_are_seen_as_far_as_one_background_can() -> None:
    letters = np.zeros((SIDE, SIDE, 4), np.uint8)
    letters[:4] = (255, 255, 255, 255)
    letters[6:] = (0x33, 0x33, 0x33, 255)
    _, fitting = read(file_of(Image.fromarray(letters)))
    assert (fitting.flattened, fitting.hidden) == ("black", 0)  # white letters would be lost on white
    letters[6:] = (0, 0, 0, 255)
    _, fitting = read(file_of(Image.fromarray(letters)))
    assert (fitting.flattened, fitting.hidden) == ("white", 0.4)
    assert "laid on white, which hides 40% of what is visible" in fitting.sentence
    _, fitting = read(file_of(drawing(0)), background="black")
    assert fitting.hidden == 1


def test_what_is_wholly_transparent_is_white() -> None:
    pixels, fitting = read(file_of(Image.new("LA", (SIDE, SIDE), (255, 0))))
    assert pixels.min() == 255
    assert fitting.flattened == "white"


def test_opaque_pictures_with_an_alpha_channel_are_not_flattened() -> None:
    opaque = Image.fromarray(picture(SIDE, SIDE)).convert("RGBA")
    pixels, fitting = read(file_of(opaque))
    np.testing.assert_array_equal(pixels[:, :, 0], picture(SIDE, SIDE))
    assert fitting == Fitting(converted="RGBA of 8 bits")


def test_strict_refuses_transparency_that_the_model_does_not_have() -> None:
    grey = png(8, 0, bar(0, 9), (b"tRNS", b"\0\0"))
    with pytest.raises(ImageMismatch, match="grey of 8 bits with transparency"):
        ImageReader(GREY).read(grey)
    with pytest.raises(ImageMismatch, match="RGB of 8 bits with transparency"):
        ImageReader(COLOUR).read(png(8, 2, np.zeros((SIDE, SIDE, 3), int), (b"tRNS", bytes(6))))


@pytest.mark.parametrize("ink", [10, 250])
def test_every_way_in_gives_the_same_pixels(ink: int) -> None:
    reader = ImageReader(GREY, "pad")
    image = drawing(ink, 2).resize((SIDE * 2, SIDE))
    from_file = reader.read(file_of(image))
    array = np.array(image)
    others = [reader.read_picture(image), fit_array(array, reader)]
    pixels, fittings = fit_arrays(array[None], reader)
    for other_pixels, fitting in [*others, (pixels[0], fittings[0])]:
        np.testing.assert_array_equal(other_pixels, from_file.pixels)
        assert fitting == from_file.fitting
    assert from_file.fitting == Fitting(
        "white" if ink < 128 else "black", 0, "RGBA of 8 bits", (SIDE, 2 * SIDE), (SIDE // 2, SIDE)
    )


@pytest.mark.parametrize(
    ("background", "opaque", "level"),
    [("auto", True, 0), ("white", True, 255), ("black", True, 0), ("auto", False, 255), ("black", False, 0)],
)
def test_padding_has_the_background(background: Background, opaque: bool, level: int) -> None:
    image = Image.new("RGB", (SIDE, SIDE // 2), (9, 9, 9)) if opaque else drawing(9).resize((SIDE, SIDE // 2))
    pixels, fitting = ImageReader(GREY, "pad", background).read(file_of(image))
    assert (pixels[0].tolist(), pixels[-1].tolist()) == ([[level]] * SIDE, [[level]] * SIDE)
    assert fitting is not None
    assert fitting.padded == (SIDE // 2, SIDE)
    assert fitting.resized is None


def test_padding_of_a_model_with_alpha_is_transparent() -> None:
    pixels, _ = ImageReader(ALPHA, "pad").read(file_of(Image.new("RGB", (SIDE, 2), (9, 9, 9))))
    assert (pixels[0, 0].tolist(), pixels[6, 0].tolist()) == ([0, 0, 0, 0], [9, 9, 9, 255])


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("L", (SIDE, SIDE)), None),
        (Image.new("RGB", (SIDE, SIDE)), Fitting(converted="RGB of 8 bits")),
        (Image.new("1", (SIDE, SIDE)), Fitting(converted="black and white")),
        (Image.new("I;16", (SIDE, SIDE)), Fitting(converted="grey of 16 bits")),
        (Image.new("P", (SIDE, SIDE)), Fitting(converted="palette colours of 8 bits")),
        (Image.new("L", (SIDE, SIDE + 1)), Fitting(resized=(SIDE + 1, SIDE))),
    ],
)
def test_what_was_changed_is_told(image: Image.Image, expected: Fitting | None) -> None:
    assert ImageReader(GREY, "resize").read(file_of(image)).fitting == expected
    assert ImageReader(GREY, "resize").read_picture(image).fitting == expected


def test_a_turned_picture_tells_its_upright_size() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    fitted = ImageReader(GREY, "pad").read(file_of(Image.new("L", (60, 30), 200), exif=exif))
    assert fitted.fitting == Fitting(resized=(60, 30), padded=(12, 6))
    assert fitted.pixels[0, 3:9, 0].tolist() == [200] * 6


def test_the_sentence_says_every_step() -> None:
    fitting = Fitting("white", 0.254, "RGBA of 8 bits", (357, 1000), (10, 28))
    assert fitting.sentence == (
        "the image was laid on white, which hides 25% of what is visible, converted from RGBA of 8 bits, "
        "scaled from 1000 × 357 pixels, padded from 28 × 10 pixels"
    )
    assert fitting.steps == ("flattened", "converted", "resized", "padded")


@pytest.mark.parametrize("mode", ["I", "F", "LAB"])
def test_pixels_without_a_known_white_are_refused(mode: str) -> None:
    with pytest.raises(ImageMismatch, match="whose white is not known; convert them to 8 bits"):
        ImageReader(GREY, "resize").read_picture(Image.new(mode, (SIDE, SIDE)))


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "CMYK", "1", "I;16"])
def test_reducing_first_changes_next_to_nothing(mode: str) -> None:
    rows, columns = np.mgrid[0:331, 0:517]
    waves = 127 + 60 * np.sin(rows / 31) + 60 * np.cos(columns / 47)
    image = Image.fromarray(waves.astype(np.uint8))
    expected = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.LANCZOS))
    if mode == "I;16":
        image = Image.fromarray((waves * 257).astype(np.uint16))
    elif mode in ("LA", "RGBA"):
        image = image.convert(mode)
        image.putpixel((0, 0), (0,) * len(mode))  # so that it may be transparent
    else:
        image = image.convert(mode)
    pixels = ImageReader(GREY, "resize", "black").read_picture(image).pixels[:, :, 0]
    tolerance = {"1": 20, "P": 12}.get(mode, 3)
    assert np.abs(pixels.astype(int) - expected).max() <= tolerance
