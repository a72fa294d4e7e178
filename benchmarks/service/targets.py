"""The figures that the project promises, computed from the rounds: ratios within a round, then their median."""

from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import NamedTuple, TypeVar

from benchmarks.service.in_process import StepTimes
from benchmarks.service.suites import (
    BASELINE,
    BASELINE_CODE,
    DECODE,
    EFFICIENCY_CONNECTIONS,
    ENCODE,
    ENCODE_ALONE,
    ENCODE_DENSE,
    BatchRound,
    Memory,
    Round,
    StartRound,
    WorkersRound,
)

Found = TypeVar("Found")


class Target(NamedTuple):
    """One promised figure: its name, its measured value, and its bound, which is a minimum or a maximum.

    `by_cpu` is the same ratio of the server's processor times, which other work on the machine hardly changes.
    """

    name: str
    value: float
    bound: float
    at_least: bool = True
    by_cpu: float | None = None

    @property
    def is_met(self) -> bool:
        """Whether the bound is met."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound


def route_targets(rounds: Sequence[Round]) -> list[Target]:
    """Return the targets for single images."""

    def efficiency(name: str, bound: float, route: str, empty: str, alone_s: Callable[[StepTimes], float]) -> Target:
        by_clock, by_cpu = (
            _median(rounds, lambda one, of=of: (of(one, empty) + alone_s(one.steps)) / of(one, route))  # type: ignore[misc]
            for of in (_time_s, _cpu_s)
        )
        return Target(name, by_clock, bound, by_cpu=by_cpu)

    return [
        efficiency(
            "/encode, role sender: baseline route + image decoding + encoder ÷ its time",
            0.85,
            ENCODE_ALONE,
            BASELINE,
            lambda alone: alone.read_image_s + alone.encoder_s,
        ),
        efficiency(
            "/encode, role both: the same + the guard's decoder ÷ its time",
            0.85,
            ENCODE,
            BASELINE,
            lambda alone: alone.read_image_s + alone.encoder_s + alone.decoder_s,
        ),
        efficiency(
            "/decode: baseline route + decoder + PNG encoding ÷ its time",
            0.85,
            DECODE,
            BASELINE_CODE,
            lambda alone: alone.decoder_s + alone.write_png_s,
        ),
        efficiency("/encode of a dense graph ÷ baseline route, requests/s", 0.60, ENCODE_DENSE, BASELINE, lambda _: 0),
    ]


def batch_targets(rounds: Sequence[BatchRound]) -> list[Target]:
    """Return the targets for batches."""
    return [
        Target(
            "/encode/batch ÷ the graph at its best chunk, images/s",
            _median(rounds, lambda one: one.encoded_per_s / max(one.encoder_per_s.values())),
            0.80,
        ),
        Target(
            "/decode/batch ÷ the graph at its best chunk, images/s",
            _median(rounds, lambda one: one.decoded_per_s / max(one.decoder_per_s.values())),
            0.80,
        ),
    ]


def start_targets(rounds: Sequence[StartRound]) -> list[Target]:
    """Return the target for the start."""
    ratio = median(one.ready_s for one in rounds) / median(one.import_s for one in rounds)
    return [Target("start to ready ÷ importing fastapi and onnxruntime", ratio, 1.5, at_least=False)]


def memory_targets(memory: Memory) -> list[Target]:
    """Return the target for memory."""
    (some, first), (every, last) = memory.after.items()
    return [Target(f"memory after {every:,} requests ÷ after {some:,}", last / first, 1.05, at_least=False)]


def worker_targets(rounds: Sequence[WorkersRound]) -> list[Target]:
    """Return the target for workers."""
    return [Target("2 workers ÷ 1, requests/s", _median(rounds, lambda one: one.per_s[2] / one.per_s[1]), 1.5)]


def _time_s(one: Round, route: str) -> float:
    return 1 / one.measurements[route, EFFICIENCY_CONNECTIONS].load.per_s


def _cpu_s(one: Round, route: str) -> float:
    return one.measurements[route, EFFICIENCY_CONNECTIONS].cpu_s


def _median(rounds: Iterable[Found], value: Callable[[Found], float]) -> float:
    return median(value(one) for one in rounds)
