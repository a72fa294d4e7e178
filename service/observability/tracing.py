"""Requests as OpenTelemetry spans, one child per stage, sent by OTLP over HTTP.

OpenTelemetry's own variables configure it; without an endpoint in them, nothing of its SDK is loaded. A span becomes a
child of the one in the `traceparent` header, so the spans of a client, a sender and a receiver form one trace. Spans
hold neither bodies nor queries.
"""

import os
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Self

from service.errors import StartupRefused
from service.observability.request_record import RequestRecord

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
CARRIERS = (b"traceparent", b"tracestate")
CLOSE_TIMEOUT_S = 2


class Tracer:
    """Sends spans from a thread of its own."""

    def __init__(self, provider: "TracerProvider", exporter: "SpanExporter", version: str) -> None:
        self._provider = provider
        self._exporter = exporter
        self._tracer = provider.get_tracer("latentwire", version)

    @classmethod
    def open(cls, version: str, role: str) -> Self | None:
        """Return a tracer; None if the environment names no endpoint.

        Raises:
            StartupRefused: the environment names an endpoint, and the packages for tracing are not installed.
        """
        if not any(os.environ.get(name) for name in ENDPOINTS):
            return None
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise StartupRefused(
                "an endpoint for traces is set, but their packages are not installed: pip install 'latentwire[tracing]'"
            ) from error
        name = os.environ.get("OTEL_SERVICE_NAME") or ("latentwire" if role == "both" else f"latentwire-{role}")
        resource = Resource.create({"service.name": name, "service.version": version})
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter()
        provider.add_span_processor(BatchSpanProcessor(exporter))
        return cls(provider, exporter, version)

    def trace(self, headers: Iterable[tuple[bytes, bytes]], record: RequestRecord) -> None:
        """Send the span of a request that has ended; `headers` are the request's."""
        from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {name.decode(): value.decode("latin-1") for name, value in headers if name in CARRIERS}
        span = self._tracer.start_span(
            f"{record.method} {record.route}",
            context=TraceContextTextMapPropagator().extract(carrier),
            kind=SpanKind.SERVER,
            start_time=record.begun_at_ns,
        )
        record.trace_id = f"{span.get_span_context().trace_id:032x}"
        if span.is_recording():
            attributes: dict[str, str | int | None] = {
                "http.request.method": record.method,
                "http.route": record.route,
                "http.response.status_code": record.status,
                "http.request.body.size": record.bytes_in,
                "http.response.body.size": record.bytes_out,
                "latentwire.request_id": record.request_id,
                "latentwire.outcome": record.outcome,
                "latentwire.model": record.model,
                "error.type": record.problem,
            }
            span.set_attributes({name: value for name, value in attributes.items() if value is not None})
            if record.status >= 500 or not record.complete:
                span.set_status(StatusCode.ERROR)
            inside = set_span_in_context(span)
            since = record.begun_at_ns - record.begun_ns
            for stage, begun_ns, ended_ns in record.timer.spans:
                child = self._tracer.start_span(stage, context=inside, start_time=since + begun_ns)
                child.end(since + ended_ns)
        span.end(record.begun_at_ns + record.duration_ns)

    def close(self) -> None:
        """Send the remaining spans, for as long as `CLOSE_TIMEOUT_S` at most."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_TIMEOUT_S)
        if closing.is_alive():
            # Ends the wait for its next try, so that a dead collector does not delay the shutdown.
            self._exporter.shutdown()
            closing.join(CLOSE_TIMEOUT_S)
