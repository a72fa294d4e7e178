import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from service.errors import StartupRefused
from service.observability.tracing import Tracer
from service.settings import Settings
from tests.service.client import OCTETS, Client
from tests.service.conftest import serve

ROOT = Path(__file__).parents[3]
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
CLIENT_SPAN_ID = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{CLIENT_SPAN_ID}-01"


class Collector:
    """Takes spans, as OTLP over HTTP has them."""

    def __init__(self) -> None:
        self.received: list[tuple[str, bytes]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                collector.received.append((self.path, self.rfile.read(length)))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    collector = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server.server_address[1]}")
    yield collector
    collector.close()


def test_a_sender_and_a_receiver_are_in_the_trace_of_their_client(
    collector: Collector, models_dir: Path, png: bytes
) -> None:
    sender = Settings(models_dir=models_dir, default_model="tiny", role="sender")
    receiver = Settings(models_dir=models_dir, default_model="tiny", role="receiver")
    headers = {"Traceparent": TRACEPARENT, "Accept": OCTETS}
    with serve(sender) as client:
        bitstream = client.request("POST", "/encode?fit=pad", content=png, headers=headers).content
    with serve(receiver) as client:
        client.request("POST", "/decode", content=bitstream, headers={"Traceparent": TRACEPARENT})
        client.request("POST", "/decode", content=b"damaged", headers={"Traceparent": TRACEPARENT})
    spans: dict[tuple[str, str], list[Span]] = {}
    for path, body in collector.received:
        assert path == "/v1/traces"
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    spans.setdefault((names["service.name"], span.name), []).append(span)
    assert {span.trace_id.hex() for found in spans.values() for span in found} == {TRACE_ID}
    encoded = spans["latentwire-sender", "POST /encode"][0]
    decoded, refused = spans["latentwire-receiver", "POST /decode"]
    for span in (encoded, decoded, refused):
        assert span.parent_span_id.hex() == CLIENT_SPAN_ID
    attributes = {one.key: one.value for one in encoded.attributes}
    assert attributes["http.response.status_code"].int_value == 200
    assert attributes["latentwire.model"].string_value.startswith("tiny@")
    assert not any("fit" in str(one.value) for one in encoded.attributes)
    wrong = {one.key: one.value.string_value for one in refused.attributes}
    assert wrong["error.type"] == "invalid-code"
    for service, parent in (("latentwire-sender", encoded), ("latentwire-receiver", decoded)):
        for stage in ("read", "wait", "image", "infer", "entropy", "respond"):
            inside = spans[service, stage][0]
            assert inside.parent_span_id == parent.span_id
            assert parent.start_time_unix_nano <= inside.start_time_unix_nano
            assert inside.end_time_unix_nano <= parent.end_time_unix_nano


def test_without_an_endpoint_nothing_of_the_sdk_is_loaded(models_dir: Path) -> None:
    script = (
        "import json, sys; from pathlib import Path; from service.app import create_app\n"
        "from service.settings import Settings\n"
        "create_app(Settings(models_dir=Path(sys.argv[1]), default_model='tiny'))\n"
        "print(json.dumps(list(sys.modules)))"
    )
    environment = {name: given for name, given in os.environ.items() if not name.startswith("OTEL_")}
    command = [sys.executable, "-c", script, str(models_dir)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout)
    assert "service.observability.tracing" in loaded
    unwanted = ("opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.proto", "requests", "google.protobuf")
    assert [name for name in loaded if name.startswith(unwanted)] == []


def test_an_endpoint_without_what_it_needs_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(StartupRefused, match=r"latentwire\[tracing\]"):
        Tracer.open("1", "both")


def test_a_damaged_traceparent_begins_a_trace_of_its_own(collector: Collector, start: Callable[..., Client]) -> None:
    assert start().get("/livez", headers={"Traceparent": "00-nonsense"}).status_code == 200
