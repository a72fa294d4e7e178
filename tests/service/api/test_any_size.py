"""Images of any size: encoded by the model for them, and decoded, whole or in part."""

import base64
import io
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from latentwire import Codec
from latentwire.encoder import Encoder
from latentwire.format.any_size import Header
from latentwire.format.any_size_container import PayloadContainerWriter
from latentwire.format.bitstream import write_bitstream
from latentwire.imaging.image import Pixels, write_png
from latentwire.imaging.reader import AnySizeReader
from service.settings import Settings
from tests.service.client import JSON, OCTETS, Client, assert_problem, in_chunks
from tests.service.conftest import serve
from tests.tiny_any_size_model import drawn_picture, publish_tiny_any_size_model
from tests.tiny_model import familiar_pixels, publish_guarded_model, strange_pixels

FAMILIAR: Pixels = familiar_pixels(1, seed=5)[0]
STRANGE: Pixels = strange_pixels(1, seed=5)[0]
PICTURE = drawn_picture(40, 70)
MIXED = [PICTURE, drawn_picture(64, 9, 1), np.full((30, 50, 3), 90, np.uint8), FAMILIAR]
NPY = "application/x-npy"


@pytest.fixture(scope="module")
def mixed_dir(any_size_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vector model with a guard, which is the default, and a model for images of any size."""
    folder = tmp_path_factory.mktemp("mixed")
    publish_guarded_model(folder, tmp_path_factory.mktemp("scratch"))
    shutil.copytree(any_size_model, folder / any_size_model.name)
    return folder


@pytest.fixture(scope="module")
def mixed(mixed_dir: Path) -> Iterator[Client]:
    with serve(Settings(models_dir=mixed_dir)) as client:
        yield client


@pytest.fixture(scope="module")
def sender(mixed_dir: Path) -> Iterator[Client]:
    with serve(Settings(models_dir=mixed_dir, role="sender")) as client:
        yield client


@pytest.fixture(scope="module")
def codec(any_size_model: Path) -> Codec:
    return Codec.load(any_size_model)


@pytest.fixture(scope="module")
def large_bitstream(codec: Codec) -> bytes:
    """Of four parts."""
    return codec.encode(drawn_picture(1060, 1300)).bitstream


def received(client: Client, bitstream: bytes, **parameters: str) -> Pixels:
    answer = client.decode(bitstream, accept=NPY, **parameters)
    assert answer.status_code == 200, answer.text
    found: Pixels = np.load(io.BytesIO(answer.content))
    return found


@pytest.mark.parametrize("pixels", [PICTURE, drawn_picture(130, 9, 1)])
def test_an_image_of_another_size_goes_to_the_model_for_them(mixed: Client, codec: Codec, pixels: Pixels) -> None:
    answer = mixed.encode(write_png(pixels)).json()
    expected = codec.encode(pixels)
    assert (answer["model"], answer["model_id"]) == ("tiny-any", codec.card.model_id)
    assert (answer["code"], answer["shape"], answer["sent_as"]) == (None, list(pixels.shape), expected.sent_as)
    assert base64.b64decode(answer["bitstream"]) == expected.bitstream
    assert answer["bpp"] == 8 * len(expected.bitstream) / (pixels.shape[0] * pixels.shape[1])
    assert (answer["psnr_db"], answer["mse"], answer["max_error"]) == (
        expected.psnr_db, expected.mse, expected.max_error,
    )  # fmt: skip
    assert (list(answer)[-1], answer["quality"]) == ("quality", expected.quality)
    assert np.array_equal(received(mixed, expected.bitstream), codec.decode(expected.bitstream))
    # The answer can be sent as it is.
    decoded = mixed.decode(json.dumps(answer).encode(), JSON)
    assert decoded.headers["latentwire-model"] == codec.card.full_name
    assert Image.open(io.BytesIO(decoded.content)).size == pixels.shape[1::-1]


def test_an_image_that_the_vector_model_knows_stays_there(mixed: Client, mixed_dir: Path) -> None:
    answer = mixed.encode(write_png(FAMILIAR)).json()
    expected = Encoder.open(mixed_dir / "guarded").encode(FAMILIAR[None])[0]
    assert (answer["model"], base64.b64decode(answer["bitstream"])) == ("guarded", expected.bitstream)
    assert "quality" not in answer


def test_an_image_of_another_kind_goes_where_it_takes_fewest_bytes(mixed: Client, codec: Codec) -> None:
    alone = mixed.encode(write_png(STRANGE), model="guarded").json()
    coded = codec.encode(STRANGE)
    answer = mixed.encode(write_png(STRANGE)).json()
    assert answer["bitstream_bytes"] == min(alone["bitstream_bytes"], len(coded.bitstream))
    assert answer["model"] == ("guarded" if alone["bitstream_bytes"] <= len(coded.bitstream) else "tiny-any")
    # What the request asks for goes before.
    assert_problem(mixed.encode(write_png(STRANGE), on_ood="refuse"), 422, "out-of-distribution")
    assert mixed.encode(write_png(STRANGE), on_ood="warn").json()["model"] == "guarded"


def test_quality_and_targets_choose_the_quality(mixed: Client, codec: Codec) -> None:
    png, picture = write_png(drawn_picture(80, 90)), drawn_picture(80, 90)
    for parameters, expected in (
        ({"quality": "33.3"}, codec.encode(picture, quality=33.3)),
        ({"effort": "2"}, codec.encode(picture, effort=2)),
        ({"quality": "70", "model": "tiny-any"}, codec.encode(picture, quality=70)),
        ({"target_bytes": "600"}, codec.encode(picture, target_bytes=600)),
        ({"target_bytes": "600", "model": "tiny-any"}, codec.encode(picture, target_bytes=600)),
        ({"min_psnr": "28"}, codec.encode(picture, min_psnr_db=28)),
    ):
        answer = mixed.encode(png, accept=OCTETS, **parameters)
        assert answer.content == expected.bitstream
        assert answer.headers["latentwire-psnr-db"] == f"{expected.psnr_db:.2f}"
    raw = mixed.encode(png, accept=OCTETS, model="tiny-any", framing="raw")
    assert raw.content == codec.encode(picture, framing="raw").bitstream
    back = received(mixed, raw.content, framing="raw", model=raw.headers["latentwire-model"])
    assert back.shape == picture.shape
    # A familiar image goes to this model, too, if a quality is asked for.
    assert mixed.encode(write_png(FAMILIAR), quality="50").json()["model"] == "tiny-any"


def test_an_image_that_no_quality_makes_small_enough_is_scaled_down(mixed: Client) -> None:
    for parameters in ({}, {"model": "tiny-any", "fit": "resize"}):
        answer = mixed.encode(write_png(drawn_picture(200, 300)), target_bytes="60", **parameters).json()
        assert answer["bitstream_bytes"] <= 60
        height, width, channels = answer["shape"]
        assert (channels, 300 * height) == (3, pytest.approx(200 * width, rel=0.1))
        assert answer["fitted"]["resized"] == [200, 300]
        assert received(mixed, base64.b64decode(answer["bitstream"])).shape == (height, width, channels)
    assert mixed.encode(write_png(PICTURE), target_bytes="5000").json()["fitted"] is None


def test_what_takes_fewer_bytes_losslessly_is_exact(mixed: Client) -> None:
    flat = np.full((90, 300, 3), (10, 200, 30), np.uint8)
    answer = mixed.encode(write_png(flat)).json()
    assert (answer["mse"], answer["psnr_db"], answer["quality"]) == (0, None, None)
    assert answer["sent_as"] in ("png", "webp")
    assert np.array_equal(received(mixed, base64.b64decode(answer["bitstream"])), flat)


def test_transparency_comes_back_or_is_laid_on_a_background(mixed: Client) -> None:
    picture = Image.fromarray(PICTURE).convert("RGBA")
    picture.putpixel((3, 3), (1, 2, 3, 0))
    file = io.BytesIO()
    picture.save(file, "PNG")
    answer = mixed.encode(file.getvalue(), background="black").json()
    assert (answer["shape"], answer["fitted"]["flattened"]) == ([*PICTURE.shape], "black")
    answer = mixed.encode(file.getvalue()).json()
    assert (answer["shape"], answer["fitted"]) == ([*PICTURE.shape[:2], 4], None)
    received = mixed.decode(base64.b64decode(answer["bitstream"]), accept="image/png")
    assert np.array_equal(np.array(Image.open(io.BytesIO(received.content)))[:, :, 3], np.array(picture)[:, :, 3])


@pytest.mark.parametrize(
    ("parameters", "status", "code", "says"),
    [
        ({"quality": "nan"}, 400, "invalid-parameter", "from 0 to 100"),
        ({"quality": "100.5"}, 400, "invalid-parameter", "from 0 to 100"),
        ({"quality": "5", "model": "guarded"}, 400, "invalid-parameter", "leave it out"),
        ({"quality": "5", "fit": "pad"}, 400, "invalid-parameter", "leave out fit=pad"),
        ({"model": "tiny-any", "max_mse": "0.1"}, 400, "invalid-parameter", "min_psnr"),
        ({"target_bytes": "5"}, 422, "target-missed", "at least 9 bytes"),
        ({"target_bytes": "40", "fit": "strict", "model": "tiny-any"}, 422, "target-missed", "at the lowest quality"),
        ({"model": "tiny-any", "fit": "resize"}, 400, "invalid-parameter", "leave out fit=resize"),
        ({"model": "tiny-any", "min_psnr": "90"}, 422, "target-missed", "best quality gives"),
        ({"max_mse": "0.1"}, 422, "image-mismatch", "70 × 40"),
        ({"framing": "raw"}, 422, "image-mismatch", "70 × 40"),
    ],
)
def test_what_does_not_go_together_is_refused(
    mixed: Client, parameters: dict[str, str], status: int, code: str, says: str
) -> None:
    assert_problem(mixed.encode(write_png(PICTURE), accept=OCTETS, **parameters), status, code, says)


def test_a_sender_without_decoders_knows_no_psnr(sender: Client, codec: Codec) -> None:
    answer = sender.encode(write_png(PICTURE)).json()
    assert (answer["psnr_db"], base64.b64decode(answer["bitstream"])) == (
        None,
        codec.encode(PICTURE, effort=1).bitstream,
    )
    for parameters in ({"min_psnr": "30"}, {"min_psnr": "30", "model": "tiny-any"}):
        assert_problem(sender.encode(write_png(PICTURE), **parameters), 400, "invalid-parameter", "needs the decoder")


def files_of(images: list[Pixels]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("file", (f"{number}.png", write_png(one))) for number, one in enumerate(images)]


def encode_form(client: Client, images: list[Pixels], accept: str = OCTETS, **query: str) -> httpx.Response:
    headers = {"Accept": accept}
    return client.request("POST", "/encode/batch", files=files_of(images), headers=headers, params=query)


def images_of(client: Client, container: bytes | AsyncIterator[bytes]) -> list[Pixels]:
    answer = client.post("/decode/batch", container, OCTETS)
    assert (answer.headers["content-type"], answer.json()["shape"]) == (JSON, None)
    return [AnySizeReader().read(base64.b64decode(png)).pixels for png in answer.json()["images"]]


def test_a_batch_holds_images_of_any_size(mixed: Client, codec: Codec) -> None:
    for query, quality in (({"model": "tiny-any"}, None), ({"quality": "20"}, 20.0), ({}, None)):
        answer = encode_form(mixed, MIXED, **query)
        assert answer.headers["latentwire-model"] == codec.card.full_name
        assert answer.content == codec.encode_many(map(write_png, MIXED), quality=quality).container
        expected = [codec.decode(codec.encode(write_png(one), quality=quality).bitstream) for one in MIXED]
        found = images_of(mixed, answer.content)
        assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))
    in_pieces = in_chunks([answer.content[at : at + 7] for at in range(0, len(answer.content), 7)])
    assert len(images_of(mixed, in_pieces)) == len(MIXED)


def test_a_batch_of_any_size_tells_of_each_image_what_a_single_request_does(mixed: Client) -> None:
    for wish in ({"target_bytes": "300"}, {"effort": "1"}, {"effort": "3"}):
        query = {"model": "tiny-any", **wish}
        answer = encode_form(mixed, MIXED, JSON, **query).json()
        assert (list(answer), answer["shape"]) == (["model", "model_id", "shape", "images"], None)
        for one, entry in zip(MIXED, answer["images"], strict=True):
            alone = mixed.encode(write_png(one), **query).json()
            assert entry == {name: alone[name] for name in alone if not name.startswith("model")}


def test_the_first_image_of_a_batch_without_a_model_decides(mixed: Client, codec: Codec) -> None:
    array = io.BytesIO()
    np.save(array, np.stack([PICTURE] * 3))
    answer = mixed.post("/encode/batch", array.getvalue(), NPY)
    assert answer.content == codec.encode_many([PICTURE] * 3).container
    assert mixed.get("/models").json()["default"] == "guarded"
    assert encode_form(mixed, [FAMILIAR] * 2).headers["latentwire-model"].startswith("guarded@")
    assert_problem(encode_form(mixed, [FAMILIAR, PICTURE]), 422, "image-mismatch", "image 1: ")
    assert_problem(encode_form(mixed, [PICTURE], fit="strict", model="guarded"), 422, "image-mismatch", "image 0: ")


def test_a_large_image_of_a_batch_is_admitted_by_its_pixels(
    mixed: Client, codec: Codec, large_bitstream: bytes
) -> None:
    large = drawn_picture(1060, 1300)
    container = encode_form(mixed, [PICTURE, large, PICTURE]).content
    expected = [codec.decode(codec.encode(PICTURE).bitstream), codec.decode(large_bitstream)]
    found = images_of(mixed, container)
    assert all(np.array_equal(*pair) for pair in zip(found, [*expected, expected[0]], strict=True))
    # 1.4 megapixels at an effort of 3, for three qualities, take as long as 99.
    answer = encode_form(mixed, [large], min_psnr="30", effort="3")
    assert_problem(answer, 413, "image-too-large", "image 0: the image has 1,378,000 pixels")


def test_one_bad_image_of_a_batch_is_named(mixed: Client, codec: Codec) -> None:
    for bad in (b"not an image", write_png(PICTURE)[:-30]):
        files = [*files_of(MIXED), ("file", ("x.png", bad)), *files_of(MIXED)]
        answer = mixed.request("POST", "/encode/batch", files=files, params={"model": "tiny-any"})
        assert_problem(answer, 400, "invalid-image", f"image {len(MIXED)}: ")
    answer = encode_form(mixed, [MIXED[2], PICTURE], model="tiny-any", target_bytes="80", fit="strict")
    assert_problem(answer, 422, "target-missed", "image 1: ")
    assert_problem(encode_form(mixed, [FAMILIAR, STRANGE], on_ood="refuse"), 422, "out-of-distribution", "image 1: ")
    good = codec.encode(PICTURE, framing="raw").bitstream
    claim = Header(65535, 65535, 3, 0).write() + bytes(30)
    for payload, status, code in ((good[:-3], 400, "damaged-chunk"), (claim, 413, "image-too-large")):
        writer = PayloadContainerWriter(codec.card.fingerprint)
        container = writer.add(good) + writer.add(payload) + writer.finish()
        assert_problem(mixed.post("/decode/batch", container, OCTETS), status, code, "image 1: ")


def test_images_of_any_size_are_no_array(mixed: Client) -> None:
    assert_problem(encode_form(mixed, MIXED, NPY), 406, "not-acceptable", "of one length")
    container = encode_form(mixed, MIXED).content
    assert_problem(mixed.post("/decode/batch", container, OCTETS, accept=NPY), 406, "not-acceptable", "no array")
    vectors = io.BytesIO()
    np.save(vectors, np.zeros((2, 3), np.float32))
    assert_problem(mixed.post("/decode/batch", vectors.getvalue(), NPY, model="tiny-any"), 400, "invalid-vector")
    array = io.BytesIO()
    np.save(array, np.zeros((1, 4, 4, 5), np.uint8))
    assert_problem(mixed.post("/encode/batch", array.getvalue(), NPY, quality="5"), 422, "image-mismatch", "5 channels")


def test_a_batch_for_a_vector_model_has_no_target(mixed: Client) -> None:
    assert_problem(encode_form(mixed, [FAMILIAR], target_bytes="90"), 400, "invalid-parameter", "of any size")
    assert encode_form(mixed, [PICTURE], target_bytes="90").status_code == 200


def test_a_code_has_no_vector(mixed: Client) -> None:
    body = json.dumps({"code": [0.0, 1.0], "model": "tiny-any"}).encode()
    assert_problem(mixed.decode(body, JSON), 400, "invalid-vector", "bitstreams")


def test_a_cut_bitstream_is_decoded_on_request(mixed: Client, codec: Codec, large_bitstream: bytes) -> None:
    cut = large_bitstream[: len(large_bitstream) * 2 // 3]
    assert_problem(mixed.decode(cut), 400, "invalid-code")
    expected = codec.decode_partial(cut)
    answer = mixed.decode(cut, accept=NPY, partial="1")
    assert np.array_equal(np.load(io.BytesIO(answer.content)), expected.pixels)
    assert json.loads(answer.headers["latentwire-missing"]) == [list(area) for area in expected.missing]
    assert expected.missing
    told = mixed.decode(large_bitstream, accept=JSON, partial="1")
    assert (told.json()["missing"], told.headers["latentwire-missing"]) == ([], "[]")
    assert "latentwire-missing" not in mixed.decode(large_bitstream).headers


def test_a_map_tells_where_the_bits_go(mixed: Client, codec: Codec, png: bytes) -> None:
    payload = codec.encode(drawn_picture(40, 50), quality=20)
    told = mixed.decode(payload.bitstream, accept=JSON, bit_map="1").json()
    bits = np.array(told["bit_map"])
    assert bits.shape == (3, 4)
    assert 0 < bits.sum() < 8 * len(payload.bitstream)
    flat = codec.encode(np.zeros((40, 50, 1), np.uint8), quality=20)
    assert mixed.decode(flat.bitstream, accept=JSON, bit_map="1").json()["bit_map"] is None
    assert "bit_map" not in mixed.decode(payload.bitstream, accept=JSON).json()
    vector = mixed.encode(png, accept=OCTETS).content
    assert "bit_map" not in mixed.decode(vector, accept=JSON, bit_map="1").json()
    assert_problem(mixed.decode(payload.bitstream, bit_map="1"), 400, "invalid-parameter", "Accept: application/json")


def test_damaged_codes_are_refused_with_partial_where_nothing_is_whole(mixed: Client, codec: Codec) -> None:
    small = codec.encode(PICTURE).bitstream
    vector = mixed.encode(write_png(FAMILIAR), accept=OCTETS).content
    for bitstream in (b"", b"L", vector[:-1], small[:9]):
        assert_problem(mixed.decode(bitstream, partial="1"), 400, "invalid-code")
    assert_problem(mixed.decode(small, partial="yes"), 400, "invalid-parameter", "partial takes 0 or 1")


def test_large_claims_are_refused_before_anything_is_made(mixed: Client, codec: Codec) -> None:
    def claim(height: int, width: int, marker: bytes = b"") -> bytes:
        return write_bitstream(marker + Header(height, width, 3, 0).write() + bytes(30), codec.card.fingerprint)

    for marker in (b"", b"\xff\xff"):
        assert_problem(mixed.decode(claim(65535, 65535, marker)), 413, "image-too-large", "at most 50,000,000")
        assert_problem(mixed.decode(claim(7000, 7000, marker)), 400, "invalid-code")
        assert_problem(mixed.decode(claim(7000, 7000, marker), partial="1"), 400, "invalid-code")


def test_the_code_of_another_model_is_refused(mixed: Client, tmp_path: Path) -> None:
    other = Codec.load(publish_tiny_any_size_model(tmp_path / "models", tmp_path / "scratch", seed=1))
    bitstream = other.encode(PICTURE).bitstream
    for parameters in ({}, {"model": "tiny-any"}, {"partial": "1"}):
        assert_problem(mixed.decode(bitstream, **parameters), 409, "model-mismatch")


def test_models_of_both_kinds_are_listed_and_checked(mixed: Client, codec: Codec) -> None:
    answer = mixed.get("/models").json()
    assert (answer["default"], answer["default_any_size"]) == ("guarded", "tiny-any")
    assert [(model["name"], model["kind"]) for model in answer["models"]] == [
        ("guarded", "vector"), ("tiny-any", "any-size"),
    ]  # fmt: skip
    assert mixed.get("/models/tiny-any").json() == json.loads(codec.card.to_json())
    assert mixed.get("/readyz").json()["unavailable_models"] == {}
    assert 'latentwire_model_ready{model="tiny-any"} 1.0' in mixed.get("/metrics").text


def test_a_model_for_images_of_any_size_can_be_the_default(mixed_dir: Path) -> None:
    with serve(Settings(models_dir=mixed_dir, default_model="tiny-any")) as client:
        for pixels in (PICTURE, FAMILIAR):
            assert client.encode(write_png(pixels)).json()["model"] == "tiny-any"
        assert client.encode(write_png(FAMILIAR), model="guarded").json()["model"] == "guarded"
