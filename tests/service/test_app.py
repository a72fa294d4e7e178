"""Which methods and paths the routes take."""

from collections.abc import Callable

import pytest

from tests.service.client import Client, assert_problem


@pytest.mark.parametrize("path", ["/encode", "/decode"])
def test_other_methods_are_refused_with_the_one_that_is_taken(client: Client, path: str) -> None:
    for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS"):
        answer = client.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_probes_are_answered_by_both_methods_and_no_other(client: Client, path: str) -> None:
    for method in ("GET", "HEAD"):
        answer = client.request(method, path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    refused = client.request("POST", path)
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


def test_slashes_at_the_end_of_a_path_or_several_at_once_do_not_matter(client: Client, png: bytes) -> None:
    for path in ("/encode/", "//encode", "///encode//"):
        assert client.request("POST", f"http://test{path}?fit=pad", content=png).status_code == 200
    for path in ("//models//tiny/", "/models/", "//", "/docs/"):
        assert client.request("GET", f"http://test{path}").is_error is False
    assert_problem(client.post("/Encode", png), 404, "not-found")


def test_slashes_open_no_route_that_needs_a_key(start: Callable[..., Client], png: bytes) -> None:
    client = start(api_keys="sender:" + "s" * 32)
    key = {"Authorization": "Bearer " + "s" * 32}
    for path in ("/metrics/", "//metrics", "//encode/", "//encode", "/models//"):
        assert_problem(client.request("GET", f"http://test{path}"), 401, "unauthenticated")
    for path in ("//decode", "/decode/", "///decode//batch/"):
        assert_problem(client.request("POST", f"http://test{path}", content=b"", headers=key), 403, "forbidden")
    assert client.request("POST", "http://test//encode/", content=png, headers=key).status_code == 200


@pytest.mark.parametrize(("role", "path"), [("sender", "/decode"), ("receiver", "/encode")])
def test_the_other_half_is_still_refused(start: Callable[..., Client], role: str, path: str) -> None:
    assert_problem(start(role=role).post(path, b""), 404, "wrong-role")
