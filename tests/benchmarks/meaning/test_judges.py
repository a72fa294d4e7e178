import numpy as np
import pytest

from benchmarks.meaning.judges import Judge, edge_directions, grey_levels
from latentwire.imaging.image import Pixels
from training.data.synthetic import draw_digits


@pytest.mark.parametrize("features", [grey_levels, edge_directions])
def test_a_judge_knows_most_drawn_digits_and_is_sure_of_those_it_has_seen(features) -> None:  # type: ignore[no-untyped-def]
    pixels, labels = draw_digits(1500, seed=1)
    judge = Judge(features, pixels, labels)
    others, truth = draw_digits(200, seed=2)
    found = judge.judge(others)
    assert (found.classes == truth).mean() > 0.8
    assert (found.classes[found.sure] == truth[found.sure]).mean() > 0.95
    assert found.sure.mean() > 0.5


def test_a_tie_goes_to_the_class_of_the_nearest() -> None:
    def brightness(pixels: Pixels) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        values = np.zeros((len(pixels), 50), np.float32)
        values[:, 0] = pixels[:, 0, 0, 0]
        return values

    levels = np.array([10, 11, 13, 14, 200], np.uint8)
    judge = Judge(brightness, np.tile(levels[:, None, None, None], (1, 2, 2, 1)), np.array([0, 1, 0, 1, 2]))
    for level, expected in ((10, 0), (14, 1)):
        found = judge.judge(np.full((1, 2, 2, 1), level, np.uint8))
        assert (found.classes[0], found.sure[0]) == (expected, False)


def test_edges_of_a_slanted_digit_are_those_of_an_upright_one() -> None:
    upright = np.zeros((1, 28, 28, 1), np.uint8)
    upright[0, 4:24, 12:16] = 255
    slanted = upright.copy()
    for row in range(28):
        slanted[0, row] = np.roll(upright[0, row], (14 - row) // 4, axis=0)
    different = np.swapaxes(upright, 1, 2)

    def distance(one: Pixels, other: Pixels) -> float:
        return float(np.square(edge_directions(one) - edge_directions(other)).sum())

    assert distance(upright, slanted) < distance(upright, different) / 4
    assert distance(upright, np.roll(upright, 3, axis=2)) < distance(upright, different) / 4
