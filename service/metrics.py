"""Counters, gauges and histograms for Prometheus: records of requests enter, and its text format leaves.

Every label has few values: routes, not paths; codes of problems, not sentences. With PROMETHEUS_MULTIPROC_DIR in the
environment, an empty folder, several processes count into it, and each of them answers for all.
"""

import os
import platform
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
BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


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
        self._held_bytes = self._gauge("latentwire_held_bytes", "Bytes of bodies that are held")
        self._batches = self._gauge("latentwire_batches", "Batches that are being worked on")
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
        self._children: dict[str, tuple[Histogram, Counter, Counter]] = {}
        self._outcomes: dict[tuple[str, str], Counter] = {}
        self._stages: dict[tuple[str, str], Histogram] = {}

    def name_models(self, cards: Iterable[ModelCard], default: str) -> None:
        """Say which models are loaded."""
        for card in cards:
            self._models.labels(card.name, card.model_id, str(card.name == default).lower()).set(1)

    def load(self, running: int, queued: int, batches: int) -> None:
        """Say how much is being worked on now."""
        self._running.set(running)
        self._queued.set(queued)
        self._batches.set(batches)

    def held(self, size: int) -> None:
        """Say how many bytes of bodies are held now."""
        self._held_bytes.set(size)

    def count(self, record: Record) -> None:
        """Count one request that has ended."""
        # Looking a child up by its labels takes longer than counting.
        route, outcome = record.route, record.outcome
        if (children := self._children.get(route)) is None:
            children = self._children[route] = (
                self._seconds.labels(route),
                self._bytes_in.labels(route),
                self._bytes_out.labels(route),
            )
        if (requests := self._outcomes.get((route, outcome))) is None:
            requests = self._outcomes[route, outcome] = self._requests.labels(route, outcome)
        requests.inc()
        seconds, bytes_in, bytes_out = children
        seconds.observe(record.duration_ns / 1e9)
        bytes_in.inc(record.bytes_in)
        bytes_out.inc(record.bytes_out)
        for stage, total_ns in record.stopwatch.total_ns.items():
            if (stage_seconds := self._stages.get((route, stage))) is None:
                stage_seconds = self._stages[route, stage] = self._stage_seconds.labels(route, stage)
            stage_seconds.observe(total_ns / 1e9)
        if record.code_bytes and record.model is not None:
            model = record.model.partition("@")[0]
            self._image_bytes.labels(model).inc(record.image_bytes)
            self._code_bytes.labels(model).inc(record.code_bytes)
        if record.misfit is not None:
            self._misfits.labels(record.misfit).inc(record.misfits)

    def text(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics and their media type, of those that `accept`, a header, allows."""
        registry = self._registry
        if self._shared:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        encode, media_type = choose_encoder(accept)
        return encode(registry), media_type

    def close(self) -> None:
        """Take this process's gauges out of the folder that processes share; what was counted stays."""
        if self._shared:
            mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self._registry, multiprocess_mode="livesum")
