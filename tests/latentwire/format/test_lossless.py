import io
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from latentwire.errors import InvalidCode
from latentwire.format import lossless
from latentwire.imaging import image
from latentwire.model.card import ImageShape
from tests.latentwire.pictures import picture

GREY = ImageShape(height=28, width=20, channels=1)
COLOUR = ImageShape(height=28, width=20, channels=3)


def smooth(shape: ImageShape) -> image.Pixels:
    row = np.linspace(0, 255, shape.width).astype(np.uint8)
    return np.broadcast_to(row[None, :, None], shape.as_tuple()).copy()


def payload_of(kind: int, data: bytes) -> bytes:
    return b"\xff\xff" + bytes((kind,)) + data


def file_of(pixels: Any, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format, **options)
    return buffer.getvalue()


@given(st.sampled_from([1, 3, 4]), st.integers(1, 9), st.integers(1, 9), st.data())
def test_an_image_comes_back_as_it_was(channels: int, height: int, width: int, data: st.DataObject) -> None:
    shape = ImageShape(height=height, width=width, channels=channels)
    pixels = data.draw(arrays(np.uint8, shape.as_tuple()))
    payload = lossless.write_payload(pixels)
    assert lossless.is_lossless(payload)
    np.testing.assert_array_equal(lossless.read_payload(payload, shape), pixels)
    assert len(payload) <= 3 + pixels.size


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("opaque", [False, True])
def test_each_kind_gives_the_same_pixels(channels: int, opaque: bool) -> None:
    shape = ImageShape(height=28, width=20, channels=channels)
    pixels = smooth(shape)
    if opaque:
        pixels[:, :, -1] = 255
    colours = np.repeat(pixels, 3, axis=2) if channels == 1 else pixels
    kinds = {0: pixels.tobytes(), 1: image.write_png(pixels), 2: image.write_webp(colours)}
    for kind, data in kinds.items():
        np.testing.assert_array_equal(lossless.read_payload(payload_of(kind, data), shape), pixels)
    smallest = lossless.write_payload(pixels)
    assert len(smallest) <= 3 + min(map(len, kinds.values()))


def test_noise_is_sent_as_raw_pixels() -> None:
    noise = np.random.default_rng(0).integers(0, 256, GREY.as_tuple(), dtype=np.uint8)
    assert lossless.write_payload(noise) == b"\xff\xff\0" + noise.tobytes()


def flat_with_noise_below(height: int, width: int, channels: int) -> image.Pixels:
    pixels = np.full((height, width, channels), 90, np.uint8)
    pixels[height // 2 :] = np.random.default_rng(1).integers(0, 256, pixels[height // 2 :].shape)
    return pixels


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros(GREY.as_tuple(), np.uint8),
        np.zeros((300, 400, 3), np.uint8),
        smooth(COLOUR),
        picture(64, 64, 3),
        flat_with_noise_below(200, 300, 3),
        np.random.default_rng(0).integers(0, 256, (28, 28, 1), dtype=np.uint8),
    ],
    ids=["black", "large black", "ramp", "picture", "half flat", "noise"],
)
def test_the_estimate_finds_room_for_an_image_and_none_in_a_quarter_of_it(pixels: image.Pixels) -> None:
    size = len(lossless.write_payload(pixels))
    assert lossless.may_fit(pixels, size)
    assert lossless.may_fit(pixels, pixels.size + 3)
    assert not lossless.may_fit(pixels, min(size // 4, 27))


@pytest.mark.parametrize(("height", "width"), [(28, 28), (64, 64), (224, 224)])
def test_the_estimate_refuses_few_bytes_for_a_photograph(height: int, width: int) -> None:
    noise = np.random.default_rng(2).normal(0, 5, (height, width, 3))
    photograph = np.clip(np.linspace(0, 255, width)[:, None] + noise, 0, 255).astype(np.uint8)
    assert not lossless.may_fit(photograph, len(lossless.write_payload(photograph)) // 8)


def test_pixels_that_were_read_may_be_written_to() -> None:
    pixels = lossless.read_payload(payload_of(0, bytes(560)), GREY)
    pixels[:] = 1


PNG = file_of(smooth(GREY)[:, :, 0], "PNG")
WEBP = file_of(np.repeat(smooth(GREY), 3, axis=2), "WEBP", lossless=True)


def animated() -> bytes:
    frames = [Image.new("RGB", (20, 28), colour) for colour in ("red", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    return buffer.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    header = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + PNG[24:29]
    return PNG[:12] + header + zlib.crc32(header).to_bytes(4, "big") + PNG[33:]


def webp_that_claims(width: int, height: int) -> bytes:
    return WEBP[:21] + (width - 1 | height - 1 << 14).to_bytes(4, "little") + WEBP[25:]


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        pytest.param(b"\xff\xff", "cut short", id="no kind"),
        pytest.param(payload_of(0, b""), "cut short", id="no pixels"),
        pytest.param(payload_of(0, bytes(559)), "559 bytes of pixels; an image of this model has 560", id="few pixels"),
        pytest.param(payload_of(0, bytes(561)), "has 564 bytes; .* needs at most 563", id="many pixels"),
        pytest.param(payload_of(2, bytes(10**7)), "needs at most 563", id="huge"),
        pytest.param(payload_of(3, b"x"), "kind 3", id="unknown kind"),
        pytest.param(payload_of(255, b"x"), "kind 255", id="unknown kind, all ones"),
        pytest.param(payload_of(1, WEBP), "PNG", id="webp as png"),
        pytest.param(payload_of(2, PNG), "WebP", id="png as webp"),
        pytest.param(payload_of(1, PNG + b"\0"), "bytes follow", id="bytes after a png"),
        pytest.param(payload_of(2, WEBP + b"\0"), "exactly one lossless WebP", id="bytes after a webp"),
        pytest.param(payload_of(1, png_that_claims(20, 29)), "20 × 29 pixels; the model takes 20 × 28", id="png size"),
        pytest.param(payload_of(1, png_that_claims(20_000, 20_000)), "damaged|20000", id="png bomb"),
        pytest.param(payload_of(2, webp_that_claims(20, 27)), "20 × 27 pixels", id="webp size"),
        pytest.param(payload_of(2, webp_that_claims(16384, 16384)), "16384 × 16384 pixels", id="webp bomb"),
        pytest.param(payload_of(1, file_of(smooth(COLOUR), "PNG")), "mode RGB", id="colour png"),
        pytest.param(
            payload_of(2, file_of(picture(28, 20, 3), "WEBP", lossless=True)), "needs at most 563", id="colour webp"
        ),
        pytest.param(payload_of(2, animated()), "exactly one lossless WebP", id="animation"),
        pytest.param(
            payload_of(2, file_of(smooth(COLOUR), "WEBP", quality=1)), "exactly one lossless WebP", id="lossy webp"
        ),
        pytest.param(
            payload_of(1, file_of(np.zeros((28, 20), np.uint16), "PNG")), "mode I;16|16 bits", id="16 bits a channel"
        ),
        pytest.param(payload_of(1, file_of(np.zeros((28, 20), bool), "PNG")), "mode 1", id="1 bit a channel"),
    ],
)
def test_what_is_not_an_image_of_the_model_is_refused(payload: bytes, words: str) -> None:
    with pytest.raises(InvalidCode, match=words):
        lossless.read_payload(payload, GREY)


def test_a_webp_in_colours_is_no_grey_image() -> None:
    colours = smooth(COLOUR)
    colours[0, 0] = (1, 2, 3)
    with pytest.raises(InvalidCode, match="in colours"):
        lossless.read_payload(payload_of(2, file_of(colours, "WEBP", lossless=True)), GREY)


@pytest.mark.parametrize("data", [PNG, WEBP], ids=["png", "webp"])
def test_every_cut_is_found(data: bytes) -> None:
    kind = 1 if data is PNG else 2
    for length in range(len(data)):
        with pytest.raises(InvalidCode):
            lossless.read_payload(payload_of(kind, data[:length]), GREY)


@given(st.integers(0, 8 * len(WEBP) - 1), st.sampled_from([(1, PNG), (2, WEBP)]))
def test_a_flipped_bit_gives_an_image_of_the_model_or_an_error(position: int, case: tuple[int, bytes]) -> None:
    damaged = bytearray(case[1])
    damaged[position // 8 % len(damaged)] ^= 1 << position % 8
    try:
        pixels = lossless.read_payload(payload_of(case[0], bytes(damaged)), GREY)
    except InvalidCode:
        return
    assert pixels.shape == GREY.as_tuple()
