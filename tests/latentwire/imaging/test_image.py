import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from latentwire.errors import ImageError, ImageMismatch, ImageTooLarge, InvalidImage
from latentwire.format.lossless import read_payload, write_payload
from latentwire.imaging import image
from latentwire.imaging.reader import ImageReader
from latentwire.model.card import ImageShape
from latentwire.options import Fit
from tests.latentwire.pictures import file_of, picture, png_chunk, png_claiming

GREY = ImageShape(height=8, width=6, channels=1)
COLOUR = ImageShape(height=8, width=6, channels=3)


@pytest.mark.parametrize("file_format", ["PNG", "BMP"])
def test_read_image_returns_the_pixels_of_a_lossless_file(file_format: str) -> None:
    pixels = picture(8, 6)
    data = file_of(Image.fromarray(pixels), file_format)
    np.testing.assert_array_equal(image.read_image(data, GREY)[:, :, 0], pixels)


def test_read_image_keeps_the_order_of_colours() -> None:
    pixels = picture(8, 6, 3)
    np.testing.assert_array_equal(image.read_image(file_of(Image.fromarray(pixels)), COLOUR), pixels)
    webp = file_of(Image.fromarray(pixels), "WEBP", lossless=True)
    np.testing.assert_array_equal(image.read_image(webp, COLOUR), pixels)


def test_read_image_turns_a_photograph_upright() -> None:
    upright = picture(8, 6)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    data = file_of(Image.fromarray(np.rot90(upright).copy()), "PNG", exif=exif)
    np.testing.assert_array_equal(image.read_image(data, GREY)[:, :, 0], upright)


def _modes() -> list[Any]:
    grey = Image.fromarray(picture(8, 6))
    sixteen = Image.fromarray(picture(8, 6).astype(np.uint16) * 257)
    return [
        pytest.param(file_of(Image.fromarray(picture(1, 1))), "1 × 1", id="1x1"),
        pytest.param(file_of(Image.fromarray(picture(8, 7))), "7 × 8", id="one-column-more"),
        pytest.param(file_of(Image.fromarray(picture(6, 8))), "8 × 6", id="sides-swapped"),
        pytest.param(file_of(sixteen), "16 bits", id="16-bit"),
        pytest.param(file_of(grey.convert("CMYK"), "JPEG"), "CMYK", id="cmyk"),
        pytest.param(file_of(grey.convert("P")), "palette", id="palette"),
        pytest.param(file_of(grey.convert("LA")), "grey with alpha", id="alpha"),
        pytest.param(file_of(grey.convert("RGB")), "RGB", id="colour"),
        pytest.param(file_of(grey.convert("1")), "black and white", id="1-bit"),
    ]


@pytest.mark.parametrize(("data", "words"), _modes())
def test_strict_refuses_what_is_not_of_the_models_form_and_names_fit(data: bytes, words: str) -> None:
    with pytest.raises(ImageMismatch, match="fit=resize or fit=pad") as caught:
        image.read_image(data, GREY)
    assert words in str(caught.value)


@pytest.mark.parametrize(("data", "words"), _modes())
@pytest.mark.parametrize("fit", ["resize", "pad"])
def test_fit_takes_any_form(data: bytes, words: str, fit: Fit) -> None:
    for shape in (GREY, COLOUR, ImageShape(height=5, width=9, channels=4)):
        assert image.read_image(data, shape, fit).shape == shape.as_tuple()


def test_strict_refuses_16_bit_colour_although_pillow_calls_it_rgb() -> None:
    rows = b"".join(b"\0" + bytes(6 * 6) for _ in range(8))
    header = (6).to_bytes(4, "big") + (8).to_bytes(4, "big") + bytes([16, 2, 0, 0, 0])
    import zlib

    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows))
    with pytest.raises(ImageMismatch, match="16 bits"):
        image.read_image(data + png_chunk(b"IEND", b""), COLOUR)


def test_fit_scales_16_bits_to_the_upper_8() -> None:
    pixels = picture(8, 6)
    data = file_of(Image.fromarray(pixels.astype(np.uint16) * 256 + 77))
    np.testing.assert_array_equal(image.read_image(data, GREY, "resize")[:, :, 0], pixels)


def test_pad_centres_what_is_smaller_without_resampling() -> None:
    pixels = picture(4, 2)
    padded = image.read_image(file_of(Image.fromarray(pixels)), GREY, "pad")[:, :, 0]
    np.testing.assert_array_equal(padded[2:6, 2:4], pixels)
    assert padded.sum() == pixels.sum()


def test_pad_keeps_the_proportions_of_what_is_larger() -> None:
    white = Image.new("L", (60, 20), 255)
    padded = image.read_image(file_of(white), GREY, "pad")[:, :, 0]
    assert [row.min() for row in padded] == [0, 0, 0, 255, 255, 0, 0, 0]


def test_resize_stretches() -> None:
    white = Image.new("L", (60, 20), 255)
    assert image.read_image(file_of(white), GREY, "resize").min() == 255


@pytest.mark.parametrize("fit", ["strict", "resize", "pad"])
@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP"])
def test_animations_are_refused(file_format: str, fit: Fit) -> None:
    frames = [Image.fromarray(picture(8, 6, seed=seed)) for seed in (1, 2)]
    data = file_of(frames[0], file_format, save_all=True, append_images=frames[1:])
    with pytest.raises(ImageMismatch, match="animated"):
        image.read_image(data, GREY, fit)


@pytest.mark.parametrize(
    "data", [b"", b"hello, world", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"\xff\xd8\xff", b"RIFF"]
)
def test_what_is_not_an_image_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidImage):
        image.read_image(data, GREY)


def test_a_png_cut_anywhere_is_refused() -> None:
    data = file_of(Image.fromarray(picture(8, 6)))
    for length in range(len(data)):
        with pytest.raises(InvalidImage):
            image.read_image(data[:length], GREY)


def test_no_bit_of_a_png_can_flip_unseen() -> None:
    data = file_of(Image.fromarray(picture(8, 6)))
    for position in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(ImageError):
            image.read_image(bytes(damaged), GREY)


@pytest.mark.parametrize("file_format", ["JPEG", "BMP", "WEBP"])
def test_other_formats_cut_in_half_are_refused(file_format: str) -> None:
    data = file_of(Image.fromarray(picture(64, 64)), file_format)
    with pytest.raises(InvalidImage):
        image.read_image(data[: len(data) // 2], GREY, "resize")


@pytest.mark.parametrize("side", [7_072, 20_000, 2**31 - 1])
def test_pixels_are_bounded_before_any_are_decoded(side: int) -> None:
    data = png_claiming(side, side)
    tracemalloc.start()
    with pytest.raises((ImageTooLarge, InvalidImage)):
        image.read_image(data, GREY, "resize")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_the_bound_on_pixels_is_an_argument() -> None:
    data = file_of(Image.fromarray(picture(8, 6)))
    assert ImageReader(GREY, max_pixels=48).read(data).pixels.shape == (8, 6, 1)
    with pytest.raises(ImageTooLarge, match=r"at most 47 pixels are allowed \(--max-image-pixels\)"):
        ImageReader(GREY, max_pixels=47).read(data)


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"\xff\xd8\xff\xe0", b"RIFF"]),
)
def test_arbitrary_bytes_give_an_image_error(data: bytes, start: bytes) -> None:
    with pytest.raises(ImageError):
        image.read_image(start + data, GREY, "resize")


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_written_files_hold_the_same_pixels(channels: int) -> None:
    shape = ImageShape(height=8, width=6, channels=channels)
    pixels = picture(8, 6, channels).reshape(8, 6, channels)
    np.testing.assert_array_equal(image.read_image(image.write_png(pixels), shape), pixels)
    np.testing.assert_array_equal(image.read_image(image.write_webp(pixels), shape, "resize"), pixels)


def test_pixels_and_x_are_inverse() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(2, 8, 4, 4)
    x = image.to_x(pixels)
    assert x.dtype == np.float32
    assert x.shape == (2, 4, 8, 4)
    assert x.min() == 0
    assert x.max() == 1
    np.testing.assert_array_equal(image.to_pixels(x), pixels)


def test_to_pixels_clips() -> None:
    x_hat = np.array([-3.0, 0.0, 0.5, 1.0, 7.0], dtype=np.float32).reshape(1, 1, 1, 5)
    assert image.to_pixels(x_hat).ravel().tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("method", ["load", "transpose"])
def test_a_lack_of_memory_is_not_the_fault_of_the_file(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    exif = Image.Exif()
    exif[0x0112] = 6
    data = file_of(Image.fromarray(picture(6, 8)), "JPEG", exif=exif)
    image.read_image(data, GREY)
    monkeypatch.setattr(Image.Image, method, fail)
    monkeypatch.setattr(JpegImageFile, method, fail)
    with pytest.raises(MemoryError):
        image.read_image(data, GREY)


def test_a_lack_of_memory_is_not_the_fault_of_a_lossless_code(monkeypatch: pytest.MonkeyPatch) -> None:
    payload = write_payload(np.zeros(GREY.as_tuple(), np.uint8))

    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(MemoryError):
        read_payload(payload, GREY)
