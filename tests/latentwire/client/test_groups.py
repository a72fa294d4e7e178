import numpy as np

from latentwire.client.groups import MAX_BATCH_IMAGES, MAX_IMAGE_BYTES, Grouper
from latentwire.client.sources import Prepared


def grouped(images: list[Prepared], *, batches: bool = True, pause_s: float = 0) -> list[tuple[int, int]]:
    """Return the first index and the number of images of each group, of images that come in these intervals."""
    time_s = 0.0

    def clock() -> float:
        return time_s

    grouper = Grouper(batches=batches, clock=clock)
    groups = []
    for image in images:
        groups += grouper.add(image)
        time_s += pause_s
    return [(group.first, len(group.images)) for group in [*groups, *grouper.rest()]]


SMALL, OTHER = np.zeros((8, 6, 1), np.uint8), np.zeros((6, 8, 1), np.uint8)


def test_small_images_of_one_kind_go_together() -> None:
    assert grouped([SMALL] * 300) == [(0, MAX_BATCH_IMAGES), (128, 128), (256, 44)]
    assert grouped([SMALL, SMALL, OTHER, OTHER, b"a", b"b", SMALL]) == [(0, 2), (2, 2), (4, 2), (6, 1)]
    assert grouped([]) == []


def test_large_images_go_alone() -> None:
    large = bytes(MAX_IMAGE_BYTES + 1)
    assert grouped([b"a", large, large, b"b", b"c"]) == [(0, 1), (1, 1), (2, 1), (3, 2)]
    assert [count for _, count in grouped([bytes(MAX_IMAGE_BYTES)] * 20)] == [16, 4]


def test_images_that_come_slowly_do_not_wait_for_a_full_batch() -> None:
    assert [count for _, count in grouped([SMALL] * 4, pause_s=1)] == [1, 1, 1, 1]
    assert [count for _, count in grouped([SMALL] * 9, pause_s=0.02)] == [3, 3, 3]


def test_without_batches_every_image_goes_alone() -> None:
    assert grouped([SMALL] * 3, batches=False) == [(0, 1), (1, 1), (2, 1)]
