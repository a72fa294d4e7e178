from pathlib import Path

import pytest
import torch

from training.errors import InvalidCheckpoint, InvalidRun
from training.loop.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from training.recipe import Recipe, make_recipe


@pytest.fixture
def recipe() -> Recipe:
    return make_recipe({"name": "a"}, {"layers": (784, 4, 10)})


def _checkpoint(recipe: Recipe) -> Checkpoint:
    weights = {"weight": torch.arange(5000.0)}
    return Checkpoint(
        recipe=recipe.model_dump(mode="json"),
        shape=(8, 8, 1),
        epoch=3,
        best_epoch=2,
        best_rmse=0.25,
        best_bits=0.0,
        model=weights,
        ema=None,
        optimizer={"lr": 0.1},
        schedule={"step": 7},
        lowest_loss=0.5,
        epochs_waited=1,
    )


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path: Path, recipe: Recipe) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(path, _checkpoint(recipe))
    found = load_checkpoint(path, recipe)
    assert torch.equal(found.model["weight"], torch.arange(5000.0))
    assert found._replace(model={}) == _checkpoint(recipe)._replace(model={})


def test_ema_weights_are_the_averaged_ones_skip_missing_are_any(recipe: Recipe) -> None:
    plain = _checkpoint(recipe)
    assert plain.ema_weights is plain.model
    average = {"n_averaged": torch.tensor(3), "module.weight": torch.zeros(1)}
    assert plain._replace(ema=average).ema_weights == {"weight": torch.zeros(1)}


@pytest.mark.parametrize("kept", [0, 1, 100, 0.5, -1])
def test_a_checkpoint_that_is_cut_short_is_refused(tmp_path: Path, recipe: Recipe, kept: float) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(path, _checkpoint(recipe))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept) if 0 < kept < 1 else int(kept)])
    with pytest.raises(InvalidCheckpoint, match="cut short, damaged, or not a checkpoint"):
        load_checkpoint(path, recipe)


def test_a_flipped_bit_in_the_weights_is_found(tmp_path: Path, recipe: Recipe) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(path, _checkpoint(recipe))
    content = bytearray(path.read_bytes())
    at = content.index(torch.arange(5000.0).numpy().tobytes()) + 4000
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(InvalidCheckpoint):
        load_checkpoint(path, recipe)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path, recipe: Recipe) -> None:
    path = tmp_path / "a.pt"
    torch.save({"format": 1, "recipe": Path("/")}, path)
    with pytest.raises(InvalidCheckpoint):
        load_checkpoint(path, recipe)


@pytest.mark.parametrize("content", [[1], {"format": 2}, {"format": 1, "epoch": 3}])
def test_a_file_of_torch_that_is_not_a_checkpoint_is_refused(tmp_path: Path, recipe: Recipe, content: object) -> None:
    path = tmp_path / "a.pt"
    torch.save(content, path)
    with pytest.raises(InvalidCheckpoint, match="not a checkpoint that this version reads"):
        load_checkpoint(path, recipe)


def test_a_checkpoint_of_another_recipe_is_refused_with_the_field_that_differs(tmp_path: Path, recipe: Recipe) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(path, _checkpoint(recipe))
    for options, words in (
        ({"augment": 1.0}, r"another recipe: its augment is 0\.0, that of the run 1\.0"),
        ({"layers": (784, 5, 10)}, r"its layers is \(784, 4, 10\), that of the run \(784, 5, 10\)"),
        ({"architecture": "conv"}, "its architecture is 'dense', that of the run 'conv'"),
    ):
        with pytest.raises(InvalidCheckpoint, match=words):
            load_checkpoint(path, make_recipe(recipe.model_dump(), options))


def test_what_comes_after_training_may_be_changed_in_the_recipe(tmp_path: Path, recipe: Recipe) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(path, _checkpoint(recipe))
    later = recipe.model_copy(update={"max_rmse_increase": 0.5, "description": "Found out later."})
    assert load_checkpoint(path, later).epoch == 3


def test_a_checkpoint_with_a_field_that_is_gone_is_of_another_version(tmp_path: Path, recipe: Recipe) -> None:
    path = tmp_path / "a.pt"
    newer = _checkpoint(recipe)
    newer.recipe["sparkle"] = 1
    save_checkpoint(path, newer)
    with pytest.raises(InvalidCheckpoint, match="of another version: a recipe has no field 'sparkle'"):
        load_checkpoint(path, recipe)


def test_a_missing_checkpoint_is_told(tmp_path: Path, recipe: Recipe) -> None:
    with pytest.raises(InvalidRun, match=r"has no last\.pt"):
        load_checkpoint(tmp_path / "last.pt", recipe)
