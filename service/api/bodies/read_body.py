"""Reads the whole body of a request, within limits of size and time, with or without a Content-Length."""

import asyncio
from typing import Self, cast

from starlette.types import Message, Receive

from latentwire.errors import BodyStalled, BodyTooLarge, ClientGone
from service.http.headers import ContentHeaders
from service.scheduling.admission import BodyBudget
from service.settings import Settings


async def read_body(
    receive: Receive, headers: ContentHeaders, settings: Settings, budget: BodyBudget, max_bytes: int
) -> bytes:
    """Return the whole body of a request, of which nothing has been read.

    A Content-Length over the limit is refused before anything is read; a body without one as soon as it has passed the
    limit. The server discards what was not read. `budget` takes the bytes as they arrive.

    Raises:
        BodyStalled: no byte came for `io_idle_timeout_s`, or the whole body did not come within `body_timeout_s`.
        BodyTooLarge: more than `max_bytes`.
        ClientGone: the client went away in the middle.
        Overloaded: the bodies of all requests together are too long.
    """
    if headers.announced_bytes > max_bytes:
        raise body_too_large(max_bytes)
    with StallTimer(settings) as timer:
        body = bytearray()
        while True:
            message = await receive()
            piece = piece_of(message)
            if len(body) + len(piece) > max_bytes:
                raise body_too_large(max_bytes)
            budget.add(len(piece))
            is_last = not message.get("more_body", False)
            if is_last and not body:
                return piece
            # One bytearray: a list of many small pieces would take many times their bytes.
            body += piece
            if is_last:
                return bytes(body)
            timer.restart()


class StallTimer:
    """Cancels the task in its `with` block when a body does not arrive, and raises `BodyStalled` in place of that.

    `asyncio.timeout()` does the same in six times the time, which is a fiftieth of the time of a request.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __enter__(self) -> Self:
        self._task = cast("asyncio.Task[None]", asyncio.current_task())
        self._loop = self._task.get_loop()
        self._deadline_s = self._loop.time() + self._settings.body_timeout_s
        self._expired = False
        self._start()
        return self

    def restart(self) -> None:
        """Wait for more of the body."""
        self._timer.cancel()
        self._start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._timer.cancel()
        if self._expired and self._task.uncancel() == 0 and kind is asyncio.CancelledError:
            settings = self._settings
            if self._loop.time() < self._deadline_s:
                raise BodyStalled(f"no more of the body came within {settings.io_idle_timeout_s} seconds")
            raise BodyStalled(f"the whole body did not come within {settings.body_timeout_s} seconds")

    def _start(self) -> None:
        at_s = min(self._deadline_s, self._loop.time() + self._settings.io_idle_timeout_s)
        self._timer = self._loop.call_at(at_s, self._expire)

    def _expire(self) -> None:
        self._expired = True
        self._task.cancel()


async def wait_for_disconnect(receive: Receive) -> None:
    """Return when the client has closed the connection. Call it only after the whole body has been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


def piece_of(message: Message) -> bytes:
    """Return the bytes of the body in a message; raise `ClientGone` if the message says so."""
    if message["type"] == "http.disconnect":
        raise ClientGone("the connection was closed before the whole body had arrived")
    piece: bytes = message.get("body", b"")
    return piece


def body_too_large(max_bytes: int) -> BodyTooLarge:
    """Return the error for a body over the limit."""
    return BodyTooLarge(f"the body is longer than the {max_bytes:,} bytes that are allowed")
