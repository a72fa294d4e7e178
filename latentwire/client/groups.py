"""Which images of a sequence are sent together.

Small images go in batches, which cost the service a fraction of as many single requests.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

from latentwire.client.sources import Prepared

MAX_BATCH_IMAGES = 128
MAX_BATCH_BYTES = 1 << 20
# The request itself costs little beside the work for a larger image.
MAX_IMAGE_BYTES = 1 << 16
# A batch waits no longer for its next image, so that a slow source does not hold back results.
MAX_WAIT_S = 0.05


class Group(NamedTuple):
    """Successive images; `first` is the index of the first of them in the sequence."""

    first: int
    images: tuple[Prepared, ...]


class Grouper:
    """Images in their order -> groups. `batches` is whether groups may have several images; it can change."""

    def __init__(self, *, batches: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.batches = batches
        self._clock = clock
        self._gathered: list[Prepared] = []
        self._first = self._bytes = 0
        self._until_s = 0.0

    def add(self, prepared: Prepared) -> list[Group]:
        """Add an image; return the groups that are complete."""
        size = len(prepared) if isinstance(prepared, bytes) else prepared.nbytes
        is_small = self.batches and size <= MAX_IMAGE_BYTES
        complete = []
        if self._gathered and not (is_small and self._may_join(prepared, size)):
            complete += self.rest()
        if not self._gathered:
            self._until_s = self._clock() + MAX_WAIT_S
        self._gathered.append(prepared)
        self._bytes += size
        return complete if is_small and len(self._gathered) < MAX_BATCH_IMAGES else [*complete, *self.rest()]

    def rest(self) -> list[Group]:
        """Return the images that were gathered as a group, or nothing if there are none."""
        if not self._gathered:
            return []
        group = Group(self._first, tuple(self._gathered))
        self._first += len(self._gathered)
        self._gathered, self._bytes = [], 0
        return [group]

    def _may_join(self, prepared: Prepared, size: int) -> bool:
        last = self._gathered[-1]
        alike = (
            isinstance(prepared, bytes)
            if isinstance(last, bytes)
            else not isinstance(prepared, bytes) and prepared.shape == last.shape
        )
        return alike and self._bytes + size <= MAX_BATCH_BYTES and self._clock() <= self._until_s
