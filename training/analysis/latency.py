"""Opened graphs -> the time that one image takes on one core, and whether time and size are within bounds.

Graphs are timed in turns, so that other work on the machine affects all of them alike.
"""

import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from latentwire.model.onnx_session import OnnxModel
from training.release.onnx_pair import Floats, GraphPair

# Bounds on each single graph, as the processor of a sender or a receiver may be small.
MAX_MS = 0.5
MAX_BYTES = 4_000_000

ROUNDS = 20
RUNS_PER_ROUND = 20


class Latency(NamedTuple):
    """Median milliseconds for one image, and bytes, of both graphs of a network."""

    name: str
    encoder_ms: float
    decoder_ms: float
    encoder_bytes: int
    decoder_bytes: int

    @property
    def is_fast(self) -> bool:
        """Whether each graph takes no more than `MAX_MS`."""
        return max(self.encoder_ms, self.decoder_ms) <= MAX_MS

    @property
    def is_small(self) -> bool:
        """Whether each graph has no more than `MAX_BYTES`."""
        return max(self.encoder_bytes, self.decoder_bytes) <= MAX_BYTES


def measure_latency(pairs: Sequence[GraphPair], rounds: int = ROUNDS) -> list[Latency]:
    """Time both graphs of each pair on one image, `rounds` times in turns, and return them in the same order."""
    graphs: list[tuple[OnnxModel, Floats]] = []
    random = np.random.default_rng(0)
    for pair in pairs:
        x = random.random((1, pair.shape.channels, pair.shape.height, pair.shape.width), dtype=np.float32)
        graphs += [(pair.encoder, x), (pair.decoder, pair.encoder.run(x))]
    times: list[list[float]] = [[] for _ in graphs]
    for _ in range(rounds):
        for (graph, values), found in zip(graphs, times, strict=True):
            graph.run(values)  # fills the caches again
            for _ in range(RUNS_PER_ROUND):
                started = time.perf_counter()
                graph.run(values)
                found.append(1000 * (time.perf_counter() - started))
    medians = [statistics.median(found) for found in times]
    return [
        Latency(pair.name, medians[2 * index], medians[2 * index + 1], pair.encoder_file.bytes, pair.decoder_file.bytes)
        for index, pair in enumerate(pairs)
    ]


def latency_lines(latencies: Sequence[Latency]) -> list[str]:
    """Return the figures as lines of text, below a heading."""
    width = max(len("network"), *(len(latency.name) for latency in latencies))
    lines = [
        f"{'network':{width}}  {'encoder':>22}  {'decoder':>22}  {f'≤ {MAX_MS:g} ms':>8}  "
        f"{f'≤ {MAX_BYTES / 1e6:g} MB':>8}"
    ]
    for latency in latencies:
        halves = [
            f"{ms:.3f} ms {size:9,} B"
            for ms, size in ((latency.encoder_ms, latency.encoder_bytes), (latency.decoder_ms, latency.decoder_bytes))
        ]
        bounds = f"{met(latency.is_fast):>8}  {met(latency.is_small):>8}"
        lines.append(f"{latency.name:{width}}  {halves[0]:>22}  {halves[1]:>22}  {bounds}")
    return lines


def met(is_met: bool) -> str:
    """Return whether a bound is met, as text."""
    return "met" if is_met else "not met"
