"""Whatever is sent to either route, the answer is a picture, a code or a problem, and never a 5xx."""

import base64
import json

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latentwire.format.bitstream import write_bitstream
from latentwire.problems import PROBLEM_MEDIA_TYPE
from tests.service.client import JSON, OCTETS, Client
from tests.service.hostile import BAD_IMAGES
from tests.tiny_model import CODE_SIZE

fixture_is_shared = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    max_examples=200,
    database=None,
)

HEADER_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40).map(str.strip)
ACCEPTS = st.none() | HEADER_TEXT | st.sampled_from(["*/*", "image/png", "image/*;q=0", OCTETS, JSON, "a/b;q=", "q"])
CONTENT_TYPES = (
    st.none()
    | HEADER_TEXT
    | st.sampled_from([OCTETS, JSON, "image/png", "multipart/form-data; boundary=b", "multipart/form-data"])
)
IMAGES = st.sampled_from([data for data, _, _ in BAD_IMAGES.values()])
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["code", "bitstream", "model", "x"]), inner),
    max_leaves=20,
)
BODIES = (
    st.binary(max_size=300)
    | JSON_VALUES.map(json.dumps).map(str.encode)
    | IMAGES
    | st.tuples(IMAGES, st.integers(0, 60)).map(lambda cut: cut[0][: cut[1]])
    | st.binary(max_size=80).map(lambda part: b"--b\r\n" + part + b"\r\n--b--\r\n")
)


def assert_sound(response: httpx.Response) -> None:
    assert response.status_code < 500, response.text
    assert (response.status_code == 200) != (response.headers["content-type"] == PROBLEM_MEDIA_TYPE)
    assert "Traceback" not in response.text


@given(
    path=st.sampled_from(["/encode", "/decode"]),
    body=BODIES,
    content_type=CONTENT_TYPES,
    accept=ACCEPTS,
    query=st.dictionaries(
        st.sampled_from(["model", "fit", "x"]), st.sampled_from(["tiny", "pad", "resize", "strict", ""]) | st.text()
    ),
)
@fixture_is_shared
def test_no_request_gives_a_5xx(
    client: Client, path: str, body: bytes, content_type: str | None, accept: str | None, query: dict[str, str]
) -> None:
    headers = {"Content-Type": content_type, "Accept": accept}
    given_headers = {name: value for name, value in headers.items() if value is not None}
    assert_sound(client.request("POST", path, content=body, headers=given_headers, params=query))


@given(
    query=st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#"), max_size=60),
    path=st.sampled_from(["/encode", "/decode", "/models", "/models/tiny"]),
)
@fixture_is_shared
def test_no_query_string_gives_a_5xx(client: Client, query: str, path: str) -> None:
    for method in ("GET", "POST"):
        assert_sound(client.request(method, f"{path}?{query}"))


@given(payload=st.binary(min_size=1, max_size=20))
@fixture_is_shared
def test_any_payload_in_a_sound_frame_is_answered(client: Client, payload: bytes, bitstream: bytes) -> None:
    framed = write_bitstream(payload, bitstream[2:6])
    response = client.decode(framed)
    assert_sound(response)
    as_json = client.decode(json.dumps({"bitstream": base64.b64encode(framed).decode()}).encode(), JSON)
    assert (as_json.status_code, as_json.content) == (response.status_code, response.content)


@given(code=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=CODE_SIZE, max_size=CODE_SIZE))
@fixture_is_shared
def test_any_point_of_the_code_space_is_answered(client: Client, code: list[float]) -> None:
    assert_sound(client.decode(json.dumps({"code": code}).encode(), JSON))
