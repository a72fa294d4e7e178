import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from latentwire.model.card import ModelCard, load_card
from training.data.datasets import Dataset
from training.errors import InvalidRecipe, InvalidRun
from training.loop.trainer import train
from training.recipe import Recipe, load_recipe, make_recipe
from training.release.baselines import baselines_of, warnings_of
from training.release.calibrate import calibrate_run, load_calibration
from training.release.model_readme import reproduction_command, write_readme
from training.release.pipeline import evaluate_run, publish_run
from training.runs import RunFolder, create_run


@pytest.fixture
def copy(tmp_path: Path, finished_run: RunFolder) -> RunFolder:
    """A copy of the finished run, to be written to."""
    return RunFolder(Path(shutil.copytree(finished_run.path, tmp_path / "copy")))


def test_a_published_model_serves_both_halves_and_knows_its_origin(
    published: Path, finished_run: RunFolder, tiny: Recipe
) -> None:
    assert sorted(path.name for path in published.iterdir()) == [
        "README.md",
        "card.json",
        "decoder.onnx",
        "encoder.onnx",
    ]
    Encoder.open(published).check_golden()
    Decoder.open(published).check_golden()
    card = load_card(published)
    assert make_recipe(card.provenance["recipe"]) == tiny
    assert card.provenance["epochs_run"] == 4
    assert card.provenance["environment"]["packages"]["torch"]
    assert card.provenance["best_epoch"] in (3, 4)
    assert card.provenance["validation_rmse"] == min(e["validation_rmse"] for e in finished_run.metrics())
    assert card.quality is not None
    assert card.quality.rmse - card.quality.float_rmse < 2 * tiny.max_rmse_increase


def test_publishing_keeps_a_quantiser_that_was_calibrated_by_hand(
    tmp_path: Path, copy: RunFolder, dataset: Dataset
) -> None:
    calibrate_run(copy, dataset, max_rmse_increase=0.0001)
    kept = load_calibration(copy)
    card = publish_run(copy, dataset, tmp_path / "models")
    assert (card.quantizer, card.tables) == kept
    assert "--max-rmse-increase 0.0001" in write_readme(card)


def test_publishing_does_what_is_missing_and_again_what_is_old(tmp_path: Path, tiny: Recipe, dataset: Dataset) -> None:
    run = create_run(tiny.model_copy(update={"epochs": 2}), tmp_path / "run")

    def publish_at_once(_end: object) -> None:
        cards.append(publish_run(run, dataset, tmp_path / "models", "other-name", replace=True))

    cards: list[object] = []
    train(run.recipe(), dataset, run, [publish_at_once])
    assert load_card(tmp_path / "models" / "other-name") == cards[1]
    assert cards[0] != cards[1]
    assert json.loads(run.quality_file.read_text())["images"] == len(dataset.test)


def test_graphs_outlive_a_checkpoint_that_was_cleared_away(tmp_path: Path, copy: RunFolder, dataset: Dataset) -> None:
    copy.best.unlink()
    copy.last.unlink()
    assert publish_run(copy, dataset, tmp_path / "models").quality


def test_a_bad_name_is_told_before_any_work(tmp_path: Path, copy: RunFolder, dataset: Dataset) -> None:
    copy.quantizer_file.unlink()
    with pytest.raises(InvalidRecipe, match="'name' is 'Not A Name'"):
        publish_run(copy, dataset, tmp_path / "models", "Not A Name")
    assert not copy.quantizer_file.exists()


def test_a_run_is_not_evaluated_before_it_is_calibrated(copy: RunFolder, dataset: Dataset) -> None:
    copy.quantizer_file.unlink()
    with pytest.raises(InvalidRun, match="`python -m training calibrate"):
        evaluate_run(copy, dataset)


def test_a_run_is_not_evaluated_with_the_quantiser_of_other_graphs(copy: RunFolder, dataset: Dataset) -> None:
    content = json.loads(copy.quantizer_file.read_text())
    copy.quantizer_file.write_text(json.dumps({**content, "encoder_sha256": "0" * 64}))
    with pytest.raises(InvalidRun, match="no quantizer for its graphs"):
        evaluate_run(copy, dataset)


def test_the_readme_tells_what_the_card_tells(published: Path) -> None:
    card = load_card(published)
    readme = (published / "README.md").read_text()
    assert readme == write_readme(card)
    assert card.quality is not None
    for text in (
        card.model_id,
        f"{card.quality.rmse:.5f}",
        f"{card.quality.payload_bytes:.2f} bytes",
        "epochs on synthetic",
    ):
        assert text in readme
    assert "--recipe synthetic-tiny" in readme


def test_the_readme_of_a_bare_card_needs_neither_quality_nor_origin(published: Path) -> None:
    plain = load_card(published).model_copy(update={"quality": None, "provenance": {}})
    readme = write_readme(plain)
    assert "## Quality" not in readme
    assert "## How it was made" not in readme
    assert plain.model_id in readme


def test_the_command_of_the_readme_makes_the_same_recipe_again(tiny: Recipe) -> None:
    command = reproduction_command(tiny)
    words = command.split()
    assert words[:6] == ["python", "-m", "training", "train", "--recipe", "synthetic-tiny"]
    overrides = {
        option.removeprefix("--").replace("-", "_"): value
        for option, value in zip(words[6::2], words[7::2], strict=True)
    }
    assert overrides.keys() == {"training_images", "batch_size", "layers", "ema_decay"}
    assert load_recipe("synthetic-tiny", overrides) == tiny
    assert reproduction_command(tiny.model_copy(update={"name": "of-my-own"})) == command.replace(
        "--recipe synthetic-tiny", "--recipe synthetic-tiny --name of-my-own"
    )


def _with_codes(card: ModelCard, **figures: float) -> ModelCard:
    return card.model_copy(
        update={"provenance": {**card.provenance, "baselines": {**card.provenance["baselines"], **figures}}}
    )


def test_a_model_that_works_says_beside_what(published: Path, dataset: Dataset) -> None:
    card = load_card(published)
    baselines = baselines_of(card)
    assert baselines is not None
    assert card.quality is not None
    assert warnings_of(card) == []
    assert baselines.distinct_images == 500
    assert 450 < baselines.distinct_codes <= 500
    assert baselines.code_entropy_bits == pytest.approx(math.log2(500), abs=0.3)
    mean = dataset.train.pixels.mean(axis=0)
    mse = np.square((dataset.test.pixels - mean) / 255).mean()
    assert baselines.mean_image_psnr_db == pytest.approx(-10 * math.log10(mse), abs=0.2)  # of a sample
    assert baselines.mean_image_psnr_db < baselines.pca_psnr_db
    text = write_readme(card)
    assert f"500 different test images have {baselines.distinct_codes} different codes, with an entropy of 8." in text
    assert "**" not in text


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({"distinct_codes": 1, "code_entropy_bits": 0.0}, "All 500 test images get the same code"),
        ({"distinct_codes": 3, "code_entropy_bits": 0.5}, "500 test images get only 3 codes"),
        ({"mean_image_psnr_db": 60.0}, "the mean training image alone has 60.00 dB"),
    ],
)
def test_a_model_that_does_nothing_is_told_of_loudly(published: Path, figures: dict[str, float], words: str) -> None:
    card = _with_codes(load_card(published), **figures)
    (warning,) = warnings_of(card)
    assert words[1:] in warning
    assert f"**{warning[0].upper()}{warning[1:]}.**" in write_readme(card)


def test_damaged_baselines_are_told(published: Path) -> None:
    with pytest.raises(InvalidRun, match="the baselines in the card"):
        warnings_of(_with_codes(load_card(published), distinct_codes=-0.5))
