"""One batch's request and answer, as both stream, in bounded memory.

A route gives a `BatchResponse` the work to be done; that gets what comes in as an `Incoming`, and writes to an
`Outgoing`. What the bytes mean is not known here.

Whatever is wrong before the answer begins is answered as a problem document. After that only the connection can say it:
it is cut, with less than the answer's Content-Length sent, or without the last chunk of a chunked answer.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from latentwire.errors import CodecError
from service.api.body import announced_bytes, body_stalled, body_too_large
from service.api.state import state_of
from service.errors import BatchTooLarge, BodyStalled, ClientGone, ServiceError
from service.http.headers import read_head
from service.http.min_data_rate import Patience
from service.scheduling.admission import RunPart
from service.settings import Settings

_log = logging.getLogger(__name__)

# As servers and clients do: smaller pieces cost more than they carry.
PIECE_BYTES = 1 << 16


class Incoming:
    """The body of a request, piece by piece, never more than the limit."""

    def __init__(self, request: Request, receive: Receive, settings: Settings) -> None:
        """Begin to read.

        Raises:
            BodyTooLarge: by its Content-Length.
        """
        if announced_bytes(read_head(request.scope).content_length) > settings.max_batch_bytes:
            raise body_too_large(settings.max_batch_bytes)
        self._receive = receive
        self._max_bytes = settings.max_batch_bytes
        self._stall_timeout_s = settings.io_idle_timeout_s
        self._min_bytes_per_s = settings.min_data_rate_bytes_per_s
        self._patience = Patience(settings.io_idle_timeout_s, settings.min_data_rate_bytes_per_s)
        self._size = 0
        self._watch: asyncio.Task[None] | None = None
        self.ended = False

    async def next(self) -> bytes | None:
        """Return the next bytes, or None after the last.

        Raises:
            BodyTooLarge: more bytes than the limit.
            BodyStalled: nothing came for too long, or too little.
            ClientGone: the client went away in the middle.
        """
        if self.ended:
            return None
        message = await self._receive_in_time()
        if message["type"] == "http.disconnect":
            raise ClientGone("the connection was closed before the whole body had arrived")
        data: bytes = message.get("body", b"")
        self._size += len(data)
        if self._size > self._max_bytes:
            raise body_too_large(self._max_bytes)
        if not message.get("more_body", False):
            self.ended = True
            self._watch = asyncio.create_task(self._wait_until_gone())
        return data

    def check_client(self) -> None:
        """Return if the client is still there, as far as is known.

        Raises:
            ClientGone: it is not.
        """
        if self._watch is not None and self._watch.done():
            raise ClientGone("the connection was closed before the answer had been sent")

    def close(self) -> None:
        """Stop to look whether the client is there."""
        if self._watch is not None:
            self._watch.cancel()

    async def _receive_in_time(self) -> Message:
        time_s = asyncio.get_running_loop().time
        begun_s = time_s()
        left_s = self._patience.left_s
        try:
            async with asyncio.timeout(min(self._stall_timeout_s, left_s)):
                message = await self._receive()
        except TimeoutError as error:
            if left_s < self._stall_timeout_s:
                raise BodyStalled(f"the body came with fewer than {self._min_bytes_per_s:,} bytes a second") from error
            raise body_stalled(self._stall_timeout_s) from error
        self._patience.spend(time_s() - begun_s, len(message.get("body", b"")))
        return message

    async def _wait_until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


def check_count(count: int, most: int) -> None:
    """Refuse too large a batch.

    Raises:
        BatchTooLarge: more images than are allowed.
    """
    if count > most:
        raise BatchTooLarge(f"the batch has more than the {most:,} images that are allowed; send several")


class Outgoing:
    """The answer, piece by piece.

    Up to `hold_bytes` of it are held back. An answer that ends before there are more is sent as a whole, so that
    whatever is wrong can still be said in its place, and so that a client may send everything before it reads anything.
    How long the client may take to read is the business of `service.server.protocol`, which ends the connection.
    """

    def __init__(self, send: Send, incoming: Incoming) -> None:
        self._send = send
        self._incoming = incoming
        self._held = bytearray()
        self.hold_bytes = 0
        self.media_type = "application/octet-stream"
        self.headers: dict[str, str] = {}
        self.length: int | None = None
        self.begun = False

    async def write(self, data: bytes) -> None:
        """Send these bytes next.

        Raises:
            ClientGone: the client went away, or took nothing, or too little, for too long.
        """
        self._held += data
        if len(self._held) > max(self.hold_bytes, PIECE_BYTES):
            await self._send_held(more=True)

    async def finish(self) -> None:
        """Send what is left, and end the answer.

        Raises:
            ClientGone: the client went away, or took nothing, or too little, for too long.
        """
        if not self.begun:
            self.length = len(self._held)
        await self._send_held(more=False)

    async def _send_held(self, *, more: bool) -> None:
        self._incoming.check_client()
        if not self.begun:
            await self._begin()
        # From here on nothing is to be gained by waiting.
        self.hold_bytes = 0
        held, self._held = memoryview(self._held), bytearray()
        # In pieces, as a client that takes nothing would leave the server with all of what it was given at once.
        for start in range(0, len(held), PIECE_BYTES):
            body = bytes(held[start : start + PIECE_BYTES])
            await self._send_on({"type": "http.response.body", "body": body, "more_body": True})
        if not more:
            await self._send_on({"type": "http.response.body", "body": b"", "more_body": False})

    async def _begin(self) -> None:
        headers = {**self.headers, "Content-Type": self.media_type, "Vary": "Accept"}
        if self.length is not None:
            headers["Content-Length"] = str(self.length)
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        self.begun = True
        await self._send({"type": "http.response.start", "status": 200, "headers": raw})

    async def _send_on(self, message: Message) -> None:
        # A server takes what it is given for a client that is gone, and says nothing.
        self._incoming.check_client()
        await self._send(message)


Work = Callable[[Incoming, Outgoing, RunPart], Awaitable[None]]


class BatchResponse(Response):
    """Answers a batch by doing its work, when the server asks for the answer."""

    def __init__(self, request: Request, work: Work) -> None:
        super().__init__()
        self._request = request
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Do the work.

        Raises:
            ServiceError: something is wrong with the request, and nothing has been sent.
            CodecError: likewise.
        """
        state = state_of(self._request)
        settings = state.settings
        incoming = Incoming(self._request, receive, settings)
        outgoing = Outgoing(send, incoming)
        try:
            async with state.admission.batch() as run_part, _time_for_all(settings.batch_timeout_s):
                await self._work(incoming, outgoing, run_part)
                await outgoing.finish()
        except (ServiceError, CodecError) as error:
            if not outgoing.begun:
                raise
            # To return without an end makes the server cut the connection.
            _log.warning("the answer to a batch was cut off: %s", error)
        finally:
            incoming.close()


@asynccontextmanager
async def _time_for_all(timeout_s: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError as error:
        raise BodyStalled(f"the batch did not come to its end within {timeout_s} seconds") from error
