"""Requests as OpenTelemetry spans: a record enters, and a span with one child for each stage leaves by OTLP over HTTP.

It is all set by OpenTelemetry's own variables, and nothing of its SDK is loaded unless they name an endpoint. A span
goes under the one that `traceparent` names, so that those of a client, a sender and a receiver become one trace.
Neither bodies nor queries are sent.
"""

import os
import threading
from typing import TYPE_CHECKING, Self

from starlette.types import Scope

from service.errors import StartupRefused
from service.observability.request_record import RequestRecord

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
CARRIERS = (b"traceparent", b"tracestate")
CLOSE_TIMEOUT_S = 2


class Tracer:
    """Sends spans, in a thread of its own."""

    def __init__(self, provider: "TracerProvider", exporter: "SpanExporter", version: str) -> None:
        from opentelemetry.trace import SpanKind, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._exporter = exporter
        self._tracer = provider.get_tracer("latentwire", version)
        self._propagator = TraceContextTextMapPropagator()
        self._server = SpanKind.SERVER
        self._error = StatusCode.ERROR

    @classmethod
    def open(cls, version: str, role: str) -> Self | None:
        """Return a tracer if the environment names an endpoint.

        Raises:
            StartupRefused: it does, and what tracing needs is not installed.
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
                "an endpoint for traces is set, but what sends them is not installed: pip install 'latentwire[tracing]'"
            ) from error
        # OTEL_SERVICE_NAME goes before this name.
        name = os.environ.get("OTEL_SERVICE_NAME") or ("latentwire" if role == "both" else f"latentwire-{role}")
        resource = Resource.create({"service.name": name, "service.version": version})
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter()
        provider.add_span_processor(BatchSpanProcessor(exporter))
        return cls(provider, exporter, version)

    def trace(self, scope: Scope, record: RequestRecord) -> None:
        """Send what is known of one request that has ended."""
        from opentelemetry.trace import set_span_in_context

        carrier = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in CARRIERS}
        span = self._tracer.start_span(
            f"{scope['method'][:16]} {record.route}",
            context=self._propagator.extract(carrier),
            kind=self._server,
            start_time=record.begun_at_ns,
        )
        record.trace_id = f"{span.get_span_context().trace_id:032x}"
        if span.is_recording():
            span.set_attributes(
                {
                    "http.request.method": scope["method"][:16],
                    "http.route": record.route,
                    "http.response.status_code": record.status,
                    "http.request.body.size": record.bytes_in,
                    "http.response.body.size": record.bytes_out,
                    "latentwire.request_id": record.request_id,
                    "latentwire.outcome": record.outcome,
                }
            )
            if record.model is not None:
                span.set_attribute("latentwire.model", record.model)
            if record.problem is not None:
                span.set_attribute("error.type", record.problem)
            if record.status >= 500 or not record.complete:
                span.set_status(self._error)
            inside = set_span_in_context(span)
            since = record.begun_at_ns - record.begun_ns
            for stage, begun_ns, ended_ns in record.timer.spans:
                child = self._tracer.start_span(stage, context=inside, start_time=since + begun_ns)
                child.end(since + ended_ns)
        span.end(record.begun_at_ns + record.duration_ns)

    def close(self) -> None:
        """Send what has not been sent yet, if the collector takes it soon."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_TIMEOUT_S)
        if closing.is_alive():
            # Ends its wait for the next try, so that a collector that is gone does not hold up the end.
            self._exporter.shutdown()
            closing.join(CLOSE_TIMEOUT_S)
