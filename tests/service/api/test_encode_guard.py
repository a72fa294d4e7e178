"""What `/encode` does with images that the model is not for, and how it chooses a model for an image."""

import base64
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from latentwire.decoder import Decoder
from latentwire.errors import UnusableFolder
from latentwire.imaging import image
from latentwire.imaging.image import Pixels
from latentwire.model.card import CARD_FILE, DECODER_FILE, load_card
from latentwire.model.guard_limits import DoubtLimits
from latentwire.selection.doubt_scores import Windows
from service.settings import Settings
from tests.service.client import OCTETS, Client, assert_problem
from tests.service.conftest import serve
from tests.tiny_model import familiar_pixels, publish_guarded_model, strange_pixels, with_quality

FAMILIAR: Pixels = familiar_pixels(1, seed=5)[0]
STRANGE: Pixels = strange_pixels(1, seed=5)[0]
DIGIT, NOISE = image.write_png(FAMILIAR), image.write_png(STRANGE)


@pytest.fixture(scope="module")
def guarded_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("guarded")
    for seed, name in enumerate(("first", "second")):
        publish_guarded_model(root / "models", root / name, name, seed)
    return root / "models"


@pytest.fixture(scope="module")
def guarded(guarded_dir: Path) -> Iterator[Client]:
    with serve(Settings(models_dir=guarded_dir, default_model="first")) as client:
        yield client


@pytest.fixture(scope="module")
def sender(guarded_dir: Path) -> Iterator[Client]:
    with serve(Settings(models_dir=guarded_dir, default_model="first", role="sender")) as client:
        yield client


@pytest.fixture(scope="module")
def decoder(guarded_dir: Path) -> Decoder:
    return Decoder.open(guarded_dir / "first")


def test_the_answer_tells_how_the_image_will_look(guarded: Client, decoder: Decoder) -> None:
    answer = guarded.encode(DIGIT).json()
    difference = decoder.decode([base64.b64decode(answer["bitstream"])])[0].astype(float) - FAMILIAR
    assert answer["mse"] == pytest.approx(np.square(difference / 255).mean())
    assert answer["psnr_db"] == pytest.approx(-10 * np.log10(answer["mse"]))
    assert answer["max_error"] == pytest.approx(np.abs(difference).max() / 255)
    assert (answer["ood"], answer["sent_as"]) == (None, "code")


def test_wire_bytes_come_with_the_same_as_headers(guarded: Client) -> None:
    answer = guarded.encode(DIGIT).json()
    headers = guarded.encode(DIGIT, accept=OCTETS).headers
    assert headers["latentwire-psnr-db"] == f"{answer['psnr_db']:.2f}"
    assert headers["latentwire-max-error"] == f"{answer['max_error']:.4f}"
    assert headers["latentwire-ood"] == "none"


def test_a_named_model_sends_a_doubtful_image_and_the_response_says_so(tmp_path: Path) -> None:
    publish_guarded_model(tmp_path / "models", tmp_path / "scratch", "doubting", 0)
    card = load_card(tmp_path / "models" / "doubting")
    assert card.guard is not None
    usual = np.full(Windows(card.image).shape.as_tuple(), 9, np.uint8)
    doubt = DoubtLimits(max_local_error=1e-6, usual_local_png_base64=base64.b64encode(image.write_png(usual)).decode())
    changed = card.model_copy(update={"guard": card.guard.model_copy(update={"doubt": doubt})})
    (tmp_path / "models" / "doubting" / CARD_FILE).write_text(changed.to_json(), encoding="utf-8")
    with serve(Settings(models_dir=tmp_path / "models")) as client:
        answer = client.encode(DIGIT, model="doubting").json()
        headers = client.encode(DIGIT, accept=OCTETS, model="doubting").headers
    assert (answer["sent_as"], answer["ood"]) == ("code", None)
    assert list(answer["doubt"]["scores"]) == ["local_error"]
    assert (headers["latentwire-ood"], headers["latentwire-doubt"]) == ("none", "local_error")


def test_an_ood_image_is_sent_losslessly_by_default_and_the_response_says_so(guarded: Client, decoder: Decoder) -> None:
    answer = guarded.encode(NOISE).json()
    assert answer["sent_as"] == "raw"
    assert (answer["mse"], answer["psnr_db"], answer["max_error"]) == (0, None, 0)
    assert "not of the kind that model 'first' is for" in answer["ood"]["sentence"]
    input_deviation = answer["ood"]["scores"]["input_deviation"]
    assert input_deviation["value"] > input_deviation["limit"]
    assert np.array_equal(decoder.decode([base64.b64decode(answer["bitstream"])])[0], STRANGE)
    assert guarded.decode(guarded.encode(NOISE).content, "application/json").content == image.write_png(STRANGE)
    bitstream = guarded.encode(NOISE, accept=OCTETS)
    assert bitstream.headers["latentwire-psnr-db"] == "inf"
    assert bitstream.headers["latentwire-ood"].startswith("input_deviation")


def test_a_lossless_image_is_not_called_exact_if_its_pixels_were_changed(guarded: Client) -> None:
    larger = image.write_png(np.repeat(np.repeat(STRANGE, 2, axis=0), 3, axis=1))
    answer = guarded.encode(larger, fit="resize").json()
    assert answer["sent_as"] != "code"
    assert (answer["mse"], answer["psnr_db"], answer["max_error"]) == (None, None, None)
    assert answer["ood"]["sentence"].endswith(", after the image was scaled from 18 × 16 pixels")
    for query in ({}, {"target_bytes": "20"}, {"min_psnr": "90"}):
        refused = guarded.encode(larger, fit="resize", on_ood="refuse", **query)
        assert refused.json()["detail"].endswith(
            "; the pixels judged are those after the image was scaled from 18 × 16 pixels"
        ), query
    headers = guarded.encode(larger, fit="resize", accept=OCTETS).headers
    assert "latentwire-psnr-db" not in headers
    assert headers["latentwire-fitted"] == "resized"


def test_no_answer_is_longer_than_the_image_as_itself_with_its_header(guarded: Client) -> None:
    for pixels in (FAMILIAR, STRANGE, np.zeros_like(STRANGE), np.full_like(STRANGE, 255), 255 - FAMILIAR):
        assert len(guarded.encode(image.write_png(pixels), accept=OCTETS).content) <= pixels.size + 8 + 3


def test_an_ood_image_is_refused_or_encoded_on_request(guarded: Client) -> None:
    assert_problem(guarded.encode(NOISE, on_ood="refuse"), 422, "out-of-distribution", "on_ood=fallback")
    answer = guarded.encode(NOISE, on_ood="warn").json()
    assert answer["sent_as"] == "code"
    assert answer["ood"]["scores"]
    assert 0 < answer["mse"] < 1


def test_the_setting_decides_where_the_request_does_not(guarded_dir: Path) -> None:
    settings = Settings(models_dir=guarded_dir, default_model="first", on_ood="refuse")
    with serve(settings) as client:
        assert_problem(client.encode(NOISE), 422, "out-of-distribution")
        assert client.encode(NOISE, on_ood="fallback").json()["sent_as"] == "raw"
        assert client.encode(DIGIT).json()["sent_as"] == "code"


def test_an_own_limit_of_the_error_is_kept(guarded: Client) -> None:
    mse = guarded.encode(DIGIT).json()["mse"]
    assert guarded.encode(DIGIT, max_mse=f"{1.01 * mse:.9f}").json()["sent_as"] == "code"
    answer = guarded.encode(DIGIT, max_mse=f"{0.99 * mse:.9f}").json()
    assert answer["sent_as"] != "code"
    assert list(answer["ood"]["scores"]) == ["mse"]
    assert_problem(guarded.encode(DIGIT, max_mse="0", on_ood="refuse"), 422, "out-of-distribution", "mse")


def test_a_sender_finds_ood_images_but_does_not_know_the_errors(sender: Client) -> None:
    answer = sender.encode(DIGIT).json()
    assert (answer["mse"], answer["psnr_db"], answer["max_error"], answer["ood"]) == (None, None, None, None)
    assert sender.encode(NOISE).json()["sent_as"] == "raw"
    assert_problem(sender.encode(NOISE, on_ood="refuse"), 422, "out-of-distribution", "input_deviation")
    assert_problem(sender.encode(DIGIT, max_mse="0.1"), 400, "invalid-parameter", "--verify-reconstruction")
    headers = sender.encode(DIGIT, accept=OCTETS).headers
    assert "latentwire-psnr-db" not in headers
    assert headers["latentwire-ood"] == "none"


def test_a_sender_with_a_guard_knows_the_errors_and_still_decodes_for_nobody(
    guarded_dir: Path, guarded: Client
) -> None:
    with serve(
        Settings(models_dir=guarded_dir, default_model="first", role="sender", verify_reconstruction=True)
    ) as client:
        assert client.encode(DIGIT).json() == guarded.encode(DIGIT).json()
        assert_problem(client.decode(client.encode(DIGIT, accept=OCTETS).content), 404, "wrong-role")


def test_both_halves_without_a_guard_are_as_a_sender(guarded_dir: Path, sender: Client) -> None:
    with serve(Settings(models_dir=guarded_dir, default_model="first", verify_reconstruction=False)) as client:
        assert client.encode(DIGIT).json() == sender.encode(DIGIT).json()


def test_target_bytes_takes_the_best_that_fits(guarded: Client) -> None:
    sizes = [len(guarded.encode(DIGIT, model=name, accept=OCTETS).content) for name in ("first", "second")]
    for target in range(min(sizes), max(sizes) + 1):
        assert len(guarded.encode(DIGIT, target_bytes=str(target), accept=OCTETS).content) <= target
    assert guarded.encode(DIGIT, target_bytes="1000").json()["sent_as"] != "code"
    assert_problem(guarded.encode(DIGIT, target_bytes="1"), 422, "target-missed", "the smallest bitstream has")
    raw = guarded.encode(DIGIT, target_bytes=str(min(sizes) - 8), framing="raw", accept=OCTETS)
    assert len(raw.content) <= min(sizes) - 8
    assert raw.headers["latentwire-model"].split("@")[0] in ("first", "second")


def test_min_psnr_takes_a_code_that_reaches_it(guarded: Client) -> None:
    best = max(guarded.encode(DIGIT, model=name).json()["psnr_db"] for name in ("first", "second"))
    answer = guarded.encode(DIGIT, min_psnr=f"{best - 0.01:.2f}").json()
    assert answer["psnr_db"] >= best - 0.02
    assert answer["sent_as"] == "code"
    exact = guarded.encode(DIGIT, min_psnr="1000").json()
    assert (exact["sent_as"] != "code", exact["mse"], exact["ood"]) == (True, 0, None)
    assert_problem(guarded.encode(DIGIT, min_psnr="1000", on_ood="refuse"), 422, "target-missed", "1000 dB")


@pytest.mark.parametrize(
    "params",
    [
        {"max_mse": "-1"},
        {"max_mse": "nan"},
        {"max_mse": "inf"},
        {"max_mse": "1e300"},
        {"on_ood": "ignore"},
        {"target_bytes": "0"},
        {"target_bytes": "20", "model": "first"},
        {"target_bytes": "20", "min_psnr": "20"},
        {"min_psnr": "-3"},
    ],
)
def test_invalid_options_are_refused_before_the_body_is_read(guarded: Client, params: dict[str, str]) -> None:
    assert_problem(guarded.encode(b"no image", **params), 400, "invalid-parameter")


def test_a_sender_with_a_guard_needs_the_decoders(tmp_path: Path, start: Callable[..., Client]) -> None:
    publish_guarded_model(tmp_path / "models", tmp_path / "scratch", "alone")
    (tmp_path / "models" / "alone" / DECODER_FILE).unlink()
    assert start(models_dir=tmp_path / "models", default_model="alone", role="sender").encode(DIGIT).status_code == 200
    with pytest.raises(UnusableFolder, match=r"decoder\.onnx of model 'alone' cannot be read"):
        start(models_dir=tmp_path / "models", default_model="alone", role="sender", verify_reconstruction=True)


def test_batches_hold_ood_images_losslessly(guarded: Client) -> None:
    files = [("file", ("digit.png", DIGIT)), ("file", ("noise.png", NOISE))]
    answer = guarded.request("POST", "/encode/batch", files=files, headers={"Accept": "application/json"}).json()
    assert [entry["sent_as"] for entry in answer["images"]] == ["code", "raw"]
    assert answer["images"][0]["bitstream"] == guarded.encode(DIGIT).json()["bitstream"]
    container = guarded.request("POST", "/encode/batch", files=files).content
    back = guarded.post("/decode/batch", container, OCTETS, accept="application/x-npy").content
    assert np.array_equal(np.load(io.BytesIO(back))[1], STRANGE)
    refused = guarded.request("POST", "/encode/batch", files=files, params={"on_ood": "refuse"})
    assert_problem(refused, 422, "out-of-distribution", "input_deviation")


@pytest.fixture(scope="module")
def climbing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    root = tmp_path_factory.mktemp("climbing")
    for seed, (name, mse) in enumerate((("low", 0.2), ("high", 0.05))):
        folder = publish_guarded_model(root / "models", root / name, name, seed)
        card = with_quality(load_card(folder), mse)
        if name == "low" and card.guard is not None:
            card = card.model_copy(update={"guard": card.guard.model_copy(update={"max_mse": 1e-9})})
        (folder / CARD_FILE).write_text(card.to_json(), encoding="utf-8")
    with serve(Settings(models_dir=root / "models", default_model="low")) as client:
        yield client


def test_an_image_that_the_default_model_does_not_reproduce_goes_by_a_better_one(climbing: Client) -> None:
    response = climbing.encode(DIGIT)
    answer = response.json()
    assert (answer["model"], answer["sent_as"], answer["ood"]) == ("high", "code", None)
    assert response.headers["latentwire-model"].startswith("high@")
    assert climbing.decode(base64.b64decode(answer["bitstream"])).headers["latentwire-model"].startswith("high@")
    assert climbing.encode(DIGIT, on_ood="refuse").json()["model"] == "high"
    assert climbing.encode(DIGIT, on_ood="warn").json()["model"] == "low"


def test_a_model_that_is_named_stays(climbing: Client) -> None:
    named = climbing.encode(DIGIT, model="low").json()
    assert named["model"] == "low"
    assert named["sent_as"] != "code"
    # Nor can a raw payload say which model made it.
    raw = climbing.encode(DIGIT, accept=OCTETS, framing="raw")
    assert raw.headers["latentwire-model"].startswith("low@")
