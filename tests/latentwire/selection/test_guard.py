import math
from pathlib import Path

import numpy as np
import pytest

from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from latentwire.errors import OutOfDistribution, UncodableImage
from latentwire.format import lossless
from latentwire.imaging import image
from latentwire.imaging.fitting import Fitting
from latentwire.model.onnx_session import Floats, OnnxModel
from latentwire.options import VERIFY, OnOod, Verify
from latentwire.selection.assessment import GuardedImage, psnr_db
from latentwire.selection.guard import Guard
from tests.contract.goldens import MODELS, candidates
from tests.tiny_model import familiar_pixels, strange_pixels


class Overflowing(OnnxModel):
    """An encoder's graph that finds no finite code for white images."""

    def __init__(self, graph: OnnxModel) -> None:
        self._graph = graph

    def run(self, values: Floats) -> Floats:
        y = self._graph.run(values)
        return np.where(values.min(axis=(1, 2, 3))[:, None] == 1, np.float32(np.inf), y)


@pytest.fixture(scope="module")
def encoder(guarded_model: Path) -> Encoder:
    return Encoder.open(guarded_model)


@pytest.fixture(scope="module")
def decoder(guarded_model: Path) -> Decoder:
    return Decoder.open(guarded_model)


@pytest.fixture(scope="module")
def guard(encoder: Encoder, decoder: Decoder) -> Guard:
    return Guard(encoder, decoder)


@pytest.fixture(scope="module")
def alone(encoder: Encoder) -> Guard:
    return Guard(encoder)


@pytest.fixture
def familiar() -> image.Pixels:
    pixels: image.Pixels = familiar_pixels(1, seed=7)[0]
    return pixels


@pytest.fixture
def strange() -> image.Pixels:
    pixels: image.Pixels = strange_pixels(1, seed=7)[0]
    return pixels


def test_the_figures_are_those_of_the_image_as_a_receiver_gets_it(
    guard: Guard, decoder: Decoder, familiar: image.Pixels
) -> None:
    guarded = guard.encode(familiar)
    difference = decoder.decode([guarded.encoded.bitstream])[0].astype(float) - familiar
    assert guarded.mse == pytest.approx(np.square(difference / 255).mean())
    assert guarded.max_error == pytest.approx(np.abs(difference).max() / 255)
    assert guarded.psnr_db == pytest.approx(-10 * math.log10(np.square(difference / 255).mean()))
    assert (guarded.ood, guarded.sent_as) == (None, None)


def test_a_familiar_image_has_the_code_that_the_encoder_gives(
    guard: Guard, encoder: Encoder, familiar: image.Pixels
) -> None:
    for on_ood in ("refuse", "warn", "fallback"):
        assert guard.encode(familiar, on_ood).encoded.bitstream == encoder.encode(familiar[None])[0].bitstream


@pytest.mark.parametrize("with_decoder", [True, False])
def test_an_ood_image_is_refused_on_request(
    guard: Guard, alone: Guard, strange: image.Pixels, with_decoder: bool
) -> None:
    with pytest.raises(OutOfDistribution, match=r"not of the kind that model 'guarded' is for: .*input_deviation \d"):
        (guard if with_decoder else alone).encode(strange, "refuse")


def test_an_ood_image_is_sent_with_a_warning_on_request(guard: Guard, encoder: Encoder, strange: image.Pixels) -> None:
    guarded = guard.encode(strange, "warn")
    assert guarded.encoded.bitstream == encoder.encode(strange[None])[0].bitstream
    assert guarded.sent_as is None
    assert guarded.ood is not None
    exceeded_limit = {one.score: one for one in guarded.ood.exceeded}["input_deviation"]
    assert guard.card.guard is not None
    assert exceeded_limit.value > exceeded_limit.limit == guard.card.guard.max_input_deviation
    assert f"input_deviation {exceeded_limit.value:.4g} (limit {exceeded_limit.limit:.4g})" in guarded.ood.sentence


@pytest.mark.parametrize("with_decoder", [True, False])
def test_an_ood_image_is_sent_losslessly_by_default_and_comes_back_exactly(
    guard: Guard, alone: Guard, decoder: Decoder, strange: image.Pixels, with_decoder: bool
) -> None:
    guarded = (guard if with_decoder else alone).encode(strange)
    assert guarded.ood is not None
    assert guarded.sent_as == "raw"
    assert (guarded.mse, guarded.max_error, guarded.psnr_db) == (0, 0, math.inf)
    np.testing.assert_array_equal(decoder.decode([guarded.encoded.bitstream])[0], strange)


def test_without_a_decoder_the_errors_are_not_known(alone: Guard, familiar: image.Pixels) -> None:
    guarded = alone.encode(familiar)
    assert (guarded.mse, guarded.max_error, guarded.psnr_db) == (None, None, None)
    assert not alone.has_decoder


def test_an_encoder_alone_has_its_own_limit_of_the_input_deviation(
    encoder: Encoder, decoder: Decoder, familiar: image.Pixels
) -> None:
    limits = encoder.card.guard
    assert limits is not None
    wide = limits.model_copy(update={"max_input_deviation": 1e9})
    narrow = wide.model_copy(update={"max_input_deviation_alone": 1e-9})
    assert Guard(encoder, None, wide).encode(familiar).ood is None
    assert Guard(encoder, decoder, narrow).encode(familiar).ood is None
    assert Guard(encoder, None, narrow).encode(familiar).ood is not None


@pytest.mark.parametrize("score", ["input_deviation", "bits", "mse", "reconstruction_deviation"])
def test_each_score_alone_makes_an_image_ood(
    encoder: Encoder, decoder: Decoder, familiar: image.Pixels, score: str
) -> None:
    limits = encoder.card.guard
    assert limits is not None
    guard = Guard(encoder, decoder, limits.model_copy(update={f"max_{score}": 1e-9}))
    ood = guard.encode(familiar, "warn").ood
    assert ood is not None
    assert [one.score for one in ood.exceeded] == [score]


def test_a_limit_of_the_error_is_in_place_of_the_card_s(guard: Guard, familiar: image.Pixels) -> None:
    mse = guard.encode(familiar).mse
    assert mse is not None
    assert guard.encode(familiar, max_mse=mse).ood is None
    ood = guard.encode(familiar, "warn", max_mse=0.999 * mse).ood
    assert ood is not None
    assert [(one.score, one.limit) for one in ood.exceeded] == [("mse", 0.999 * mse)]


def test_without_limits_no_image_is_ood(tiny_model: Path, strange: image.Pixels) -> None:
    guard = Guard(Encoder.open(tiny_model), Decoder.open(tiny_model))
    guarded = guard.encode(strange)
    assert guarded.ood is None
    assert guarded.mse is not None
    assert guard.encode(strange, max_mse=0).ood is not None


def test_an_image_that_is_shorter_losslessly_is_sent_losslessly(guard: Guard, decoder: Decoder) -> None:
    for level in range(0, 256, 15):
        flat = np.full(guard.card.image.as_tuple(), level, np.uint8)
        guarded = guard.encode(flat)
        assert len(guarded.encoded.payload) <= len(lossless.write_payload(flat))
        if guarded.sent_as:
            np.testing.assert_array_equal(decoder.decode([guarded.encoded.bitstream])[0], flat)


@pytest.mark.parametrize("name", ["mnist-details", "cifar-conv"])
def test_an_image_that_is_sent_as_a_code_is_not_written_losslessly(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, decoder = Encoder.open(MODELS / name), Decoder.open(MODELS / name)
    pixels = np.stack(candidates(encoder.card, 12))
    if name == "cifar-conv":
        noise = np.random.default_rng(0).normal(0, 8, pixels.shape)
        pixels = np.clip(100 + pixels * 0.3 + noise, 0, 255).astype(np.uint8)
    guard = Guard(encoder, decoder)
    coded = pixels[[one.sent_as is None for one in guard.encode_each(pixels) if isinstance(one, GuardedImage)]]
    assert len(coded) > 6

    def write(_pixels: image.Pixels) -> bytes:
        raise AssertionError("an image that is sent as a code was written losslessly")

    monkeypatch.setattr(lossless, "write_payload", write)
    for one in coded:
        assert guard.encode(one).sent_as is None


@pytest.mark.parametrize(("on_ood", "error"), [("refuse", OutOfDistribution), ("warn", UncodableImage)])
def test_an_image_without_a_code_is_ood(
    guarded_model: Path, decoder: Decoder, on_ood: OnOod, error: type[Exception]
) -> None:
    encoder = Encoder.open(guarded_model)
    guard = Guard(Encoder(encoder.card, Overflowing(encoder._graph)), decoder)
    white = np.full(guard.card.image.as_tuple(), 255, np.uint8)
    with pytest.raises(error, match="more than 32 bits"):
        guard.encode(white, on_ood)
    guarded = guard.encode(white)
    assert guarded.ood is not None
    np.testing.assert_array_equal(decoder.decode([guarded.encoded.bitstream])[0], white)
    both = guard.assess(np.stack([white, familiar_pixels(1)[0]]))
    assert [assessment.encoded is None for assessment in both] == [True, False]


def test_a_batch_is_assessed_as_its_images_are(guard: Guard) -> None:
    batch = np.concatenate([familiar_pixels(3), strange_pixels(3)])
    judged = guard.assess(batch)
    assert [assessment.ood is not None for assessment in judged] == [False] * 3 + [True] * 3
    for pixels, assessment in zip(batch, judged, strict=True):
        assert assessment.scores == pytest.approx(guard.assess(pixels[None])[0].scores)


def test_psnr_is_infinite_for_an_exact_picture() -> None:
    assert psnr_db(0) == math.inf
    assert psnr_db(0.01) == pytest.approx(20)


def test_a_container_holds_ood_images_losslessly(guard: Guard, encoder: Encoder, decoder: Decoder) -> None:
    mixed = np.concatenate([familiar_pixels(2), strange_pixels(2), familiar_pixels(1)])
    for batch in (mixed, mixed[2:4], mixed[:2]):
        writer = encoder.open_container()
        stream = writer.add(guard.encode_chunk(batch).chunk) + writer.finish()
        back = np.concatenate(list(decoder.decode_batch([stream])))
        coded = decoder.decode([one.bitstream for one in encoder.encode(batch)])
        for pixels, delivered, code in zip(batch, back, coded, strict=True):
            strange = guard.assess(pixels[None])[0].ood is not None
            np.testing.assert_array_equal(delivered, pixels if strange else code)
    warned = guard.encode_chunk(mixed, "warn")
    assert (warned.chunk.payloads, list(warned.ood_images)) == ({}, [2, 3])
    fittings = [None, None, Fitting(resized=(90, 60)), None, None]
    with pytest.raises(OutOfDistribution, match=r"^image 12: .*, after the image was scaled from 60 × 90 pixels"):
        guard.encode_chunk(mixed, "refuse", fittings=fittings, first=10)


@pytest.mark.parametrize("verify", VERIFY)
def test_images_for_a_container_are_assessed_as_single_images_are(
    encoder: Encoder, decoder: Decoder, verify: Verify
) -> None:
    given = encoder.card.guard
    assert given is not None
    pixels = np.concatenate([familiar_pixels(60, seed=3), strange_pixels(2), familiar_pixels(60, seed=4)])
    scores = [one.scores for one in Guard(encoder, decoder).assess(pixels)]
    # Limits that some of the images are beyond by each score.
    limits = given.model_copy(
        update={
            "max_input_deviation": float(np.quantile([one["input_deviation"] for one in scores], 0.9)),
            "max_input_deviation_alone": float(np.quantile([one["input_deviation"] for one in scores], 0.8)),
            "max_bits": float(np.quantile([one["bits"] for one in scores], 0.8)),
            "max_mse": float(np.quantile([one["mse"] for one in scores], 0.8)),
            "max_reconstruction_deviation": float(
                np.quantile([one["reconstruction_deviation"] for one in scores], 0.8)
            ),
        }
    )
    guard = Guard(encoder, decoder, limits)
    judged = Guard(encoder, decoder if verify == "reconstruction" else None, limits).assess(pixels)
    ood_images = {place: one.ood for place, one in enumerate(judged) if one.ood}
    warned = guard.encode_chunk(pixels, "warn", verify=verify)
    assert len({exceeded_limit.score for ood in ood_images.values() for exceeded_limit in ood.exceeded}) == (
        4 if verify == "reconstruction" else 2
    )
    assert {place: {one.score for one in ood.exceeded} for place, ood in warned.ood_images.items()} == {
        place: {one.score for one in ood.exceeded} for place, ood in ood_images.items()
    }
    fallen_back = guard.encode_chunk(pixels, verify=verify)
    assert set(fallen_back.ood_images) == set(fallen_back.chunk.payloads) == set(ood_images)
    np.testing.assert_array_equal(fallen_back.chunk.symbols, warned.chunk.symbols[fallen_back.chunk.coded()])


def test_an_image_without_a_code_is_in_a_container_losslessly(encoder: Encoder) -> None:
    overflowing = Guard(Encoder(encoder.card.model_copy(update={"guard": None}), Overflowing(encoder._graph)))
    mixed = familiar_pixels(5)
    mixed[[1, 4]] = 255
    guarded = overflowing.encode_chunk(mixed)
    assert set(guarded.ood_images) == set(guarded.chunk.payloads) == {1, 4}
    np.testing.assert_array_equal(guarded.chunk.symbols, encoder.encode_chunk(mixed[[0, 2, 3]]).symbols)
    with pytest.raises(OutOfDistribution):
        overflowing.encode_chunk(mixed, "refuse")
    with pytest.raises(UncodableImage, match=r"^image 11: "):
        overflowing.encode_chunk(mixed, "warn", first=10)
