"""The measurements. Each compares in turns, round by round, and gives what every round found.

What is measured runs on one core and what drives it on another, but where workers are counted.
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
from benchmarks.service.in_process import Alone, Inside
from benchmarks.service.load_generator import Load, Request, drive
from benchmarks.service.servers import ROOT, Cores, Server, empty_route, environment, on_core, service

OCTETS = "application/octet-stream"
JSON = "application/json"
NPY = "application/x-npy"
PNG = "image/png"

EMPTY = "empty route"
EMPTY_CODE = "empty route, a code's bytes"
ENCODE, ENCODE_JSON = "/encode, raw", "/encode, JSON"
ENCODE_ALONE = "/encode, raw, role sender"
ENCODE_DENSE = "/encode, raw, dense graph, role sender"
DECODE, DECODE_JSON = "/decode, raw to PNG", "/decode, JSON to JSON"

CONNECTIONS = (1, 8, 64)
EFFICIENCY_CONNECTIONS = 8
WARM_S = 0.3


class Plan(NamedTuple):
    """What is measured, and for how long."""

    models_dir: Path
    default_model: str
    cores: Cores
    rounds: int
    seconds: float
    by_wrk: bool

    def drive(self, server: Server, requests: Sequence[Request], connections: int, seconds: float = 0) -> Load:
        """Drive a server for so many seconds, else for those of one measurement."""
        return drive(server.port, requests, connections, seconds or self.seconds, self.cores.driver, by_wrk=self.by_wrk)

    def serve(self, *flags: str, cores: set[int] | None = None) -> Server:
        """Start the service with these models."""
        return service(self.models_dir, self.default_model, cores or {self.cores.measured}, *flags)


class Answered(NamedTuple):
    """One run against one route: what came of it, and processor seconds of the server for each request."""

    load: Load
    cpu_s: float


class Round(NamedTuple):
    """One round: each route at each number of connections, and what is measured alone."""

    answered: dict[tuple[str, int], Answered]
    alone: Alone


def routes(plan: Plan, inside: Inside, scratch: Path, connections: Sequence[int] = CONNECTIONS) -> list[Round]:
    """Measure all routes, and the empty one beside them."""
    models = scratch / "dense"
    dense.publish_dense(models, scratch)
    here = {plan.cores.measured}
    images, codes = encode_requests(inside), decode_requests(inside)
    rounds = []
    for _ in range(plan.rounds):
        # New processes each time: by the luck of its memory, one is some percent faster than the next for all its life.
        with ExitStack() as stack:
            empty, both, sender, small = (
                stack.enter_context(server)
                for server in (
                    empty_route(here),
                    plan.serve(),
                    plan.serve("--role", "sender"),
                    service(models, dense.NAME, here, "--role", "sender"),
                )
            )
            cases: dict[str, tuple[Server, list[Request]]] = {
                EMPTY: (empty, [request._replace(path="/empty") for request in images]),
                ENCODE: (both, images),
                ENCODE_ALONE: (sender, images),
                ENCODE_DENSE: (small, images),
                ENCODE_JSON: (both, [request._replace(headers={"Content-Type": PNG}) for request in images]),
                EMPTY_CODE: (empty, [request._replace(path="/empty") for request in codes]),
                DECODE: (both, codes),
                DECODE_JSON: (both, [_decode_json(code) for code in inside.codes]),
            }
            for server, requests in cases.values():
                plan.drive(server, requests, 1, WARM_S)  # whatever is done once
            answered = {
                (name, count): answer(plan, server, requests, count)
                for count in connections
                for name, (server, requests) in cases.items()
            }
            with on_core(plan.cores.measured):
                rounds.append(Round(answered, inside.alone()))
    return rounds


class Stages(NamedTuple):
    """Mean seconds of one route's requests, and of each in every stage, as the server itself counts them."""

    request_s: float
    stage_s: dict[str, float]


def stages(plan: Plan, inside: Inside, connections: Sequence[int]) -> dict[tuple[str, int], Stages]:
    """Measure where the time of requests goes."""
    found = {}
    images, codes = encode_requests(inside), decode_requests(inside)
    with plan.serve() as both, plan.serve("--role", "sender") as sender:
        for name, server, requests in (ENCODE_ALONE, sender, images), (ENCODE, both, images), (DECODE, both, codes):
            for count in connections:
                plan.drive(server, requests, count)  # whatever is done once
                before = _counted(server, requests[0].path)
                plan.drive(server, requests, count)
                sums = {key: value - before.get(key, 0) for key, value in _counted(server, requests[0].path).items()}
                per_request = {key: value / sums["requests"] for key, value in sums.items() if key != "requests"}
                found[name, count] = Stages(per_request.pop("all"), per_request)
    return found


class BatchRound(NamedTuple):
    """Images a second: over HTTP, and of the graph alone by how many are run at once."""

    encoded_per_s: float
    encoder_per_s: dict[int, float]
    decoded_per_s: float
    decoder_per_s: dict[int, float]


def batches(plan: Plan, inside: Inside, images: int) -> list[BatchRound]:
    """Measure batches over HTTP beside the same graphs in this process, on one core."""
    pixels = np.resize(inside.pixels, (images, *inside.pixels.shape[1:]))
    array = io.BytesIO()
    np.save(array, pixels)
    rounds = []
    with plan.serve() as server:
        container = _post(server, "/encode/batch", array.getvalue(), NPY)
        for _ in range(plan.rounds):
            with on_core(plan.cores.driver):
                encode_s = _seconds(lambda: _post(server, "/encode/batch", array.getvalue(), NPY))
                decode_s = _seconds(lambda: _post(server, "/decode/batch", container, OCTETS))
            with on_core(plan.cores.measured):
                encoder, decoder = inside.encoded_per_s(images), inside.decoded_per_s(images)
            rounds.append(BatchRound(images / encode_s, encoder, images / decode_s, decoder))
    return rounds


class StartRound(NamedTuple):
    """Seconds from the start of a process until it is ready, and of one that only imports."""

    ready_s: float
    import_s: float


def starts(plan: Plan) -> list[StartRound]:
    """Measure starts, beside those of a process that imports fastapi and onnxruntime; each may use all cores."""
    found = []
    for _ in range(plan.rounds):
        with plan.serve(cores=set(plan.cores)) as server:
            ready_s = server.ready_s
        found.append(StartRound(ready_s, _import_s()))
    return found[1:] or found  # the first reads the files from the disk


class Memory(NamedTuple):
    """Resident bytes: at rest, the most under load, and after some and after all requests."""

    rest: int
    load: int
    after: dict[int, int]


def memory(plan: Plan, inside: Inside, first: int, all_requests: int) -> Memory:
    """Send mixed requests, of which some are refused, and look at the server's memory."""
    requests = mixed_requests(inside)
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
    """Requests a second of /encode by the number of workers."""

    per_s: dict[int, float]


def workers(plan: Plan, inside: Inside, counts: Sequence[int] = (1, 2)) -> list[WorkersRound]:
    """Measure /encode with so many workers, each server free to use all cores, which it shares with what drives it."""
    requests = encode_requests(inside)
    rounds = []
    with ExitStack() as stack:
        cores = set(plan.cores)
        servers = {count: stack.enter_context(plan.serve("--workers", str(count), cores=cores)) for count in counts}
        for _ in range(plan.rounds):
            rounds.append(
                WorkersRound({count: plan.drive(server, requests, 64).per_s for count, server in servers.items()})
            )
    return rounds


def encode_requests(inside: Inside) -> list[Request]:
    """Return requests of /encode as raw bytes, both ways."""
    return [Request("/encode", file, {"Content-Type": PNG, "Accept": OCTETS}) for file in inside.files]


def decode_requests(inside: Inside) -> list[Request]:
    """Return requests of /decode, from bitstream to PNG."""
    return [Request("/decode", code, {"Content-Type": OCTETS, "Accept": PNG}) for code in inside.codes]


def mixed_requests(inside: Inside) -> list[Request]:
    """Return requests of all kinds; every eighth is refused."""
    mixed = []
    for file, code in zip(inside.files, inside.codes, strict=True):
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


def answer(plan: Plan, server: Server, requests: Sequence[Request], connections: int) -> Answered:
    """Drive a server, and look at what it takes of the processor.

    Raises:
        RuntimeError: requests were refused, or connections broke.
    """
    before_s = server.cpu_s()
    load = plan.drive(server, requests, connections)
    if load.refused:
        raise RuntimeError(f"{load.refused} requests of {requests[0].path} were refused")
    return Answered(load, (server.cpu_s() - before_s) / load.requests)


def _counted(server: Server, route: str) -> dict[str, float]:
    """Return what a server has counted of a route: `requests`, seconds of `all` of it, and those of each stage."""
    counted = {}
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics") as answer:
        families = text_string_to_metric_families(answer.read().decode())
    for sample in (sample for family in families for sample in family.samples if sample.labels.get("route") == route):
        if sample.name == "latentwire_http_request_duration_seconds_count":
            counted["requests"] = sample.value
        elif sample.name == "latentwire_http_request_duration_seconds_sum":
            counted["all"] = sample.value
        elif sample.name == "latentwire_stage_duration_seconds_sum":
            counted[sample.labels["stage"]] = sample.value
    return counted


def _post(server: Server, path: str, body: bytes, content_type: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    try:
        connection.request("POST", path, body, {"Content-Type": content_type})
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    if answer.status != http.HTTPStatus.OK:
        raise RuntimeError(f"{path} was answered {answer.status}: {content[:500]!r}")
    return content


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _import_s() -> float:
    code = "import fastapi, onnxruntime; print(flush=True)"
    began = time.perf_counter()
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, env=environment()
    ) as process:
        process.stdout.readline()  # type: ignore[union-attr]
        return time.perf_counter() - began
