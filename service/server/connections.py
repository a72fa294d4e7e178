"""The open connections of one process: their number is bounded, and they are counted in metrics."""

import contextlib
import sys
from http import HTTPStatus
from typing import Protocol

from latentwire.problems import HEAD_TOO_LARGE, INVALID_REQUEST, PROBLEM_MEDIA_TYPE, Problem
from service.http.headers import find_fault
from service.http.problems import problem_json
from service.observability.metrics import Metrics
from service.settings import Settings

if sys.platform != "win32":
    import resource

# Files that a process has open beside its connections.
OTHER_FILES = 128

MAX_PIPELINED = 64  # requests of one connection before its first response

# Time for the first request of a connection, and for a last one of a kept connection, after the socket was closed.
FIRST_REQUEST_S, LAST_REQUEST_S = 1.0, 0.1

Header = tuple[bytes, bytes]
Refusal = tuple[Problem, str]


class Connection(Protocol):
    """What the pool needs of a connection."""

    def abort(self, reason: str) -> None:
        """Close the connection at once, and count it under `reason`."""

    def close_after_response(self) -> None:
        """Close the connection when the response that is under way has ended."""


class ConnectionPool:
    """All connections of one process. Used from one event loop."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        """Start without connections; `settings` has the limits of each connection, and of their number."""
        self.settings = settings
        self.metrics = metrics
        self._max_connections = allow_connections(settings.max_connections)
        self.is_stopping = False
        self._open: set[Connection] = set()
        # Connections without a request, and those whose client has yet to send or read the rest of one. The connection
        # whose client has done nothing for the longest time is the first.
        self._idle: dict[Connection, None] = {}
        self._waiting: dict[Connection, None] = {}
        metrics.watch(lambda: {"connections_open": len(self._open)})

    def refusal_of(
        self, version: str, url: bytes, headers: list[Header], received_bytes: int, requests_before: int
    ) -> Refusal | None:
        """Return why a request is refused, or None; `received_bytes` hold its headers, and perhaps more."""
        max_bytes = self.settings.max_header_bytes
        is_long = received_bytes > max_bytes and _size(url, headers) > max_bytes
        if is_long or len(headers) > self.settings.max_headers:
            return self.head_too_large
        if requests_before >= MAX_PIPELINED:
            return INVALID_REQUEST, f"more than {MAX_PIPELINED} requests arrived before the first response"
        fault = find_fault(version, headers)
        return None if fault is None else (INVALID_REQUEST, fault)

    @property
    def head_too_large(self) -> Refusal:
        """What is said of headers that are too many or too large."""
        limit = f"{self.settings.max_header_bytes:,} bytes in {self.settings.max_headers} headers"
        return HEAD_TOO_LARGE, f"a request may have {limit}; send fewer"

    def add(self, connection: Connection) -> None:
        """Count a connection in; if there are too many, close one that is idle, else one that waits, else this one."""
        self._open.add(connection)
        if len(self._open) > self._max_connections:
            oldest = next(iter(self._idle or self._waiting or [connection]))
            oldest.abort("evicted")
            # The event loop reports the loss of the connection later.
            self.remove(oldest)
        self.set_idle(connection)
        self.metrics.update()

    def remove(self, connection: Connection) -> None:
        """Count a connection out, if it is not out already."""
        self._open.discard(connection)
        self.set_working(connection)
        self.metrics.update()

    def set_idle(self, connection: Connection) -> None:
        """Let a connection without a request give way to a new one."""
        self.set_working(connection)
        if connection in self._open:
            self._idle[connection] = None

    def set_waiting(self, connection: Connection) -> None:
        """Let a connection give way if none is idle: its client has just done something, and has yet to do more."""
        self.set_working(connection)
        if connection in self._open:
            self._waiting[connection] = None

    def set_working(self, connection: Connection) -> None:
        """Keep a connection whose request has arrived, and whose client reads the response."""
        self._idle.pop(connection, None)
        self._waiting.pop(connection, None)

    def close_after_responses(self) -> None:
        """Close each connection after its next response. Connections that come later have one response, too."""
        self.is_stopping = True
        for connection in self._open:
            connection.close_after_response()

    def abort_all(self) -> int:
        """Close all connections at once; return their number."""
        connections = list(self._open)
        for connection in connections:
            connection.abort("shutdown")
        return len(connections)


def _size(url: bytes, headers: list[Header]) -> int:
    return len(url) + sum(len(name) + len(value) for name, value in headers)


def problem_bytes(problem: Problem, detail: str, default_headers: list[Header]) -> bytes:
    """Return a whole HTTP/1.1 response that holds a problem document and closes the connection."""
    content = problem_json(problem, detail)
    headers = [
        *default_headers,
        (b"content-type", PROBLEM_MEDIA_TYPE.encode()),
        (b"content-length", str(len(content)).encode()),
        (b"connection", b"close"),
    ]
    status_line = f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\n".encode()
    return status_line + b"".join(name + b": " + value + b"\r\n" for name, value in headers) + b"\r\n" + content


def allow_connections(wanted: int) -> int:
    """Allow this process as many open files as the system does; return how many connections it can have.

    At most `wanted`. A process without a file for the next connection does not answer probes, either.
    """
    if sys.platform == "win32":
        return wanted
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if allowed == resource.RLIM_INFINITY else max(1, min(wanted, allowed - OTHER_FILES))
