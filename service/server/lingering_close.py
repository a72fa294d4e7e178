"""A connection's end that does not lose what was written last.

If a connection is closed while its client still sends, the kernel resets it, and many a client sees that instead of its
answer. So its sending side is closed first, and what still comes is thrown away until the client has closed its own.
How long it may last, and how many bytes, is bounded here; how long it may be silent is the business of
`service.server.protocol`.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol


class Receiver(Protocol):
    """What a transport's protocol has to offer for its end."""

    @property
    def still_sends(self) -> bool:
        """Whether more may come that nobody waits for."""

    def leave(self) -> None:
        """Learn that nothing more is sent and nothing that comes is passed on, though the connection is open still."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Learn that the connection has ended."""

    def pause_writing(self) -> None:
        """Learn that there is much to be sent already."""

    def resume_writing(self) -> None:
        """Learn that there is not any more."""


class LingeringTransport:
    """Another transport, but for how it is closed. What each request asks of it is the other's own."""

    __slots__ = (
        "_end_s",
        "_most_bytes",
        "_most_s",
        "_receiver",
        "_transport",
        "abort",
        "get_extra_info",
        "get_write_buffer_size",
        "is_closing",
        "lingers",
        "pause_reading",
        "resume_reading",
        "wasted_bytes",
        "write",
    )

    def __init__(self, transport: asyncio.Transport, receiver: Receiver, most_bytes: int, most_s: float) -> None:
        """Stand for `transport`; throw away `most_bytes` at most, and for `most_s`."""
        self._transport = transport
        self._receiver = receiver
        self._most_bytes = most_bytes
        self._most_s = most_s
        self.lingers = False
        self.wasted_bytes = 0
        self.abort = transport.abort
        self.get_extra_info = transport.get_extra_info
        self.get_write_buffer_size = transport.get_write_buffer_size
        self.is_closing: Callable[[], bool] = transport.is_closing
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading
        self.write: Callable[[Any], None] = transport.write

    def close(self) -> None:
        """Send what there is, and close; if the client still sends, so that it can read what it was sent."""
        if self.lingers or not self._receiver.still_sends or self._transport.is_closing():
            self.end()
            return
        self.lingers = True
        self.is_closing = lambda: True
        self.write = lambda _: None
        self._receiver.leave()
        # TLS cannot close one side alone. There a client has to see by its answer's length that it is whole.
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._end_s = time.monotonic() + self._most_s
        self._transport.set_protocol(_Waste(self, self._receiver))

    def waste(self, size: int) -> None:
        """Count bytes that are thrown away; close if they are too many, or if the time is over."""
        self.wasted_bytes += size
        if self.wasted_bytes > self._most_bytes or time.monotonic() > self._end_s:
            self.end()

    def end(self) -> None:
        """Send what there is, and close, whatever still comes."""
        self.lingers = False
        self._transport.close()


class _Waste(asyncio.Protocol):
    """Takes a protocol's place, and throws away what comes."""

    def __init__(self, transport: LingeringTransport, receiver: Receiver) -> None:
        self._transport = transport
        self.connection_lost = receiver.connection_lost  # type: ignore[method-assign]
        self.pause_writing = receiver.pause_writing  # type: ignore[method-assign]
        self.resume_writing = receiver.resume_writing  # type: ignore[method-assign]

    def data_received(self, data: bytes) -> None:
        self._transport.waste(len(data))
