"""The service's memory over time, and whether it is flat."""

from statistics import median
from typing import NamedTuple

# Caches, arenas and threads reach their size in this part of the samples.
WARM_UP = 0.35
MAX_GROWTH = 1.05
# Five minutes, with a sample a second.
MIN_SAMPLES = 300


class Sample(NamedTuple):
    """Memory at a time, after a number of requests."""

    time_s: float
    requests: int
    resident_bytes: int


class Verdict(NamedTuple):
    """The result of a soak's samples. `flat` is None if there are too few of them."""

    start_bytes: int
    warm_bytes: int
    end_bytes: int
    peak_bytes: int
    flat: bool | None

    @property
    def growth(self) -> float:
        """Memory at the end over that after warming up."""
        return self.end_bytes / self.warm_bytes


def assess(samples: list[Sample]) -> Verdict:
    """Compare the first tenth after warming up with the last one, each by its median.

    A single sample may be taken while requests hold memory for a moment, so medians are compared.
    """
    sizes = [sample.resident_bytes for sample in samples]
    warm = sizes[int(len(sizes) * WARM_UP) :]
    tenth = max(1, len(warm) // 10)
    first, last = int(median(warm[:tenth])), int(median(warm[-tenth:]))
    flat = None if len(sizes) < MIN_SAMPLES else last <= MAX_GROWTH * first
    return Verdict(sizes[0], first, last, max(sizes), flat)
