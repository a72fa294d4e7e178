"""Counters, gauges and histograms for Prometheus: records of requests enter, and its text format leaves.

Every label has few values: routes, not paths; codes of problems, not sentences. With PROMETHEUS_MULTIPROC_DIR in the
environment, an empty folder, several processes count into it, and each of them answers for all.

To tell prometheus-client of each request would take as long as a small request itself. So requests are counted in plain
numbers, from one event loop, and prometheus-client is told the sums: when it is to answer, and where processes share a
folder soon after each request.
"""

import asyncio
import os
import platform
from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    values,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from codec.model_card import ModelCard
from service.errors import StartupRefused
from service.record import Record

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
SETTLE_AFTER_S = 0.05
BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_BUCKETS_NS = [round(bound * 1e9) for bound in BUCKETS_S]


def count_as(name: str) -> None:
    """Let this process count under a name instead of its process id, where it shares a folder. Call it first."""
    values.ValueClass = values.MultiProcessValue(lambda: name)  # type: ignore[no-untyped-call]


def forget_process(name: str) -> None:
    """Take the gauges of a process that has ended out of the shared folder; what it counted stays."""
    mark_process_dead(name)  # type: ignore[no-untyped-call]


class Metrics:
    """All metrics of one application."""

    def __init__(self, version: str, role: str) -> None:
        """Begin at zero, or where the other processes are.

        Raises:
            StartupRefused: the folder that processes share is not there.
        """
        folder = os.environ.get(SHARED_FOLDER)
        if folder is not None and not (folder and Path(folder).is_dir()):
            raise StartupRefused(f"{SHARED_FOLDER} names '{folder}', which is not a folder")
        self._shared = folder is not None
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, that nobody asked for
        own = self._registry = CollectorRegistry()
        if not self._shared:
            ProcessCollector(registry=own)
        self._requests = Counter("latentwire_requests", "Requests", ["route", "outcome"], registry=own)
        self._seconds = Histogram(
            "latentwire_request_seconds", "Time of requests", ["route"], buckets=BUCKETS_S, registry=own
        )
        self._stage_seconds = Histogram(
            "latentwire_stage_seconds",
            "Time of requests in each stage",
            ["route", "stage"],
            buckets=BUCKETS_S,
            registry=own,
        )
        self._bytes_in = Counter("latentwire_request_bytes", "Bytes of bodies of requests", ["route"], registry=own)
        self._bytes_out = Counter("latentwire_response_bytes", "Bytes of bodies of answers", ["route"], registry=own)
        self._image_bytes = Counter(
            "latentwire_image_bytes", "Bytes of images, as they were sent, that became codes", ["model"], registry=own
        )
        self._code_bytes = Counter(
            "latentwire_code_bytes", "Bytes of the codes that images became", ["model"], registry=own
        )
        self._misfits = Counter(
            "latentwire_misfits", "Images that the model is not for, by what was done", ["outcome"], registry=own
        )
        self._running = self._gauge("latentwire_running", "Requests that are being worked on")
        self._queued = self._gauge("latentwire_queued", "Requests that wait for their turn")
        self._held = self._gauge("latentwire_held_bytes", "Bytes of bodies that are held")
        self._batches = self._gauge("latentwire_batches", "Batches that are being worked on")
        self._open = self._gauge("latentwire_connections", "Open connections")
        self._cut = Counter(
            "latentwire_connections_cut",
            "Connections that were closed for what their clients did, or did not do, by what that was",
            ["reason"],
            registry=own,
        )
        self._models = Gauge(
            "latentwire_model_info",
            "Loaded models; default says which one answers requests that name none",
            ["model", "model_id", "default"],
            registry=own,
            multiprocess_mode="livemax",
        )
        build = Gauge(
            "latentwire_build_info",
            "What is running",
            ["version", "role", "python"],
            registry=own,
            multiprocess_mode="livemax",
        )
        build.labels(version, role, platform.python_version()).set(1)
        self._tallies: dict[str, _Tally] = {}
        self._image_codes: dict[str, tuple[int, int]] = {}
        self._loads = (0, 0, 0)
        self._held_bytes = 0
        self._connections = 0
        self._settling: asyncio.TimerHandle | None = None

    def name_models(self, cards: Iterable[ModelCard], default: str) -> None:
        """Say which models are loaded."""
        for card in cards:
            self._models.labels(card.name, card.model_id, str(card.name == default).lower()).set(1)

    def load(self, running: int, queued: int, batches: int) -> None:
        """Say how much is being worked on now."""
        self._loads = (running, queued, batches)
        self._settle_soon()

    def held(self, held_bytes: int) -> None:
        """Say how many bytes of bodies are held now."""
        self._held_bytes = held_bytes
        self._settle_soon()

    def connected(self, connections: int) -> None:
        """Say how many connections are open now."""
        self._connections = connections
        self._settle_soon()

    def cut(self, reason: str) -> None:
        """Count a connection that was closed for what its client did, or did not do."""
        self._cut.labels(reason).inc()

    def count(self, record: Record) -> None:
        """Count one request that has ended."""
        if (tally := self._tallies.get(record.route)) is None:
            tally = self._tallies[record.route] = _Tally()
        tally.add(record)
        if record.code_bytes and record.model is not None:
            image_bytes, code_bytes = self._image_codes.get(record.model, (0, 0))
            self._image_codes[record.model] = (image_bytes + record.image_bytes, code_bytes + record.code_bytes)
        if record.misfit is not None:
            self._misfits.labels(record.misfit).inc(record.misfits)
        self._settle_soon()

    def settle(self) -> None:
        """Tell prometheus-client what has been counted since."""
        self._settling = None
        tallies, self._tallies = self._tallies, {}
        for route, tally in tallies.items():
            self._bytes_in.labels(route).inc(tally.bytes_in)
            self._bytes_out.labels(route).inc(tally.bytes_out)
            for outcome, requests in tally.outcomes.items():
                self._requests.labels(route, outcome).inc(requests)
            tally.seconds.settle(self._seconds.labels(route))
            for stage, times in tally.stages.items():
                times.settle(self._stage_seconds.labels(route, stage))
        codes, self._image_codes = self._image_codes, {}
        for full_name, (image_bytes, code_bytes) in codes.items():
            model = full_name.partition("@")[0]
            self._image_bytes.labels(model).inc(image_bytes)
            self._code_bytes.labels(model).inc(code_bytes)
        for gauge, value in zip((self._running, self._queued, self._batches), self._loads, strict=True):
            gauge.set(value)
        self._held.set(self._held_bytes)
        self._open.set(self._connections)

    def _settle_soon(self) -> None:
        if self._shared and self._settling is None:
            self._settling = asyncio.get_running_loop().call_later(SETTLE_AFTER_S, self.settle)

    def text(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics, as they were settled, and their media type, of those that `accept`, a header, allows."""
        registry = self._registry
        if self._shared:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        encode, media_type = choose_encoder(accept)
        return encode(registry), media_type

    def close(self) -> None:
        """Take this process's gauges out of the folder that processes share; what was counted stays."""
        if self._settling is not None:
            self._settling.cancel()
        self.settle()
        if self._shared:
            mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self._registry, multiprocess_mode="livesum")


class _Tally:
    """One route's requests since it was last settled."""

    def __init__(self) -> None:
        self.outcomes: Counts[str] = Counts()
        self.bytes_in = 0
        self.bytes_out = 0
        self.seconds = _Times()
        self.stages: dict[str, _Times] = {}

    def add(self, record: Record) -> None:
        self.outcomes[record.outcome] += 1
        self.bytes_in += record.bytes_in
        self.bytes_out += record.bytes_out
        self.seconds.add(record.duration_ns)
        for stage, total_ns in record.stopwatch.total_ns.items():
            if (times := self.stages.get(stage)) is None:
                times = self.stages[stage] = _Times()
            times.add(total_ns)


class _Times:
    """A histogram of times that prometheus-client has not been told of yet."""

    __slots__ = ("counts", "total_ns")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.total_ns = 0

    def add(self, time_ns: int) -> None:
        self.counts[bisect_left(_BUCKETS_NS, time_ns)] += 1
        self.total_ns += time_ns

    def settle(self, histogram: Histogram) -> None:
        # What `observe` does for a single time.
        histogram._sum.inc(self.total_ns / 1e9)
        for bucket, count in zip(histogram._buckets, self.counts, strict=True):
            if count:
                bucket.inc(count)
