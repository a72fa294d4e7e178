import gc
import re
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from starlette.types import ASGIApp, Message

from latentwire import errors as codec_errors
from latentwire.encoder import Encoder
from latentwire.imaging import image
from latentwire.problems import ALL_PROBLEMS, PROBLEMS
from tests.service.client import Client, assert_problem


def leaves(base: type[Exception]) -> Iterator[type[Exception]]:
    children = [child for child in base.__subclasses__() if child.__module__ == codec_errors.__name__]
    if not children:
        yield base
    for child in children:
        yield from leaves(child)


def test_every_error_is_in_the_table_and_nothing_else() -> None:
    assert set(PROBLEMS) == set(leaves(codec_errors.CodecError))


def test_a_code_has_one_status_and_one_title() -> None:
    assert len({problem.code for problem in ALL_PROBLEMS}) == len(ALL_PROBLEMS)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", problem.code) for problem in ALL_PROBLEMS)


@pytest.mark.parametrize("path", ["/nope", "/encode/x/", "/encode/batch/x", "/%00", "/models/a/b"])
def test_an_unknown_route_is_a_problem(client: Client, path: str) -> None:
    for method in ("GET", "POST", "PUT"):
        assert_problem(client.request(method, f"http://test{path}"), 404, "not-found", "/docs")


@pytest.mark.parametrize(
    ("path", "allowed"), [("/encode", "POST"), ("/decode", "POST"), ("/livez", "GET, HEAD"), ("/docs", "GET, HEAD")]
)
def test_another_method_is_a_problem(client: Client, path: str, allowed: str) -> None:
    response = client.request("DELETE", path)
    assert_problem(response, 405, "method-not-allowed", allowed)
    assert response.headers["allow"] == allowed


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
def test_the_other_halfs_route_is_a_problem(start: Callable[..., Client], method: str) -> None:
    for role, path in (("sender", "/decode"), ("receiver", "/encode")):
        assert_problem(start(role=role).request(method, path), 404, "wrong-role", role)


@pytest.mark.parametrize("error", [RuntimeError("a secret"), MemoryError(), codec_errors.CodecError("raw")])
def test_an_unexpected_error_says_nothing_of_the_inside(
    client: Client, monkeypatch: pytest.MonkeyPatch, png: bytes, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Encoder, "encode", fail)
        response = client.encode(png)
        assert_problem(response, 500, "internal-error")
        assert "secret" not in response.text
    assert client.encode(png).status_code == 200


def test_a_model_error_at_request_time_is_a_503(client: Client, monkeypatch: pytest.MonkeyPatch, png: bytes) -> None:
    def fail(*_: object) -> None:
        raise codec_errors.InvalidGraph("encoder.onnx of model 'tiny' is gone")

    monkeypatch.setattr(Encoder, "encode", fail)
    assert_problem(client.encode(png), 503, "model-unusable", "is gone")


async def send_image(app: ASGIApp, start: bytes) -> None:
    """Send a megabyte that is no image to the application, without a client that might keep it."""
    request: dict[str, Any] = {"type": "http", "method": "POST", "path": "/encode", "query_string": b"", "headers": []}
    messages = [{"type": "http.request", "body": start + bytes(1 << 20), "more_body": False}]

    async def receive() -> Message:
        return messages.pop()

    async def send(message: Message) -> None:
        assert message.get("status", 400) == 400

    await app(request, receive, send)


def test_a_refused_body_is_freed_without_the_garbage_collector(client: Client) -> None:
    starts = (b"\x89PNG\r\n\x1a\n", b"")
    for start in starts:
        client.portal.call(send_image, client.app, start)
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for start in starts * 5:
            client.portal.call(send_image, client.app, start)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    # Of ten megabytes; the thread of the last request may still be about to let go of one.
    assert kept < 3 << 20


def test_sentences_are_not_escaped_and_name_width_before_height(client: Client) -> None:
    response = client.encode(image.write_png(np.zeros((30, 20, 1), np.uint8)))
    assert "the image is 20 × 30 pixels".encode() in response.content
