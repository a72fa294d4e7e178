import base64
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from latentwire.entropy.arithmetic import SymbolCoder
from latentwire.errors import CodeError, ForeignCode, GoldenMismatch, InvalidCode, InvalidVector
from latentwire.format import bitstream
from latentwire.imaging import image
from latentwire.model.card import ENCODER_FILE
from latentwire.model.onnx_session import Floats, Graph
from tests.latentwire.pictures import picture
from tests.tiny_model import publish_tiny_model


@pytest.fixture
def decoder(tiny_model: Path) -> Decoder:
    return Decoder.open(tiny_model)


@pytest.fixture
def wire(tiny_model: Path) -> bytes:
    return Encoder.open(tiny_model).encode(picture(8, 6).reshape(1, 8, 6, 1))[0].wire


def test_the_receiver_gives_what_the_graphs_give_but_for_quantisation(tiny_model: Path, decoder: Decoder) -> None:
    (encoded,) = Encoder.open(tiny_model).encode(picture(8, 6).reshape(1, 8, 6, 1))
    delivered = decoder.decode([encoded.wire])[0]
    unquantised = decoder.decode_vector(encoded.y.tolist())
    assert delivered.shape == (8, 6, 1)
    assert np.abs(delivered.astype(int) - unquantised).max() <= 8
    np.testing.assert_array_equal(unquantised, image.to_pixels(decoder.x_hat(encoded.y[None]))[0])


def test_a_batch_gives_what_its_codes_give_alone(tiny_model: Path, decoder: Decoder) -> None:
    pixels = np.stack([picture(8, 6, seed=seed) for seed in range(7)])[..., None]
    wires = [encoded.wire for encoded in Encoder.open(tiny_model).encode(pixels)]
    alone = np.stack([decoder.decode([wire])[0] for wire in wires])
    np.testing.assert_array_equal(decoder.decode(wires), alone)


def test_a_code_of_another_model_is_refused(tmp_path: Path, decoder: Decoder) -> None:
    other = publish_tiny_model(tmp_path / "models", tmp_path / "scratch", name="other", seed=1)
    wire = Encoder.open(other).encode(picture(8, 6).reshape(1, 8, 6, 1))[0].wire
    with pytest.raises(ForeignCode, match="made by the model with fingerprint"):
        decoder.decode([wire])


def test_no_bit_can_flip_unseen(decoder: Decoder, wire: bytes) -> None:
    for position in range(8 * len(wire)):
        damaged = bytearray(wire)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(CodeError):
            decoder.decode([bytes(damaged)])


def test_codes_cut_or_appended_to_are_refused(decoder: Decoder, wire: bytes) -> None:
    for damaged in [wire[:length] for length in range(len(wire))] + [wire + b"\0", wire + wire]:
        with pytest.raises(InvalidCode):
            decoder.decode([damaged])


@pytest.mark.parametrize("length", [54, 1000, 10_000_000])
def test_a_whole_code_of_the_wrong_length_is_refused(decoder: Decoder, length: int) -> None:
    with pytest.raises(InvalidCode, match=f"holds {length} bytes of payload; this model's codes hold 1 to 53"):
        decoder.decode([bitstream.write_wire(bytes(length), decoder.card.fingerprint)])


def test_bare_payloads_give_what_their_wire_bytes_give(tiny_model: Path, decoder: Decoder) -> None:
    pixels = np.stack([picture(8, 6, seed=seed) for seed in range(3)])[..., None]
    encoded = Encoder.open(tiny_model).encode(pixels)
    together = decoder.decode_bare([one.payload for one in encoded])
    np.testing.assert_array_equal(together, decoder.decode([one.wire for one in encoded]))


def test_images_as_themselves_stand_among_coded_ones(tiny_model: Path, decoder: Decoder) -> None:
    encoder = Encoder.open(tiny_model)
    pixels = np.stack([picture(8, 6, seed=seed) for seed in range(4)])[..., None]
    coded, exact = encoder.encode(pixels), encoder.encode_lossless(pixels)
    mixed = decoder.decode([coded[0].wire, exact[1].wire, coded[2].wire, exact[3].wire])
    np.testing.assert_array_equal(mixed[1::2], pixels[1::2])
    np.testing.assert_array_equal(mixed[::2], decoder.decode([coded[0].wire, coded[2].wire]))
    np.testing.assert_array_equal(decoder.decode_bare([one.payload for one in exact]), pixels)


def test_no_bit_of_an_image_as_itself_can_flip_unseen(tiny_model: Path, decoder: Decoder) -> None:
    wire = Encoder.open(tiny_model).encode_lossless(picture(8, 6).reshape(1, 8, 6, 1))[0].wire
    for position in range(8 * len(wire)):
        damaged = bytearray(wire)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(CodeError):
            decoder.decode([bytes(damaged)])


def test_a_code_so_far_out_that_no_image_is_there_is_refused(tiny_model: Path) -> None:
    class Overflowing(Graph):
        def run(self, values: Floats) -> Floats:
            return super().run(values) * np.float32(np.nan)

    decoder = Decoder.open(tiny_model)
    payload = SymbolCoder(decoder.card.tables).encode(np.full(5, 2**31 - 1))
    assert decoder.decode_bare([payload]).shape == (1, 8, 6, 1)
    with pytest.raises(InvalidCode, match="no image there"):
        Decoder(decoder.card, Overflowing(decoder._graph._session)).decode_bare([payload])


@pytest.mark.parametrize("vector", [[], [0.0] * 4, [0.0] * 6])
def test_a_vector_of_the_wrong_length_is_refused(decoder: Decoder, vector: list[float]) -> None:
    with pytest.raises(InvalidVector, match=f"{len(vector)} elements; model 'tiny' takes 5"):
        decoder.decode_vector(vector)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300])
def test_a_vector_that_is_not_finite_is_refused(decoder: Decoder, bad: float) -> None:
    with pytest.raises(InvalidVector, match="finite"):
        decoder.decode_vector([0, 0, bad, 0, 0])


def test_any_finite_point_is_an_image_or_an_error(decoder: Decoder) -> None:
    class Overflowing(Graph):
        def run(self, values: Floats) -> Floats:
            return super().run(values) * np.float32(np.nan)

    assert decoder.decode_vector([3e38, -3e38, 0, 0, 0]).shape == (8, 6, 1)
    with pytest.raises(InvalidVector, match="so far out"):
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
