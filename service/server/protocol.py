"""uvicorn's HTTP/1.1 protocol, with bounds on what a connection costs before its request, and after its answer.

By itself it waits for ever for a head, takes heads of any length, reads for ever what comes after an answer, and keeps
for ever what a client does not take. Bodies and their times are the application's business, see `service.api.body`.

Connections are looked at once a second, all together, so that a request sets no timers for all this.
"""

import asyncio
import contextlib
import socket
import struct
import sys
from functools import partial
from typing import Any, NamedTuple, cast

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from service.http.min_data_rate import Patience
from service.http.problems import HEAD_TOO_LARGE, INVALID_REQUEST, PROBLEM_MEDIA_TYPE, STALLED, Problem, problem_json
from service.observability.metrics import Metrics
from service.server.coalescing_transport import AnswerWriter
from service.server.lingering_close import LingeringTransport
from service.server.listener import MAX_HANDSHAKES
from service.settings import Settings

if sys.platform != "win32":
    import resource

LOOK_EVERY_S = 1.0
# When the process is to stop, what a client still sends after its answer is thrown away for so long only.
LAST_LATE_BODY_S = 1.0
# More requests than any client sends on one connection before it has the answer to the first.
MAX_PIPELINED = 64

# What the process has open beside its connections, and room to accept those that are turned away.
OTHER_FILES = 128 + MAX_HANDSHAKES

# Where Linux tells how many bytes the other side has acknowledged, since 4.1.
_BYTES_ACKED = struct.Struct("=120xQ")

_NO_LINGERING = struct.pack("ii", 1, 0)


class Limits(NamedTuple):
    """Of one connection, but for the last, their number."""

    header_timeout_s: float
    keep_alive_timeout_s: float
    io_idle_timeout_s: float
    body_timeout_s: float
    min_data_rate_bytes_per_s: float
    max_header_bytes: int
    max_headers: int
    max_late_bytes: int
    max_connections: int


class _HeadRefused(Exception):
    """Ends the parsing of a head."""


class Connections:
    """All connections of one server, looked at once a second while there are any."""

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self.limits = limits
        self.metrics = metrics
        self._open: set[BoundedProtocol] = set()
        self._waiting: list[BoundedProtocol] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: "BoundedProtocol") -> None:
        """Count a new connection in; if there are too many, close the one that has waited longest, or this one."""
        self._open.add(connection)
        if len(self._open) > self.limits.max_connections:
            going = self._next_to_go(connection) or connection
            going.abort("evicted")
            # It ends in a later turn of the loop. Until then it must not be taken for one that can still go.
            self._open.discard(going)
        self.metrics.set_open_connections(len(self._open))
        if self._timer is None:
            self._look_later(connection.loop)

    def remove(self, connection: "BoundedProtocol") -> None:
        """Count a connection out."""
        self._open.discard(connection)
        self.metrics.set_open_connections(len(self._open))

    def _next_to_go(self, newest: "BoundedProtocol") -> "BoundedProtocol | None":
        """Return one that waits for a request, of those that have waited longest, but for the newest; else None."""
        for _ in range(2):
            while self._waiting:
                connection = self._waiting.pop()
                if connection in self._open and connection.is_waiting:
                    return connection
            # For many that will go, as in a crowd each newcomer makes one go.
            waiting = (other for other in self._open if other.is_waiting and other is not newest)
            self._waiting = sorted(waiting, key=lambda other: other.since_s, reverse=True)
        return None

    def _look_later(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(LOOK_EVERY_S, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._open:
            self._look_later(loop)
        now_s = loop.time()
        for connection in list(self._open):
            connection.look(now_s)


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self,
        connections: Connections,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.since_s = self.loop.time()
        self._all = connections
        self._limits = connections.limits
        self._seen_doing = ""
        self._seen_request: object = None
        self._seen_moved_bytes = 0
        self._patience: Patience | None = None
        # Of bytes that came since the last of a body; those of heads, trailers and around chunks.
        self._bytes_beside_bodies = 0
        self._is_known = False
        self._answered: RequestResponseCycle | None = None
        self._answer_writer: AnswerWriter
        self._closing: LingeringTransport
        self._is_refused = False
        self._told_to_stop = False
        self._refusal = (INVALID_REQUEST, "this is not a well-formed HTTP/1.1 request")

    @property
    def is_busy(self) -> bool:
        """Whether a request has come whole, or its body is coming, and its answer has not ended."""
        return self.cycle is not None and not self.cycle.response_complete and not self._closing.lingers

    @property
    def still_sends(self) -> bool:
        """Whether more may come that nobody waits for."""
        return self._is_refused or (self.cycle is not None and self.cycle.more_body)

    @property
    def is_waiting(self) -> bool:
        """Whether there is no request, and nothing to send."""
        return not self.is_busy and not self.transport.get_write_buffer_size()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        limits = self._limits
        self._closing = LingeringTransport(transport, self, limits.max_late_bytes, limits.body_timeout_s)
        super().connection_made(cast(asyncio.Transport, self._closing))
        self._all.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._all.remove(self)
        self._tell_answered()
        super().connection_lost(exc)

    def leave(self) -> None:
        """Answer no more, and take in no more. What still comes is thrown away, until the connection ends."""
        if self._answered is not None and not self._answered.response_complete:
            self._tell_answered()
            self.flow.resume_writing()
        self.flow.resume_reading()

    def shutdown(self) -> None:
        """Close the connection; if there is a request, after its answer."""
        self._told_to_stop = True
        if not self._closing.lingers:
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        """Take bytes in; refuse a head, a trailer or what stands around chunks, if it does not end."""
        self._bytes_beside_bodies += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._pass_over_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("")
        else:
            if self._bytes_beside_bodies > self._limits.max_header_bytes and not self.transport.is_closing():
                self._refusal = self._too_large()
                self.send_400_response("")

    def on_headers_complete(self) -> None:
        """Begin with a request, if its head is not too large."""
        if self._is_known:
            return
        limits = self._limits
        # The bytes that came may hold much else, and so are only a reason to count.
        long = self._bytes_beside_bodies > limits.max_header_bytes and self._head_bytes() > limits.max_header_bytes
        if long or len(self.headers) > limits.max_headers:
            self._refusal = self._too_large()
            raise _HeadRefused
        if len(self.pipeline) >= MAX_PIPELINED:
            self._refusal = (INVALID_REQUEST, f"more than {MAX_PIPELINED} requests came before the first was answered")
            raise _HeadRefused
        self._bytes_beside_bodies = 0
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Go on with the next request, if it has come; else the connection waits, and is looked at with all others."""
        self._answer_writer.flush()
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    def on_body(self, body: bytes) -> None:
        """Take in a piece of a body."""
        self._bytes_beside_bodies = 0
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """Refuse what came, as a problem document unless an answer is under way, and close the connection."""
        if not self.transport.is_closing():
            self._all.metrics.count_closed_connection(self._refusal[0].code)
            if not (self.is_busy and self.cycle.response_started):
                self.transport.write(self._answer(*self._refusal))
        self._is_refused = True
        self.transport.close()

    def abort(self, reason: str) -> None:
        """Close the connection at once, whatever there is left to send."""
        self._all.metrics.count_closed_connection(reason)
        # The kernel, too, would keep for long what nobody takes. It may have closed the connection meanwhile.
        if (opened := self.transport.get_extra_info("socket")) is not None:
            with contextlib.suppress(OSError):
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGERING)
        self.transport.abort()

    def look(self, now_s: float) -> None:
        """Close the connection if it has not gone on for too long, or too slowly."""
        doing, limit_s = self._doing()
        moved_bytes = self._moved_bytes(doing)
        if doing != self._seen_doing or self.scope is not self._seen_request:
            self.since_s = now_s
            self._patience = self._new_patience() if doing == "write-timeout" else None
        else:
            if moved_bytes != self._seen_moved_bytes:
                self.since_s = now_s
            if self._patience is not None:
                self._patience.spend(LOOK_EVERY_S, moved_bytes - self._seen_moved_bytes)
        self._seen_doing, self._seen_request, self._seen_moved_bytes = doing, self.scope, moved_bytes
        silent = limit_s is not None and now_s - self.since_s >= limit_s
        if silent or (self._patience is not None and self._patience.left_s <= 0):
            self._give_up(doing)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answered = cycle
        self._answer_writer = AnswerWriter(self.transport)
        cycle.transport = cast(asyncio.Transport, self._answer_writer)
        super()._start_asgi_task(cycle, app)

    def _give_up(self, doing: str) -> None:
        if doing == "head":
            self._refusal = (
                STALLED,
                f"the request's head did not come within {self._limits.header_timeout_s:g} seconds",
            )
            self.send_400_response("")
        elif doing != "write-timeout":
            self._all.metrics.count_closed_connection(doing)
            self._closing.end()
        elif self.still_sends and not self.transport.is_closing():
            # It may only begin to read when it has sent everything, and then sees where its answer ends.
            self._all.metrics.count_closed_connection(doing)
            self.transport.close()
        else:
            self.abort(doing)

    def _tell_answered(self) -> None:
        # Of several requests that came at once, uvicorn tells only the last, and the others would go on writing.
        if self._answered is not None:
            self._answered.disconnected = True
            self._answered.message_event.set()

    def _pass_over_upgrade(self, rest: bytes) -> None:
        """Go on with a request that asks for another protocol as if it did not: no other one is spoken here.

        The parser takes such a request to have no body, though clients send h2c upgrades with whatever they post. So
        another parser is told of a body of that length.
        """
        of_body = [(name, value) for name, value in self.headers if name in (b"content-length", b"transfer-encoding")]
        if of_body:
            scope, headers, url = self.scope, self.headers, self.url
            self.cycle.more_body = True
            self.cycle.message_event.clear()
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            lines = [name + b": " + value + b"\r\n" for name, value in of_body]
            self._is_known = True
            self.parser.feed_data(b"".join([b"POST / HTTP/1.1\r\n", *lines, b"\r\n"]))
            self._is_known = False
            self.scope, self.headers, self.url = scope, headers, url
        if rest:
            self.data_received(rest)

    def _doing(self) -> tuple[str, float | None]:
        limits = self._limits
        if self._closing.lingers:
            return "lingering-timeout", LAST_LATE_BODY_S if self._told_to_stop else limits.header_timeout_s
        if self.transport.is_closing() or self.flow.write_paused:
            return "write-timeout", limits.io_idle_timeout_s
        if self.is_busy:
            return "busy", None
        if self.cycle is None or self.scope is not self.cycle.scope:
            return ("no-request" if self.scope is None else "head"), limits.header_timeout_s
        # What is left of the body of a request that has been answered is thrown away; but not for ever.
        return (
            ("lingering-timeout", limits.body_timeout_s)
            if self.cycle.more_body
            else ("keep-alive-timeout", limits.keep_alive_timeout_s)
        )

    def _moved_bytes(self, doing: str) -> int:
        # What changes while the client sends, or takes, what it is to.
        if doing == "write-timeout":
            return self._acked_bytes() or self.transport.get_write_buffer_size()
        return self._closing.wasted_bytes if self._closing.lingers and not self._told_to_stop else 0

    def _acked_bytes(self) -> int:
        """Return how many bytes the client's side has taken in all, as its kernel says; 0 where that is not known.

        What leaves the transport tells less: the kernel takes it from there in parts of a megabyte.
        """
        opened = self.transport.get_extra_info("socket")
        # With TLS there is none any more when the connection ends.
        if sys.platform != "linux" or opened is None:
            return 0
        try:
            told = opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size)
        except OSError:
            return 0
        acked: int = _BYTES_ACKED.unpack(told)[0] if len(told) == _BYTES_ACKED.size else 0
        return acked

    def _new_patience(self) -> Patience:
        limits = self._limits
        return Patience(limits.io_idle_timeout_s, limits.min_data_rate_bytes_per_s if self._acked_bytes() else 0)

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _too_large(self) -> tuple[Problem, str]:
        limits = self._limits
        sentence = (
            f"beside its body, a request may have {limits.max_header_bytes:,} bytes and {limits.max_headers} headers"
        )
        return HEAD_TOO_LARGE, sentence

    def _answer(self, problem: Problem, detail: str) -> bytes:
        content = problem_json(problem, detail)
        headers = [
            *self.server_state.default_headers,
            (b"content-type", PROBLEM_MEDIA_TYPE.encode()),
            (b"content-length", str(len(content)).encode()),
            (b"connection", b"close"),
        ]
        lines = [name + b": " + value + b"\r\n" for name, value in headers]
        return b"".join([STATUS_LINE[problem.status], *lines, b"\r\n", content])


def bounded_protocol(settings: Settings, metrics: Metrics) -> type[asyncio.Protocol]:
    """Return what uvicorn makes a connection's protocol with."""
    limits = Limits(
        header_timeout_s=settings.header_timeout_s,
        keep_alive_timeout_s=settings.keep_alive_timeout_s,
        io_idle_timeout_s=settings.io_idle_timeout_s,
        body_timeout_s=settings.body_timeout_s,
        min_data_rate_bytes_per_s=settings.min_data_rate_bytes_per_s,
        max_header_bytes=settings.max_header_bytes,
        max_headers=settings.max_headers,
        max_late_bytes=max(settings.max_batch_bytes, settings.max_body_bytes),
        max_connections=_most_connections(settings.max_connections),
    )
    return cast(type[asyncio.Protocol], partial(BoundedProtocol, Connections(limits, metrics)))


def _most_connections(wanted: int) -> int:
    """Return how many connections there can be, after this process has been allowed as many open files as that takes.

    A server that has no file left for the next connection turns deaf: it answers no probe, either.
    """
    if sys.platform == "win32":
        return wanted
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + OTHER_FILES
    if allowed != resource.RLIM_INFINITY and allowed < needed:
        allowed = needed if most == resource.RLIM_INFINITY else min(needed, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
        return max(1, allowed - OTHER_FILES)
    return wanted
