import base64
import io

import httpx
import numpy as np
import pytest
from PIL import Image

from latentwire.encoder import Encoder
from latentwire.imaging.image import Pixels
from tests.service.client import JSON, OCTETS, Client, assert_problem
from tests.service.hostile import BAD_IMAGES, png_that_claims, save
from tests.tiny_model import SHAPE


@pytest.fixture(scope="module")
def encoder(models_dir) -> Encoder:  # type: ignore[no-untyped-def]
    return Encoder.open(models_dir / "tiny")


def form(client: Client, *files: tuple[str, tuple[str, bytes]], **fields: str) -> httpx.Response:
    return client.request("POST", "/encode", files=list(files), data=fields)


def test_encode_answers_json_with_the_code_by_default(client: Client, png: bytes, encoder: Encoder) -> None:
    expected = encoder.encode_file(png)
    response = client.encode(png)
    assert response.status_code == 200
    assert response.headers["content-type"] == JSON
    answer = response.json()
    assert list(answer) == [
        *("model", "model_id", "code", "shape", "bitstream", "payload_bytes", "bitstream_bytes", "bpp"),
        *("mse", "psnr_db", "max_error", "ood", "doubt", "sent_as", "fitted"),
    ]
    assert answer["model"] == "tiny"
    assert answer["model_id"] == encoder.card.model_id
    assert np.array_equal(np.float32(answer["code"]), expected.y)
    assert answer["shape"] == list(SHAPE.as_tuple())
    assert base64.b64decode(answer["bitstream"]) == expected.bitstream
    assert answer["payload_bytes"] == len(expected.payload)
    assert answer["bitstream_bytes"] == len(expected.bitstream)
    assert answer["bpp"] == 8 * len(expected.bitstream) / SHAPE.pixels


def test_encode_answers_the_wire_bytes_when_asked(client: Client, png: bytes, encoder: Encoder) -> None:
    response = client.encode(png, accept=OCTETS)
    assert response.headers["content-type"] == OCTETS
    assert response.content == encoder.encode_file(png).bitstream


@pytest.mark.parametrize("accept", [JSON, OCTETS])
def test_encode_names_the_model_and_varies_by_accept(client: Client, png: bytes, accept: str, encoder: Encoder) -> None:
    headers = client.encode(png, accept=accept).headers
    assert headers["latentwire-model"] == f"tiny@{encoder.card.model_id}"
    assert headers["vary"] == "Accept"


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        OCTETS,
        "image/png",
        "IMAGE/PNG; x=y",
        "image/jpeg",
        "image/gif",
        "image/x-ms-bmp",
        "image/jpg",
        "image/pjpeg",
        "image/x-png",
        "image/tiff",
        "image/*",
        "binary/octet-stream",
        "application/x-www-form-urlencoded",
    ],
)
def test_encode_looks_at_the_bytes_not_at_the_content_type(
    client: Client, png: bytes, content_type: str | None, bitstream: bytes
) -> None:
    assert client.encode(png, content_type, accept=OCTETS).content == bitstream


@pytest.mark.parametrize("file_format", ["BMP", "GIF", "WEBP", "JPEG", "TIFF"])
def test_encode_takes_each_format(client: Client, pixels: Pixels, file_format: str) -> None:
    picture = Image.fromarray(pixels[:, :, 0])
    fit = "resize" if file_format == "WEBP" else "strict"  # WebP has no grey
    if file_format == "GIF":
        fit = "resize"  # nor has GIF: its pictures have a palette
    assert client.encode(save(picture, file_format), f"image/{file_format.lower()}", fit=fit).status_code == 200


@pytest.mark.parametrize("field", ["file", "image", ""])
def test_encode_takes_one_file_of_a_form(client: Client, png: bytes, field: str, bitstream: bytes) -> None:
    response = client.request("POST", "/encode", files={field: ("a.png", png)}, headers={"Accept": OCTETS})
    assert response.content == bitstream


def test_encode_refuses_two_files_of_a_form(client: Client, png: bytes) -> None:
    response = form(client, ("a", ("a.png", png)), ("b", ("b.png", png)))
    assert_problem(response, 400, "invalid-multipart", "several files")


def test_encode_passes_over_the_other_fields_of_a_form(client: Client, png: bytes, bitstream: bytes) -> None:
    response = form(client, ("a", ("a.png", png)), ("b", ("", b"")), send="Send", fit="pad")
    assert base64.b64decode(response.json()["bitstream"]) == bitstream


def test_encode_chooses_the_model_by_name(client: Client, png: bytes, bitstream: bytes) -> None:
    response = client.encode(png, model="other", accept=OCTETS)
    assert response.headers["latentwire-model"].startswith("other@")
    assert response.content != bitstream


@pytest.mark.parametrize("name", ["nobody", "", "../tiny", "tiny\x00", "☃" * 1000])
def test_encode_refuses_a_model_that_is_not_loaded(client: Client, png: bytes, name: str) -> None:
    assert_problem(client.encode(png, model=name), 404, "unknown-model", "other, tiny")


@pytest.mark.parametrize("fit", ["", "STRICT", "crop"])
def test_encode_refuses_an_unknown_fit(client: Client, png: bytes, fit: str) -> None:
    assert_problem(client.encode(png, fit=fit), 400, "invalid-parameter", "strict, resize or pad")


def test_encode_refuses_an_unknown_parameter(client: Client, png: bytes) -> None:
    assert_problem(
        client.encode(png, fitt="pad"),
        400,
        "invalid-parameter",
        "it has background, effort, fit, framing, max_mse, min_psnr,",
    )


@pytest.mark.parametrize("fit", ["resize", "pad"])
def test_encode_converts_what_does_not_fit_when_asked(client: Client, fit: str) -> None:
    large = save(Image.new("RGBA", (50, 40), (10, 200, 30, 90)), "PNG")
    assert_problem(client.encode(large), 422, "image-mismatch", "fit=resize")
    assert client.encode(large, fit=fit).status_code == 200


def test_encode_tells_what_was_changed_to_fit(client: Client, png: bytes) -> None:
    drawing = Image.new("RGBA", (60, 80), (0, 0, 0, 0))
    drawing.paste((0, 0, 0, 255), (20, 10, 30, 70))
    data = save(drawing, "PNG")
    answer = client.encode(data, fit="resize").json()
    assert answer["fitted"] == {
        "flattened": "white",
        "hidden": 0,
        "converted": "RGBA of 8 bits",
        "resized": [80, 60],
        "padded": None,
        "sentence": "the image was laid on white, converted from RGBA of 8 bits, scaled from 60 × 80 pixels",
    }
    assert client.encode(data, fit="resize", background="black").json()["fitted"]["flattened"] == "black"
    assert_problem(client.encode(data, fit="resize", background="red"), 400, "invalid-parameter", "white or black")
    headers = client.encode(data, fit="resize", accept=OCTETS).headers
    assert headers["latentwire-fitted"] == "flattened, converted, resized"
    assert "latentwire-fitted" not in client.encode(png, accept=OCTETS, fit="resize").headers
    assert client.encode(png, fit="resize").json()["fitted"] is None


def test_encode_takes_a_photograph_of_a_phone_by_default(client: Client) -> None:
    photograph = save(Image.linear_gradient("L").resize((4032, 3024)), "JPEG")
    assert client.encode(photograph, fit="resize").json()["fitted"]["resized"] == [3024, 4032]


def test_formats_are_a_setting(start, pixels: Pixels) -> None:  # type: ignore[no-untyped-def]
    avif = save(Image.fromarray(pixels[:, :, 0]), "AVIF")
    says = "have avif added to the formats (--image-formats)"
    assert_problem(start().encode(avif, fit="resize"), 400, "invalid-image", says)
    client = start(image_formats="avif,png")
    assert client.encode(avif, fit="resize").status_code == 200
    gif = save(Image.fromarray(pixels[:, :, 0]), "GIF")
    assert_problem(client.encode(gif, fit="pad"), 400, "invalid-image", "not a readable AVIF or PNG image")


@pytest.mark.parametrize("accept", ["image/png", "application/octet-stream;q=0", "x", "text/*, image/*"])
def test_encode_refuses_to_answer_in_another_type(client: Client, png: bytes, accept: str) -> None:
    assert_problem(client.encode(png, accept=accept), 406, "not-acceptable", "application/octet-stream")


@pytest.mark.parametrize("content_type", ["application/xml", "text/plain", "image", ";", "/"])
def test_encode_refuses_other_types_and_says_how_to_send(client: Client, png: bytes, content_type: str) -> None:
    response = client.encode(png, content_type)
    if content_type == ";":
        assert response.status_code == 200  # no type, with no parameters
    else:
        assert_problem(response, 415, "unsupported-media-type", "-H 'Content-Type: image/png'")


@pytest.mark.parametrize(("data", "status", "code"), BAD_IMAGES.values(), ids=BAD_IMAGES)
def test_encode_answers_bad_images_and_then_goes_on(
    client: Client, png: bytes, bitstream: bytes, data: bytes, status: int, code: str
) -> None:
    assert_problem(client.encode(data), status, code)
    assert_problem(form(client, ("file", ("a.png", data))), status, code)
    assert client.encode(png, accept=OCTETS).content == bitstream


def test_encode_refuses_every_truncation_of_an_image(client: Client, png: bytes) -> None:
    for length in range(len(png)):
        assert_problem(client.encode(png[:length]), 400, "invalid-image")


def test_encode_refuses_a_picture_of_more_pixels_than_the_setting(start, png: bytes) -> None:  # type: ignore[no-untyped-def]
    client = start(max_image_pixels=SHAPE.pixels)
    assert client.encode(png).status_code == 200
    assert_problem(client.encode(png_that_claims(7, 8), fit="resize"), 413, "image-too-large", "at most 48")


def test_encode_answers_a_raw_payload_on_request(client: Client, png: bytes, encoder: Encoder) -> None:
    response = client.encode(png, accept=OCTETS, framing="raw")
    assert response.content == encoder.encode_file(png).payload
    assert response.headers["latentwire-model"] == f"tiny@{encoder.card.model_id}"
    full = client.encode(png, accept=OCTETS, framing="full")
    assert len(full.content) - len(response.content) == 8


def test_json_has_no_raw_framing(client: Client, png: bytes) -> None:
    assert_problem(client.encode(png, framing="raw"), 400, "invalid-parameter", "Accept: application/octet-stream")
    assert client.encode(png, framing="full").json() == client.encode(png).json()


@pytest.mark.parametrize("value", ["", "Raw", "raw ", "half", "x" * 10_000])
def test_encode_refuses_an_unknown_framing(client: Client, png: bytes, value: str) -> None:
    assert_problem(client.encode(png, accept=OCTETS, framing=value), 400, "invalid-parameter", "full or raw")


def test_encode_keeps_what_is_sent_out_of_headers(client: Client, png: bytes) -> None:
    response = client.encode(png, model="tiny\r\nX-Injected: 1")
    assert_problem(response, 404, "unknown-model")
    assert "x-injected" not in response.headers


def test_save_writes_what_it_says() -> None:
    assert Image.open(io.BytesIO(save(Image.new("L", (2, 2)), "GIF"))).format == "GIF"
