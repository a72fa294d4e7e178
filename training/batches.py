"""Many images -> parts whose memory is bounded by their values, with a progress bar where somebody looks on.

The bar is silent where standard error is no terminal.
"""

import math
from collections.abc import Iterator, Sequence

from tqdm import tqdm

from latentwire.imaging.image import MAX_BATCH_VALUES

MAX_IMAGES = 500

# A bar that would be gone at once is not shown.
_BAR_DELAY_S = 1.0


def part_size(shape: Sequence[int]) -> int:
    """Return how many images of this shape, (H, W, C) in any order, go through a graph at once: 1 to 500."""
    return max(1, min(MAX_IMAGES, MAX_BATCH_VALUES // math.prod(shape)))


def parts(count: int, shape: Sequence[int], doing: str = "") -> Iterator[slice]:
    """Yield the slices of `count` images, or of what belongs to them, one after the other.

    Args:
        count: number of images.
        shape: of an image, (H, W, C) in any order.
        doing: what is done with the images, for the progress bar; without it there is none.
    """
    size = part_size(shape)
    with tqdm(
        total=count, desc=doing, unit="image", leave=False, delay=_BAR_DELAY_S, disable=None if doing else True
    ) as bar:
        for start in range(0, count, size):
            yield slice(start, start + size)
            bar.update(min(size, count - start))
