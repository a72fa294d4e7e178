"""How long work of one kind has taken lately: whether it is quick enough to be done at once, in the event loop.

To hand work over to a thread and take its result back takes as long as a small request itself. What is done in the
loop holds up all others, though, probes among them, so that only what is known to be quick is.
"""

from collections.abc import Callable
from time import thread_time_ns
from typing import TypeVar

# Of as many requests as may wait, 64, in a row: 128 ms.
QUICK_NS = 2_000_000

Result = TypeVar("Result")


class Pace:
    """The times of one kind of work: more than usual counts at once, less only little by little."""

    __slots__ = ("_expected_ns",)

    def __init__(self) -> None:
        self._expected_ns = float("inf")

    @property
    def quick(self) -> bool:
        """Whether the next work of this kind is expected to be quick."""
        return self._expected_ns <= QUICK_NS

    def run(self, work: Callable[[], Result]) -> Result:
        """Do the work in this thread, and look at the time of the processor that it takes, however it ends."""
        begun_ns = thread_time_ns()
        try:
            return work()
        finally:
            self.note(thread_time_ns() - begun_ns)

    def note(self, time_ns: int) -> None:
        """Note that work of this kind has taken so long."""
        if self._expected_ns == float("inf"):
            self._expected_ns = time_ns
        else:
            change_ns = time_ns - self._expected_ns
            self._expected_ns += change_ns / 2 if change_ns > 0 else change_ns / 32
