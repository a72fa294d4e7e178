import numpy as np
import pytest

from training.data.images import Images, TargetShape, choose_examples, fit_pixels
from training.errors import InvalidRecipe


def test_examples_are_one_of_each_class_before_a_second_of_any() -> None:
    labels = np.array([3, 3, 1, 3, 1, 0], np.uint8)
    images = Images(np.zeros((6, 1, 1, 1), np.uint8), labels)
    assert choose_examples(images, 3).tolist() == [5, 2, 0]
    assert choose_examples(images, 5).tolist() == [5, 2, 0, 4, 1]
    assert choose_examples(images, 99).tolist() == [5, 2, 0, 4, 1, 3]


def test_pixels_that_fit_are_left_as_they_are() -> None:
    pixels = np.zeros((3, 4, 5, 1), np.uint8)
    assert fit_pixels(pixels, TargetShape(), "a") is pixels
    assert fit_pixels(pixels, TargetShape(4, 5, 1, "pad"), "a") is pixels


def test_pixels_are_fitted_to_another_size_and_other_channels() -> None:
    pixels = np.full((3, 4, 4, 1), 50, np.uint8)
    fitted = fit_pixels(pixels, TargetShape(6, 4, 3, "pad"), "a")
    assert fitted.shape == (3, 6, 4, 3)
    assert fitted[2, :, 0, 2].tolist() == [0, 50, 50, 50, 50, 0]
    assert (fit_pixels(pixels, TargetShape(8, 0, 0, "resize"), "a") == 50).all()


def test_pixels_of_another_size_are_refused_unless_the_recipe_says_how() -> None:
    with pytest.raises(InvalidRecipe, match=r"a are 4 × 4 pixels, 1 channel, and 4 × 8"):
        fit_pixels(np.zeros((3, 4, 4, 1), np.uint8), TargetShape(height=8), "a")
