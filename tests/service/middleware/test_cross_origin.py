"""What a browser needs to let the pages of another origin use the service, and what keeps all others out."""

from collections.abc import Callable
from typing import Any

import pytest

from service.errors import StartupRefused
from service.settings import read_settings
from tests.service.client import JSON, OCTETS, Client, assert_problem

KEY = "0123456789abcdefghij"
ORIGIN = "https://a.example"
# As Chromium sends it before a POST with a key.
PREFLIGHT = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,traceparent,x-request-id",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Site": "cross-site",
}


@pytest.fixture(scope="module")
def origins() -> str:
    return f"http://localhost:3000,{ORIGIN}"


def names(header: str) -> set[str]:
    return {name.strip().lower() for name in header.split(",")}


def test_a_preflight_is_answered_before_keys_are_asked_for(start: Callable[..., Client], origins: str) -> None:
    client = start(cors_origins=origins, api_keys=KEY)
    answer = client.request("OPTIONS", "/encode?fit=resize", headers=PREFLIGHT)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert names(PREFLIGHT["Access-Control-Request-Headers"]) <= names(answer.headers["access-control-allow-headers"])
    assert "access-control-allow-credentials" not in answer.headers
    # An OPTIONS request that is no preflight needs a key.
    assert_problem(client.request("OPTIONS", "/encode", headers={"Origin": ORIGIN}), 401, "unauthenticated")


def test_an_allowed_page_reads_responses_and_problems(start: Callable[..., Client], origins: str, png: bytes) -> None:
    client = start(cors_origins=origins, api_keys=KEY)
    sent: dict[str, Any] = {"content": png, "headers": {"Origin": ORIGIN, "Accept": OCTETS}}
    refused = client.request("POST", "/encode", **sent)
    assert_problem(refused, 401, "unauthenticated")
    sent["headers"]["Authorization"] = f"Bearer {KEY}"
    encoded = client.request("POST", "/encode", **sent)
    assert encoded.status_code == 200
    for response in (refused, encoded):
        assert response.headers["access-control-allow-origin"] == ORIGIN
        exposed = names(response.headers["access-control-expose-headers"])
        assert {name for name in response.headers if name.startswith(("latentwire-", "x-request"))} <= exposed
        assert "origin" in names(response.headers["vary"])
    assert names(encoded.headers["vary"]) == {"accept", "origin"}


@pytest.mark.parametrize(
    "origin", ["https://b.example", "http://a.example", "https://a.example:8443", "https://a.example.b.example", "null"]
)
def test_a_page_of_another_origin_gets_nothing(start: Callable[..., Client], origins: str, origin: str) -> None:
    client = start(cors_origins=origins)
    preflight = client.request("OPTIONS", "/encode", headers=PREFLIGHT | {"Origin": origin})
    assert preflight.status_code == 400
    listed = client.get("/models", headers={"Origin": origin, "Accept": JSON})
    assert listed.status_code == 200
    for response in (preflight, listed):
        assert "access-control-allow-origin" not in response.headers
        # Otherwise a cache could give this response to the other page.
        assert "origin" in names(response.headers["vary"])


def test_without_the_setting_no_origin_is_told_apart(client: Client) -> None:
    assert_problem(client.request("OPTIONS", "/encode", headers=PREFLIGHT), 405, "method-not-allowed")
    listed = client.get("/models", headers={"Origin": ORIGIN})
    assert not [name for name in listed.headers if name.startswith("access-control-")]
    assert "vary" not in listed.headers


@pytest.mark.parametrize(
    ("origins", "says"),
    [
        ("*", "'\\*' would let every page on the web"),
        (f"{ORIGIN},*", "'\\*' would let every page on the web"),
        (f"{ORIGIN}/", "not an origin"),
        ("https://A.example", "not an origin"),
        ("a.example", "not an origin"),
        ("https://*.example", "not an origin"),
        ("https://a.example:443", "not an origin"),
        (f"null,{ORIGIN}", "not an origin"),
        (f"{ORIGIN}, http://localhost:3000", "not an origin"),
    ],
)
def test_only_exact_origins_are_taken(origins: str, says: str) -> None:
    with pytest.raises(StartupRefused, match=says):
        read_settings(["--cors-origins", origins])


def test_origins_of_every_kind_are_taken() -> None:
    origins = "https://a.example:8443,http://[::1]:3000,http://localhost,chrome-extension://abcdefgh,http://x:443"
    assert read_settings(["--cors-origins", origins]).cors_origins == origins
