from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.http.problems import ProblemMiddleware
from service.middleware.auth import AuthMiddleware
from service.middleware.instrumentation import InstrumentationMiddleware
from service.settings import Settings
from tests.service.client import OCTETS, Client, assert_problem

BOTH, SENDER, RECEIVER = "both-0123456789abcdef", "sender-0123456789abcdef", "receiver-0123456789abcdef"


def bearing(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def keyed(start: Callable[..., Client], tmp_path: Path) -> Client:
    path = tmp_path / "keys"
    path.write_text(f"{BOTH}\nsender:{SENDER}\nreceiver:{RECEIVER}\n")
    return start(api_keys_file=path)


def middleware_of(client: Client) -> list[type]:
    """Return what a request passes before Starlette gets it."""
    found: list[Any] = [client.app.middleware_stack]
    while hasattr(found[-1], "_app"):
        found.append(found[-1]._app)
    return [type(middleware) for middleware in found[:-1]]


def assert_unauthenticated(response: httpx.Response, says: str) -> None:
    assert_problem(response, 401, "unauthenticated", says)
    assert response.headers["www-authenticate"].startswith('Bearer realm="latentwire"')


def test_requests_pass_no_key_check_without_keys(client: Client) -> None:
    assert middleware_of(client) == [InstrumentationMiddleware, ProblemMiddleware]


def test_keys_are_checked_before_any_route(keyed: Client) -> None:
    assert middleware_of(keyed) == [InstrumentationMiddleware, AuthMiddleware, ProblemMiddleware]


@pytest.mark.parametrize(
    "path",
    [
        "/encode",
        "/encode/batch",
        "/decode",
        "/decode/batch",
        "/compare",
        "/models",
        "/models/tiny",
        "/metrics",
        "/nope",
    ],
)
def test_a_closed_path_takes_a_key(keyed: Client, path: str) -> None:
    for method in ("GET", "POST", "PUT", "OPTIONS"):
        response = keyed.request(method, path)
        assert_unauthenticated(response, "Authorization: Bearer KEY")
        assert "error=" not in response.headers["www-authenticate"]
        assert keyed.request(method, path, headers=bearing(BOTH)).status_code != 401


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/docs", "/openapi.json", "/"])
def test_probes_and_pages_are_open(keyed: Client, path: str) -> None:
    assert keyed.get(path).status_code in (200, 307)
    assert keyed.get(path, headers=bearing("not-a-key-0123456789")).status_code in (200, 307)


def test_the_files_of_the_pages_are_open(keyed: Client) -> None:
    assert keyed.get("/page/main.js").status_code == 200
    assert keyed.get("/page/nope").status_code == 404
    assert keyed.get("/static-offline-docs/swagger-ui.css").status_code == 200
    assert keyed.get("/static-offline-docs/nope").status_code == 404


@pytest.mark.parametrize("path", ["/livez%0A", "/docs/x", "/livez/x", "/livez/../encode", "/static-offline-docs"])
def test_what_only_looks_like_an_open_path_takes_a_key(keyed: Client, path: str) -> None:
    assert_unauthenticated(keyed.get(f"http://test{path}"), "")


def test_metrics_are_open_if_set_so(start: Callable[..., Client]) -> None:
    client = start(api_keys=BOTH, metrics_without_auth=True)
    assert client.get("/metrics").status_code != 401
    assert client.get("/models").status_code == 401


@pytest.mark.parametrize(
    "credentials",
    [
        "Bearer wrong-0123456789abcdef",
        f"Bearer {BOTH}x",
        f"Bearer {BOTH[:-1]}",
        f"Bearer {BOTH} {BOTH}",
        f"Bearer sender:{SENDER}",
        "Bearer ",
        "Bearer",
        "Bearer " + "x" * 10_000,
        BOTH,
        f"Basic {BOTH}",
        "",
    ],
)
def test_what_is_no_key_is_refused_and_not_repeated(keyed: Client, png: bytes, credentials: str) -> None:
    response = keyed.request("POST", "/encode", content=png, headers={"Authorization": credentials})
    assert_unauthenticated(response, "key")
    assert BOTH[:12] not in response.text
    assert "wrong-" not in response.text


def test_two_keys_in_one_request_are_refused(keyed: Client) -> None:
    twice = [("Authorization", f"Bearer {BOTH}"), ("Authorization", f"Bearer {BOTH}")]
    assert_unauthenticated(keyed.get("/models", headers=twice), "one key")


def test_a_key_is_taken_from_no_other_place(keyed: Client, png: bytes) -> None:
    for headers in ({"X-Api-Key": BOTH}, {"Cookie": f"key={BOTH}"}, {"Proxy-Authorization": f"Bearer {BOTH}"}):
        assert_unauthenticated(keyed.get("/models", headers=headers), "")
    for name in ("key", "api_key", "access_token"):
        response = keyed.request("POST", "/encode", content=png, params={name: BOTH})
        assert_unauthenticated(response, "")
        response = keyed.request("POST", "/encode", content=png, params={name: BOTH}, headers=bearing(BOTH))
        assert_problem(response, 400, "invalid-parameter", name)
        assert BOTH not in response.text


def test_each_key_opens_its_halfs_routes_only(keyed: Client, png: bytes) -> None:
    def ask(path: str, body: bytes, key: str) -> httpx.Response:
        headers = {**bearing(key), "Accept": "*/*" if path == "/decode" else OCTETS}
        return keyed.request("POST", path, content=body, headers=headers)

    bitstream = ask("/encode", png, SENDER).content
    assert ask("/encode", png, BOTH).content == bitstream
    assert ask("/decode", bitstream, RECEIVER).content == ask("/decode", bitstream, BOTH).content
    for path in ("/decode", "/decode/batch", "/decode%0A"):
        refused = ask(path, bitstream, SENDER)
        assert_problem(refused, 403, "forbidden", "is for a sender; this route needs a key for a receiver")
        assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]
    assert_problem(
        ask("/encode", png, RECEIVER), 403, "forbidden", "is for a receiver; this route needs a key for a sender"
    )
    for key in (BOTH, SENDER, RECEIVER):
        assert keyed.get("/models", headers=bearing(key)).status_code == 200


def test_the_schemes_name_has_no_case(keyed: Client) -> None:
    assert keyed.get("/models", headers={"Authorization": f"bearer  {BOTH}"}).status_code == 200


def test_nothing_of_the_body_is_read_without_a_key(keyed: Client) -> None:
    asked = []

    async def body() -> AsyncIterator[bytes]:
        asked.append(1)
        yield b"never"

    # httpx pulls a body only when the application asks for it.
    assert_unauthenticated(keyed.request("POST", "/encode", content=body()), "")
    assert asked == []


def test_the_document_tells_where_keys_are_taken(keyed: Client, client: Client) -> None:
    document = keyed.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for path, operations in document["paths"].items():
        for operation in operations.values():
            is_open = path in ("/livez", "/readyz", "/v2/health/live", "/v2/health/ready")
            assert ("security" in operation) is not is_open
            assert ("401" in operation["responses"]) is not is_open
    open_document = client.get("/openapi.json").json()
    assert "securitySchemes" not in open_document["components"]


def test_keys_do_not_stand_in_the_settings_text() -> None:
    assert BOTH not in repr(Settings(api_keys=BOTH))
