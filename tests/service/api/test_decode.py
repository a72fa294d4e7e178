import base64
import io
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from latentwire.decoder import Decoder
from latentwire.format.bitstream import write_bitstream
from latentwire.format.code_json import CodeJson
from latentwire.format.lossless import write_payload
from latentwire.imaging.image import Pixels
from tests.service.client import JSON, OCTETS, Client, assert_problem
from tests.tiny_model import CODE_SIZE, SHAPE

GOOD_CODE = [0.25] * CODE_SIZE


@pytest.fixture(scope="module")
def decoder(models_dir: Path) -> Decoder:
    return Decoder.open(models_dir / "tiny")


@pytest.fixture(scope="module")
def picture(decoder: Decoder, bitstream: bytes) -> Pixels:
    pixels: Pixels = decoder.decode([bitstream])[0]
    return pixels


def decode_json(client: Client, content: object, **options: str) -> httpx.Response:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return client.decode(body, JSON, **options)


def read(data: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data)), np.uint8).reshape(*SHAPE.as_tuple()[:2], -1)


@pytest.mark.parametrize("content_type", [OCTETS, None, "Application/Octet-Stream"])
def test_decode_answers_a_png_by_default(
    client: Client, bitstream: bytes, picture: Pixels, content_type: str | None, decoder: Decoder
) -> None:
    response = client.decode(bitstream, content_type)
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/png"
    assert response.headers["latentwire-model"] == decoder.card.full_name
    assert response.headers["vary"] == "Accept"
    assert Image.open(io.BytesIO(response.content)).format == "PNG"
    assert np.array_equal(read(response.content), picture)


def test_decode_answers_a_lossless_webp(client: Client, bitstream: bytes, picture: Pixels) -> None:
    response = client.decode(bitstream, accept="image/webp")
    assert response.headers["content-type"] == "image/webp"
    assert np.array_equal(read(response.content), np.repeat(picture, 3, axis=2))


def test_decode_answers_an_npy_array(client: Client, bitstream: bytes, picture: Pixels) -> None:
    response = client.decode(bitstream, accept="application/x-npy")
    assert response.headers["content-type"] == "application/x-npy"
    array = np.load(io.BytesIO(response.content), allow_pickle=False)
    assert array.dtype == np.uint8
    assert np.array_equal(array, picture)


def test_decode_answers_json_with_a_png(client: Client, bitstream: bytes, picture: Pixels, decoder: Decoder) -> None:
    response = client.decode(bitstream, accept=JSON)
    assert response.headers["content-type"] == JSON
    answer = response.json()
    assert list(answer) == ["model", "model_id", "shape", "image"]
    assert answer["model"] == "tiny"
    assert answer["model_id"] == decoder.card.model_id
    assert answer["shape"] == list(SHAPE.as_tuple())
    assert np.array_equal(read(base64.b64decode(answer["image"])), picture)


def test_decode_takes_the_payload_of_a_json_body(client: Client, bitstream: bytes) -> None:
    response = decode_json(client, {"bitstream": base64.b64encode(bitstream).decode()})
    assert response.content == client.decode(bitstream).content


def test_decode_takes_the_answer_of_encode_as_it_is(client: Client, png: bytes, bitstream: bytes) -> None:
    assert decode_json(client, client.encode(png).content).content == client.decode(bitstream).content


def test_decode_takes_a_latent_vector(client: Client, decoder: Decoder) -> None:
    response = decode_json(client, {"code": GOOD_CODE}, accept="application/x-npy")
    assert np.array_equal(np.load(io.BytesIO(response.content)), decoder.decode_vector(GOOD_CODE))


def test_decode_takes_whole_numbers_in_a_code(client: Client) -> None:
    assert decode_json(client, {"code": [1] * CODE_SIZE}).status_code == 200


def test_decode_chooses_the_model_from_the_code(client: Client, png: bytes) -> None:
    others = client.encode(png, model="other", accept=OCTETS).content
    assert client.decode(others).headers["latentwire-model"].startswith("other@")
    response = decode_json(client, {"bitstream": base64.b64encode(others).decode(), "model": "a name of the sender's"})
    assert response.headers["latentwire-model"].startswith("other@")


@pytest.mark.parametrize(("query", "field"), [("other", None), (None, "other"), ("other", "other")])
def test_decode_chooses_the_model_of_a_latent_vector_by_name(
    client: Client, query: str | None, field: str | None
) -> None:
    params = {} if query is None else {"model": query}
    response = decode_json(client, {"code": GOOD_CODE, "model": field}, **params)
    assert response.headers["latentwire-model"].startswith("other@")


def test_decode_refuses_two_different_names(client: Client) -> None:
    response = decode_json(client, {"code": GOOD_CODE, "model": "tiny"}, model="other")
    assert_problem(response, 400, "invalid-parameter", "different models")


def test_decode_refuses_unknown_names(client: Client, bitstream: bytes) -> None:
    assert_problem(client.decode(bitstream, model="nobody"), 404, "unknown-model")
    assert_problem(decode_json(client, {"code": GOOD_CODE}, model=""), 404, "unknown-model")
    assert_problem(decode_json(client, {"code": GOOD_CODE, "model": "nobody"}), 404, "unknown-model")
    assert_problem(decode_json(client, {"code": GOOD_CODE, "model": ""}), 404, "unknown-model")


def test_decode_refuses_wire_bytes_of_another_model_than_the_query_names(client: Client, bitstream: bytes) -> None:
    assert_problem(client.decode(bitstream, model="other"), 409, "model-mismatch")
    assert client.decode(bitstream, model="tiny").status_code == 200


def test_decode_takes_a_raw_payload_of_a_named_model(client: Client, png: bytes, bitstream: bytes) -> None:
    raw = client.encode(png, accept=OCTETS, framing="raw")
    expected = client.decode(bitstream).content
    for model in ("tiny", raw.headers["latentwire-model"]):
        response = client.decode(raw.content, framing="raw", model=model)
        assert response.content == expected
        assert response.headers["latentwire-model"] == raw.headers["latentwire-model"]


def test_decode_refuses_a_raw_payload_without_a_model(client: Client, bitstream: bytes) -> None:
    raw = bitstream[6:-2]
    assert_problem(client.decode(raw, framing="raw"), 400, "invalid-parameter", "needs model=")
    assert_problem(client.decode(raw, framing="raw", model=""), 404, "unknown-model")
    assert_problem(client.decode(raw, framing="raw", model="nobody"), 404, "unknown-model")
    assert_problem(client.decode(raw, framing="raw", model="tiny@" + "0" * 64), 409, "model-mismatch", "model_id")
    assert_problem(client.decode(raw, framing="rawer", model="tiny"), 400, "invalid-parameter", "full or raw")
    as_json = {"bitstream": base64.b64encode(raw).decode()}
    assert_problem(decode_json(client, as_json, framing="raw", model="tiny"), 400, "invalid-parameter", "not in JSON")


@pytest.mark.parametrize("payload", [b"", b"\xff\xff", b"\xff\xff\x07abc", bytes(60_000)])
def test_decode_refuses_what_is_not_a_payload(client: Client, payload: bytes) -> None:
    assert_problem(client.decode(payload, framing="raw", model="tiny"), 400, "invalid-code")


def test_decode_gives_back_an_image_that_was_sent_as_itself(client: Client, pixels: Pixels, decoder: Decoder) -> None:
    payload = write_payload(pixels)
    for response in (
        client.decode(write_bitstream(payload, decoder.card.fingerprint), accept="application/x-npy"),
        client.decode(payload, framing="raw", model="tiny", accept="application/x-npy"),
    ):
        assert np.array_equal(np.load(io.BytesIO(response.content)), pixels)


def test_decode_refuses_a_code_of_a_model_that_is_not_loaded(client: Client, bitstream: bytes) -> None:
    assert_problem(client.decode(write_bitstream(bitstream[6:-2], b"\0\1\2\3")), 409, "model-mismatch", "00010203")


def test_decode_refuses_a_model_id_of_another_model(client: Client, bitstream: bytes) -> None:
    for content in ({"code": GOOD_CODE}, {"bitstream": base64.b64encode(bitstream).decode()}):
        assert_problem(decode_json(client, {**content, "model_id": "0" * 64}), 409, "model-mismatch", "model_id")


def test_decode_refuses_a_code_with_any_bit_flipped(client: Client, bitstream: bytes) -> None:
    for position in range(8 * len(bitstream)):
        damaged = bytearray(bitstream)
        damaged[position // 8] ^= 1 << position % 8
        assert_problem(client.decode(bytes(damaged)), 400, "invalid-code")
    assert client.decode(bitstream).status_code == 200


def test_decode_refuses_every_truncation_and_what_is_appended(client: Client, bitstream: bytes) -> None:
    for length in range(len(bitstream)):
        assert_problem(client.decode(bitstream[:length]), 400, "invalid-code")
    for extra in (b"\0", b"\n", bitstream, bytes(60_000)):
        assert_problem(client.decode(bitstream + extra), 400, "invalid-code")
    assert client.decode(bitstream).status_code == 200


def test_decode_refuses_a_whole_code_of_the_wrong_length(client: Client, bitstream: bytes, decoder: Decoder) -> None:
    for payload in (bitstream[6:-2] + b"\0", bytes(60_000)):
        assert_problem(
            client.decode(write_bitstream(payload, decoder.card.fingerprint)), 400, "invalid-code", "payload"
        )


def nested(depth: int, inside: str = "1") -> bytes:
    return b'{"code": ' + b"[" * depth + inside.encode() + b"]" * depth + b"}"


def with_code(text: str) -> bytes:
    return b'{"code": [0.5, 0.5, 0.5, 0.5, ' + text.encode() + b"]}"


BAD_JSON: dict[str, tuple[bytes, int, str]] = {
    "empty": (b"", 400, "invalid-json"),
    "text": (b"code", 400, "invalid-json"),
    "not UTF-8": (b'{"bitstream": "\xff"}', 400, "invalid-json"),
    "UTF-16": ('{"bitstream": ""}'.encode("utf-16"), 400, "invalid-json"),
    "cut short": (b'{"code": [0.5, 0.5', 400, "invalid-json"),
    "two values": (b'{"code": []} {"code": []}', 400, "invalid-json"),
    "a number": (b"1", 400, "invalid-json"),
    "a list": (b"[0.5, 0.5, 0.5, 0.5, 0.5]", 400, "invalid-json"),
    "null": (b"null", 400, "invalid-json"),
    "NaN": (with_code("NaN"), 400, "invalid-json"),
    "Infinity": (with_code("Infinity"), 400, "invalid-json"),
    "-Infinity": (with_code("-Infinity"), 400, "invalid-json"),
    "a field twice": (b'{"code": [1, 1, 1, 1, 1], "code": [1, 1, 1, 1, 1]}', 400, "invalid-json"),
    "1,000 levels": (nested(1000), 400, "invalid-json"),
    "1,000 objects": (b'{"code": ' * 1000 + b"1" + b"}" * 1000, 400, "invalid-json"),
    "60,000 levels that do not end": (b"[" * 60_000, 400, "invalid-json"),
    "a number of 5,000 digits": (with_code("9" * 5000), 400, "invalid-json"),
    "beyond float64": (with_code("1e400"), 400, "invalid-code"),
    "400 digits": (with_code("9" * 400), 400, "invalid-code"),
    "beyond float32": (with_code("1e39"), 400, "invalid-vector"),
    "a string": (with_code('"0.5"'), 400, "invalid-code"),
    "true": (with_code("true"), 400, "invalid-code"),
    "a null": (with_code("null"), 400, "invalid-code"),
    "nested": (nested(2, "1, 1, 1, 1, 1"), 400, "invalid-code"),
    "code is a string": (b'{"code": "abc"}', 400, "invalid-code"),
    "code is an object": (b'{"code": {"0": 1}}', 400, "invalid-code"),
    "too short": (b'{"code": [0.5, 0.5, 0.5, 0.5]}', 400, "invalid-vector"),
    "too long": (with_code("0.5, 0.5"), 400, "invalid-vector"),
    "no elements": (b'{"code": []}', 400, "invalid-vector"),
    "five million elements": (b'{"code": [' + b"0," * 5_000_000 + b"0]}", 413, "body-too-large"),
    "as many elements as fit": (b'{"code": [' + b"0," * 32_000 + b"0]}", 400, "invalid-vector"),
    "no fields": (b"{}", 400, "invalid-code"),
    "all null": (b'{"code": null, "bitstream": null}', 400, "invalid-code"),
    "payload is not base64": (b'{"bitstream": "TAG*"}', 400, "invalid-code"),
    "payload is not ASCII": ('{"bitstream": "☃"}'.encode(), 400, "invalid-code"),
    "payload is a lone surrogate": (b'{"bitstream": "\\ud800"}', 400, "invalid-code"),
    "payload is empty": (b'{"bitstream": ""}', 400, "invalid-code"),
    "payload is a list": (b'{"bitstream": [76]}', 400, "invalid-code"),
    "payload is text": (b'{"bitstream": "aGVsbG8="}', 400, "invalid-code"),
}


@pytest.mark.parametrize(("body", "status", "code"), BAD_JSON.values(), ids=BAD_JSON)
def test_decode_answers_bad_json_and_then_goes_on(
    client: Client, bitstream: bytes, body: bytes, status: int, code: str
) -> None:
    assert_problem(decode_json(client, body), status, code)
    assert client.decode(bitstream).status_code == 200


@pytest.mark.parametrize(
    "element", [b"0,", b"[],", b"{},", b'"",', b"[", b'{"a":', b"1", b" ", b'{"bitstream":"', b"\\u0000"]
)
def test_decode_refuses_megabytes_of_json(client: Client, element: bytes) -> None:
    limit = 10 << 20
    body = b'{"code": [' + element * ((limit - 16) // len(element))
    for whole in (body, body + b"0]}"):
        assert_problem(client.decode(whole, JSON), 413, "body-too-large")
    assert client.decode(body[:60_000], JSON).status_code == 400
    assert client.decode(body[:60_000] + b"0]}", JSON).status_code == 400


def test_decode_passes_over_fields_that_it_does_not_know(client: Client, bitstream: bytes, picture: Pixels) -> None:
    known = {"bitstream": base64.b64encode(bitstream).decode()}
    newer = {"fitted": {"from": [40, 50, 4], "fit": "pad"}, "Größe": "🙂", "bpp": [], "sent_as": {"a": None}}
    np.testing.assert_array_equal(read(decode_json(client, {**newer, **known}).content), picture)


@pytest.mark.parametrize(
    "write",
    [
        lambda code: base64.encodebytes(code).decode(),
        lambda code: base64.b64encode(code).decode() + "\n",
        lambda code: "\r\n".join(base64.b64encode(code).decode()),
        lambda code: " \t" + base64.b64encode(code).decode(),
        lambda code: base64.urlsafe_b64encode(code).decode(),
        lambda code: base64.b64encode(code).decode().rstrip("="),
        lambda code: base64.urlsafe_b64encode(code).decode().rstrip("=") + "\n",
    ],
)
def test_base64_is_read_with_line_breaks_for_urls_and_without_padding(write: Callable[[bytes], str]) -> None:
    data = bytes(range(256))
    assert CodeJson(bitstream=write(data)).decoded_bitstream() == data


@pytest.mark.parametrize(
    "content_type",
    ["binary/octet-stream", "application/x-octet-stream", "Application/OCTET-STREAM; charset=binary", ""],
)
def test_decode_takes_a_bitstream_of_any_name_for_bytes(client: Client, bitstream: bytes, content_type: str) -> None:
    assert client.decode(bitstream, content_type).status_code == 200


@pytest.mark.parametrize("content_type", ["application/xml", "image/png", "text/json"])
def test_decode_refuses_other_types_and_says_how_to_send(client: Client, bitstream: bytes, content_type: str) -> None:
    response = client.decode(bitstream, content_type)
    assert_problem(response, 415, "unsupported-media-type", "-H 'Content-Type: application/octet-stream'")


def test_decode_refuses_to_answer_in_another_type(client: Client, bitstream: bytes) -> None:
    assert_problem(client.decode(bitstream, accept="image/gif"), 406, "not-acceptable", "image/webp")


def test_decode_reads_several_accept_headers(client: Client, bitstream: bytes) -> None:
    headers = [("Accept", "text/html"), ("Accept", "image/webp")]
    assert client.request("POST", "/decode", content=bitstream, headers=headers).headers["content-type"] == "image/webp"


@pytest.mark.parametrize("body", [b"", b"hello", b"L", bytes(5000)])
def test_decode_refuses_what_is_not_a_code(client: Client, body: bytes) -> None:
    assert_problem(client.decode(body), 400, "invalid-code")


def test_decode_refuses_an_image(client: Client, png: bytes) -> None:
    assert_problem(client.decode(png), 400, "invalid-code")


def test_decode_refuses_an_unknown_parameter(client: Client, bitstream: bytes) -> None:
    assert_problem(client.decode(bitstream, fit="pad"), 400, "invalid-parameter", "it has bit_map, framing, model")
