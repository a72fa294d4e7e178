import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from starlette.types import Message, Receive

from latentwire.errors import BodyStalled, BodyTooLarge, ClientGone
from service.api.bodies.read_body import read_body, wait_for_disconnect
from service.http.headers import ContentHeaders
from service.observability.metrics import Metrics
from service.scheduling.admission import Admission
from service.settings import Settings
from tests.service.client import JSON, OCTETS, Client, assert_problem, in_chunks


def receiving(*messages: Message) -> tuple[Receive, list[Message]]:
    """What receives these messages, and the messages that it has not received yet."""
    left = list(messages)

    async def receive() -> Message:
        return left.pop(0)

    return receive, left


def small_admission() -> Admission:
    settings = Settings(max_concurrency=1, max_queue_size=0, max_buffered_body_bytes=1000)
    return Admission(settings, Metrics("1", "both"))


def read(
    receive: Receive, max_bytes: int, io_idle_timeout_s: float = 10, body_timeout_s: float = 10, length: str = ""
) -> bytes:
    async def scenario() -> bytes:
        admission = small_admission()
        # Shorter than an operator may set.
        limits: dict[str, Any] = {
            "io_idle_timeout_s": io_idle_timeout_s,
            "body_timeout_s": body_timeout_s,
        }
        settings = Settings.model_construct(**limits)
        try:
            with admission.reserve("") as budget:
                headers = ContentHeaders(b"", b"", length.encode("latin-1"))
                return await read_body(receive, headers, settings, budget, max_bytes)
        finally:
            admission.close()

    return asyncio.run(scenario())


def part(body: bytes, more: bool = True) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


def test_read_body_joins_the_chunks() -> None:
    receive, _ = receiving(part(b"ab"), part(b""), part(b"c"), {"type": "http.request"})
    assert read(receive, 3) == b"abc"


def test_read_body_stops_at_the_first_byte_over_the_limit() -> None:
    receive, left = receiving(part(b"abc"), part(b"d"), part(b"e"))
    with pytest.raises(BodyTooLarge):
        read(receive, 3)
    assert left == [part(b"e")]


@pytest.mark.parametrize("length", ["4", "9" * 18, "9" * 100_000])
def test_read_body_believes_a_length_over_the_limit_at_once(length: str) -> None:
    receive, left = receiving(part(b"abc"))
    with pytest.raises(BodyTooLarge):
        read(receive, 3, length=length)
    assert len(left) == 1


@pytest.mark.parametrize("length", ["0", "3", "-1", "x", "²", ""])
def test_read_body_does_not_believe_a_length_under_the_limit(length: str) -> None:
    receive, _ = receiving(part(b"abc"), part(b"d", more=False))
    with pytest.raises(BodyTooLarge):
        read(receive, 3, length=length)


def test_read_body_notices_that_the_client_has_gone() -> None:
    receive, _ = receiving(part(b"a"), {"type": "http.disconnect"})
    with pytest.raises(ClientGone):
        read(receive, 3)


def trickle(every_s: float) -> Receive:
    """What receives a body that comes byte by byte and never ends."""

    async def receive() -> Message:
        await asyncio.sleep(every_s)
        return part(b"a")

    return receive


def test_read_body_gives_up_when_nothing_comes_for_too_long() -> None:
    with pytest.raises(BodyStalled, match=r"no more of the body came within 0\.05 seconds"):
        read(trickle(every_s=60), 3, io_idle_timeout_s=0.05)


def test_read_body_gives_up_when_little_comes_for_too_long() -> None:
    with pytest.raises(BodyStalled, match=r"the whole body did not come within 0\.05 seconds"):
        read(trickle(every_s=0.001), 1000, body_timeout_s=0.05)


def test_a_request_that_is_cancelled_does_not_count_as_stalled() -> None:
    async def scenario() -> None:
        admission = small_admission()
        with admission.reserve("") as budget:
            reading = asyncio.create_task(
                read_body(trickle(every_s=60), ContentHeaders(b"", b"", b""), Settings(), budget, 1000)
            )
            await asyncio.sleep(0)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
        admission.close()

    asyncio.run(scenario())


def test_a_body_that_does_not_come_is_answered_and_its_connection_closed(start: Callable[..., Client]) -> None:
    client = start(io_idle_timeout_s=1)

    async def stalling() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.sleep(60)

    for path in ("/encode", "/decode"):
        answer = client.post(path, stalling())
        assert_problem(answer, 408, "request-timeout", "within 1 seconds")
        assert answer.headers["connection"] == "close"


def test_wait_until_gone_ends_with_the_connection() -> None:
    receive, left = receiving(part(b""), {"type": "http.disconnect"}, part(b""))
    asyncio.run(wait_for_disconnect(receive))
    assert len(left) == 1


@pytest.mark.parametrize("path", ["/encode", "/decode"])
@pytest.mark.parametrize("content_type", [OCTETS, None])
def test_a_body_of_exactly_the_limit_passes(start: Callable[..., Client], path: str, content_type: str | None) -> None:
    client = start(max_body_bytes=1000)
    assert client.post(path, bytes(1000), content_type).status_code == 400
    assert client.post(path, in_chunks([bytes(500)] * 2), content_type).status_code == 400


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/encode", OCTETS),
        ("/encode", "image/png"),
        ("/encode", "multipart/form-data; boundary=b"),
        ("/decode", OCTETS),
        ("/decode", JSON),
    ],
)
def test_a_body_over_the_limit_is_refused_whatever_it_is(
    start: Callable[..., Client], path: str, content_type: str
) -> None:
    client = start(max_body_bytes=1000)
    assert_problem(client.post(path, bytes(1001), content_type), 413, "body-too-large", "1,000 bytes")
    assert_problem(client.post(path, in_chunks([bytes(1000), b"0"]), content_type), 413, "body-too-large")
