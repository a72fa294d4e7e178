from pathlib import Path

import numpy as np
import pytest

from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from latentwire.errors import ImageMismatch
from latentwire.imaging.image import Pixels
from latentwire.model.card import load_card
from latentwire.selection.guard import Guard
from tests.tiny_model import SHAPE, familiar_pixels, publish_guarded_model, strange_pixels
from training.data.datasets import Dataset, TrainingSplit
from training.data.images import Images
from training.errors import MissingData
from training.recipe import make_recipe
from training.release.fit_guard import OodImages, fit_limits, guard_in_words, load_ood_images, measure_guard
from training.release.model_readme import write_readme
from training.release.pipeline import guard_model


def images(pixels: Pixels) -> Images:
    return Images(pixels, np.zeros(len(pixels), np.uint8))


def test_the_limits_let_the_training_images_pass(guarded_model: Path) -> None:
    split = TrainingSplit(images(familiar_pixels(2500, 1)), images(familiar_pixels(500, 2)))
    limits = fit_limits(guarded_model, split)
    assert limits is not None
    guard = Guard(Encoder.open(guarded_model), Decoder.open(guarded_model), limits)
    judged = [one for part in (split.train, split.validation) for one in guard.assess(part.pixels)]
    called = [one.ood for one in judged if one.ood]
    assert 0 < len(called) <= 3  # of 3,000
    assert {exceeded_limit.score for ood in called for exceeded_limit in ood.exceeded} <= {"input_deviation", "bits"}
    assert limits.max_input_deviation > limits.max_input_deviation_alone


def test_a_strange_image_among_those_for_training_does_not_widen_the_limits(guarded_model: Path) -> None:
    pixels, validation = familiar_pixels(2500, 1), images(familiar_pixels(500, 2))
    alone = fit_limits(guarded_model, TrainingSplit(images(pixels), validation))
    mixed = np.concatenate([pixels[1:], strange_pixels(1, 9)])
    beside = fit_limits(guarded_model, TrainingSplit(images(mixed), validation))
    assert alone is not None
    assert beside is not None
    guard = Guard(Encoder.open(guarded_model), Decoder.open(guarded_model), beside)
    assert guard.assess(strange_pixels(1, 9))[0].ood
    for score in ("max_mse", "max_reconstruction_deviation"):
        assert getattr(beside, score) == pytest.approx(getattr(alone, score), rel=0.3)


def test_the_rates_count_what_the_guard_calls_out_of_distribution(guarded_model: Path) -> None:
    card = load_card(guarded_model)
    assert card.guard is not None
    mixed = np.concatenate([familiar_pixels(3, 9), strange_pixels(1, 9)])
    dataset = Dataset("mixed", images(mixed), images(mixed))
    rates = measure_guard(guarded_model, card.guard, dataset, [OodImages("noise", strange_pixels(5, 8))])
    assert (rates.ordinary, rates.images) == ("mixed test", 4)
    assert (rates.false_alarms_by_sender, rates.false_alarms_with_decoder) == (0.25, 0.25)
    assert [(kind.ood_images, kind.images, kind.by_sender, kind.with_decoder) for kind in rates.caught] == [
        ("noise", 5, 1, 1)
    ]


def test_images_too_large_for_a_card_get_no_guard(guarded_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.release.fit_guard.MAX_REFERENCE_VALUES", SHAPE.pixels - 1)
    few = images(familiar_pixels(20))
    assert fit_limits(guarded_model, TrainingSplit(few, few)) is None
    assert "no guard" in guard_in_words(None)


def test_the_readme_and_the_words_tell_the_rates(guarded_model: Path) -> None:
    card = load_card(guarded_model)
    assert card.guard is not None
    assert "| 100 images of noise | 100.00% | 100.00% |" in write_readme(card)
    assert "100 of noise" in guard_in_words(card.guard)


def test_a_published_model_gets_a_new_guard_and_stays_itself_otherwise(tmp_path: Path) -> None:
    folder = publish_guarded_model(tmp_path / "models", tmp_path / "scratch")
    before = load_card(folder)
    dataset = Dataset("drawings", images(familiar_pixels(300)), images(familiar_pixels(10)))
    recipe = make_recipe({"name": "drawings", "validation_images": 100, "batch_size": 10})
    after = guard_model(folder, dataset, recipe)
    assert load_card(folder) == after
    assert after.guard != before.guard
    assert after.model_copy(update={"guard": before.guard}) == before
    assert "## Guard" in (folder / "README.md").read_text()


def test_images_of_another_shape_are_refused(guarded_model: Path) -> None:
    other = images(np.zeros((20, 4, 4, 1), np.uint8))
    with pytest.raises(ImageMismatch, match="other has 4 × 4 pixels"):
        guard_model(guarded_model, Dataset("other", other, other), make_recipe({"name": "other"}))


def test_ood_images_come_in_the_shape_of_the_data_set(tmp_path: Path) -> None:
    np.savez(tmp_path / "colours.npz", images=np.zeros((3, 10, 12, 3), np.uint8))
    dataset = Dataset("drawings", images(familiar_pixels(2)), images(familiar_pixels(2)))
    (colours,) = load_ood_images(["colours.npz"], dataset, tmp_path)
    assert colours.name == "colours.npz"
    assert colours.pixels.shape == (3, *SHAPE.as_tuple())


def test_missing_ood_images_are_skipped_only_if_none_were_asked_for(tmp_path: Path) -> None:
    dataset = Dataset("drawings", images(familiar_pixels(2)), images(familiar_pixels(2)))
    assert load_ood_images(["nowhere.npz"], dataset, tmp_path, skip_missing=True) == []
    with pytest.raises(MissingData):
        load_ood_images(["nowhere.npz"], dataset, tmp_path)
