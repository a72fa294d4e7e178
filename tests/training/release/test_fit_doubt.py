from pathlib import Path

import numpy as np
import pytest

from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from latentwire.model.card import ImageShape, load_card
from latentwire.selection.doubt_scores import Windows
from latentwire.selection.guard import Guard
from tests.tiny_model import SHAPE, familiar_pixels, publish_guarded_model, with_quality
from training.cli.main import main
from training.data.datasets import TrainingSplit
from training.data.images import Images
from training.data.synthetic import draw_digits
from training.release import fit_classifier
from training.release.fit_classifier import error_of
from training.release.fit_doubt import MAX_RISE_BYTES, fit_doubt
from training.release.marks import KINDS, draw_marks, mark_levels
from training.release.model_readme import write_readme


def split_of(train: int, validation: int) -> TrainingSplit:
    stacks = [familiar_pixels(count, seed) for seed, count in enumerate((train, validation), start=1)]
    return TrainingSplit(*(Images(pixels, np.zeros(len(pixels), np.uint8)) for pixels in stacks))


@pytest.mark.parametrize("kind", KINDS)
def test_a_mark_is_drawn_beside_what_an_image_shows(kind: str) -> None:
    pixels, _ = draw_digits(30, seed=3)
    marked = draw_marks(pixels, kind, seed=1)
    assert len(marked.pixels) > 20
    np.testing.assert_array_equal(mark_levels(marked.pixels, marked.places), 255)
    originals = pixels[marked.sources]
    assert (mark_levels(originals, marked.places) <= 20).all()
    np.testing.assert_array_equal(np.where(marked.places[..., None], 0, marked.pixels - originals), 0)
    assert {int(place.sum()) for place in marked.places} == {np.prod(KINDS[kind])}
    assert marked.lost(originals).all()
    assert not marked.lost(marked.pixels).any()


def test_an_image_without_room_gets_no_mark() -> None:
    full = np.full((3, 28, 28, 1), 255, np.uint8)
    assert not len(draw_marks(full, "dot", 1).pixels)
    assert not len(draw_marks(np.zeros((2, 4, 4, 1), np.uint8), "dot", 1).pixels)


def test_a_classifier_tells_drawn_digits_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_classifier, "EPOCHS", 12)
    monkeypatch.setattr(fit_classifier, "HIDDEN", (32,))
    monkeypatch.setattr(fit_classifier, "MAX_ERROR", 0.3)
    train, validation = (Images(*draw_digits(count, seed)) for seed, count in ((1, 2000), (2, 300)))
    shape = ImageShape(height=28, width=28, channels=1)
    classifier = fit_classifier.fit_classifier(TrainingSplit(train, validation), shape)
    assert classifier is not None
    assert [len(layer.bias) for layer in classifier.layers] == [32, 10]
    assert classifier.error == error_of(classifier, Windows(shape).means(validation.pixels), validation.labels) < 0.3


def test_images_without_labels_have_no_classifier() -> None:
    assert fit_classifier.fit_classifier(split_of(50, 20), SHAPE) is None


def test_the_doubtful_images_cost_little_more(guarded_model: Path) -> None:
    split = split_of(400, 400)
    limits = fit_doubt(guarded_model, split)
    assert (limits.classifier, limits.max_class_odds) == (None, None)
    card = load_card(guarded_model)
    assert card.guard is not None
    encoder, decoder = Encoder.open(guarded_model), Decoder.open(guarded_model)
    guard = Guard(encoder, decoder, card.guard.model_copy(update={"doubt": limits}))
    pixels = split.validation.pixels
    doubtful = [one.doubt is not None for one in guard.assess(pixels)]
    # Losslessly an image takes about 40 bytes more.
    assert sum(doubtful) <= MAX_RISE_BYTES * len(pixels) / 30
    most = fit_doubt(guarded_model, split, [Guard(encoder, decoder)])
    assert most.max_local_error <= limits.max_local_error
    assert fit_doubt(guarded_model, split, max_rise=0).max_local_error >= limits.max_local_error


def test_the_command_fits_the_best_model_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "drawings.npz"
    labels = np.zeros(300, np.uint8)
    drawn, others = familiar_pixels(300, 1), familiar_pixels(50, 2)
    np.savez(data, x_train=drawn, y_train=labels, x_test=others, y_test=labels[:50])
    folders = []
    for seed, (name, mse) in enumerate((("low", 0.2), ("high", 0.05))):
        folder = publish_guarded_model(tmp_path / "models", tmp_path / name, name, seed)
        recipe = {"name": name, "dataset": str(data), "validation_images": 100, "batch_size": 10}
        card = with_quality(load_card(folder), mse).model_copy(update={"provenance": {"recipe": recipe}})
        (folder / "card.json").write_text(card.to_json(), encoding="utf-8")
        folders.append(folder)
    assert main(["doubt", *map(str, folders)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["high", "low"]
    for folder in folders:
        card = load_card(folder)
        assert card.guard is not None
        assert card.guard.doubt is not None
        assert "| local error |" in write_readme(card)
