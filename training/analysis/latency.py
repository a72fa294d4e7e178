"""Opened graphs -> how long one image takes on one core, and whether they are as quick and as small as they should be.

Graphs are timed in turns, so that whatever else the machine does falls on all of them alike. Knows no torch.
"""

import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from latentwire.model.onnx_session import OnnxModel
from training.release.onnx_pair import Floats, GraphPair

# Of each graph, alone: a sender's processor or a receiver's may be a small one.
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
    def quick_enough(self) -> bool:
        """Whether each graph takes no more than `MAX_MS`."""
        return max(self.encoder_ms, self.decoder_ms) <= MAX_MS

    @property
    def small_enough(self) -> bool:
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
            graph.run(values)  # the others had the caches to themselves
            for _ in range(RUNS_PER_ROUND):
                started = time.perf_counter()
                graph.run(values)
                found.append(1000 * (time.perf_counter() - started))
    medians = [statistics.median(found) for found in times]
    return [
        Latency(pair.name, medians[2 * at], medians[2 * at + 1], pair.encoder_file.bytes, pair.decoder_file.bytes)
        for at, pair in enumerate(pairs)
    ]


def latency_lines(latencies: Sequence[Latency]) -> list[str]:
    """Return the figures as lines of text, below a heading."""
    width = max(len("network"), *(len(one.name) for one in latencies))
    lines = [
        f"{'network':{width}}  {'encoder':>22}  {'decoder':>22}  {f'≤ {MAX_MS:g} ms':>8}  "
        f"{f'≤ {MAX_BYTES / 1e6:g} MB':>8}"
    ]
    for one in latencies:
        halves = [
            f"{ms:.3f} ms {size:9,} B"
            for ms, size in ((one.encoder_ms, one.encoder_bytes), (one.decoder_ms, one.decoder_bytes))
        ]
        bounds = f"{met(one.quick_enough):>8}  {met(one.small_enough):>8}"
        lines.append(f"{one.name:{width}}  {halves[0]:>22}  {halves[1]:>22}  {bounds}")
    return lines


def met(is_met: bool) -> str:
    """Say whether a bound is met."""
    return "met" if is_met else "not met"
