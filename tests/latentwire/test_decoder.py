import base64
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from latentwire.entropy.arithmetic import ArithmeticCoder
from latentwire.errors import CodeError, GoldenMismatch, InvalidCode, InvalidVector, ModelMismatch
from latentwire.format.bitstream import write_bitstream
from latentwire.imaging import image
from latentwire.model.card import ENCODER_FILE
from latentwire.model.onnx_session import Floats, OnnxModel
from tests.latentwire.pictures import picture
from tests.tiny_model import publish_tiny_model


@pytest.fixture
def decoder(tiny_model: Path) -> Decoder:
    return Decoder.open(tiny_model)


@pytest.fixture
def bitstream(tiny_model: Path) -> bytes:
    return Encoder.open(tiny_model).encode(picture(8, 6).reshape(1, 8, 6, 1))[0].bitstream


def test_the_receiver_gives_what_the_graphs_give_but_for_quantisation(tiny_model: Path, decoder: Decoder) -> None:
    (encoded,) = Encoder.open(tiny_model).encode(picture(8, 6).reshape(1, 8, 6, 1))
    delivered = decoder.decode([encoded.bitstream])[0]
    unquantized = decoder.decode_vector(encoded.y.tolist())
    assert delivered.shape == (8, 6, 1)
    assert np.abs(delivered.astype(int) - unquantized).max() <= 8
    np.testing.assert_array_equal(unquantized, image.to_pixels(decoder.x_hat(encoded.y[None]))[0])


def test_a_batch_gives_what_its_codes_give_alone(tiny_model: Path, decoder: Decoder) -> None:
    pixels = np.stack([picture(8, 6, seed=seed) for seed in range(7)])[..., None]
    bitstreams = [encoded.bitstream for encoded in Encoder.open(tiny_model).encode(pixels)]
    alone = np.stack([decoder.decode([bitstream])[0] for bitstream in bitstreams])
    np.testing.assert_array_equal(decoder.decode(bitstreams), alone)


def test_a_code_of_another_model_is_refused(tmp_path: Path, decoder: Decoder) -> None:
    other = publish_tiny_model(tmp_path / "models", tmp_path / "scratch", name="other", seed=1)
    bitstream = Encoder.open(other).encode(picture(8, 6).reshape(1, 8, 6, 1))[0].bitstream
    with pytest.raises(ModelMismatch, match="made by the model with fingerprint"):
        decoder.decode([bitstream])


def test_no_bit_can_flip_unseen(decoder: Decoder, bitstream: bytes) -> None:
    for position in range(8 * len(bitstream)):
        damaged = bytearray(bitstream)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(CodeError):
            decoder.decode([bytes(damaged)])


def test_codes_cut_or_appended_to_are_refused(decoder: Decoder, bitstream: bytes) -> None:
    for damaged in [bitstream[:length] for length in range(len(bitstream))] + [
        bitstream + b"\0",
        bitstream + bitstream,
    ]:
        with pytest.raises(InvalidCode):
            decoder.decode([damaged])


@pytest.mark.parametrize("length", [54, 1000, 10_000_000])
def test_a_whole_code_of_the_wrong_length_is_refused(decoder: Decoder, length: int) -> None:
    with pytest.raises(InvalidCode, match=f"has {length} bytes; a payload of this model has 1 to 53"):
        decoder.decode([write_bitstream(bytes(length), decoder.card.fingerprint)])


def test_bare_payloads_give_what_their_wire_bytes_give(tiny_model: Path, decoder: Decoder) -> None:
    pixels = np.stack([picture(8, 6, seed=seed) for seed in range(3)])[..., None]
    encoded = Encoder.open(tiny_model).encode(pixels)
    together = decoder.decode_raw([one.payload for one in encoded])
    np.testing.assert_array_equal(together, decoder.decode([one.bitstream for one in encoded]))


def test_lossless_images_stand_among_coded_images(tiny_model: Path, decoder: Decoder) -> None:
    encoder = Encoder.open(tiny_model)
    pixels = np.stack([picture(8, 6, seed=seed) for seed in range(4)])[..., None]
    coded, exact = encoder.encode(pixels), encoder.encode_lossless(pixels)
    mixed = decoder.decode([coded[0].bitstream, exact[1].bitstream, coded[2].bitstream, exact[3].bitstream])
    np.testing.assert_array_equal(mixed[1::2], pixels[1::2])
    np.testing.assert_array_equal(mixed[::2], decoder.decode([coded[0].bitstream, coded[2].bitstream]))
    np.testing.assert_array_equal(decoder.decode_raw([one.payload for one in exact]), pixels)


def test_no_bit_of_a_lossless_image_can_flip_unseen(tiny_model: Path, decoder: Decoder) -> None:
    bitstream = Encoder.open(tiny_model).encode_lossless(picture(8, 6).reshape(1, 8, 6, 1))[0].bitstream
    for position in range(8 * len(bitstream)):
        damaged = bytearray(bitstream)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(CodeError):
            decoder.decode([bytes(damaged)])


def test_a_code_so_far_out_that_no_image_is_there_is_refused(tiny_model: Path) -> None:
    class Overflowing(OnnxModel):
        def run(self, values: Floats) -> Floats:
            return super().run(values) * np.float32(np.nan)

    decoder = Decoder.open(tiny_model)
    payload = ArithmeticCoder(decoder.card.tables).encode([2**31 - 1] * 5)[0]
    assert decoder.decode_raw([payload]).shape == (1, 8, 6, 1)
    with pytest.raises(InvalidCode, match="output is not finite"):
        Decoder(decoder.card, Overflowing(decoder._graph._session)).decode_raw([payload])


@pytest.mark.parametrize("vector", [[], [0.0] * 4, [0.0] * 6])
def test_a_vector_of_the_wrong_length_is_refused(decoder: Decoder, vector: list[float]) -> None:
    with pytest.raises(InvalidVector, match=f"{len(vector)} elements; model 'tiny' takes 5"):
        decoder.decode_vector(vector)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300])
def test_a_vector_that_is_not_finite_is_refused(decoder: Decoder, bad: float) -> None:
    with pytest.raises(InvalidVector, match="finite"):
        decoder.decode_vector([0, 0, bad, 0, 0])


def test_any_finite_point_is_an_image_or_an_error(decoder: Decoder) -> None:
    class Overflowing(OnnxModel):
        def run(self, values: Floats) -> Floats:
            return super().run(values) * np.float32(np.nan)

    assert decoder.decode_vector([3e38, -3e38, 0, 0, 0]).shape == (8, 6, 1)
    with pytest.raises(InvalidVector, match="output is not finite"):
        Decoder(decoder.card, Overflowing(decoder._graph._session)).decode_vector([3e38] * 5)


def test_a_receiver_needs_no_encoder_file(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / tiny_model.name))
    (folder / ENCODER_FILE).unlink()
    Decoder.open(folder).check_golden()


def test_another_answer_than_the_golden_one_is_found(decoder: Decoder) -> None:
    decoder.check_golden()
    black = base64.b64encode(image.write_png(np.zeros((8, 6, 1), dtype=np.uint8))).decode()
    golden = decoder.card.golden.model_copy(update={"reconstruction_png_base64": black})
    with pytest.raises(GoldenMismatch, match="tiny"):
        Decoder(decoder.card.model_copy(update={"golden": golden}), decoder._graph).check_golden()
