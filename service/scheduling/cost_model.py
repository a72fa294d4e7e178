"""How long work of one kind has taken lately: whether it is quick enough to be done at once, in the event loop.

To hand work over to a thread and take its result back takes as long as a small request itself. What is done in the
loop holds up all others, though, probes among them, so that only what is known to be quick is.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from time import thread_time_ns

# Of as many requests as may wait, 64, in a row: 128 ms.
QUICK_NS = 2_000_000


class Pace:
    """The times of one kind of work: more than usual counts at once, less only little by little."""

    __slots__ = ("expected_ns",)

    def __init__(self) -> None:
        self.expected_ns = float("inf")

    @property
    def quick(self) -> bool:
        """Whether the next work of this kind is expected to be quick."""
        return self.expected_ns <= QUICK_NS

    @contextmanager
    def measured(self, pieces: int = 1) -> Iterator[None]:
        """Look at the time of the processor that so many pieces of work take inside, in this thread, however they end.

        Each is taken to have an equal part of it.
        """
        begun_ns = thread_time_ns()
        try:
            yield
        finally:
            self.note((thread_time_ns() - begun_ns) / pieces)

    def note(self, time_ns: float) -> None:
        """Note that work of this kind has taken so long."""
        if self.expected_ns == float("inf"):
            self.expected_ns = time_ns
        else:
            change_ns = time_ns - self.expected_ns
            self.expected_ns += change_ns / 2 if change_ns > 0 else change_ns / 32
