"""Measures the stages of the library: image, infer and entropy.

A `StageTimer` collects the time of each stage that runs in its `timer_scope`. Without a scope nothing is measured.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from time import perf_counter_ns
from typing import ParamSpec, TypeVar

# A batch runs through the stages thousands of times; only the first runs are kept as spans.
MAX_SPANS = 64

# One run through a stage: its name, begin and end, in nanoseconds of `time.perf_counter_ns`.
Span = tuple[str, int, int]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class StageTimer:
    """The total time of each stage of one piece of work, in ns, and its first `MAX_SPANS` spans.

    The work may move between threads, but only one of them may run it at a time.
    """

    __slots__ = ("inside", "spans", "total_ns")

    def __init__(self) -> None:
        self.inside = False
        self.total_ns: dict[str, int] = {}
        self.spans: list[Span] = []

    def record(self, stage: str, begun_ns: int, ended_ns: int) -> None:
        """Add one run through a stage."""
        self.total_ns[stage] = self.total_ns.get(stage, 0) + ended_ns - begun_ns
        if len(self.spans) < MAX_SPANS:
            self.spans.append((stage, begun_ns, ended_ns))

    def merge(self, other: "StageTimer") -> None:
        """Add all that another timer has recorded."""
        for stage, total_ns in other.total_ns.items():
            self.total_ns[stage] = self.total_ns.get(stage, 0) + total_ns
        self.spans += other.spans[: MAX_SPANS - len(self.spans)]


_running: ContextVar[StageTimer | None] = ContextVar("timer", default=None)


@contextmanager
def timer_scope(timer: StageTimer) -> Iterator[None]:
    """Let `timer` measure what runs inside, also in threads that copy the context."""
    token = _running.set(timer)
    try:
        yield
    finally:
        _running.reset(token)


def record(stage: str, begun_ns: int, ended_ns: int | None = None) -> None:
    """Record a stage that began at `begun_ns` and ends now, or at `ended_ns`, if a timer is running."""
    if (timer := _running.get()) is not None:
        timer.record(stage, begun_ns, perf_counter_ns() if ended_ns is None else ended_ns)


def record_all(other: StageTimer) -> None:
    """Record what another timer measured, if a timer is running: for work done for several requests at once."""
    if (timer := _running.get()) is not None:
        timer.merge(other)


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
