import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentwire.encoder import Encoder
from latentwire.entropy import quantizer
from latentwire.entropy.arithmetic import ArithmeticCoder
from latentwire.errors import GoldenMismatch, ImageMismatch, UncodableImage
from latentwire.format import lossless
from latentwire.format.bitstream import read_bitstream
from latentwire.model.card import DECODER_FILE
from latentwire.model.onnx_session import Floats, OnnxModel
from tests.latentwire.pictures import file_of, picture


@pytest.fixture
def encoder(tiny_model: Path) -> Encoder:
    return Encoder.open(tiny_model)


def test_the_wire_bytes_hold_the_quantised_code(encoder: Encoder) -> None:
    (encoded,) = encoder.encode(picture(8, 6).reshape(1, 8, 6, 1))
    fingerprint, payload = read_bitstream(encoded.bitstream)
    assert fingerprint == encoder.card.fingerprint
    assert payload == encoded.payload
    coder = ArithmeticCoder(encoder.card.tables)
    symbols = quantizer.quantize(encoded.y[None], encoder.card.quantizer)
    np.testing.assert_array_equal(coder.decode(payload), symbols[0])
    assert encoded.ideal_bits == coder.ideal_bits(symbols)[0]


@pytest.mark.parametrize("far", [1e30, -3e38, np.inf, np.nan])
def test_an_image_whose_code_lies_too_far_out_is_refused(encoder: Encoder, far: float) -> None:
    class FarOut(OnnxModel):
        def run(self, values: Floats) -> Floats:
            return np.full_like(super().run(values), far)

    with pytest.raises(UncodableImage, match="more than 32 bits"):
        Encoder(encoder.card, FarOut(encoder._graph._session)).encode(picture(8, 6).reshape(1, 8, 6, 1))


def test_a_batch_gives_what_its_images_give_alone(encoder: Encoder) -> None:
    pixels = np.stack([picture(8, 6, seed=seed) for seed in range(7)])[..., None]
    together = [encoded.bitstream for encoded in encoder.encode(pixels)]
    assert together == [encoder.encode(one[None])[0].bitstream for one in pixels]
    assert len(set(together)) == 7


def test_an_image_file_gives_what_its_pixels_give(encoder: Encoder) -> None:
    pixels = picture(8, 6)
    from_file = encoder.encode_file(file_of(Image.fromarray(pixels)))
    assert from_file.bitstream == encoder.encode(pixels.reshape(1, 8, 6, 1))[0].bitstream


def test_an_image_that_does_not_fit_is_refused_unless_fitted(encoder: Encoder) -> None:
    data = file_of(Image.fromarray(picture(9, 6)))
    with pytest.raises(ImageMismatch):
        encoder.encode_file(data)
    assert encoder.encode_file(data, fit="resize").payload


def test_a_sender_needs_no_decoder_file(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / tiny_model.name))
    (folder / DECODER_FILE).unlink()
    Encoder.open(folder).check_golden()


def test_another_answer_than_the_golden_one_is_found(encoder: Encoder) -> None:
    golden = encoder.card.golden
    encoder.check_golden()
    wrong = golden.model_copy(update={"symbols": (golden.symbols[0] - 2, *golden.symbols[1:])})
    with pytest.raises(GoldenMismatch, match="tiny"):
        Encoder(encoder.card.model_copy(update={"golden": wrong}), encoder._graph).check_golden()


def test_a_lossless_image_is_framed_like_any_other(encoder: Encoder) -> None:
    pixels = np.stack([picture(8, 6, seed=seed) for seed in range(3)])[..., None]
    for one, encoded in zip(pixels, encoder.encode_lossless(pixels), strict=True):
        assert encoded.payload == lossless.write_payload(one)
        assert read_bitstream(encoded.bitstream) == (encoder.card.fingerprint, encoded.payload)
        assert encoded.ideal_bits == 8 * len(encoded.payload)
        np.testing.assert_array_equal(encoded.y, encoder.y(one[None])[0])
