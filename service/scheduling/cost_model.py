"""Predicts the processor time of work, to decide whether it may run in the event loop.

Handing work to a thread and taking its result back costs as much as a small request itself. Work in the event loop
delays every other request, though, health probes included. So only work that is predicted to be short runs there.
"""

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from time import thread_time_ns
from typing import NamedTuple

# 64 queued requests x 2 ms = 128 ms worst-case delay of the event loop.
INLINE_LIMIT_NS = 2_000_000
# Bounds the memory: clients can make up any number of keys, for example by the numbers in their queries.
MAX_BATCH_KEYS = 256


class BatchKey(NamedTuple):
    """Requests with equal keys do the same work and may be batched together.

    `route` labels the work in metrics; `options` are the request's own choices.
    """

    route: str
    options: Hashable = None


class CostEstimate:
    """The expected processor time of one item: an asymmetric exponentially weighted moving average (EWMA).

    It rises by 1/2 of the difference to each longer time, and falls by 1/32 of the difference to each shorter time. So
    one slow item moves its key to a thread, and only many quick ones bring it back.
    """

    __slots__ = ("expected_ns",)

    def __init__(self) -> None:
        self.expected_ns = float("inf")

    @property
    def runs_inline(self) -> bool:
        """Whether the next item is expected to be short enough for the event loop."""
        return self.expected_ns <= INLINE_LIMIT_NS

    @contextmanager
    def measure(self, items: int = 1) -> Iterator[None]:
        """Observe the processor time that this thread spends inside, divided equally among `items`.

        Work that raises counts as well.
        """
        started_ns = thread_time_ns()
        try:
            yield
        finally:
            self.observe((thread_time_ns() - started_ns) / items)

    def observe(self, time_ns: float) -> None:
        """Update the estimate by the time of one item."""
        if self.expected_ns == float("inf"):
            self.expected_ns = time_ns
        else:
            change_ns = time_ns - self.expected_ns
            self.expected_ns += change_ns / 2 if change_ns > 0 else change_ns / 32


class CostModel:
    """One estimate for each of the `MAX_BATCH_KEYS` keys that were used last."""

    def __init__(self) -> None:
        self._estimates: dict[BatchKey, CostEstimate] = {}

    def __len__(self) -> int:
        return len(self._estimates)

    def estimate(self, key: BatchKey) -> CostEstimate:
        """Return the estimate of this key, a new one if the key is unknown or forgotten."""
        estimate = self._estimates.pop(key, None) or CostEstimate()
        if len(self._estimates) >= MAX_BATCH_KEYS:
            least_recently_used = next(iter(self._estimates))
            del self._estimates[least_recently_used]
        self._estimates[key] = estimate
        return estimate
