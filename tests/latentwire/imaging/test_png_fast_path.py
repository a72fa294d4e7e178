import io
import struct
import zlib
from contextlib import suppress
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from latentwire.errors import ImageError
from latentwire.imaging import image, reader
from latentwire.model.card import ImageShape
from tests.latentwire.pictures import picture, png_chunk

GREY = ImageShape(height=8, width=6, channels=1)


def paeth(left: int, above: int, corner: int) -> int:
    """The nearest of the three to what they add up to."""
    return min((left, above, corner), key=lambda value: abs(left + above - corner - value))


def filtered_png(
    pixels: image.Pixels, filters: list[int], *, stored: bytes = b"", cut: int = 0, blocks: int = 1
) -> bytes:
    """A PNG file of 8 bits whose lines have these filters; `stored` follows them, and `cut` bytes are missing.

    Its compressed data come in so many blocks.
    """
    height, width, channels = pixels.shape
    lines = b""
    above = [0] * (width * channels)
    for row, kind in zip(pixels.reshape(height, -1).tolist(), filters, strict=True):
        left = [0] * channels + row
        corner = [0] * channels + above
        guesses = {
            0: [0] * len(row),
            1: left,
            2: above,
            3: [(a + b) // 2 for a, b in zip(left, above, strict=False)],
            4: [paeth(a, b, c) for a, b, c in zip(left, above, corner, strict=False)],
        }[kind]
        lines += bytes([kind, *((value - guess) % 256 for value, guess in zip(row, guesses, strict=False))])
        above = row
    head = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2, 4: 6}[channels], 0, 0, 0)
    packed = zlib.compress(lines + stored)
    packed = packed[: len(packed) - cut]
    size = -(-len(packed) // blocks)
    data = [png_chunk(b"IDAT", packed[at : at + size]) for at in range(0, len(packed), size)]
    return b"".join([b"\x89PNG\r\n\x1a\n", png_chunk(b"IHDR", head), *data, png_chunk(b"IEND", b"")])


@given(
    st.sampled_from((1, 3, 4)),
    st.lists(st.integers(0, 4), min_size=8, max_size=8) | st.lists(st.integers(0, 2), min_size=8, max_size=8),
    st.randoms(use_true_random=False),
    st.sampled_from((1, 2)),
)
def test_every_filter_of_png_is_undone(channels: int, filters: list[int], random: Random, blocks: int) -> None:
    shape = ImageShape(height=8, width=6, channels=channels)
    pixels = np.frombuffer(random.randbytes(8 * 6 * channels), np.uint8).reshape(shape.as_tuple())
    for fit in ("strict", "pad"):
        np.testing.assert_array_equal(
            image.read_image(filtered_png(pixels, filters, blocks=blocks), shape, fit), pixels
        )


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("change", [{"stored": b"more"}, {"cut": 1}, {"cut": 5}, {"cut": 20}])
def test_a_png_of_too_many_or_too_few_pixels_is_read_as_pillow_reads_it(
    change: dict[str, Any], blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = filtered_png(picture(8, 6)[:, :, None], [0, 1, 2, 0, 1, 2, 0, 0], blocks=blocks, **change)

    def read() -> object:
        try:
            return image.read_image(data, GREY).tolist()
        except ImageError as error:
            return repr(error)

    ours = read()
    monkeypatch.setattr(reader, "read_plain_png", lambda _data, _shape: None)
    assert read() == ours


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_a_damaged_byte_of_a_png_is_an_error_or_changes_no_pixel(at: int, change: int) -> None:
    pixels = picture(8, 6)[:, :, None]
    data = bytearray(filtered_png(pixels, [0] * 8))
    data[at % len(data)] ^= change
    with suppress(ImageError):
        np.testing.assert_array_equal(image.read_image(bytes(data), GREY), pixels)


def test_pillow_reads_our_grey_png_files() -> None:
    pixels = picture(9, 7)
    found = Image.open(io.BytesIO(image.write_png(pixels[:, :, None])))
    assert (found.format, found.mode) == ("PNG", "L")
    np.testing.assert_array_equal(np.asarray(found), pixels)
