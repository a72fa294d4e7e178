"""Counters, gauges and histograms for Prometheus.

Every label has few values: routes, not paths; codes of problems, not sentences. Where PROMETHEUS_MULTIPROC_DIR names a
folder, prometheus-client's multiprocess mode is on: several processes count into that folder, and each of them answers
`/metrics` for all. prometheus-client reads the variable when it is imported.
"""

import contextlib
import logging
import os
import platform
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable
from functools import cache
from pathlib import Path
from typing import Literal

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

from latentwire.registry import AnyCard
from latentwire.timing import StageTimer
from service.errors import StartupRefused
from service.observability.request_record import RequestRecord

MULTIPROC_DIR = "PROMETHEUS_MULTIPROC_DIR"
BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
# prometheus-client takes half the time for each of many records in a row, as the processor then has its code at hand.
RECORDS_AT_ONCE = 32
MICRO_BATCH_BUCKETS = (1, 2, 4, 8, 16)

GAUGES = {
    "requests_in_flight": "Requests that are running",
    "requests_queued": "Requests that wait for their turn",
    "batches_in_flight": "Batches that are running",
    "body_buffered_bytes": "Bytes of request bodies in memory",
    "connections_open": "Open connections",
}

# Bytes of the files that a process shares its metrics in, several times what it writes. prometheus-client maps them
# into memory, and the system kills a process that writes to a file in memory whose disk is full.
FILE_BYTES = {
    "counter": 1 << 20,
    "histogram": 1 << 20,
    "gauge_livesum": 1 << 16,
    "gauge_livemax": 1 << 16,
    "gauge_livemin": 1 << 16,
}

_log = logging.getLogger(__name__)

# The children of a metric by the values of their labels; cached, because `metric.labels()` is slow.
Counters = Callable[..., Counter]
Histograms = Callable[..., Histogram]


class Metrics:
    """All metrics of one application."""

    def __init__(self, version: str, role: str) -> None:
        """Start at zero, or in multiprocess mode where the other processes are.

        Raises:
            StartupRefused: PROMETHEUS_MULTIPROC_DIR does not name a folder.
        """
        folder = os.environ.get(MULTIPROC_DIR)
        if folder is not None and not (folder and Path(folder).is_dir()):
            raise StartupRefused(f"{MULTIPROC_DIR} is '{folder}', which is not a folder; make the folder, or unset it")
        self._folder = None if folder is None else _reserve(Path(folder))
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter and histogram
        self._registry = CollectorRegistry()
        if self._folder is None:
            ProcessCollector(registry=self._registry)

        self._requests = self._counter("http_requests", "Requests", "route", "method", "status", "outcome")
        self._duration = self._histogram("http_request_duration_seconds", "Time of a request", BUCKETS_S, "route")
        self._stage_duration = self._histogram(
            "stage_duration_seconds", "Time of a request or a micro-batch in a stage", BUCKETS_S, "route", "stage"
        )
        self._request_bytes = self._counter("request_bytes", "Bytes of request bodies", "route")
        self._response_bytes = self._counter("response_bytes", "Bytes of response bodies", "route")
        self._image_bytes = self._counter("image_bytes", "Bytes of the image files that were encoded", "model")
        self._code_bytes = self._counter("code_bytes", "Bytes of the bitstreams that images became", "model")
        self._ood_images = self._counter("ood_images", "Out-of-distribution images, by what was done", "outcome")
        self._micro_batch_size = self._histogram(
            "micro_batch_size", "Requests that the dynamic batcher ran at once", MICRO_BATCH_BUCKETS, "route"
        )
        self._closed_connections = self._counter(
            "connections_closed", "Connections that the server closed because of client behaviour", "reason"
        )
        self._ended: deque[RequestRecord] = deque()  # not counted yet
        self._sources: list[Callable[[], dict[str, int]]] = []
        self._shown: dict[str, int] = {}
        self._gauges = {name: self._gauge(name, text) for name, text in GAUGES.items()}
        self._models = self._info("model_info", "Loaded models", "model", "model_id", "default")
        self._model_ready = self._info("model_ready", "Whether a model is served: 1, or 0", "model", mode="livemin")
        self._info("build_info", "Program that is running", "version", "role", "python").labels(
            version, role, platform.python_version()
        ).set(1)

    def set_models(self, cards: Iterable[AnyCard], default: str) -> None:
        """Show which models are loaded, and which of them is the default."""
        for card in cards:
            self._models.labels(card.name, card.model_id, str(card.name == default).lower()).set(1)

    def show_ready_models(self, cards: Iterable[str], failures: Collection[str]) -> None:
        """Show which models are served: those in `cards` and not in `failures`, by their names."""
        for name in {*cards, *failures}:
            self._model_ready.labels(name).set(name not in failures)

    def watch(self, gauges: Callable[[], dict[str, int]]) -> None:
        """Show gauges; `gauges` returns the current values of some, by their names in `GAUGES`."""
        self._sources.append(gauges)
        self.update()

    def update(self) -> None:
        """Show that gauges have changed. In a single process they are read when /metrics is asked for, instead."""
        if self._folder is not None:
            for name, value in self._current_values().items():
                if self._shown.get(name) != value:
                    self._shown[name] = value
                    self._gauges[name].set(value)

    def _current_values(self) -> dict[str, int]:
        return {name: value for gauges in self._sources for name, value in gauges().items()}

    def observe_micro_batch(self, route: str, size: int, timer: StageTimer) -> None:
        """Count a micro-batch of `size` items that ran in the event loop, and the time of its stages."""
        self._micro_batch_size(route).observe(size)
        self._observe_stages(route, timer)

    def count_closed_connection(self, reason: str) -> None:
        """Count a connection that the server closed because of what its client did or failed to do."""
        self._closed_connections(reason).inc()

    def count(self, record: RequestRecord) -> None:
        """Count one request that has ended; at once, or with others before `/metrics` is answered."""
        self._ended.append(record)
        if self._folder is not None or len(self._ended) >= RECORDS_AT_ONCE:
            self._count_ended()

    def _count_ended(self) -> None:
        sums: defaultdict[Counter, int] = defaultdict(int)
        # The event loop and the thread that answers /metrics may both be here; each takes records of its own.
        with contextlib.suppress(IndexError):
            while True:
                self._count(self._ended.popleft(), sums)
        for counter, number in sums.items():
            counter.inc(number)

    def _count(self, record: RequestRecord, sums: dict[Counter, int]) -> None:
        route = record.route
        sums[self._requests(route, record.method, record.status or "none", record.outcome)] += 1
        self._duration(route).observe(record.duration_ns / 1e9)
        self._observe_stages(route, record.timer)
        sums[self._request_bytes(route)] += record.bytes_in
        sums[self._response_bytes(route)] += record.bytes_out
        if record.code_bytes and record.model is not None:
            name = record.model.partition("@")[0]
            sums[self._image_bytes(name)] += record.image_bytes
            sums[self._code_bytes(name)] += record.code_bytes
        if record.ood is not None:
            sums[self._ood_images(record.ood)] += record.ood_images

    def text(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics, and their media type, chosen by `accept`, an Accept header."""
        self._count_ended()
        registry = self._registry
        if self._folder is not None:
            _drop_dead_processes(self._folder)
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        encode, media_type = choose_encoder(accept)
        return encode(registry), media_type

    def close(self) -> None:
        """In multiprocess mode, drop this process's gauges; its counters stay."""
        if self._folder is not None:
            mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]

    def _observe_stages(self, route: str, timer: StageTimer) -> None:
        for stage, total_ns in timer.total_ns.items():
            self._stage_duration(route, stage).observe(total_ns / 1e9)

    def _counter(self, name: str, text: str, *labels: str) -> Counters:
        return cache(Counter(f"latentwire_{name}", text, labels, registry=self._registry).labels)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histograms:
        metric = Histogram(f"latentwire_{name}", text, labels, registry=self._registry, buckets=buckets)
        return cache(metric.labels)

    def _gauge(self, name: str, text: str) -> Gauge:
        gauge = Gauge(f"latentwire_{name}", text, registry=self._registry, multiprocess_mode="livesum")
        if self._folder is None:
            gauge.set_function(lambda: self._current_values().get(name, 0))
        return gauge

    def _info(self, name: str, text: str, *labels: str, mode: Literal["livemax", "livemin"] = "livemax") -> Gauge:
        return Gauge(f"latentwire_{name}", text, labels, registry=self._registry, multiprocess_mode=mode)


def _reserve(folder: Path) -> Path | None:
    """Take this process's space in the folder, and return it; None if there is none."""
    files = {folder / f"{kind}_{os.getpid()}.db": size for kind, size in FILE_BYTES.items()}
    try:
        for file, size in files.items():
            if not file.exists():
                file.write_bytes(bytes(size))
    except OSError as error:
        for file in files:
            file.unlink(missing_ok=True)
        _log.error("the metrics of this process are not shared: '%s' cannot be written: %s", folder, error.strerror)
        values.ValueClass = values.MutexValue
        return None
    return folder


def _drop_dead_processes(folder: Path) -> None:
    """Drop the gauges of processes that were killed, and so could not do it themselves."""
    for pid in {path.stem.rpartition("_")[2] for path in folder.glob("gauge_live*.db")}:
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            mark_process_dead(pid)  # type: ignore[no-untyped-call]
        except PermissionError:
            pass  # it is alive, and another user's
