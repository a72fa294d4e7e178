"""What both clients send, when they send it again, and what they make of responses, without a service."""

import json
import sys
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from latentwire import errors
from latentwire.client import InvalidResponse, TimedOut, Timeouts, exchanges
from latentwire.problems import PROBLEM_MEDIA_TYPE, PROBLEMS
from tests.latentwire.client.conftest import MakeClient

READY = httpx.Response(200, json={"status": "ready", "unavailable_models": {}})
MODELS = {"default": "a", "models": []}

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
