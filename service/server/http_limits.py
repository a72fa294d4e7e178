"""uvicorn's protocol for HTTP/1.1, with limits on request headers and connections.

This file alone uses internal names of uvicorn. Its test names the versions of uvicorn that it was checked with.
"""

import asyncio
from typing import Any, cast

from httptools import HttpParserError
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from latentwire.problems import INVALID_REQUEST, STALLED, Problem
from service.server.coalescing_transport import CoalescingTransport
from service.server.connections import FIRST_REQUEST_S, LAST_REQUEST_S, ConnectionPool, problem_bytes


class LimitedHttpProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, pool: ConnectionPool, **of_uvicorn: Any) -> None:
        super().__init__(**of_uvicorn)
        self._pool, self._settings = pool, pool.settings
        self._bytes_outside_bodies = 0  # since the last byte of a body: of headers, trailers, and around chunks
        self._running: RequestResponseCycle | None = None
        self._refusal = INVALID_REQUEST, "this is not a well-formed HTTP/1.1 request"

    @property
    def has_request(self) -> bool:
        """Whether the headers of a request have arrived, and its response has not ended."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection, and wait for headers."""
        super().connection_made(CoalescingTransport(transport))
        self._header_timer = self._write_timer = self._await_headers()
        self._pool.add(self)
        if self._pool.is_stopping:
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the connection out."""
        self._pool.remove(self)
        self._header_timer.cancel()
        self._write_timer.cancel()
        if self._running is not None:
            # uvicorn tells only the last of several requests that the client has gone.
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse bytes; refuse headers, trailers and chunk extensions without an end."""
        self._bytes_outside_bodies += len(data)
        super().data_received(data)
        if self._bytes_outside_bodies > self._settings.max_header_bytes:
            self._refuse(*self._pool.head_too_large)
        elif self.has_request:
            self._pool.set_waiting(self) if self.cycle.more_body else self._pool.set_working(self)
        elif self._header_timer.cancelled():
            self._header_timer = self._await_headers()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_headers_complete(self) -> None:
        """Start a request, unless its headers are too large or wrong."""
        version, size = self.parser.get_http_version(), self._bytes_outside_bodies
        if refusal := self._pool.refusal_of(version, self.url, self.headers, size, len(self.pipeline)):
            self._refusal = refusal
            raise HttpParserError
        self._bytes_outside_bodies = 0
        self._header_timer.cancel()
        super().on_headers_complete()
        self.headers = []  # of trailers, which are not the request's headers
        if self._pool.is_stopping:
            self.close_after_response()

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        self._bytes_outside_bodies = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Start the next request, or wait for it."""
        cast(CoalescingTransport, self.transport).flush()
        super().on_response_complete()
        if not self.has_request:
            self._pool.set_idle(self)

    def pause_writing(self) -> None:
        """Wait for a client that does not read its response."""
        super().pause_writing()
        self._pool.set_waiting(self)
        self._write_timer = self.loop.call_later(self._settings.io_idle_timeout_s, self.abort, "write-timeout")

    def resume_writing(self) -> None:
        """Write on."""
        self._write_timer.cancel()
        if self.has_request:
            self._pool.set_working(self)
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that has waited too long for another request."""
        self._close("keep-alive-timeout")

    def shutdown(self) -> None:
        """Close the connection after its response, or soon if no request arrives."""
        wait_s = FIRST_REQUEST_S if self.cycle is None else LAST_REQUEST_S if not self.has_request else 0
        self.loop.call_later(wait_s, super().shutdown)

    def close_after_response(self) -> None:
        """Close the connection after its response, which says so."""
        if self.has_request:
            self.cycle.keep_alive = False

    def abort(self, reason: str) -> None:
        """Close the connection at once, and count it under `reason`."""
        self._pool.metrics.count_closed_connection(reason)
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """Refuse what the parser could not read."""
        self._refuse(*self._refusal)

    def _refuse(self, problem: Problem, detail: str) -> None:
        has_begun = self.has_request and self.cycle.response_started
        response = b"" if has_begun else problem_bytes(problem, detail, self.server_state.default_headers)
        self._close(problem.code, response)

    def _close(self, reason: str, response: bytes = b"") -> None:
        if not self.transport.is_closing():
            self._pool.metrics.count_closed_connection(reason)
            self.transport.write(response)
            self.transport.close()

    def _await_headers(self) -> asyncio.TimerHandle:
        return self.loop.call_later(self._settings.header_timeout_s, self._on_header_timeout)

    def _on_header_timeout(self) -> None:
        if self.scope is not None and (self.cycle is None or self.cycle.scope is not self.scope):
            self._refuse(STALLED, f"the headers did not arrive within {self._settings.header_timeout_s:g} seconds")
        else:
            self._close("no-request")
