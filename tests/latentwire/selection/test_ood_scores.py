import base64

import numpy as np
import pytest

from latentwire.errors import InvalidCard
from latentwire.imaging import image
from latentwire.model.card import ImageShape
from latentwire.model.guard_limits import ReferencePictures
from latentwire.selection.ood_scores import ReferenceStatistics, absolute_errors, max_error, mse, normalized_mae

SHAPE = ImageShape(height=2, width=2, channels=1)


def png(*levels: int) -> str:
    return base64.b64encode(image.write_png(np.array(levels, np.uint8).reshape(SHAPE.as_tuple()))).decode()


def pictures(**changes: str) -> ReferencePictures:
    values = {
        "mean_png_base64": png(0, 100, 0, 100),
        "spread_png_base64": png(1, 50, 1, 50),
        "error_png_base64": png(2, 4, 2, 4),
    }
    return ReferencePictures(**{**values, **changes})


def pixels(*levels: int) -> image.Pixels:
    return np.array(levels, np.uint8).reshape(1, *SHAPE.as_tuple())


def test_input_deviation_counts_the_distance_from_the_mean_in_units_of_the_spread() -> None:
    reference = ReferenceStatistics(pictures(), SHAPE)
    brightness = np.sqrt(np.mean(np.square([10, 100, 0, 200]))) / 255 + 1 / 255
    assert reference.input_deviation(pixels(10, 100, 0, 200))[0] == pytest.approx(
        (10 + 0 + 0 + 2) / 4 / np.sqrt(brightness)
    )
    assert reference.input_deviation(pixels(0, 100, 0, 100))[0] == 0


def test_surprise_counts_the_error_in_units_of_the_usual_error() -> None:
    reference = ReferenceStatistics(pictures(), SHAPE)
    image = pixels(255, 0, 0, 0)
    seen = reference.reconstruction_deviation(image, absolute_errors(image, pixels(0, 8, 0, 0)))
    assert seen[0] == pytest.approx((255 / 2 + 8 / 4) / 4 / np.sqrt(128.5 / 255))
    same = pixels(1, 2, 3, 4)
    assert reference.reconstruction_deviation(same, absolute_errors(same, same))[0] == 0


def test_errors_are_those_of_values_from_0_to_1() -> None:
    errors = absolute_errors(pixels(255, 0, 0, 10), pixels(0, 51, 0, 10))
    assert mse(errors)[0] == pytest.approx((1 + 0.04) / 4)
    assert max_error(errors)[0] == 1


def test_a_dim_image_is_stranger_than_its_mere_distance() -> None:
    bright, dim = np.array([[200.0, 200, 0, 0]]), np.array([[20.0, 20, 0, 0]])
    far, near = (normalized_mae(values, np.ones(4), values)[0] for values in (bright, dim))
    assert near > far / 10


def test_a_black_image_has_a_finite_input_deviation() -> None:
    input_deviation = ReferenceStatistics(pictures(), SHAPE).input_deviation(pixels(0, 0, 0, 0))
    assert input_deviation[0] == pytest.approx(1 / np.sqrt(1 / 255))


def test_each_image_of_a_batch_has_its_own_score() -> None:
    reference = ReferenceStatistics(pictures(), SHAPE)
    batch = np.concatenate([pixels(10, 100, 0, 200), pixels(9, 9, 9, 9)])
    alone = [reference.input_deviation(one[None])[0] for one in batch]
    np.testing.assert_array_equal(reference.input_deviation(batch), alone)


@pytest.mark.parametrize("changed", ["mean_png_base64", "spread_png_base64", "error_png_base64"])
@pytest.mark.parametrize("text", ["", "%", "AAAA", base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()])
def test_a_picture_that_is_none_is_refused(changed: str, text: str) -> None:
    with pytest.raises(InvalidCard, match="is not a PNG picture of 2 × 2 pixels"):
        ReferenceStatistics(pictures(**{changed: text}), SHAPE)


def test_a_picture_of_another_size_is_refused() -> None:
    with pytest.raises(InvalidCard, match="mean is not a PNG picture of 3 × 2 pixels"):
        ReferenceStatistics(pictures(), ImageShape(height=2, width=3, channels=1))


@pytest.mark.parametrize("what", ["spread", "error"])
def test_a_spread_of_nothing_is_refused(what: str) -> None:
    with pytest.raises(InvalidCard, match=f"{what} has a value of 0"):
        ReferenceStatistics(pictures(**{f"{what}_png_base64": png(1, 1, 0, 1)}), SHAPE)
