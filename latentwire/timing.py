"""Where the time goes: what a piece of work spends in the codec's stages, for whoever wants to know.

A `StageTimer` that was started leaves with the time of each stage that ran in its context. Without one nothing is
measured. What is done with the times is not known here.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from time import perf_counter_ns
from typing import ParamSpec, TypeVar

MAX_SPANS = 64

# One run through a stage, and when it began and ended, in nanoseconds of `time.perf_counter_ns`.
Span = tuple[str, int, int]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class StageTimer:
    """The stages of one piece of work: all the time of each, and when the first few runs through them were.

    The work may go from thread to thread, but runs in one at a time.
    """

    __slots__ = ("inside", "spans", "total_ns")

    def __init__(self) -> None:
        self.inside = False
        self.total_ns: dict[str, int] = {}
        self.spans: list[Span] = []

    def record(self, stage: str, begun_ns: int, ended_ns: int) -> None:
        """Note one run through a stage."""
        self.total_ns[stage] = self.total_ns.get(stage, 0) + ended_ns - begun_ns
        # A batch goes through the stages thousands of times.
        if len(self.spans) < MAX_SPANS:
            self.spans.append((stage, begun_ns, ended_ns))

    def merge(self, other: "StageTimer") -> None:
        """Note all that another stopwatch has noted."""
        for stage, total_ns in other.total_ns.items():
            self.total_ns[stage] = self.total_ns.get(stage, 0) + total_ns
        self.spans += other.spans[: MAX_SPANS - len(self.spans)]


_running: ContextVar[StageTimer | None] = ContextVar("timer", default=None)


@contextmanager
def timer_scope(timer: StageTimer) -> Iterator[None]:
    """Let `timer` measure what runs inside, also in threads that take over the context."""
    token = _running.set(timer)
    try:
        yield
    finally:
        _running.reset(token)


def record(stage: str, begun_ns: int, ended_ns: int | None = None) -> None:
    """Note a stage that began at `begun_ns` and ends now, or at `ended_ns`, if a stopwatch is running."""
    if (timer := _running.get()) is not None:
        timer.record(stage, begun_ns, perf_counter_ns() if ended_ns is None else ended_ns)


def record_all(other: StageTimer) -> None:
    """Note all stages that another stopwatch measured, if one is running: of work that was done for several at once."""
    if (timer := _running.get()) is not None:
        timer.merge(other)


def timed_stage(stage: str) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Make a function a stage. Stages that it goes through itself count as this one."""

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
