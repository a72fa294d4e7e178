"""Predicts the processor time of work, to decide whether it may run in the event loop.

Handing work to a thread and taking its result back costs as much as the work for a small image. Work in the event loop
delays everything else there, though, health probes included. So only work that is predicted to be short runs there.
"""

from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import NamedTuple

# 64 queued items x 2 ms = 128 ms worst-case delay of the event loop.
INLINE_LIMIT_NS = 2_000_000
# Bounds the memory: clients can make up any number of keys, for example by the numbers in their queries.
MAX_BATCH_KEYS = 256


class BatchKey(NamedTuple):
    """Items with equal keys are given to the same work and may be batched together.

    `name` is that of the work in metrics; `options` are the choices for this item.
    """

    name: str
    options: Hashable = None


class CostEstimate:
    """The expected processor time of one item: an asymmetric exponentially weighted moving average (EWMA).

    It rises by 1/2 of the difference to each longer time, and falls by 1/32 of the difference to each shorter time. So
    one slow item moves its key to a thread, and only many quick ones bring it back.
    """

    def __init__(self) -> None:
        self.expected_ns = float("inf")

    @property
    def runs_inline(self) -> bool:
        """Whether the next item is expected to be short enough for the event loop."""
        return self.expected_ns <= INLINE_LIMIT_NS

    def observe(self, time_ns: float) -> None:
        """Update the estimate by the time of one item."""
        if self.expected_ns == float("inf"):
            self.expected_ns = time_ns
        else:
            change_ns = time_ns - self.expected_ns
            self.expected_ns += change_ns / 2 if change_ns > 0 else change_ns / 32


def new_cost_model() -> Callable[[BatchKey], CostEstimate]:
    """Return a function that gives the estimate of a key, and remembers the `MAX_BATCH_KEYS` keys used last."""
    return lru_cache(maxsize=MAX_BATCH_KEYS)(lambda _key: CostEstimate())
