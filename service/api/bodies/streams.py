"""The body of a batch request and its response, which stream at the same time in bounded memory.

An error before the response begins is sent as a problem document. After that only the connection can report it: the
server closes it before the response's end.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from latentwire.errors import CodecError
from service.api.bodies.read_body import body_stalled, body_too_large, wait_for_disconnect
from service.api.state import state_of
from service.errors import BatchTooLarge, BodyStalled, ClientGone, ServiceError
from service.http.headers import parse_content_headers
from service.scheduling.admission import RunPart
from service.settings import Settings

_log = logging.getLogger(__name__)

# Size of the pieces in which a response is sent; smaller ones cost more than they carry.
PIECE_BYTES = 1 << 16


class BodyStream:
    """The body of a request, piece by piece, of at most `max_batch_bytes`."""

    def __init__(self, request: Request, settings: Settings) -> None:
        """Begin to read.

        Raises:
            BodyTooLarge: by its Content-Length.
        """
        if parse_content_headers(request.scope).announced_bytes > settings.max_batch_bytes:
            raise body_too_large(settings.max_batch_bytes)
        self._request = request
        self._max_bytes = settings.max_batch_bytes
        self._io_idle_timeout_s = settings.io_idle_timeout_s
        self._size = 0
        self._disconnected: asyncio.Task[None] | None = None
        self.ended = False

    async def next(self) -> bytes | None:
        """Return the next bytes, or None after the last.

        Raises:
            BodyTooLarge: more bytes than the limit.
            BodyStalled: no byte came for `io_idle_timeout_s`.
            ClientGone: the client closed the connection in the middle.
        """
        if self.ended:
            return None
        try:
            async with asyncio.timeout(self._io_idle_timeout_s):
                message = await self._request.receive()
        except TimeoutError as error:
            raise body_stalled(self._io_idle_timeout_s) from error
        if message["type"] == "http.disconnect":
            raise ClientGone("the connection was closed before the whole body had arrived")
        data: bytes = message.get("body", b"")
        self._size += len(data)
        if self._size > self._max_bytes:
            raise body_too_large(self._max_bytes)
        if not message.get("more_body", False):
            self.ended = True
            self._disconnected = asyncio.create_task(wait_for_disconnect(self._request))
        return data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the bytes; raises as `next` does."""
        while (data := await self.next()) is not None:
            yield data

    def check_client(self) -> None:
        """Return if the client is still connected, as far as is known.

        Raises:
            ClientGone: it is not.
        """
        if self._disconnected is not None and self._disconnected.done():
            raise ClientGone("the connection was closed before the response had been sent")

    def close(self) -> None:
        """Stop waiting for the client to disconnect."""
        if self._disconnected is not None:
            self._disconnected.cancel()


class ResponseStream:
    """The response with status 200, piece by piece.

    Up to `max_buffered_bytes` are held back. A shorter response is sent as a whole at its end, so that an error until
    then can be sent in its place, and a client may send everything before it reads anything.
    """

    def __init__(self, send: Send, body: BodyStream) -> None:
        self._send = send
        self._body = body
        self._buffer = bytearray()
        self._max_buffered_bytes = PIECE_BYTES
        self._headers: dict[str, str] = {}
        self.started = False

    def prepare(self, media_type: str, model: str, *, length: int | None = None, max_buffered_bytes: int = 0) -> None:
        """Set the headers: the media type, `name@model_id` of the model, and the length in bytes if it is known."""
        self._headers = {"Content-Type": media_type, "Vary": "Accept", "Latentwire-Model": model}
        if length is not None:
            self._headers["Content-Length"] = str(length)
        self._max_buffered_bytes = max(max_buffered_bytes, PIECE_BYTES)

    async def write(self, data: bytes) -> None:
        """Send `data` next.

        Raises:
            ClientGone: the client closed the connection.
        """
        self._buffer += data
        if len(self._buffer) > self._max_buffered_bytes:
            await self._flush()

    async def finish(self) -> None:
        """Send what is left, and end the response.

        Raises:
            ClientGone: the client closed the connection.
        """
        if not self.started:
            self._headers["Content-Length"] = str(len(self._buffer))
        await self._flush()
        await self._send_checked({"type": "http.response.body", "body": b"", "more_body": False})

    async def _flush(self) -> None:
        if not self.started:
            self._body.check_client()
            self.started = True
            headers = [(name.lower().encode(), value.encode()) for name, value in self._headers.items()]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        # Once the response has begun, holding back has no use.
        self._max_buffered_bytes = PIECE_BYTES
        data, self._buffer = memoryview(self._buffer), bytearray()
        # In pieces, so that the server does not buffer all of it for a client that reads slowly.
        for start in range(0, len(data), PIECE_BYTES):
            piece = bytes(data[start : start + PIECE_BYTES])
            await self._send_checked({"type": "http.response.body", "body": piece, "more_body": True})

    async def _send_checked(self, message: Message) -> None:
        # The server silently discards what is sent to a client that has gone.
        self._body.check_client()
        await self._send(message)


class BatchExchange(NamedTuple):
    """An admitted batch: its request body, its response, and the function that runs a part of its work in a thread."""

    body: BodyStream
    response: ResponseStream
    run_part: RunPart


@asynccontextmanager
async def admit_batch(request: Request, send: Send) -> AsyncIterator[BatchExchange]:
    """Admit a batch; the response ends with the `async with` block.

    Raises:
        ServiceError: the request is refused, and no response has begun.
        CodecError: likewise.
    """
    state = state_of(request)
    body = BodyStream(request, state.settings)
    response = ResponseStream(send, body)
    try:
        async with state.admission.batch() as run_part, _limit_time(state.settings.batch_timeout_s):
            yield BatchExchange(body, response, run_part)
            await response.finish()
    except (ServiceError, CodecError) as error:
        if not response.started:
            raise
        # The server closes the connection of a response that has no end.
        _log.warning("the response to a batch was cut off: %s", error)
    finally:
        body.close()


class StreamingEndpoint:
    """An ASGI endpoint whose handler reads the request while it sends the response."""

    def __init__(self, handler: Callable[[Request, Send], Awaitable[None]]) -> None:
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as ASGI has it."""
        await self._handler(Request(scope, receive), send)


def check_batch_size(images: int, max_images: int) -> None:
    """Check the number of images.

    Raises:
        BatchTooLarge: more than `max_images`.
    """
    if images > max_images:
        raise BatchTooLarge(f"the batch has more than the {max_images:,} images that are allowed; send several batches")


@asynccontextmanager
async def _limit_time(timeout_s: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError as error:
        raise BodyStalled(f"the batch did not end within {timeout_s} seconds") from error
