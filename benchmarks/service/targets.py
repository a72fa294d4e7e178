"""What every round found -> the few figures that are promised. Ratios are taken within a round, then their median."""

from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import NamedTuple, TypeVar

from benchmarks.service.in_process import Alone
from benchmarks.service.suites import (
    DECODE,
    EFFICIENCY_CONNECTIONS,
    EMPTY,
    EMPTY_CODE,
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


class Figure(NamedTuple):
    """One promise: what it is, what was found, and the bound, which is a least or a greatest one.

    `by_cpu` is the same of the server's processor time, which other work on the machine hardly changes.
    """

    name: str
    value: float
    bound: float
    at_least: bool = True
    by_cpu: float | None = None

    @property
    def kept(self) -> bool:
        """Whether the bound is met."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound


def of_routes(rounds: Sequence[Round]) -> list[Figure]:
    """Return the figures of single images."""

    def efficiency(name: str, bound: float, route: str, empty: str, alone_s: Callable[[Alone], float]) -> Figure:
        by_clock, by_cpu = (
            _median(rounds, lambda one, of=of: (of(one, empty) + alone_s(one.alone)) / of(one, route))  # type: ignore[misc]
            for of in (_time_s, _cpu_s)
        )
        return Figure(name, by_clock, bound, by_cpu=by_cpu)

    return [
        efficiency(
            "/encode, role sender: empty route + image decoding + encoder ÷ its time",
            0.85,
            ENCODE_ALONE,
            EMPTY,
            lambda alone: alone.read_image_s + alone.encoder_s,
        ),
        efficiency(
            "/encode, role both: the same + the guard's decoder ÷ its time",
            0.85,
            ENCODE,
            EMPTY,
            lambda alone: alone.read_image_s + alone.encoder_s + alone.decoder_s,
        ),
        efficiency(
            "/decode: empty route + decoder + PNG encoding ÷ its time",
            0.85,
            DECODE,
            EMPTY_CODE,
            lambda alone: alone.decoder_s + alone.write_png_s,
        ),
        efficiency("/encode of a dense graph ÷ empty route, requests/s", 0.60, ENCODE_DENSE, EMPTY, lambda _: 0),
    ]


def of_batches(rounds: Sequence[BatchRound]) -> list[Figure]:
    """Return the figures of batches."""
    return [
        Figure(
            "/encode/batch ÷ the graph at its best chunk, images/s",
            _median(rounds, lambda one: one.encoded_per_s / max(one.encoder_per_s.values())),
            0.80,
        ),
        Figure(
            "/decode/batch ÷ the graph at its best chunk, images/s",
            _median(rounds, lambda one: one.decoded_per_s / max(one.decoder_per_s.values())),
            0.80,
        ),
    ]


def of_starts(rounds: Sequence[StartRound]) -> list[Figure]:
    """Return the figure of starts."""
    ratio = median(one.ready_s for one in rounds) / median(one.import_s for one in rounds)
    return [Figure("start to ready ÷ importing fastapi and onnxruntime", ratio, 1.5, at_least=False)]


def of_memory(memory: Memory) -> list[Figure]:
    """Return the figure of memory."""
    (some, first), (every, last) = memory.after.items()
    return [Figure(f"memory after {every:,} requests ÷ after {some:,}", last / first, 1.05, at_least=False)]


def of_workers(rounds: Sequence[WorkersRound]) -> list[Figure]:
    """Return the figure of workers."""
    return [Figure("2 workers ÷ 1, requests/s", _median(rounds, lambda one: one.per_s[2] / one.per_s[1]), 1.5)]


def _time_s(one: Round, route: str) -> float:
    return 1 / one.answered[route, EFFICIENCY_CONNECTIONS].load.per_s


def _cpu_s(one: Round, route: str) -> float:
    return one.answered[route, EFFICIENCY_CONNECTIONS].cpu_s


def _median(rounds: Iterable[Found], value: Callable[[Found], float]) -> float:
    return median(value(one) for one in rounds)
