"""What prometheus-client keeps: every counter, gauge and histogram by name, and their text format.

Importing it takes a hundredth of a second, so `metrics` does so when it is first asked, or when processes share
a folder. What is counted is known there.
"""

import os
import platform
from collections.abc import Sequence

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


def count_as(name: str) -> None:
    """Let this process count under a name instead of its process id, where it shares a folder. Call it first."""
    values.ValueClass = values.MultiProcessValue(lambda: name)  # type: ignore[no-untyped-call]


def forget_process(name: str) -> None:
    """Take the gauges of a process that has ended out of the shared folder; what it counted stays."""
    mark_process_dead(name)  # type: ignore[no-untyped-call]


class Series:
    """All series of one application."""

    def __init__(self, version: str, role: str, buckets_s: Sequence[float], *, shared: bool) -> None:
        """Begin at zero, or where the other processes are, if they share a folder."""
        self._shared = shared
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, that nobody asked for
        own = self._registry = CollectorRegistry()
        if not shared:
            ProcessCollector(registry=own)
        self.requests = Counter("latentwire_http_requests", "Requests", ["route", "outcome"], registry=own)
        self.seconds = Histogram(
            "latentwire_http_request_duration_seconds", "Time of requests", ["route"], buckets=buckets_s, registry=own
        )
        self.stage_seconds = Histogram(
            "latentwire_stage_duration_seconds",
            "Time of requests in each stage",
            ["route", "stage"],
            buckets=buckets_s,
            registry=own,
        )
        self.micro_batch_size = Histogram(
            "latentwire_micro_batch_size",
            "Images that the dynamic batcher ran through a graph at once",
            ["route"],
            buckets=(1, 2, 4, 8, 16),
            registry=own,
        )
        self.bytes_in = Counter("latentwire_request_bytes", "Bytes of bodies of requests", ["route"], registry=own)
        self.bytes_out = Counter("latentwire_response_bytes", "Bytes of bodies of answers", ["route"], registry=own)
        self.image_bytes = Counter(
            "latentwire_image_bytes", "Bytes of images, as they were sent, that became codes", ["model"], registry=own
        )
        self.code_bytes = Counter(
            "latentwire_code_bytes", "Bytes of the codes that images became", ["model"], registry=own
        )
        self.ood_images = Counter(
            "latentwire_ood_images", "Images that the model is not for, by what was done", ["outcome"], registry=own
        )
        self.running = self._gauge("latentwire_requests_in_flight", "Requests that are being worked on")
        self.queued = self._gauge("latentwire_requests_queued", "Requests that wait for their turn")
        self.held = self._gauge("latentwire_body_buffered_bytes", "Bytes of bodies that are held")
        self.batches = self._gauge("latentwire_batches_in_flight", "Batches that are being worked on")
        self.open = self._gauge("latentwire_connections_open", "Open connections")
        self.cut = Counter(
            "latentwire_connections_closed",
            "Connections that were closed for what their clients did, or did not do, by what that was",
            ["reason"],
            registry=own,
        )
        self.models = Gauge(
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

    @staticmethod
    def add_times(histogram: Histogram, total_s: float, counts: Sequence[int]) -> None:
        """Do what `observe` does for a single time, for all of a sum, of which so many fall into each bucket."""
        histogram._sum.inc(total_s)
        for bucket, count in zip(histogram._buckets, counts, strict=True):
            if count:
                bucket.inc(count)

    def text(self, accept: str) -> tuple[bytes, str]:
        """Return all series, and their media type, of those that `accept`, a header, allows."""
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
