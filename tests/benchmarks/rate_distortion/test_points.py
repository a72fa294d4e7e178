import json
import math

import pytest

from benchmarks.rate_distortion.points import Point, cheapest_that_reaches, cost_of, front
from tests.benchmarks.rate_distortion.points import point


def test_the_front_leaves_out_what_another_point_beats() -> None:
    cheap, good, exact = point("A", 10, 20), point("A", 20, 30), point("A", 100, None)
    worse_and_dearer, as_good_and_dearer, dearer_than_exact = (
        point("A", 15, 19),
        point("A", 25, 30),
        point("A", 110, 60),
    )
    points = [dearer_than_exact, exact, good, as_good_and_dearer, worse_and_dearer, cheap]
    assert front(points) == [cheap, good, exact]


def test_between_two_settings_the_logarithm_of_the_bytes_is_linear_in_the_psnr() -> None:
    cost = cost_of([point("A", 10, 20), point("A", 1000, 30)], 25)
    assert cost is not None
    assert cost.bytes == pytest.approx(100)
    assert not cost.cheapest


def test_a_psnr_below_the_cheapest_setting_costs_that_setting() -> None:
    cost = cost_of([point("A", 10, 20), point("A", 1000, 30)], 15)
    assert cost is not None
    assert (cost.bytes, cost.cheapest) == (10, True)


def test_a_psnr_beyond_the_best_setting_costs_what_no_loss_costs_if_there_is_that() -> None:
    lossy = [point("A", 10, 20), point("A", 1000, 30)]
    assert cost_of(lossy, 31) is None
    cost = cost_of([*lossy, point("A", 2000, None)], 31)
    assert cost is not None
    assert (cost.bytes, cost.cheapest) == (2000, False)


def test_without_loss_is_never_interpolated_to() -> None:
    cost = cost_of([point("A", 10, 20), point("A", 40, None)], 20.1)
    assert cost is not None
    assert cost.bytes == 40


def test_of_models_only_points_that_were_measured_count() -> None:
    points = [point("ours", 4, 19, "small"), point("ours", 9, 24, "large")]
    reached = cheapest_that_reaches(points, 19.5)
    assert reached is not None
    assert (reached.setting, reached.bytes) == ("large", 9)
    assert cheapest_that_reaches(points, 25) is None


def test_points_come_back_from_json_as_they_were() -> None:
    points = [point("A", 10.25, 21.5), point("B", 20, None)]
    fields = json.loads(json.dumps([each.to_json() for each in points], allow_nan=False))
    assert [Point.from_json(each) for each in fields] == points
    assert fields[0]["psnr_db"] == pytest.approx(21.5)
    assert fields[1]["psnr_db"] is None
    assert math.isinf(points[1].psnr_db)
