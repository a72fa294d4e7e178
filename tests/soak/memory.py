"""The service's memory over time, and whether it is flat."""

from statistics import median
from typing import NamedTuple

# Until then caches, arenas and threads come to their size: of ten minutes, in up to the first three.
WARM_UP = 0.35
MOST_GROWTH = 1.05
LEAST_SAMPLES = 60


class Sample(NamedTuple):
    """Memory at a time after so many requests."""

    time_s: float
    requests: int
    resident_bytes: int


class Verdict(NamedTuple):
    """What the samples say. `flat` is None if there are too few of them."""

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

    Medians, as single samples are taken while requests hold what they need for a moment.
    """
    sizes = [sample.resident_bytes for sample in samples]
    warm = sizes[int(len(sizes) * WARM_UP) :]
    tenth = max(1, len(warm) // 10)
    first, last = int(median(warm[:tenth])), int(median(warm[-tenth:]))
    flat = None if len(sizes) < LEAST_SAMPLES else last <= MOST_GROWTH * first
    return Verdict(sizes[0], first, last, max(sizes), flat)
