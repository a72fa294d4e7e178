"""Counters, gauges and histograms for Prometheus: records of requests enter, and its text format leaves.

Every label has few values: routes, not paths; codes of problems, not sentences. With PROMETHEUS_MULTIPROC_DIR in the
environment, an empty folder, several processes count into it, and each of them answers for all.

To tell prometheus-client of each request would take as long as a small request itself. So requests are counted in plain
numbers, from one event loop, and prometheus-client is told the sums: when it is to answer, and where processes share a
folder soon after each request.
"""

import asyncio
import os
from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from latentwire.model.card import ModelCard
from service.errors import StartupRefused
from service.observability.request_record import RequestRecord
from service.scheduling.cost_model import BatchKey

if TYPE_CHECKING:
    from service.observability.prometheus import Series

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
SETTLE_AFTER_S = 0.05
BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_BUCKETS_NS = [round(bound * 1e9) for bound in BUCKETS_S]


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
        self._version, self._role = version, role
        self._ood_images: Counts[str] = Counts()
        self._cuts: Counts[str] = Counts()
        self._micro_batches: Counts[tuple[str, int]] = Counts()
        self._models: list[tuple[str, str, str]] = []
        self._tallies: dict[str, _Tally] = {}
        self._image_codes: dict[str, tuple[int, int]] = {}
        self._loads = (0, 0, 0)
        self._held_bytes = 0
        self._connections = 0
        self._settling: asyncio.TimerHandle | None = None
        if self._shared:
            self.flush()

    @cached_property
    def _series(self) -> "Series":
        from service.observability.prometheus import Series  # not at the top: nobody may ever ask

        return Series(self._version, self._role, BUCKETS_S, shared=self._shared)

    def name_models(self, cards: Iterable[ModelCard], default: str) -> None:
        """Say which models are loaded."""
        self._models = [(card.name, card.model_id, str(card.name == default).lower()) for card in cards]
        if self._shared:
            self.flush()

    def set_load(self, running: int, queued: int, batches: int) -> None:
        """Say how much is being worked on now."""
        self._loads = (running, queued, batches)
        self._settle_soon()

    def set_buffered_bytes(self, buffered_bytes: int) -> None:
        """Say how many bytes of bodies are held now."""
        self._held_bytes = buffered_bytes
        self._settle_soon()

    def set_open_connections(self, connections: int) -> None:
        """Say how many connections are open now."""
        self._connections = connections
        self._settle_soon()

    def count_closed_connection(self, reason: str) -> None:
        """Count a connection that was closed for what its client did, or did not do."""
        self._cuts[reason] += 1
        self._settle_soon()

    def observe_micro_batch(self, key: BatchKey, size: int) -> None:
        """Count a micro-batch that ran in the event loop."""
        self._micro_batches[key.route, size] += 1
        self._settle_soon()

    def count(self, record: RequestRecord) -> None:
        """Count one request that has ended."""
        if (tally := self._tallies.get(record.route)) is None:
            tally = self._tallies[record.route] = _Tally()
        tally.add(record)
        if record.code_bytes and record.model is not None:
            image_bytes, code_bytes = self._image_codes.get(record.model, (0, 0))
            self._image_codes[record.model] = (image_bytes + record.image_bytes, code_bytes + record.code_bytes)
        if record.ood is not None:
            self._ood_images[record.ood] += record.ood_images
        self._settle_soon()

    def flush(self) -> None:
        """Tell prometheus-client what has been counted since."""
        self._settling = None
        series = self._series
        tallies, self._tallies = self._tallies, {}
        for route, tally in tallies.items():
            series.bytes_in.labels(route).inc(tally.bytes_in)
            series.bytes_out.labels(route).inc(tally.bytes_out)
            for outcome, requests in tally.outcomes.items():
                series.requests.labels(route, outcome).inc(requests)
            series.add_times(series.seconds.labels(route), tally.seconds.total_ns / 1e9, tally.seconds.counts)
            for stage, times in tally.stages.items():
                series.add_times(series.stage_seconds.labels(route, stage), times.total_ns / 1e9, times.counts)
        codes, self._image_codes = self._image_codes, {}
        for full_name, (image_bytes, code_bytes) in codes.items():
            model = full_name.partition("@")[0]
            series.image_bytes.labels(model).inc(image_bytes)
            series.code_bytes.labels(model).inc(code_bytes)
        ood_images, self._ood_images = self._ood_images, Counts()
        for ood, images in ood_images.items():
            series.ood_images.labels(ood).inc(images)
        cuts, self._cuts = self._cuts, Counts()
        for reason, connections in cuts.items():
            series.cut.labels(reason).inc(connections)
        micro_batches, self._micro_batches = self._micro_batches, Counts()
        for (route, size), times_run in micro_batches.items():
            for _ in range(times_run):
                series.micro_batch_size.labels(route).observe(size)
        models, self._models = self._models, []
        for labels in models:
            series.models.labels(*labels).set(1)
        for gauge, value in zip((series.running, series.queued, series.batches), self._loads, strict=True):
            gauge.set(value)
        series.held.set(self._held_bytes)
        series.open.set(self._connections)

    def _settle_soon(self) -> None:
        if self._shared and self._settling is None:
            self._settling = asyncio.get_running_loop().call_later(SETTLE_AFTER_S, self.flush)

    def text(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics, as they were settled, and their media type, of those that `accept`, a header, allows."""
        return self._series.text(accept)

    def close(self) -> None:
        """Take this process's gauges out of the folder that processes share; what was counted stays."""
        if self._settling is not None:
            self._settling.cancel()
        if self._shared:
            self.flush()
            self._series.close()


class _Tally:
    """One route's requests since it was last settled."""

    def __init__(self) -> None:
        self.outcomes: Counts[str] = Counts()
        self.bytes_in = 0
        self.bytes_out = 0
        self.seconds = _Times()
        self.stages: dict[str, _Times] = {}

    def add(self, record: RequestRecord) -> None:
        self.outcomes[record.outcome] += 1
        self.bytes_in += record.bytes_in
        self.bytes_out += record.bytes_out
        self.seconds.add(record.duration_ns)
        for stage, total_ns in record.timer.total_ns.items():
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
