"""The pictures: what stands in them can be read."""

from itertools import combinations
from pathlib import Path

import pytest

from benchmarks.rate_distortion.plots import label_points, plot_points
from benchmarks.rate_distortion.points import ALONE, PAYLOAD, Point
from tests.benchmarks.rate_distortion.points import point
from training.plots.canvas import figure

NEAR = [(3.5, 18.3), (5.1, 20.5), (6.5, 21.0), (7.5, 22.5)]
AT_ONE_PLACE = [(5.0, 20.0)] * 6


def named(places: list[tuple[float, float]]) -> list[Point]:
    return [point(PAYLOAD, size, psnr_db, f"a-model-{at}") for at, (size, psnr_db) in enumerate(places)]


@pytest.mark.parametrize("places", [NEAR, AT_ONE_PLACE], ids=["near", "at one place"])
def test_the_names_of_points_do_not_touch(places: list[tuple[float, float]]) -> None:
    points = named(places)
    with figure(7.4) as made:
        axes = made.add_axes((0.075, 0.08, 0.9, 0.665))
        axes.set_xscale("log")
        axes.set_xlim(1, 1000)
        axes.set_ylim(14, 42)
        axes.plot([each.bytes for each in points], [each.psnr_db for each in points], "o")
        label_points(axes, points, "black")
        names = {text.get_text(): text.get_window_extent() for text in axes.texts}
    assert set(names) == {each.setting for each in points}
    assert not [pair for pair in combinations(names, 2) if names[pair[0]].overlaps(names[pair[1]])]


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    points = [*named(NEAR), point("JPEG", 100, 20), point("JPEG", 200, 30), point("PNG", 250, None)]
    plot_points(points, ALONE, "some", tmp_path / "drawn.png")
    assert (tmp_path / "drawn.png").read_bytes().startswith(b"\x89PNG")
