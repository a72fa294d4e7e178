"""What both clients send, when they send it again, and what they make of responses, without a service."""

import json
import sys
from collections.abc import Callable
from concurrent.futures import Future
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import numpy as np
import pytest

from latentwire import errors
from latentwire.client import ConnectionFailed, InvalidResponse, Rectangle, TimedOut, Timeouts, exchanges, streams
from latentwire.format.npy import npy_header
from latentwire.problems import PROBLEM_MEDIA_TYPE, PROBLEMS
from tests.latentwire.client.conftest import MakeClient

READY = httpx.Response(200, json={"status": "ready", "unavailable_models": {}})
MODELS: dict[str, Any] = {"default": "a", "default_any_size": None, "models": []}

Answer = Callable[[httpx.Request], httpx.Response]


def problem(kind: type[errors.CodecError], **headers: str) -> httpx.Response:
    found = PROBLEMS[kind]
    content = json.dumps(found.document("a sentence"))
    return httpx.Response(
        found.status, content=content, headers={"Content-Type": "application/problem+json", **headers}
    )


class Script:
    """A transport that gives these answers in turn, and keeps the requests."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.requests: list[httpx.Request] = []
        self._answers = list(answers)
        self.transport = httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that a client wants to make; it makes them in no time."""
    wanted: list[float] = []

    async def no_sleep(seconds: float) -> None:
        wanted.append(seconds)

    monkeypatch.setattr("latentwire.client.synchronous.time.sleep", wanted.append)
    monkeypatch.setattr("latentwire.client.asynchronous.asyncio.sleep", no_sleep)
    return wanted


def test_a_refused_request_is_sent_again_after_the_pause_that_the_service_asks_for(
    make_client: MakeClient, pauses: list[float]
) -> None:
    script = Script(
        problem(errors.Overloaded, **{"Retry-After": "7"}),
        problem(errors.NotReady),
        httpx.ReadError("gone"),
        httpx.Response(200, json=MODELS),
    )
    assert make_client(transport=script.transport).models() == ()
    assert len(pauses) == 3
    for pause_s, least_s in zip(pauses, (7, 0.5, 1), strict=True):
        assert least_s <= pause_s <= least_s * (1 + exchanges.JITTER)
    assert len({request.headers["x-request-id"] for request in script.requests}) == 1


class _SilentCloser(BaseHTTPRequestHandler):
    """Answers a request, and closes its connection without saying so."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = json.dumps(MODELS).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


def test_a_server_may_close_its_connections_and_an_error_says_that_it_is_gone(make_client: MakeClient) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _SilentCloser) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        client = make_client(address, retries=1)
        try:
            for _ in range(3):
                assert client.models() == ()
        finally:
            server.shutdown()
            thread.join()
    with pytest.raises(ConnectionFailed, match=rf"no connection to {address} .*is a service running there\?") as caught:
        client.models()
    assert isinstance(caught.value, errors.ServiceError)
    assert caught.value.request_id
    assert not client.ready()


def test_retries_end(make_client: MakeClient, pauses: list[float]) -> None:
    script = Script(*(problem(errors.Overloaded, **{"Retry-After": "1", "X-Request-Id": "theirs"}) for _ in range(3)))
    with pytest.raises(errors.Overloaded, match="a sentence") as caught:
        make_client(transport=script.transport, retries=2).models()
    assert (caught.value.status, caught.value.code, caught.value.request_id) == (429, "overloaded", "theirs")
    assert len(pauses) == 2
    with pytest.raises(errors.Overloaded):
        make_client(transport=Script(problem(errors.Overloaded, **{"Retry-After": "31"})).transport).models()
    assert len(pauses) == 2, "a longer pause than max_pause_s was made"


@pytest.mark.parametrize("kind", [errors.InvalidImage, errors.Forbidden, errors.WrongRole, errors.ModelMismatch])
def test_what_would_fail_again_is_not_sent_again(
    make_client: MakeClient, pauses: list[float], kind: type[errors.CodecError]
) -> None:
    with pytest.raises(kind):
        make_client(transport=Script(problem(kind)).transport).models()
    client = make_client("http://a", transport=Script(httpx.ReadTimeout("")).transport, timeouts=Timeouts(read_s=3))
    with pytest.raises(TimedOut, match=r"phase read of the request to http://a/models took more than 3 s"):
        client.models()
    assert not pauses


def test_every_phase_has_its_limit(make_client: MakeClient) -> None:
    script = Script(READY)
    assert make_client(transport=script.transport, timeouts=Timeouts(1, 2, 3, 4)).ready()
    assert script.requests[0].extensions["timeout"] == {"connect": 1, "write": 2, "read": 3, "pool": 4}


def test_readiness_is_that_of_both_addresses(make_client: MakeClient) -> None:
    script = Script(READY, READY, READY, problem(errors.NotReady), httpx.ConnectError("no"))
    client = make_client("http://a/prefix/", receiver="https://b:8443", transport=script.transport)
    assert [client.ready() for _ in range(3)] == [True, False, False]
    urls = [str(request.url) for request in script.requests]
    assert urls == 2 * ["http://a/prefix/readyz", "https://b:8443/readyz"] + ["http://a/prefix/readyz"]


@pytest.mark.parametrize(
    ("response", "says"),
    [
        (httpx.Response(200, html="<p>hello"), "answered with status 200 and text/html, as no Latentwire service does"),
        (httpx.Response(200, json={"models": 1}), "as no Latentwire service does; check the address"),
        (httpx.Response(404, html="<p>no"), "answered with status 404 and text/html"),
        (httpx.Response(404, content=b"{", headers={"Content-Type": PROBLEM_MEDIA_TYPE}), "status 404"),
        (httpx.Response(308, headers={"Location": "https://a/models"}), "leads to https://a/models; give that address"),
    ],
    ids=lambda value: value.status_code if isinstance(value, httpx.Response) else "",
)
def test_another_server_is_told_from_a_service(make_client: MakeClient, response: httpx.Response, says: str) -> None:
    with pytest.raises(InvalidResponse, match=says):
        make_client(transport=Script(response).transport).models()


def test_an_error_of_a_newer_service_is_an_error_of_the_service(make_client: MakeClient) -> None:
    content = json.dumps({"code": "too-early", "detail": "wait", "more": 1})
    response = httpx.Response(425, content=content, headers={"Content-Type": PROBLEM_MEDIA_TYPE})
    with pytest.raises(errors.ServiceError, match="wait") as caught:
        make_client(transport=Script(response).transport).models()
    assert (type(caught.value), caught.value.code, caught.value.status) == (errors.ServiceError, "too-early", 425)


@pytest.mark.parametrize(
    "address", ["localhost:8000", "8000", "ftp://a", "http://", "http://a?x=1", "http://u:p@a", None]
)
def test_an_address_is_checked(make_client: MakeClient, address: Any) -> None:
    with pytest.raises(ValueError, match="is no address of a service"):
        make_client(address)


def test_a_request_continues_the_trace_of_the_program(make_client: MakeClient) -> None:
    script = Script(READY, READY)
    assert make_client(transport=script.transport, trace_context=lambda: {"traceparent": "00-1"}).ready()
    assert script.requests[0].headers["traceparent"] == "00-1"
    from opentelemetry.sdk.trace import TracerProvider

    client = make_client(transport=script.transport)
    with TracerProvider().get_tracer("tests").start_as_current_span("outer") as span:
        assert client.ready()
    assert format(span.get_span_context().trace_id, "032x") in script.requests[1].headers["traceparent"]
    assert "opentelemetry.trace" in sys.modules


def test_every_problem_of_the_table_is_an_error_again(make_client: MakeClient) -> None:
    for kind, found in PROBLEMS.items():
        with pytest.raises(errors.CodecError) as caught:
            make_client(transport=Script(problem(kind)).transport, retries=0).models()
        expected = {"model-unusable": errors.ModelError, "not-ready": errors.NotReady}.get(found.code, kind)
        assert type(caught.value) is expected


def test_what_is_missing_of_an_image_is_told(make_client: MakeClient) -> None:
    body = npy_header(np.uint8, (2, 3, 1)) + bytes(6)
    headers = {"Latentwire-Model": "photo@0a", "Latentwire-Missing": "[[0, 0, 2, 1], [0, 2, 2, 1]]"}
    script = Script(httpx.Response(200, content=body, headers=headers))
    image = make_client(transport=script.transport).decode(b"damaged", partial=True)
    assert script.requests[0].url.query == b"partial=1"
    assert image.missing == (Rectangle(0, 0, 2, 1), Rectangle(0, 2, 2, 1))
    assert (image.model, image.model_id) == ("photo", "0a")
    assert repr(image).startswith("Image(shape=(2, 3, 1), model='photo', missing=(Rectangle(top=0, left=0, height=2,")


@pytest.mark.parametrize("method", ["encode_many", "decode_many"])
@pytest.mark.parametrize("single", ["image.png", b"image", Path("image.png")])
def test_one_source_is_not_taken_for_many(make_client: MakeClient, method: str, single: object) -> None:
    with pytest.raises(TypeError, match="put it into a list"):
        list(getattr(make_client(), method)(single))


def test_requests_at_one_time_become_fewer_after_a_refusal_and_slowly_more() -> None:
    pace = streams.Pace(8)
    assert pace.limit == 8
    pace.slow_down()
    assert pace.limit == 4
    for _ in range(5):
        pace.slow_down()
    assert pace.limit == 1
    for _ in range(20):
        pace.speed_up()
    assert pace.limit == 1
    for _ in range(600):
        pace.speed_up()
    assert pace.limit == 8


@pytest.mark.parametrize(("refusals", "expected"), [(0, 8), (1, 4), (3, 1)])
def test_a_stream_starts_as_many_requests_as_its_pace_allows(refusals: int, expected: int) -> None:
    addresses: dict[exchanges.Role, exchanges.Address] = {"receiver": exchanges.Address("http://a", None)}
    stream = streams.decode_many(exchanges.Protocol(addresses, Timeouts(), 3, 30, dict), 8)
    started = 0
    step = next(stream)
    while not isinstance(step, streams.Wait):
        done: Any = b"bitstream"
        if isinstance(step, streams.Start):
            started += 1
            done = Future[Any]()
            if started == 1:
                refuse(step.exchange, refusals)
        step = stream.send(done)
    assert started == expected


def refuse(exchange: exchanges.Exchange[Any], times: int) -> None:
    """Answer the first requests of an exchange by 429."""
    request: Any = next(exchange)
    for _ in range(times):
        response = problem(errors.Overloaded)
        response.request = request
        assert isinstance(exchange.send(response), exchanges.Pause)
        request = exchange.send(None)
