from pathlib import Path

import numpy as np
import pytest

from benchmarks.rate_distortion.classical import Grey, Setting
from benchmarks.rate_distortion.measure import (
    cut_up,
    lay_out,
    measure_alone,
    measure_lossless,
    measure_model,
    measure_together,
)
from benchmarks.rate_distortion.points import ALONE, BATCH, FULL, PAYLOAD, TOGETHER
from latentwire.format.bitstream import OVERHEAD_BYTES
from latentwire.imaging.image import Pixels
from tests.tiny_model import SHAPE


def images(count: int) -> Pixels:
    return np.random.default_rng(5).integers(0, 255, size=(count, *SHAPE.as_tuple()), dtype=np.uint8)


def write_shape_and_pixels(pixels: Grey) -> bytes:
    return bytes(pixels.shape) + pixels.tobytes()


def read_one_step_brighter(data: bytes) -> Grey:
    return np.frombuffer(data, np.uint8, offset=2).reshape(data[0], data[1]) + np.uint8(1)


ONE_STEP = Setting("X", "one step", "a library", write_shape_and_pixels, read_one_step_brighter)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9, 10])
def test_images_laid_out_in_one_picture_come_out_again(count: int) -> None:
    pixels = images(count)
    picture = lay_out(pixels)
    assert np.array_equal(cut_up(picture, pixels.shape), pixels)


def test_a_picture_of_many_images_has_about_as_many_rows_as_columns() -> None:
    assert lay_out(images(100)).shape == (10 * SHAPE.height, 10 * SHAPE.width)
    assert lay_out(images(7)).shape == (3 * SHAPE.height, 3 * SHAPE.width)


def test_bytes_and_error_are_those_of_the_files_and_of_the_images_delivered() -> None:
    pixels = images(5)
    told: list[int] = []
    alone = measure_alone(ONE_STEP, pixels, told.append)
    assert (alone.codec, alone.setting, alone.arrangement, alone.count) == ("X", "one step", ALONE, 5)
    assert alone.bytes == 2 + SHAPE.pixels
    assert alone.mse == pytest.approx(1 / 255**2)
    assert sum(told) == 5
    together = measure_together(ONE_STEP, pixels, told.append)
    # Five images fill two rows of three, with one place left over.
    assert together.arrangement == TOGETHER
    assert together.bytes == pytest.approx((2 + 6 * SHAPE.pixels) / 5)
    assert together.mse == pytest.approx(1 / 255**2)


def test_a_model_is_measured_in_all_its_forms(tiny_model: Path) -> None:
    told: list[int] = []
    points = {point.codec: point for point in measure_model(tiny_model, images(7), told.append)}
    assert set(points) == {PAYLOAD, FULL, BATCH}
    assert points[FULL].bytes == pytest.approx(points[PAYLOAD].bytes + OVERHEAD_BYTES)
    assert points[FULL].mse == points[PAYLOAD].mse > 0
    assert points[BATCH].mse == pytest.approx(points[FULL].mse, rel=0.01)
    assert points[BATCH].arrangement == TOGETHER
    assert {point.setting for point in points.values()} == {"tiny"}
    assert sum(told) == 2 * 7


def test_a_container_of_many_images_takes_less_for_each_than_their_payloads(tiny_model: Path) -> None:
    points = {point.codec: point.bytes for point in measure_model(tiny_model, images(2000), lambda _count: None)}
    assert points[BATCH] < points[PAYLOAD]


def test_images_as_themselves_come_back_without_loss(tiny_model: Path) -> None:
    points = {point.codec: point for point in measure_lossless(tiny_model, images(3), lambda _count: None)}
    assert points[PAYLOAD].mse == points[FULL].mse == 0
    # Noise is smallest as its raw pixels, after three bytes that say so.
    assert points[PAYLOAD].bytes == 3 + SHAPE.pixels
    assert points[FULL].bytes == points[PAYLOAD].bytes + OVERHEAD_BYTES
