import base64

import numpy as np
import pytest

from latentwire.errors import InvalidCard
from latentwire.imaging import image
from latentwire.model.card import ImageShape
from latentwire.model.guard_limits import Classifier, ClassifierLayer, DoubtLimits
from latentwire.selection.doubt_scores import DoubtScores, Windows, class_odds

SHAPE = ImageShape(height=28, width=28, channels=1)


def limits(windows: Windows, classifier: Classifier | None = None, usual: int = 20) -> DoubtLimits:
    levels = np.full(windows.shape.as_tuple(), usual, np.uint8)
    return DoubtLimits(
        max_local_error=1,
        usual_local_png_base64=base64.b64encode(image.write_png(levels)).decode(),
        max_class_odds=1,
        classifier=classifier,
    )


def layer(weights: np.ndarray[tuple[int, ...], np.dtype[np.int8]]) -> ClassifierLayer:
    outputs = len(weights)
    packed = base64.b64encode(weights.astype(np.int8).tobytes()).decode()
    return ClassifierLayer(weights_base64=packed, scale=(0.5,) * outputs, bias=(0.0,) * outputs)


@pytest.mark.parametrize(
    ("height", "width", "channels", "expected"),
    [(28, 28, 1, (13, 13)), (32, 32, 3, (15, 15)), (1, 1, 1, (1, 1)), (480, 640, 3, (13, 13)), (8, 6, 4, (7, 5))],
)
def test_windows_cover_images_of_any_size(height: int, width: int, channels: int, expected: tuple[int, int]) -> None:
    windows = Windows(ImageShape(height=height, width=width, channels=channels))
    assert (windows.shape.height, windows.shape.width) == expected
    white = np.full((2, height, width, channels), 255, np.uint8)
    np.testing.assert_allclose(windows.means(white), np.ones((2, windows.values)), rtol=1e-5)
    for row in {*range(0, height, 1 + height // 40), height - 1}:
        one = np.zeros((1, height, width, channels), np.uint8)
        one[:, row, width // 2] = 255
        assert windows.means(one).max() > 0


def test_the_local_error_finds_a_small_mark_that_is_lost() -> None:
    scores = DoubtScores(limits(Windows(SHAPE)), SHAPE)
    blank = np.zeros((2, 28, 28, 1), np.uint8)
    marked = blank.copy()
    marked[1, 11:14, 3:6] = 255
    found = scores.score(marked, blank)["local_error"]
    # Nine of the sixteen pixels of a window, in units of the root of what is usual and a hundredth.
    assert found == pytest.approx([0, 9 / 16 / np.sqrt(20 / 255 + 0.01)], rel=1e-5)
    assert list(scores.score(marked, blank)) == ["local_error"]


def test_an_error_counts_less_where_it_is_usual() -> None:
    blank = np.zeros((1, 28, 28, 1), np.uint8)
    marked = blank.copy()
    marked[0, 10:14, 10:14] = 255
    rare, usual = (
        DoubtScores(limits(Windows(SHAPE), usual=level), SHAPE).score(marked, blank)["local_error"][0]
        for level in (1, 100)
    )
    assert rare > 4 * usual


def test_a_brightness_that_only_moves_a_little_counts_less_than_one_that_is_lost() -> None:
    scores = DoubtScores(limits(Windows(SHAPE)), SHAPE)
    line = np.zeros((1, 28, 28, 1), np.uint8)
    line[0, 4:24, 10:12] = 255
    moved = np.roll(line, 1, axis=2)
    assert scores.score(line, moved)["local_error"][0] < 0.6 * scores.score(line, 0 * line)["local_error"][0]


def test_the_class_odds_are_those_of_another_class_in_the_reconstruction() -> None:
    logits = np.array([[3, 0, 1], [3, 0, 1], [1, 0, 3], [3, 0, 1]], np.float32)
    assert class_odds(logits) == pytest.approx([np.exp(2), np.exp(-2)])
    assert class_odds(np.array([[0, 1], [1000, 0]], np.float32)) == [pytest.approx(np.exp(30))]


def test_a_classifier_of_one_layer_sees_which_half_is_bright() -> None:
    windows = Windows(SHAPE)
    upper = np.repeat(np.arange(13) < 6, 13)
    classifier = Classifier(layers=(layer(np.stack([upper, ~upper])),), error=0)
    scores = DoubtScores(limits(windows, classifier), SHAPE)
    bright_above = np.zeros((1, 28, 28, 1), np.uint8)
    bright_above[:, :10] = 255
    same, turned = (scores.score(bright_above, one)["class_odds"][0] for one in (bright_above, bright_above[:, ::-1]))
    assert same < 1e-6 < 1e6 < turned


@pytest.mark.parametrize("weights", ["", "AAAA", "%"])
def test_a_classifier_that_does_not_fit_the_windows_is_refused(weights: str) -> None:
    classifier = Classifier(layers=(ClassifierLayer(weights_base64=weights, scale=(1.0,), bias=(0.0,)),), error=0)
    with pytest.raises(InvalidCard, match="classifier"):
        DoubtScores(limits(Windows(SHAPE), classifier), SHAPE)


def test_usual_errors_of_another_shape_are_refused() -> None:
    with pytest.raises(InvalidCard, match="usual_local"):
        DoubtScores(limits(Windows(SHAPE)), ImageShape(height=56, width=20, channels=1))
