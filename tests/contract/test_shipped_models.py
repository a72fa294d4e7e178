import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.meaning import measure
from benchmarks.meaning.judges import Judge, edge_directions, grey_levels
from benchmarks.meaning.measure import MAX_FALLEN, MAX_RISE_BYTES, Rung, holds
from latentwire import Codec
from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from latentwire.imaging import image
from latentwire.model.any_size_card import ENTROPY_FILE, REFINER_FILE, TABLES_FILE, AnySizeCard, load_any_card
from latentwire.model.card import DECODER_FILE, ENCODER_FILE, ImageShape, load_card
from tests.contract.goldens import GOLDENS, MODELS, Goldens, shipped_any_size_models, shipped_models
from training.data.datasets import load_dataset
from training.release.any_size_readme import write_any_size_readme
from training.release.evaluate import evaluate_model
from training.release.model_dir import draw_golden_image, graph_file
from training.release.model_readme import write_readme

MAX_MODELS_BYTES = 40_000_000
MAX_GRAPH_BYTES = 4_000_000

each_model = pytest.mark.parametrize("folder", shipped_models(), ids=lambda folder: folder.name)
each_any_size_model = pytest.mark.parametrize("folder", shipped_any_size_models(), ids=lambda folder: folder.name)


def test_a_model_is_shipped() -> None:
    assert shipped_models()


def test_all_models_together_stay_light() -> None:
    assert sum(path.stat().st_size for path in MODELS.rglob("*") if path.is_file()) < MAX_MODELS_BYTES


@each_model
def test_the_card_names_the_files_beside_it(folder: Path) -> None:
    card = load_card(folder)
    assert card.encoder == graph_file(folder / ENCODER_FILE)
    assert card.decoder == graph_file(folder / DECODER_FILE)
    assert max(card.encoder.bytes, card.decoder.bytes) <= MAX_GRAPH_BYTES
    assert {path.name for path in folder.iterdir()} == {"README.md", "card.json", ENCODER_FILE, DECODER_FILE}


@each_model
def test_the_readme_is_made_from_the_card(folder: Path) -> None:
    assert (folder / "README.md").read_text(encoding="utf-8") == write_readme(load_card(folder))


@each_model
def test_the_card_says_how_to_make_the_model_again(folder: Path) -> None:
    provenance = load_card(folder).provenance
    assert provenance["recipe"]["seed"] >= 0
    assert provenance["environment"]["git_revision"]
    assert 0 < provenance["validation_rmse"] < 1


@each_model
def test_both_halves_give_the_golden_answers_of_the_card(folder: Path) -> None:
    Encoder.open(folder).check_golden()
    Decoder.open(folder).check_golden()


@each_model
def test_goldens_hold_to_the_byte(folder: Path) -> None:
    goldens = Goldens.model_validate_json((GOLDENS / f"{folder.name}.json").read_text(encoding="utf-8"))
    encoder, decoder = Encoder.open(folder), Decoder.open(folder)
    assert goldens.model_id == encoder.card.model_id
    assert goldens.cases
    for case in goldens.cases:
        assert encoder.encode_file(base64.b64decode(case.image_png_base64)).bitstream.hex() == case.bitstream_hex
        expected = image.read_image(base64.b64decode(case.reconstruction_png_base64), decoder.card.image)
        np.testing.assert_array_equal(decoder.decode([bytes.fromhex(case.bitstream_hex)])[0], expected)


@each_model
def test_images_together_give_the_golden_answers_too(folder: Path) -> None:
    goldens = Goldens.model_validate_json((GOLDENS / f"{folder.name}.json").read_text(encoding="utf-8"))
    encoder, decoder = Encoder.open(folder), Decoder.open(folder)
    images, expected = (
        np.stack([image.read_image(base64.b64decode(file), encoder.card.image) for file in files])
        for files in zip(
            *((case.image_png_base64, case.reconstruction_png_base64) for case in goldens.cases), strict=True
        )
    )
    encoded = encoder.encode(images)
    assert [one.bitstream.hex() for one in encoded] == [case.bitstream_hex for case in goldens.cases]
    np.testing.assert_array_equal(decoder.decode_raw([one.payload for one in encoded]), expected)


@each_model
def test_a_sample_has_the_quality_in_the_card(folder: Path, mnist_root: Path) -> None:
    # `make quality` measures all test images of every model.
    card = load_card(folder)
    assert card.quality is not None
    dataset = load_dataset(card.provenance["recipe"]["dataset"], mnist_root)
    assert card.quality.images == len(dataset.test)
    sample = np.random.RandomState(0).permutation(len(dataset.test))[:600]
    measured = evaluate_model(folder, dataset._replace(test=dataset.test.take(sample)))
    other = {"dataset", "images"}
    assert measured.model_dump(exclude=other) == pytest.approx(card.quality.model_dump(exclude=other), rel=0.06)


@each_any_size_model
def test_an_any_size_model_is_what_its_card_says(folder: Path) -> None:
    card = load_any_card(folder)
    assert isinstance(card, AnySizeCard)
    named = {
        ENCODER_FILE: card.encoder,
        DECODER_FILE: card.decoder,
        ENTROPY_FILE: card.entropy,
        TABLES_FILE: card.tables,
    }
    if card.refinement is not None:
        named[REFINER_FILE] = card.refinement.graph
    assert {name: graph_file(folder / name) for name in named} == named
    assert {path.name for path in folder.iterdir()} == {"README.md", "card.json", *named}
    assert (folder / "README.md").read_text(encoding="utf-8") == write_any_size_readme(card)
    assert card.provenance["data"]["sources"]
    assert card.provenance["environment"]["git_revision"]
    assert {"kodak", "drawings", "text"} <= card.provenance["figures"]["bd_rate"].keys()
    # Opening checks both halves against the card's golden data.
    codec = Codec.load(folder)
    pixels = draw_golden_image(ImageShape(height=45, width=70, channels=3))
    encoded = codec.encode(pixels, quality=80)
    assert encoded.psnr_db is not None
    assert encoded.psnr_db > 27
    assert codec.decode(encoded.bitstream).shape == pixels.shape


def test_the_digit_models_say_whether_they_keep_the_meaning_and_the_best_do() -> None:
    rates = {folder.name: limits.meaning for folder in shipped_models() if (limits := load_card(folder).guard)}
    digits = {name: one for name, one in rates.items() if name.startswith("mnist-")}
    for one in digits.values():
        assert one is not None
        assert one.images == 10_000
        assert one.holds == holds(one)
    reliable = {name for name, one in digits.items() if one and one.holds}
    assert {"mnist-rate-60", "mnist-details"} <= reliable
    # Beginning with any model, few images mean something else as served, and none costs much more.
    for one in digits.values():
        assert one is not None
        assert one.sure_changes <= 0.002
        assert one.changes <= 0.006
        assert one.flagged_marks >= 0.92 * one.vanished_marks
        assert one.fallen <= MAX_FALLEN
        assert one.served_bytes - one.coded_bytes <= MAX_RISE_BYTES + 0.001


def test_a_sample_keeps_its_meaning(mnist_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # `python -m benchmarks.meaning` measures all test images of every digit model.
    dataset = load_dataset("mnist", mnist_root)
    sample = np.random.RandomState(2).permutation(len(dataset.test))[:200]
    known = dataset.train.take(np.arange(4000))
    judges = [Judge(features, known.pixels, known.labels) for features in (grey_levels, edge_directions)]
    monkeypatch.setattr(measure, "MARKED_IMAGES", 100)
    monkeypatch.setattr(measure, "BLENDS", 100)
    rungs = Rung.open_all([MODELS / name for name in ("mnist-rate-20", "mnist-rate-60", "mnist-details")])
    for one in measure.measure(rungs, judges, dataset.test.take(sample), "mnist test"):
        assert one.sure_changes == 0
        assert one.changes <= 0.01
        assert one.flagged_marks >= 0.95 * one.vanished_marks
        assert one.fallen <= 0.02
        assert one.resolved_blends <= 0.03


def test_the_ten_numbers_model_keeps_its_promise() -> None:
    card = load_card(MODELS / "mnist-conv-10")
    assert card.code_size == 10
    assert card.quality is not None
    assert card.quality.float_rmse <= 0.097
    assert card.quality.rmse - card.quality.float_rmse <= 0.002
    assert card.quality.payload_bytes <= 10


def test_our_own_digit_comes_back_as_a_seven() -> None:
    folder = MODELS / "mnist-conv-10"
    sent = (MODELS.parent / "examples" / "seven.png").read_bytes()
    original = np.asarray(Image.open(io.BytesIO(sent)), dtype=np.float64)
    received = Decoder.open(folder).decode([Encoder.open(folder).encode_file(sent).bitstream])[0][:, :, 0]
    mse = float(((received - original) ** 2).mean()) / 255**2
    assert mse < 0.05
