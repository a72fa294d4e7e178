"""What `docs/FORMAT.md` says of images of any size, by a second reader, and that nothing damaged is read."""

from pathlib import Path

import numpy as np
import pytest

from latentwire import Codec, CodeError
from tests.contract.any_size_reader import AnySizeReader
from tests.contract.goldens import REPOSITORY
from tests.tiny_any_size_model import drawn_picture

TEXT = (REPOSITORY / "docs" / "FORMAT.md").read_text(encoding="utf-8")

SIZES = [(1, 1), (16, 16), (17, 40), (129, 131), (200, 90)]


@pytest.fixture(scope="module")
def codec(any_size_model: Path) -> Codec:
    return Codec.load(any_size_model)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_second_reader_reads_what_the_codec_writes(
    codec: Codec, any_size_model: Path, size: tuple[int, int], channels: int
) -> None:
    pixels = drawn_picture(*size, channels)
    payload = codec.encode(pixels, quality=60, framing="raw").bitstream
    received = codec.decode(payload, framing="raw").astype(np.int16)
    assert np.abs(AnySizeReader(any_size_model).read(payload) - received).max() <= 1


def test_the_second_reader_reads_many_parts_and_many_lanes(codec: Codec, any_size_model: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (70, 1050, 3), np.uint8)
    payload = codec.encode(noise, quality=100, framing="raw").bitstream
    received = codec.decode(payload, framing="raw").astype(np.int16)
    assert np.abs(AnySizeReader(any_size_model).read(payload) - received).max() <= 1


def damaged(bitstream: bytes) -> list[bytes]:
    """Each single bit flipped, each cut, and a byte appended."""
    flipped = []
    for position in range(8 * len(bitstream)):
        changed = bytearray(bitstream)
        changed[position // 8] ^= 1 << position % 8
        flipped.append(bytes(changed))
    cut = [bitstream[:length] for length in range(len(bitstream))]
    return [*flipped, *cut, *(bitstream + bytes((value,)) for value in range(256))]


def test_no_damage_to_a_bitstream_goes_unseen(codec: Codec) -> None:
    for number in range(20):
        pixels = drawn_picture(8 + 7 * number, 70 - 3 * number, 1 + 2 * (number % 2))
        bitstream = codec.encode(pixels, quality=5 * number).bitstream
        for data in damaged(bitstream):
            with pytest.raises(CodeError):
                codec.decode(data)
