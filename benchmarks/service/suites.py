"""The measurements. Each compares its cases in turns, and returns the figures of every round.

The server runs on one core and the load generator on another; only the suite `workers` lets both use all cores.
"""

import base64
import http.client
import io
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.service import dense
from benchmarks.service.in_process import InProcessModel, StepTimes
from benchmarks.service.load_generator import Load, Request, drive
from benchmarks.service.servers import ROOT, Cores, Server, baseline, environment, on_core, service

OCTETS = "application/octet-stream"
JSON = "application/json"
NPY = "application/x-npy"
PNG = "image/png"

BASELINE = "baseline route"
BASELINE_CODE = "baseline route, a code's bytes"
ENCODE, ENCODE_JSON = "/encode, raw", "/encode, JSON"
ENCODE_ALONE = "/encode, raw, role sender"
ENCODE_DENSE = "/encode, raw, dense graph, role sender"
DECODE, DECODE_JSON = "/decode, raw to PNG", "/decode, JSON to JSON"

CONNECTIONS = (1, 8, 64)
EFFICIENCY_CONNECTIONS = 8
WARM_UP_S = 1


class Plan(NamedTuple):
    """What to measure, and for how long."""

    models_dir: Path
    default_model: str
    cores: Cores
    rounds: int
    seconds: int

    def drive(self, server: Server, requests: Sequence[Request], connections: int, seconds: int | None = None) -> Load:
        """Drive a server for `seconds`, by default those of one measurement."""
        return drive(server.port, requests, connections, seconds or self.seconds, self.cores.driver)

    def serve(self, *flags: str, cores: set[int] | None = None) -> Server:
        """Start the service with this plan's models; `flags` go to the service."""
        return service(self.models_dir, self.default_model, cores or {self.cores.measured}, *flags)


class Measurement(NamedTuple):
    """One run against one route: its load, and the server's processor time per request in seconds."""

    load: Load
    cpu_s: float


class Round(NamedTuple):
    """One round: each route at each number of connections, and the steps alone."""

    measurements: dict[tuple[str, int], Measurement]
    steps: StepTimes


def routes(
    plan: Plan, in_process: InProcessModel, scratch: Path, connections: Sequence[int] = CONNECTIONS
) -> list[Round]:
    """Measure all routes, and the baseline route."""
    models = scratch / "dense"
    dense.publish_dense(models, scratch)
    here = {plan.cores.measured}
    images, codes = encode_requests(in_process.card.name, in_process.files), decode_requests(in_process.codes)
    rounds = []
    for _ in range(plan.rounds):
        # New processes in each round: memory layout makes each process a few percent faster or slower.
        with ExitStack() as stack:
            base, both, sender, small = (
                stack.enter_context(server)
                for server in (
                    baseline(here),
                    plan.serve(),
                    plan.serve("--role", "sender"),
                    service(models, dense.NAME, here, "--role", "sender"),
                )
            )
            cases: dict[str, tuple[Server, list[Request]]] = {
                BASELINE: (base, [request._replace(path="/baseline") for request in images]),
                ENCODE: (both, images),
                ENCODE_ALONE: (sender, images),
                ENCODE_DENSE: (small, encode_requests(dense.NAME, in_process.files)),
                ENCODE_JSON: (both, [request._replace(headers={"Content-Type": PNG}) for request in images]),
                BASELINE_CODE: (base, [request._replace(path="/baseline") for request in codes]),
                DECODE: (both, codes),
                DECODE_JSON: (both, [_decode_json(code) for code in in_process.codes]),
            }
            for server, requests in cases.values():
                plan.drive(server, requests, 1, WARM_UP_S)
            measurements = {
                (name, count): measure_load(plan, server, requests, count)
                for count in connections
                for name, (server, requests) in cases.items()
            }
            with on_core(plan.cores.measured):
                rounds.append(Round(measurements, in_process.time_steps()))
    return rounds


class Stages(NamedTuple):
    """The server's own figures of one route: mean seconds of a request and of each stage, images per micro-batch."""

    request_s: float
    images_per_micro_batch: float
    stage_s: dict[str, float]


def stages(plan: Plan, in_process: InProcessModel, connections: Sequence[int]) -> dict[tuple[str, int], Stages]:
    """Measure how the time of a request divides into stages, and how large the micro-batches are."""
    found = {}
    images, codes = encode_requests(in_process.card.name, in_process.files), decode_requests(in_process.codes)
    with plan.serve() as both, plan.serve("--role", "sender") as sender:
        for name, server, requests in (ENCODE_ALONE, sender, images), (ENCODE, both, images), (DECODE, both, codes):
            for count in connections:
                plan.drive(server, requests, count, WARM_UP_S)
                before = _scrape(server, requests[0].path.partition("?")[0])
                plan.drive(server, requests, count)
                after = _scrape(server, requests[0].path.partition("?")[0])
                found[name, count] = _stages({key: value - before.get(key, 0) for key, value in after.items()})
    return found


class BatchRound(NamedTuple):
    """Images per second: over HTTP, and of the graph alone by the number of images per run."""

    encoded_per_s: float
    encoder_per_s: dict[int, float]
    decoded_per_s: float
    decoder_per_s: dict[int, float]


def batches(plan: Plan, in_process: InProcessModel, images: int) -> list[BatchRound]:
    """Measure batches over HTTP, and the same graphs alone in this process, each on one core."""
    pixels = np.resize(in_process.pixels, (images, *in_process.pixels.shape[1:]))
    array = io.BytesIO()
    np.save(array, pixels)
    rounds = []
    with plan.serve() as server:
        encode = Request("/encode/batch", array.getvalue(), {"Content-Type": NPY})
        decode = Request("/decode/batch", post(server, encode), {"Content-Type": OCTETS})
        for _ in range(plan.rounds):
            with on_core(plan.cores.driver):
                encode_s = _seconds(lambda: post(server, encode))
                decode_s = _seconds(lambda: post(server, decode))
            with on_core(plan.cores.measured):
                encoder, decoder = in_process.encoded_per_s(images), in_process.decoded_per_s(images)
            rounds.append(BatchRound(images / encode_s, encoder, images / decode_s, decoder))
    return rounds


class StartRound(NamedTuple):
    """Seconds from the start of a service until it is ready, and of a process that only imports its packages."""

    ready_s: float
    import_s: float


def starts(plan: Plan) -> list[StartRound]:
    """Measure the start of the service, and of a process that imports fastapi and onnxruntime, on all cores."""
    found = []
    for _ in range(plan.rounds):
        with plan.serve(cores=set(plan.cores)) as server:
            ready_s = server.ready_s
        found.append(StartRound(ready_s, _import_s()))
    return found[1:] or found  # the first start reads the files from the disk


class Memory(NamedTuple):
    """Resident bytes: at rest, the maximum under load, and by the number of requests that were sent."""

    rest: int
    load: int
    after: dict[int, int]


def memory(plan: Plan, in_process: InProcessModel, first: int, all_requests: int) -> Memory:
    """Send mixed requests, some of them invalid, and watch the server's memory."""
    requests = mixed_requests(in_process)
    with plan.serve() as server:
        rest = server.resident_bytes()
        sent, most, after = 0, rest, {}
        for goal in (first, all_requests):
            while True:
                sent += plan.drive(server, requests, 64).requests
                most = max(most, server.resident_bytes())
                if sent >= goal:
                    break
            after[sent] = server.resident_bytes()
    return Memory(rest, most, after)


class WorkersRound(NamedTuple):
    """Requests per second of /encode by the number of workers."""

    per_s: dict[int, float]


def workers(plan: Plan, in_process: InProcessModel, counts: Sequence[int] = (1, 2)) -> list[WorkersRound]:
    """Measure /encode by the number of workers, on all cores, which the load generator shares."""
    requests = encode_requests(in_process.card.name, in_process.files)
    rounds = []
    with ExitStack() as stack:
        cores = set(plan.cores)
        servers = {count: stack.enter_context(plan.serve("--workers", str(count), cores=cores)) for count in counts}
        for _ in range(plan.rounds):
            rounds.append(
                WorkersRound({count: plan.drive(server, requests, 64).per_s for count, server in servers.items()})
            )
    return rounds


def encode_requests(model: str, files: Sequence[bytes]) -> list[Request]:
    """Return requests of /encode, image files to bitstreams.

    They name the model, so that none is sent by a better one, and all do the same work.
    """
    return [Request(f"/encode?model={model}", file, {"Content-Type": PNG, "Accept": OCTETS}) for file in files]


def decode_requests(bitstreams: Sequence[bytes]) -> list[Request]:
    """Return requests of /decode, bitstreams to PNG files."""
    return [Request("/decode", each, {"Content-Type": OCTETS, "Accept": PNG}) for each in bitstreams]


def mixed_requests(in_process: InProcessModel) -> list[Request]:
    """Return requests of all kinds; every eighth is invalid."""
    mixed = []
    for file, code in zip(in_process.files, in_process.codes, strict=True):
        encode, decode = (
            Request("/encode", file, {"Content-Type": PNG, "Accept": OCTETS}),
            Request("/decode", code, {"Content-Type": OCTETS, "Accept": PNG}),
        )
        mixed += [
            encode,
            encode._replace(headers={"Content-Type": PNG}),
            decode,
            _decode_json(code),
            Request("/encode", _form(file), {"Content-Type": "multipart/form-data; boundary=b"}),
            encode._replace(path="/encode?fit=pad"),
            Request("/readyz", b"", {}, "GET"),
            decode._replace(body=code[:-1]),
        ]
    return mixed


def _decode_json(code: bytes) -> Request:
    body = json.dumps({"bitstream": base64.b64encode(code).decode()}).encode()
    return Request("/decode", body, {"Content-Type": JSON, "Accept": JSON})


def _form(file: bytes) -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    return head + file + b"\r\n--b--\r\n"


def measure_load(plan: Plan, server: Server, requests: Sequence[Request], connections: int) -> Measurement:
    """Drive a server, and measure its processor time.

    Raises:
        RuntimeError: requests were refused, or connections broke.
    """
    before_s = server.cpu_s()
    load = plan.drive(server, requests, connections)
    if load.refused:
        raise RuntimeError(f"{load.refused} requests of {requests[0].path} were refused")
    return Measurement(load, (server.cpu_s() - before_s) / load.requests)


def _scrape(server: Server, route: str) -> dict[tuple[str, str], float]:
    """Return the server's metrics of a route, by the metric's name and its label `stage`."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics") as response:
        families = text_string_to_metric_families(response.read().decode())
    return {
        (sample.name.removeprefix("latentwire_"), sample.labels.get("stage", "")): sample.value
        for family in families
        for sample in family.samples
        if sample.labels.get("route") == route and sample.name.endswith(("_sum", "_count"))
    }


def _stages(metrics: dict[tuple[str, str], float]) -> Stages:
    requests = metrics["http_request_duration_seconds_count", ""]
    # No micro-batch ran if the cost model sent all work to threads.
    micro_batches = metrics.get(("micro_batch_size_count", ""), 0)
    return Stages(
        metrics["http_request_duration_seconds_sum", ""] / requests,
        metrics["micro_batch_size_sum", ""] / micro_batches if micro_batches else 1,
        {
            stage: total_s / metrics["stage_duration_seconds_count", stage]
            for (name, stage), total_s in metrics.items()
            if name == "stage_duration_seconds_sum"
        },
    )


def post(server: Server, request: Request) -> bytes:
    """Send one request, and return the response's body.

    Raises:
        RuntimeError: the response's status is not 200.
    """
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    try:
        connection.request(request.method, request.path, request.body, request.headers)
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    if response.status != http.HTTPStatus.OK:
        raise RuntimeError(f"{request.path} got status {response.status}: {content[:500]!r}")
    return content


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _import_s() -> float:
    code = "import fastapi, onnxruntime; print(flush=True)"
    started = time.perf_counter()
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, env=environment()
    ) as process:
        process.stdout.readline()  # type: ignore[union-attr]
        return time.perf_counter() - started
