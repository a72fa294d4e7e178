import io
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import httpx
import numpy as np
import pytest
from prometheus_client import Histogram
from prometheus_client.parser import text_string_to_metric_families

from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from latentwire.selection.guard import Guard
from service.app import create_app
from service.errors import StartupRefused
from service.observability.metrics import BUCKETS_S, Metrics
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


def test_requests_are_counted_by_route_and_outcome(start: Callable[..., Client], png: bytes) -> None:
    client = start()
    for body in (png, png, b"no image"):
        client.encode(body)
    client.get("/made-up")
    client.get("/made-up/too")
    client.get("/encode")
    assert value(client, "latentwire_http_requests_total", route="/encode", outcome="ok") == 2
    assert value(client, "latentwire_http_requests_total", route="/encode", outcome="invalid-image") == 1
    assert value(client, "latentwire_http_requests_total", route="/encode", outcome="method-not-allowed") == 1
    assert value(client, "latentwire_http_requests_total", route="other", outcome="not-found") == 2
    assert "made-up" not in client.get("/metrics").text


def test_times_fall_into_the_buckets_that_prometheus_client_would_take() -> None:
    metrics = Metrics("1", "both")
    beside = Histogram("beside", "", buckets=BUCKETS_S, registry=None)
    for time_ns in (0, 1, 100_000, 100_001, 999_999_999, 10**10, 10**10 + 1, 10**12):
        record = RequestRecord("id")
        record.route, record.duration_ns = "/encode", time_ns
        metrics.count(record)
        beside.observe(time_ns / 1e9)
    metrics.flush()
    found = samples(metrics.text("")[0].decode())
    ours = [count for (name, _), count in found.items() if name == "latentwire_http_request_duration_seconds_bucket"]
    theirs = [one.value for family in beside.collect() for one in family.samples if one.name == "beside_bucket"]
    assert sorted(ours) == sorted(theirs)
    assert found["latentwire_http_request_duration_seconds_count", frozenset({("route", "/encode")})] == 8


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


def test_misfits_are_counted_by_what_was_done(start: Callable[..., Client], png: bytes) -> None:
    client = start(verify_reconstruction=True)
    for on_ood in ("refuse", "warn", "warn", "fallback"):
        client.encode(png, on_ood=on_ood, max_mse="0")
    counted = [value(client, "latentwire_ood_images_total", outcome=one) for one in ("refused", "warned", "fallback")]
    assert counted == [1, 2, 1]


def test_misfits_of_batches_are_counted_each(guarded_model: Path) -> None:
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
    admission._admitted = 2
    assert client.encode(png).status_code == 429
    admission._notify()
    assert value(client, "latentwire_requests_in_flight") == 1
    assert value(client, "latentwire_requests_queued") == 1
    assert value(client, "latentwire_http_requests_total", route="/encode", outcome="overloaded") == 1
    admission._admitted = 0
    assert client.encode(png).status_code == 200
    assert value(client, "latentwire_requests_in_flight") == value(client, "latentwire_requests_queued") == 0


def test_bytes_of_bodies_are_shown_while_they_are_held(start: Callable[..., Client], png: bytes) -> None:
    client = start()
    with client.app.state.shared.admission.reserve() as budget:
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


@pytest.fixture
def workers(models_dir: Path, tmp_path: Path) -> Iterator[list[httpx.Client]]:
    """Two processes that share a folder for their metrics."""
    shared = tmp_path / "shared"
    shared.mkdir()
    command = [sys.executable, "-m", "service", "--port", "0", "--models-dir", str(models_dir)]
    command += ["--default-model", "tiny", "--no-access-log"]
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(shared)}
    processes = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    clients = []
    try:
        for process in processes:
            assert process.stdout
            found = re.search(r"(http://\S+) ", process.stdout.readline())
            assert found
            clients.append(httpx.Client(base_url=found[1], timeout=30))
        yield clients
    finally:
        for process in processes:
            process.terminate()
            process.communicate(timeout=30)
        for client in clients:
            client.close()


def test_each_of_several_processes_answers_for_all(workers: list[httpx.Client], png: bytes) -> None:
    for worker in workers:
        assert worker.post("/encode", content=png).status_code == 200
    encoded = ("latentwire_http_requests_total", frozenset({("route", "/encode"), ("outcome", "ok")}))
    deadline_s = time.monotonic() + 30
    while samples(workers[0].get("/metrics").text).get(encoded, 0) < 2:
        assert time.monotonic() < deadline_s
    for worker in workers:
        found = samples(worker.get("/metrics").text)
        assert found[encoded] == 2
        assert found["latentwire_requests_in_flight", frozenset()] == 0
