"""The body of a batch request and its response, which stream at the same time in bounded memory.

An error before the response begins is sent as a problem document. After that only the connection can report it: the
server closes it before the response's end.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from starlette.types import Message, Receive, Scope, Send

from latentwire.errors import BodyStalled, ClientGone, CodecError
from service.api.bodies.read_body import body_too_large, piece_of, wait_for_disconnect
from service.api.state import state_of
from service.http.headers import parse_content_headers
from service.scheduling.admission import RunPart
from service.settings import Settings

Result = TypeVar("Result")

_log = logging.getLogger(__name__)

# Size of the pieces in which a response is sent; smaller ones cost more than they carry.
PIECE_BYTES = 1 << 16


class BatchExchange:
    """The request body of an admitted batch and its response with status 200, both piece by piece.

    Up to `max_buffered_bytes` of the response are held back. A shorter response is sent as a whole at its end, so that
    an error until then can be sent in its place, and a client may send everything before it reads anything.
    """

    def __init__(self, receive: Receive, send: Send, settings: Settings, run_part: RunPart) -> None:
        self._receive = receive
        self._send = send
        self._settings = settings
        self._run_part = run_part
        self._received_bytes = 0
        self._disconnected: asyncio.Task[None] | None = None
        self._headers: dict[str, str] = {}
        self._buffer = bytearray()
        self._max_buffered_bytes = PIECE_BYTES
        self.body_ended = False
        self.started = False

    async def run_part(self, work: Callable[[], Result], pixels: int = 0) -> Result:
        """Run a part of the batch's work in a thread; if it is a large image of so many pixels, when its turn has come.

        Raises:
            ClientGone: the client went away meanwhile; noticed for a large image, once the whole body has arrived.
            Exception: what `work` raised.
        """
        return await self._run_part(work, pixels, self._disconnected)

    async def read(self) -> bytes | None:
        """Return the next bytes of the body, or None after the last.

        Raises:
            BodyTooLarge: more than `max_batch_bytes`.
            BodyStalled: no byte came for `io_idle_timeout_s`.
            ClientGone: the client closed the connection in the middle.
        """
        if self.body_ended:
            return None
        async with _limit_time(self._settings.io_idle_timeout_s, "no more of the body came"):
            message = await self._receive()
        data = piece_of(message)
        self._received_bytes += len(data)
        if self._received_bytes > self._settings.max_batch_bytes:
            raise body_too_large(self._settings.max_batch_bytes)
        if not message.get("more_body", False):
            self.body_ended = True
            self._disconnected = asyncio.create_task(wait_for_disconnect(self._receive))
        return data

    def prepare(self, media_type: str, model: str, *, length: int | None = None, max_buffered_bytes: int = 0) -> None:
        """Set the headers: the media type, `name@model_id` of the model, and the length in bytes if it is known."""
        self._headers = {"Content-Type": media_type, "Vary": "Accept", "Latentwire-Model": model}
        if length is not None:
            self._headers["Content-Length"] = str(length)
        self._max_buffered_bytes = max(max_buffered_bytes, PIECE_BYTES)

    async def write(self, data: bytes) -> None:
        """Send `data` next; raise `ClientGone` if the client closed the connection."""
        self._buffer += data
        if len(self._buffer) > self._max_buffered_bytes:
            await self._flush()

    async def finish(self) -> None:
        """Send what is left, and end the response; raises as `write` does."""
        if not self.started:
            self._headers["Content-Length"] = str(len(self._buffer))
        await self._flush()
        await self._send_checked({"type": "http.response.body", "body": b"", "more_body": False})

    def close(self) -> None:
        """Stop waiting for the client to disconnect."""
        if self._disconnected is not None:
            self._disconnected.cancel()

    async def _flush(self) -> None:
        if not self.started:
            headers = [(name.lower().encode(), value.encode()) for name, value in self._headers.items()]
            await self._send_checked({"type": "http.response.start", "status": 200, "headers": headers})
        # Once the response has begun, holding back has no use.
        self._max_buffered_bytes = PIECE_BYTES
        data, self._buffer = memoryview(self._buffer), bytearray()
        # In pieces, so that the server does not buffer all of it for a client that reads slowly.
        for start in range(0, len(data), PIECE_BYTES):
            piece = bytes(data[start : start + PIECE_BYTES])
            await self._send_checked({"type": "http.response.body", "body": piece, "more_body": True})

    async def _send_checked(self, message: Message) -> None:
        # The server silently discards what is sent to a client that has gone.
        if self._disconnected is not None and self._disconnected.done():
            raise ClientGone("the connection was closed before the response had been sent")
        self.started = True
        await self._send(message)


@asynccontextmanager
async def admit_batch(scope: Scope, receive: Receive, send: Send) -> AsyncIterator[BatchExchange]:
    """Admit a batch; the response ends with the `async with` block.

    Raises:
        CodecError: the request is refused, and no response has begun.
    """
    state = state_of(scope)
    settings = state.settings
    if parse_content_headers(scope).announced_bytes > settings.max_batch_bytes:
        raise body_too_large(settings.max_batch_bytes)
    async with state.admission.batch() as run_part:
        exchange = BatchExchange(receive, send, settings, run_part)
        try:
            async with _limit_time(settings.batch_timeout_s, "the batch did not end"):
                yield exchange
                await exchange.finish()
        except CodecError as error:
            if not exchange.started:
                raise
            # The server closes the connection of a response that has no end.
            _log.warning("the response to a batch was cut off: %s", error)
        finally:
            exchange.close()


@asynccontextmanager
async def _limit_time(timeout_s: float, missed: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError as error:
        raise BodyStalled(f"{missed} within {timeout_s} seconds") from error
