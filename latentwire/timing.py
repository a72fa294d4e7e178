"""Measures the stages of the library: image, infer and entropy.

A `StageTimer` collects the time of each stage that runs in its `with` block. Outside of one nothing is measured.
"""

from collections.abc import Callable, Sequence
from contextvars import ContextVar, Token
from functools import wraps
from time import perf_counter_ns
from typing import ParamSpec, Self, TypeVar

# A batch runs through the stages thousands of times; only the first runs are kept as spans.
MAX_SPANS = 64

# One run through a stage: its name, begin and end, in nanoseconds of `time.perf_counter_ns`.
Span = tuple[str, int, int]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class StageTimer:
    """The total time of each stage of one piece of work, in ns, and its first `MAX_SPANS` spans.

    It measures what runs in its `with` block, also in threads that copy the context. The work may move between threads,
    but only one of them may run it at a time.
    """

    __slots__ = ("_token", "inside", "spans", "total_ns")

    def __init__(self) -> None:
        self.inside = False
        self.total_ns: dict[str, int] = {}
        self.spans: list[Span] = []

    def __enter__(self) -> Self:
        self._token: Token[StageTimer | None] = _running.set(self)
        return self

    def __exit__(self, *_error: object) -> None:
        _running.reset(self._token)

    def record(self, stage: str, begun_ns: int, ended_ns: int) -> None:
        """Add one run through a stage."""
        self.total_ns[stage] = self.total_ns.get(stage, 0) + ended_ns - begun_ns
        if len(self.spans) < MAX_SPANS:
            self.spans.append((stage, begun_ns, ended_ns))

    def record_spans(self, spans: Sequence[Span]) -> None:
        """Add the spans of work done for several pieces of work at once; their time does not count here."""
        self.spans += spans[: MAX_SPANS - len(self.spans)]


_running: ContextVar[StageTimer | None] = ContextVar("timer", default=None)


def record(stage: str, begun_ns: int, ended_ns: int | None = None) -> None:
    """Record a stage that began at `begun_ns` and ends now, or at `ended_ns`, if a timer is running."""
    if (timer := _running.get()) is not None:
        timer.record(stage, begun_ns, perf_counter_ns() if ended_ns is None else ended_ns)


def record_spans(spans: Sequence[Span]) -> None:
    """Record the spans of work done for several pieces of work at once, if a timer is running."""
    if (timer := _running.get()) is not None:
        timer.record_spans(spans)


def timed_stage(stage: str) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Decorate a function as a stage. Stages inside a stage count as the outer one."""

    def decorate(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        @wraps(function)
        def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            if (timer := _running.get()) is None or timer.inside:
                return function(*args, **kwargs)
            timer.inside = True
            begun_ns = perf_counter_ns()
            try:
                return function(*args, **kwargs)
            finally:
                timer.inside = False
                timer.record(stage, begun_ns, perf_counter_ns())

        return run

    return decorate
