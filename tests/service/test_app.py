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


def test_a_path_is_taken_as_it_is(client: Client, png: bytes) -> None:
    for path in ("/encode/", "/Encode"):
        assert_problem(client.post(path, png), 404, "not-found")


@pytest.mark.parametrize(("role", "path"), [("sender", "/decode"), ("receiver", "/encode")])
def test_the_other_half_is_still_refused(start: Callable[..., Client], role: str, path: str) -> None:
    assert_problem(start(role=role).post(path, b""), 404, "wrong-role")
