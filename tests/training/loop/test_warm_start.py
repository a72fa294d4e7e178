import json
from pathlib import Path

import numpy as np
import pytest
import torch

from training.cli.main import main
from training.data.datasets import Dataset, Images
from training.errors import InvalidCheckpoint, InvalidRecipe, InvalidRun
from training.loop.checkpoints import load_checkpoint
from training.loop.trainer import resume, train
from training.loop.warm_start import load_initial_weights
from training.recipe import Recipe, make_recipe
from training.runs import RunFolder, create_run

SMALL_NETWORK: dict[str, object] = {
    "architecture": "conv",
    "encoder_width": 4,
    "decoder_width": 4,
    "hidden": 16,
    "training_images": 200,
}


def _recipe(tiny: Recipe, **fields: object) -> Recipe:
    return make_recipe(tiny.model_dump(), fields)


def _started(recipe: Recipe, dataset: Dataset, source: Path, path: Path) -> RunFolder:
    run = create_run(recipe, path)
    train(recipe, dataset, run, initial_weights=load_initial_weights(source, recipe, dataset))
    return run


def test_a_run_starts_from_the_best_weights_of_another(
    tmp_path: Path, tiny: Recipe, dataset: Dataset, finished_run: RunFolder
) -> None:
    # Steps too short to change anything.
    recipe = _recipe(tiny, epochs=1, learning_rate=1e-30, weight_decay=0, ema_decay=0, normalisation="batch")
    run = _started(recipe, dataset, finished_run.path, tmp_path / "run")
    kept = load_checkpoint(finished_run.best, tiny).ema_weights
    for name, values in load_checkpoint(run.last, recipe).model.items():
        if not ("running" in name or "num_batches" in name):
            assert torch.equal(values, kept[name])
    started_from = json.loads(run.environment_file.read_text())["started_from"]
    assert started_from["run"] == "run"
    assert started_from["recipe"] == "synthetic-tiny"
    assert started_from["checkpoint_sha256"] == finished_run.best_sha256()


def test_a_rate_starts_near_the_quality_of_its_source(
    tmp_path: Path, tiny: Recipe, dataset: Dataset, finished_run: RunFolder
) -> None:
    recipe = _recipe(tiny, epochs=1, rate_lambda=2000.0, learning_rate=1e-5)
    first = _started(recipe, dataset, finished_run.path, tmp_path / "run").metrics()[0]
    before = finished_run.metrics()[-1]["validation_rmse"]
    assert before < first["validation_rmse"] < 1.1 * before
    assert 20 < first["validation_bits"] < 120


def test_a_rate_starts_from_a_rate_with_its_gains_and_prior(tmp_path: Path, tiny: Recipe, dataset: Dataset) -> None:
    fine = _recipe(tiny, epochs=2, rate_lambda=400.0)
    source = create_run(fine, tmp_path / "fine")
    train(fine, dataset, source)
    coarse = _recipe(tiny, epochs=1, rate_lambda=100.0, learning_rate=1e-30, weight_decay=0, ema_decay=0)
    run = _started(coarse, dataset, source.path, tmp_path / "coarse")
    kept = load_checkpoint(source.best, fine).ema_weights
    weights = load_checkpoint(run.last, coarse).model
    for name in ("encoder.gain.logarithm", "prior.means", "prior.log_scales"):
        assert torch.equal(weights[name], kept[name])
    with pytest.raises(InvalidRecipe, match="was trained for a rate, so a run that starts from it needs a rate_lambda"):
        load_initial_weights(source.path, tiny, dataset)


def test_a_run_that_started_from_another_resumes_without_it(
    tmp_path: Path, tiny: Recipe, dataset: Dataset, finished_run: RunFolder
) -> None:
    recipe = _recipe(tiny, epochs=2, rate_lambda=100.0)
    initial = load_initial_weights(finished_run.best, recipe, dataset)
    whole, stopped = create_run(recipe, tmp_path / "whole"), create_run(recipe, tmp_path / "stopped")
    train(recipe, dataset, whole, initial_weights=initial)

    def stop(_end: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(Exception, match="after epoch 1 of 2"):
        train(recipe, dataset, stopped, [stop], initial)
    assert resume(stopped, dataset)
    first, second = (load_checkpoint(run.last, recipe).model for run in (whole, stopped))
    assert all(torch.equal(values, second[name]) for name, values in first.items())


def test_a_source_that_does_not_fit_is_told(
    tmp_path: Path, tiny: Recipe, dataset: Dataset, finished_run: RunFolder
) -> None:
    with pytest.raises(InvalidRecipe, match=r"another network: its activation is 'silu', that of the recipe 'relu'"):
        load_initial_weights(finished_run.path, _recipe(tiny, activation="relu"), dataset)
    with pytest.raises(InvalidRun, match=r"has no best\.pt"):
        load_initial_weights(tmp_path, tiny, dataset)
    damaged = tmp_path / "damaged.pt"
    damaged.write_bytes(finished_run.best.read_bytes()[:-100])
    with pytest.raises(InvalidCheckpoint, match="cut short"):
        load_initial_weights(damaged, tiny, dataset)
    wide = dataset._replace(train=Images(np.zeros((4, 14, 56, 1), np.uint8), np.zeros(4, np.uint8)))
    with pytest.raises(InvalidCheckpoint, match="is not for images of 56 × 14 pixels"):
        load_initial_weights(finished_run.path, tiny, wide)


def test_the_command_line_starts_from_a_run(
    tmp_path: Path, tiny: Recipe, finished_run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "rate.toml"
    recipe.write_text(_recipe(tiny, epochs=1, rate_lambda=100).to_toml())
    run = tmp_path / "run"
    words = ["train", "--recipe", str(recipe), "--run", str(run), "--start-from"]
    assert main([*words, str(tmp_path / "nothing")]) == 1
    assert "has no nothing" in capsys.readouterr().err
    assert not run.exists()
    assert main([*words, str(finished_run.path)]) == 0
    out = capsys.readouterr().out
    assert " dB at " in out
    assert " bytes (best)" in out


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory: pytest.TempPathFactory, tiny: Recipe, small_dataset: Dataset) -> RunFolder:
    """A trained run of a small convolutional network."""
    recipe = _recipe(tiny, **SMALL_NETWORK, code_size=4, epochs=12, learning_rate=0.02)
    run = create_run(recipe, tmp_path_factory.mktemp("plain") / "run")
    train(recipe, small_dataset, run)
    return run


@pytest.mark.parametrize("rate_lambda", [0.0, 2000.0])
def test_a_correction_starts_at_the_quality_of_its_source(
    tmp_path: Path, tiny: Recipe, small_dataset: Dataset, plain_run: RunFolder, rate_lambda: float
) -> None:
    small = {**SMALL_NETWORK, "code_size": 4}
    recipe = _recipe(tiny, **small, epochs=1, correction=True, learning_rate=1e-30, rate_lambda=rate_lambda)
    run = _started(recipe, small_dataset, plain_run.path, tmp_path / "corrected")
    before, after = plain_run.metrics()[-1]["validation_rmse"], run.metrics()[0]["validation_rmse"]
    assert after == pytest.approx(before, rel=0.1)
    with pytest.raises(InvalidRecipe, match="correction"):
        load_initial_weights(run.path, _recipe(tiny, **small, rate_lambda=rate_lambda), small_dataset)


@pytest.mark.parametrize("correction", [False, True])
def test_a_spatial_part_starts_near_the_quality_of_its_source(
    tmp_path: Path, tiny: Recipe, small_dataset: Dataset, plain_run: RunFolder, correction: bool
) -> None:
    details = {**SMALL_NETWORK, "code_size": 4 + 2 * 16, "spatial_channels": 2, "correction": correction, "epochs": 1}
    run = _started(_recipe(tiny, **details, learning_rate=1e-30), small_dataset, plain_run.path, tmp_path / "details")
    at_random = create_run(_recipe(tiny, **details, learning_rate=1e-30), tmp_path / "at-random")
    train(at_random.recipe(), small_dataset, at_random)
    before = plain_run.metrics()[-1]["validation_rmse"]
    assert run.metrics()[0]["validation_rmse"] < 1.3 * before
    assert at_random.metrics()[0]["validation_rmse"] > 1.5 * before

    for_rate = _recipe(tiny, **details, rate_lambda=100.0)
    rated = _started(for_rate, small_dataset, run.path, tmp_path / "rated")
    with_rate = _recipe(tiny, **SMALL_NETWORK, code_size=4, epochs=1, rate_lambda=100.0, correction=correction)
    without = _started(with_rate, small_dataset, plain_run.path, tmp_path / "without")
    assert load_initial_weights(rated.path, for_rate, small_dataset).has_spatial_part
    with pytest.raises(InvalidRecipe, match="a spatial part can no longer be added"):
        load_initial_weights(without.path, for_rate, small_dataset)
    with pytest.raises(InvalidRecipe, match="its code_size is 4, that of the recipe 5"):
        load_initial_weights(plain_run.path, _recipe(tiny, **{**details, "code_size": 5 + 2 * 16}), small_dataset)
