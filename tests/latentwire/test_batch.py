"""Encoder and decoder on containers."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from latentwire.entropy import quantizer
from latentwire.errors import CodeError, DamagedChunk, ModelMismatch
from latentwire.format import lossless
from latentwire.format.container import Chunk
from latentwire.imaging import image
from latentwire.imaging.image import Pixels
from tests.tiny_model import SHAPE, publish_tiny_model


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> Encoder:
    return Encoder.open(tiny_model)


@pytest.fixture(scope="module")
def decoder(tiny_model: Path) -> Decoder:
    return Decoder.open(tiny_model)


def draw(images: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (images, *SHAPE.as_tuple()), dtype=np.uint8)


def one_by_one(encoder: Encoder, decoder: Decoder, pixels: Pixels) -> Pixels:
    return decoder.decode([code.bitstream for code in encoder.encode(pixels)])


@pytest.mark.parametrize(("blocks", "images"), [([], 0), ([1], 1), ([5, 0, 300], 305), ([4090, 50], 4140)])
def test_a_batch_comes_back_as_its_images_do_one_by_one(
    encoder: Encoder, decoder: Decoder, blocks: list[int], images: int
) -> None:
    pixels = draw(images)
    parts = iter(np.split(pixels, np.cumsum(blocks)))
    container = list(encoder.encode_batch(parts, announced=images))
    decoded = list(decoder.decode_batch(container))
    assert sum(map(len, decoded)) == images
    if images:
        found = np.concatenate(decoded)
        assert found.dtype == np.uint8
        # A graph may round a little differently when it runs on more images at once.
        assert np.abs(found.astype(int) - one_by_one(encoder, decoder, pixels)).max() <= 1


def test_one_chunk_is_written_as_soon_as_its_images_are_there(encoder: Encoder) -> None:
    asked = 0

    def blocks() -> Iterator[Pixels]:
        nonlocal asked
        for _ in range(3):
            asked += 1
            yield draw(4096)

    pieces = encoder.encode_batch(blocks())
    next(pieces)  # the header
    next(pieces)
    assert asked == 1


def test_lossless_images_come_back_exactly_among_others(encoder: Encoder, decoder: Decoder) -> None:
    pixels = draw(100)
    lossless_indices = [0, 31, 32, 50, 99]
    coded = np.delete(np.arange(100), lossless_indices)
    payloads = {at: lossless.write_payload(pixels[at])[len(lossless.MARKER) :] for at in lossless_indices}
    writer = encoder.open_container(100)
    symbols = quantizer.quantize(encoder.y(pixels[coded]), encoder.card.quantizer)
    container = writer.add(Chunk(symbols, payloads)) + writer.finish()
    decoded = np.concatenate(list(decoder.decode_batch([container])))
    assert np.array_equal(decoded[lossless_indices], pixels[lossless_indices])
    assert np.abs(decoded[coded].astype(int) - one_by_one(encoder, decoder, pixels[coded])).max() <= 1


def test_a_bad_lossless_image_is_reported_with_its_chunk(encoder: Encoder, decoder: Decoder) -> None:
    writer = encoder.open_container()
    container = writer.add(Chunk(np.empty((0, encoder.card.code_size), np.int64), {0: b"\7abc"})) + writer.finish()
    with pytest.raises(DamagedChunk, match=r"chunk 0, with the images 0 to 0, is damaged: .* kind 7"):
        list(decoder.decode_batch([container]))


def test_a_container_of_another_model_is_refused_before_anything_is_decoded(decoder: Decoder, tmp_path: Path) -> None:
    other = Encoder.open(publish_tiny_model(tmp_path / "models", tmp_path / "scratch", "other", seed=1))
    container = b"".join(other.encode_batch([draw(3)]))
    for pieces in ([container], [container[:20], container[20:]]):
        with pytest.raises(ModelMismatch):
            next(decoder.decode_batch(pieces))


def test_every_flip_of_one_bit_is_refused(encoder: Encoder, decoder: Decoder) -> None:
    container = b"".join(encoder.encode_batch([draw(4)], announced=4))
    for at in range(8 * len(container)):
        damaged = bytearray(container)
        damaged[at // 8] ^= 1 << at % 8
        with pytest.raises(CodeError):
            list(decoder.decode_batch([bytes(damaged)]))


def test_what_comes_before_damage_is_still_given(encoder: Encoder, decoder: Decoder) -> None:
    container = b"".join(encoder.encode_batch([draw(4096), draw(10, seed=1)]))
    decoded = decoder.decode_batch([container[:-20] + b"\0" + container[-19:]])
    assert sum(len(next(decoded)) for _ in range(4096 // image.DECODE_BATCH_SIZE)) == 4096
    with pytest.raises(DamagedChunk, match="images 4,096 to 4,105"):
        next(decoded)
