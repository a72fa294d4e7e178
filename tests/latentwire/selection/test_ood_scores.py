import base64

import numpy as np
import pytest

from latentwire.errors import InvalidCard
from latentwire.imaging import image
from latentwire.model.card import ImageShape, TypicalPictures
from latentwire.selection.ood_scores import TypicalImages, relative_distance

SHAPE = ImageShape(height=2, width=2, channels=1)


def png(*levels: int) -> str:
    return base64.b64encode(image.write_png(np.array(levels, np.uint8).reshape(SHAPE.as_tuple()))).decode()


def pictures(**changes: str) -> TypicalPictures:
    values = {
        "mean_png_base64": png(0, 100, 0, 100),
        "spread_png_base64": png(1, 50, 1, 50),
        "error_png_base64": png(2, 4, 2, 4),
    }
    return TypicalPictures(**{**values, **changes})


def pixels(*levels: int) -> image.Pixels:
    return np.array(levels, np.uint8).reshape(1, *SHAPE.as_tuple())


def test_strangeness_counts_the_distance_from_the_mean_in_units_of_the_spread() -> None:
    typical = TypicalImages(pictures(), SHAPE)
    brightness = np.sqrt(np.mean(np.square([10, 100, 0, 200]))) / 255 + 1 / 255
    assert typical.strangeness(pixels(10, 100, 0, 200))[0] == pytest.approx((10 + 0 + 0 + 2) / 4 / np.sqrt(brightness))
    assert typical.strangeness(pixels(0, 100, 0, 100))[0] == 0


def test_surprise_counts_the_error_in_units_of_the_usual_error() -> None:
    typical = TypicalImages(pictures(), SHAPE)
    seen = typical.surprise(pixels(255, 0, 0, 0), pixels(0, 8, 0, 0))
    assert seen[0] == pytest.approx((255 / 2 + 8 / 4) / 4 / np.sqrt(128.5 / 255))
    assert typical.surprise(pixels(1, 2, 3, 4), pixels(1, 2, 3, 4))[0] == 0


def test_a_dim_image_is_stranger_than_its_mere_distance() -> None:
    bright, dim = np.array([[200.0, 200, 0, 0]]), np.array([[20.0, 20, 0, 0]])
    far, near = (relative_distance(values, np.ones(4), values)[0] for values in (bright, dim))
    assert near > far / 10


def test_a_black_image_has_a_finite_strangeness() -> None:
    strangeness = TypicalImages(pictures(), SHAPE).strangeness(pixels(0, 0, 0, 0))
    assert strangeness[0] == pytest.approx(1 / np.sqrt(1 / 255))


def test_each_image_of_a_batch_has_its_own_score() -> None:
    typical = TypicalImages(pictures(), SHAPE)
    batch = np.concatenate([pixels(10, 100, 0, 200), pixels(9, 9, 9, 9)])
    alone = [typical.strangeness(one[None])[0] for one in batch]
    np.testing.assert_array_equal(typical.strangeness(batch), alone)


@pytest.mark.parametrize("changed", ["mean_png_base64", "spread_png_base64", "error_png_base64"])
@pytest.mark.parametrize("text", ["", "%", "AAAA", base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()])
def test_a_picture_that_is_none_is_refused(changed: str, text: str) -> None:
    with pytest.raises(InvalidCard, match="is not a PNG picture of 2 × 2 pixels"):
        TypicalImages(pictures(**{changed: text}), SHAPE)


def test_a_picture_of_another_size_is_refused() -> None:
    with pytest.raises(InvalidCard, match="mean is not a PNG picture of 2 × 3 pixels"):
        TypicalImages(pictures(), ImageShape(height=2, width=3, channels=1))


@pytest.mark.parametrize("what", ["spread", "error"])
def test_a_spread_of_nothing_is_refused(what: str) -> None:
    with pytest.raises(InvalidCard, match=f"{what} has a value of 0"):
        TypicalImages(pictures(**{f"{what}_png_base64": png(1, 1, 0, 1)}), SHAPE)
