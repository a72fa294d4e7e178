import errno
import io
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path

import httpx
import numpy as np
import pytest
from prometheus_client import values
from prometheus_client.parser import text_string_to_metric_families

from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from latentwire.selection.guard import Guard
from service.app import create_app
from service.errors import StartupRefused
from service.observability.metrics import Metrics
from service.observability.request_record import RequestRecord
from service.settings import Settings
from tests.service.client import OCTETS, Client
from tests.service.conftest import serve
from tests.tiny_model import familiar_pixels, strange_pixels

ROOT = Path(__file__).parents[3]


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(text)
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


def value(client: Client, name: str, **labels: str) -> float:
    return samples(client.get("/metrics").text).get((name, frozenset(labels.items())), 0)


def test_requests_are_counted_by_route_method_status_and_outcome(start: Callable[..., Client], png: bytes) -> None:
    client = start()
    for body in (png, png, b"no image"):
        client.encode(body)
    client.get("/made-up")
    client.get("/made-up/too")
    client.get("/encode")
    client.request("BREW", "/encode")
    counted = {
        ("/encode", "POST", "200", "ok"): 2,
        ("/encode", "POST", "400", "invalid-image"): 1,
        ("/encode", "GET", "405", "method-not-allowed"): 1,
        ("/encode", "other", "405", "method-not-allowed"): 1,
        ("other", "GET", "404", "not-found"): 2,
    }
    for (route, method, status, outcome), requests in counted.items():
        labels = {"route": route, "method": method, "status": status, "outcome": outcome}
        assert value(client, "latentwire_http_requests_total", **labels) == requests, labels
    text = client.get("/metrics").text
    assert "made-up" not in text
    assert "BREW" not in text


@pytest.mark.parametrize("route", ["/encode", "/decode"])
def test_micro_batches_are_counted_by_their_size(
    start: Callable[..., Client], png: bytes, bitstream: bytes, monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    # However slow this machine is.
    monkeypatch.setattr("latentwire.batching.cost_model.INLINE_LIMIT_NS", math.inf)
    monkeypatch.setattr("latentwire.batching.batcher.MAX_BATCH_NS", 10**12)
    client, body = start(), {"/encode": png, "/decode": bitstream}[route]
    client.post(route, body)
    assert value(client, "latentwire_micro_batch_size_count", route=route) == 1
    client.post_at_once(route, [body] * 5)
    assert value(client, "latentwire_micro_batch_size_count", route=route) == 2
    assert value(client, "latentwire_micro_batch_size_sum", route=route) == 6
    assert value(client, "latentwire_micro_batch_size_bucket", route=route, le="4.0") == 1
    assert value(client, "latentwire_micro_batch_size_bucket", route=route, le="8.0") == 2


def test_a_request_that_gets_no_response_is_cut_off() -> None:
    metrics = Metrics("1", "both")
    metrics.count(RequestRecord("id", "POST"))
    labels = {"route": "other", "method": "POST", "status": "none", "outcome": "cut-off"}
    assert samples(metrics.text("")[0].decode())["latentwire_http_requests_total", frozenset(labels.items())] == 1


def test_each_stage_of_a_request_is_timed(start: Callable[..., Client], png: bytes) -> None:
    client = start()
    client.decode(client.encode(png, accept=OCTETS).content)
    for route in ("/encode", "/decode"):
        for stage in ("read", "wait", "image", "infer", "entropy", "respond"):
            assert value(client, "latentwire_stage_duration_seconds_count", route=route, stage=stage) == 1, (
                route,
                stage,
            )
        stages = [
            value(client, "latentwire_stage_duration_seconds_sum", route=route, stage=stage)
            for stage in ("infer", "entropy")
        ]
        assert 0 < sum(stages) < value(client, "latentwire_http_request_duration_seconds_sum", route=route)


@pytest.mark.parametrize("accept", [OCTETS, "application/json"])
def test_bytes_of_images_and_codes_give_the_ratio(start: Callable[..., Client], png: bytes, accept: str) -> None:
    client = start()
    answer = client.encode(png, accept=accept, on_ood="warn")
    code_bytes = len(answer.content) if accept == OCTETS else answer.json()["bitstream_bytes"]
    assert value(client, "latentwire_image_bytes_total", model="tiny") == len(png)
    assert value(client, "latentwire_code_bytes_total", model="tiny") == code_bytes
    assert value(client, "latentwire_request_bytes_total", route="/encode") == len(png)
    assert value(client, "latentwire_response_bytes_total", route="/encode") == len(answer.content)


def test_out_of_distribution_images_are_counted_by_what_was_done(start: Callable[..., Client], png: bytes) -> None:
    client = start(verify_reconstruction=True)
    for on_ood in ("refuse", "warn", "warn", "fallback"):
        client.encode(png, on_ood=on_ood, max_mse="0")
    counted = [value(client, "latentwire_ood_images_total", outcome=one) for one in ("refused", "warned", "fallback")]
    assert counted == [1, 2, 1]


def test_each_out_of_distribution_image_of_a_batch_counts(guarded_model: Path) -> None:
    pixels = np.concatenate([familiar_pixels(40), strange_pixels(3), familiar_pixels(300), strange_pixels(2)])
    body = io.BytesIO()
    np.save(body, pixels, allow_pickle=False)
    with serve(Settings(models_dir=guarded_model.parent)) as client:
        for accept, on_ood in product((OCTETS, "application/json"), ("refuse", "warn", "fallback")):
            client.post("/encode/batch", body.getvalue(), "application/x-npy", accept=accept, on_ood=on_ood)
        counted = [
            value(client, "latentwire_ood_images_total", outcome=one) for one in ("refused", "warned", "fallback")
        ]
    guard = Guard(Encoder.open(guarded_model), Decoder.open(guarded_model))
    quickly, closely = (
        len(guard.encode_chunk(pixels, "warn").ood_images),
        sum(bool(one.ood) for one in guard.assess(pixels)),
    )
    assert min(quickly, closely) >= 5
    assert counted == [2, quickly + closely, quickly + closely]


def test_what_runs_is_named(start: Callable[..., Client]) -> None:
    client = start(role="sender")
    cards = client.get("/models").json()["models"]
    for card in cards:
        default = str(card["name"] == "tiny").lower()
        labels = {"model": card["name"], "model_id": card["model_id"], "default": default}
        assert value(client, "latentwire_model_info", **labels) == 1
    assert re.search(r'latentwire_build_info{[^}]*role="sender"[^}]*} 1\.0', client.get("/metrics").text)


def test_metrics_answer_when_the_queue_is_full_and_show_it(start: Callable[..., Client], png: bytes) -> None:
    client = start(max_concurrency=1, max_queue_size=1)
    admission = client.app.state.shared.admission
    admission.admitted = 2
    assert client.encode(png).status_code == 429
    assert value(client, "latentwire_requests_in_flight") == 1
    assert value(client, "latentwire_requests_queued") == 1
    assert (
        value(
            client, "latentwire_http_requests_total", route="/encode", method="POST", status="429", outcome="overloaded"
        )
        == 1
    )
    admission.admitted = 0
    assert client.encode(png).status_code == 200
    assert value(client, "latentwire_requests_in_flight") == value(client, "latentwire_requests_queued") == 0


def test_buffered_bytes_of_bodies_are_shown(start: Callable[..., Client], png: bytes) -> None:
    client = start()
    with client.app.state.shared.admission.reserve("") as budget:
        budget.add(7)
        assert value(client, "latentwire_body_buffered_bytes") == 7
        assert client.encode(png).status_code == 200
        assert value(client, "latentwire_body_buffered_bytes") == 7
    assert value(client, "latentwire_body_buffered_bytes") == 0


def test_openmetrics_is_given_to_those_who_ask(client: Client) -> None:
    accept = "application/openmetrics-text; version=1.0.0"
    answer = client.get("/metrics", headers={"Accept": accept})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")
    assert client.get("/metrics").headers["content-type"].startswith("text/plain; version=")


def test_a_shared_folder_that_is_not_there_is_said(
    models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(StartupRefused, match="PROMETHEUS_MULTIPROC_DIR"):
        create_app(Settings(models_dir=models_dir, default_model="tiny"))


def test_without_space_in_the_folder_a_process_counts_for_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write = Path.write_bytes

    def write_a_little(path: Path, data: bytes) -> int:
        write(path, data[:100])
        if "histogram" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return len(data)

    monkeypatch.setattr(values, "ValueClass", values.ValueClass)  # it is put back after the test
    monkeypatch.setattr(Path, "write_bytes", write_a_little)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    metrics = Metrics("1", "both")
    metrics.count_closed_connection("evicted")
    assert b'latentwire_connections_closed_total{reason="evicted"} 1.0' in metrics.text("")[0]
    assert list(tmp_path.iterdir()) == []
    assert caplog.messages == [
        f"the metrics of this process are not shared: '{tmp_path}' cannot be written: No space left on device"
    ]


def test_a_process_takes_all_the_space_for_its_metrics_at_its_start(tmp_path: Path) -> None:
    script = """
import os, sys
from pathlib import Path
from service.observability.metrics import FILE_BYTES, Metrics
from service.observability.request_record import METHODS, RequestRecord

metrics = Metrics("1", "both")
for route in ("/encode", "/decode", "/encode/batch", "/decode/batch", *map(str, range(10))):
    for number, method in enumerate(METHODS):
        record = RequestRecord("id", method)
        record.route, record.problem, record.status = route, f"problem-{number}", 400 + number
        for stage in ("read", "wait", "parse", "infer", "quantize", "code", "respond", "verify", "fit", "batch"):
            record.timer.record(stage, 0, 1)
        metrics.count(record)
metrics.text("")
for kind, size in FILE_BYTES.items():
    status = Path(sys.argv[1], f"{kind}_{os.getpid()}.db").stat()
    assert status.st_size == size, kind
    assert status.st_blocks * 512 >= size, kind
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    subprocess.run(command, cwd=ROOT, env=environment, check=True)


Worker = tuple[subprocess.Popen[str], httpx.Client]


@pytest.fixture
def workers(models_dir: Path, tmp_path: Path) -> Iterator[list[Worker]]:
    """Two processes that share a folder for their metrics."""
    command = [sys.executable, "-m", "service", "--port", "0", "--models-dir", str(models_dir)]
    command += ["--default-model", "tiny", "--no-access-log"]
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    with ExitStack() as stack:
        processes = []
        for _ in range(2):
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
            stack.callback(process.communicate, timeout=30)
            stack.callback(process.terminate)
            processes.append(process)
        found = []
        for process in processes:
            assert process.stdout
            address = re.search(r"(http://\S+) ", process.stdout.readline())
            assert address
            found.append((process, stack.enter_context(httpx.Client(base_url=address[1], timeout=30))))
        yield found


def await_sample(client: httpx.Client, name: str, expected: float, **labels: str) -> None:
    """Wait until `/metrics` shows a value: a request is counted after its response has been sent."""
    deadline_s = time.monotonic() + 30
    key = (name, frozenset(labels.items()))
    while (found := samples(client.get("/metrics").text).get(key)) != expected:
        assert time.monotonic() < deadline_s, found
        time.sleep(0.05)


def test_each_of_several_processes_answers_for_all(workers: list[Worker], png: bytes) -> None:
    for _, client in workers:
        assert client.post("/encode", content=png).status_code == 200
    labels = {"route": "/encode", "method": "POST", "status": "200", "outcome": "ok"}
    for _, client in workers:
        await_sample(client, "latentwire_http_requests_total", 2, **labels)
        await_sample(client, "latentwire_requests_in_flight", 0)


def test_the_gauges_of_a_killed_process_are_dropped_and_its_counters_stay(
    workers: list[Worker], tmp_path: Path, png: bytes
) -> None:
    (killed, client), (_, other) = workers
    assert client.post("/encode", content=png).status_code == 200
    labels = {"route": "/encode", "method": "POST", "status": "200", "outcome": "ok"}
    await_sample(client, "latentwire_http_requests_total", 1, **labels)
    await_sample(other, "latentwire_connections_open", 2)
    killed.kill()
    killed.wait(30)
    await_sample(other, "latentwire_connections_open", 1)
    await_sample(other, "latentwire_http_requests_total", 1, **labels)
    assert not list(tmp_path.glob(f"gauge_live*_{killed.pid}.db"))
