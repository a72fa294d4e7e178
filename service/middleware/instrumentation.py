"""The outermost middleware: counts, logs and traces each request.

It adds one header to each response, `X-Request-Id`, and takes `//encode` and `/encode/` for `/encode`.
"""

import logging
import random
import re
from collections.abc import Iterable
from time import perf_counter_ns
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.observability.metrics import Metrics
from service.observability.request_record import RequestRecord, open_record
from service.observability.tracing import Tracer

REQUEST_ID_HEADER = b"x-request-id"
MODEL_HEADER = b"latentwire-model"
# The form that other systems use, without characters that could break a log line, a header or a query.
VALID_REQUEST_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")

_log = logging.getLogger(__name__)


class InstrumentationMiddleware:
    """ASGI middleware around a whole application."""

    def __init__(self, app: ASGIApp, metrics: Metrics, tracer: Tracer | None, *, log_requests: bool) -> None:
        """Instrument `app`; `log_requests` writes one log record per request."""
        self._app = app
        self._metrics = metrics
        self._tracer = tracer
        self._log_requests = log_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, and record its way."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        if "//" in path or path.endswith("/"):
            scope["path"] = "/" + "/".join(filter(None, path.split("/")))
        record = open_record(_request_id(scope["headers"]), scope["method"])
        timer = record.timer
        response_started_ns = 0

        async def receive_recorded() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                record.bytes_in += len(message.get("body", b""))
                if not message.get("more_body", False):
                    timer.record("read", record.begun_ns, perf_counter_ns())
            return message

        async def send_recorded(message: Message) -> None:
            nonlocal response_started_ns
            if message["type"] == "http.response.start":
                response_started_ns = perf_counter_ns()
                _start_response(record, message)
            await send(message)
            if message["type"] == "http.response.body":
                record.bytes_out += len(message.get("body", b""))
                if not message.get("more_body", False):
                    record.complete = True
                    timer.record("respond", response_started_ns, perf_counter_ns())

        try:
            with timer:
                await self._app(scope, receive_recorded, send_recorded)
        finally:
            self._finish(scope, record)

    def _finish(self, scope: Scope, record: RequestRecord) -> None:
        record.duration_ns = perf_counter_ns() - record.begun_ns
        # The route's path, of which there are few, and not the request's, of which clients can make up any number.
        record.route = getattr(scope.get("route"), "path", record.route)
        if record.maps_images_to_codes and record.complete:
            record.image_bytes, record.code_bytes = record.bytes_in, record.bytes_out
        self._metrics.count(record)
        if self._tracer is not None:
            self._tracer.trace(scope["headers"], record)
        if self._log_requests:
            level = logging.ERROR if record.status >= 500 or not record.status else logging.INFO
            # Made by hand, because _log.log() looks for the line of code that logs, which takes longer than the rest.
            line = logging.LogRecord(_log.name, level, "", 0, "request", None, None)
            line.fields = _log_fields(scope, record)
            _log.handle(line)


def _start_response(record: RequestRecord, message: Message) -> None:
    record.status = message["status"]
    for name, value in message["headers"]:
        if name == MODEL_HEADER:
            record.model = value.decode("latin-1")
    message["headers"] = [*message["headers"], (REQUEST_ID_HEADER, record.request_id.encode())]


def _request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    for name, value in headers:
        if name == REQUEST_ID_HEADER and VALID_REQUEST_ID.fullmatch(value):
            return value.decode()
    # Unique is enough: secret random bits are a system call, which takes many times as long.
    return f"{random.getrandbits(64):016x}"


def _log_fields(scope: Scope, record: RequestRecord) -> dict[str, Any]:
    client = scope.get("client")
    fields: dict[str, Any] = {
        "request_id": record.request_id,
        "method": record.method,
        "route": record.route,
        "status": record.status,
        "outcome": record.outcome,
        "bytes_in": record.bytes_in,
        "bytes_out": record.bytes_out,
        "duration_ms": round(record.duration_ns / 1e6, 3),
        "model": record.model,
        "client": client[0] if client else None,
    }
    if record.trace_id is not None:
        fields["trace_id"] = record.trace_id
    return fields
