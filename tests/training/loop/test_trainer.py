import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from training.data.datasets import Dataset
from training.errors import CannotWrite, Diverged, Interrupted, InvalidCheckpoint, InvalidRecipe
from training.loop.checkpoints import load_checkpoint
from training.loop.trainer import EpochEnd, check, resume, train
from training.recipe import Recipe, load_recipe, make_recipe
from training.runs import RunFolder, create_run


def _train(recipe: Recipe, dataset: Dataset, path: Path) -> RunFolder:
    run = create_run(recipe, path)
    train(recipe, dataset, run)
    return run


def _metrics(run: RunFolder) -> list[dict[str, Any]]:
    return [{key: value for key, value in epoch.items() if key != "seconds"} for epoch in run.metrics()]


def _stop_after(epoch: int) -> Any:
    def listener(end: EpochEnd) -> None:
        if end.report.epoch == epoch:
            raise KeyboardInterrupt

    return listener


def _assert_equal(first: Any, second: Any) -> None:
    """Compare nested states bit by bit."""
    assert type(first) is type(second)
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            _assert_equal(first[key], second[key])
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            _assert_equal(one, other)
    else:
        assert first == second


def test_training_lowers_the_error_and_leaves_everything_in_the_run(finished_run: RunFolder, tiny: Recipe) -> None:
    metrics = finished_run.metrics()
    assert [epoch["epoch"] for epoch in metrics] == [1, 2, 3, 4]
    assert metrics[-1]["validation_rmse"] < 0.8 * metrics[0]["validation_rmse"]
    assert finished_run.recipe() == tiny
    environment = json.loads(finished_run.environment_file.read_text())
    assert environment["threads"] == 1
    assert environment["device"] == "cpu"
    assert load_checkpoint(finished_run.last, tiny).epoch == 4


def test_the_best_checkpoint_is_that_of_the_lowest_validation_error(
    tmp_path: Path, tiny: Recipe, dataset: Dataset
) -> None:
    # Steps so long that the error goes up and down.
    wild = tiny.model_copy(
        update={"optimizer": "sgd", "learning_rate": 30.0, "schedule": "constant", "epochs": 8, "ema_decay": 0.0}
    )
    run = _train(wild, dataset, tmp_path / "run")
    rmse = [epoch["validation_rmse"] for epoch in run.metrics()]
    best = load_checkpoint(run.best, wild)
    assert rmse.index(min(rmse)) + 1 == best.best_epoch == best.epoch < 8
    assert best.best_rmse == min(rmse)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"augment": 1.0, "schedule": "cosine", "optimizer": "momentum", "learning_rate": 0.05, "ema_decay": 0.0},
        {
            "architecture": "conv",
            "encoder_width": 2,
            "decoder_width": 2,
            "hidden": 8,
            "precision": "bfloat16",
            "channels_last": True,
            "schedule": "constant",
        },
        {"noise": 0.3, "noise_std": 0.2, "loss": "l1", "augment": 0.5, "tied": True},
        {"variational": True, "kl_weight": 0.5, "loss": "bce", "initialisation": "glorot"},
        {"architecture": "conv-plain", "conv_widths": (2, 3), "normalisation": "none", "noise": 0.2},
        {"rate_lambda": 50.0, "augment": 0.5},
    ],
    ids=["dense", "warped", "conv", "noisy-tied", "variational", "conv-plain", "rate"],
)
def test_a_resumed_run_is_bit_identical_with_an_uninterrupted_one(
    tmp_path: Path, tiny: Recipe, dataset: Dataset, fields: dict[str, Any]
) -> None:
    stop_after = 2 if "augment" in fields else 1
    recipe = make_recipe(tiny.model_dump(), {**fields, "epochs": 3, "training_images": 128})
    whole = _train(recipe, dataset, tmp_path / "whole")
    stopped = create_run(recipe, tmp_path / "stopped")
    with pytest.raises(Interrupted, match=f"after epoch {stop_after} of 3 with `python -m training resume"):
        train(recipe, dataset, stopped, [_stop_after(stop_after)])
    torch.manual_seed(99)  # what went on elsewhere must not matter
    assert resume(stopped, dataset)
    for name in ("last", "best"):
        first, second = (load_checkpoint(getattr(run, name), recipe) for run in (whole, stopped))
        _assert_equal(first._asdict(), second._asdict())
    assert _metrics(whole) == _metrics(stopped)


@pytest.mark.parametrize("monitored", ["training", "validation"])
def test_training_stops_when_the_loss_falls_no_more_also_after_it_was_resumed(
    tmp_path: Path, tiny: Recipe, dataset: Dataset, monitored: str
) -> None:
    # No epoch after the first falls by as much as is asked for.
    recipe = tiny.model_copy(update={"stop_on": monitored, "patience": 3, "min_change": 0.5, "epochs": 9})
    whole = _train(recipe, dataset, tmp_path / "whole")
    assert len(whole.metrics()) == 4
    assert not resume(whole, dataset)
    stopped = create_run(recipe, tmp_path / "stopped")
    with pytest.raises(Interrupted):
        train(recipe, dataset, stopped, [_stop_after(3)])
    assert resume(stopped, dataset)
    assert _metrics(stopped) == _metrics(whole)
    _assert_equal(*(load_checkpoint(run.last, recipe)._asdict() for run in (whole, stopped)))


def test_the_loss_is_against_the_clean_image(
    tmp_path: Path, tiny: Recipe, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A network that sees nothing can only draw the mean image, and its loss is the spread around that.
    monkeypatch.setattr("training.loop.noise.drop_pixels", lambda x, *_: torch.zeros_like(x))
    blind = tiny.model_copy(update={"noise": 0.5})
    loss = _train(blind, dataset, tmp_path / "run").metrics()[-1]["train_loss"]
    assert loss == pytest.approx((dataset.train.pixels / 255).var(axis=0).mean(), rel=0.3)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"layers": (800, 10)}, "layers start with 800, and must start with the 784 values"),
        ({"architecture": "conv-plain", "conv_widths": (2,) * 9}, "cannot be halved so often"),
        ({"architecture": "conv-plain", "conv_code": "map"}, "is a code of 1568 numbers, and code_size is 10"),
        ({"training_images": 99999}, "not enough"),
    ],
)
def test_what_does_not_fit_the_images_is_told_before_a_run_is_made(
    dataset: Dataset, fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidRecipe, match=words):
        check(load_recipe("synthetic-tiny", fields), dataset)


def test_a_check_takes_no_memory_for_the_network(dataset: Dataset) -> None:
    huge = load_recipe("synthetic-tiny", {"layers": (784, 65536, 65536, 65536, 10)})
    check(huge, dataset)  # of 40 GiB


def test_ctrl_c_within_an_epoch_goes_back_to_the_last_whole_one(
    tmp_path: Path, tiny: Recipe, dataset: Dataset, finished_run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create_run(tiny, tmp_path / "run")
    steps = 0
    with monkeypatch.context() as patched:
        step = torch.optim.AdamW.step

        def interrupted(*arguments: Any, **named: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == 40:  # of 32 in an epoch
                raise KeyboardInterrupt
            return step(*arguments, **named)

        patched.setattr(torch.optim.AdamW, "step", interrupted)
        with pytest.raises(Interrupted, match="after epoch 1 of 4"):
            train(tiny, dataset, run)
    assert resume(run, dataset)
    _assert_equal(load_checkpoint(run.last, tiny)._asdict(), load_checkpoint(finished_run.last, tiny)._asdict())


def test_ctrl_c_in_the_first_epoch_can_be_resumed_too(
    tmp_path: Path, tiny: Recipe, dataset: Dataset, finished_run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create_run(tiny, tmp_path / "run")

    def interrupted(*_arguments: Any, **_named: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(torch.optim.AdamW, "step", interrupted)
        with pytest.raises(Interrupted, match="after epoch 0 of 4"):
            train(tiny, dataset, run)
    assert resume(run, dataset)
    assert _metrics(run) == _metrics(finished_run)


def test_another_seed_gives_other_weights(
    tmp_path: Path, tiny: Recipe, dataset: Dataset, finished_run: RunFolder
) -> None:
    run = _train(tiny.model_copy(update={"seed": 1}), dataset, tmp_path / "run")
    assert _metrics(run)[0]["train_loss"] != _metrics(finished_run)[0]["train_loss"]


def test_a_complete_run_is_left_as_it_is(tmp_path: Path, dataset: Dataset, finished_run: RunFolder) -> None:
    copy = RunFolder(Path(shutil.copytree(finished_run.path, tmp_path / "copy")))
    assert not resume(copy, dataset)
    assert copy.last.read_bytes() == finished_run.last.read_bytes()


def test_a_damaged_last_checkpoint_is_told(tmp_path: Path, dataset: Dataset, finished_run: RunFolder) -> None:
    copy = RunFolder(Path(shutil.copytree(finished_run.path, tmp_path / "copy")))
    copy.last.write_bytes(copy.last.read_bytes()[:-500])
    with pytest.raises(InvalidCheckpoint, match=r"last\.pt is cut short"):
        resume(copy, dataset)


def test_a_recipe_that_was_changed_after_training_is_told(
    tmp_path: Path, dataset: Dataset, finished_run: RunFolder
) -> None:
    copy = RunFolder(Path(shutil.copytree(finished_run.path, tmp_path / "copy")))
    copy.recipe_file.write_text(
        copy.recipe_file.read_text().replace("layers = [784, 32, 10]", "layers = [784, 33, 10]")
    )
    with pytest.raises(InvalidCheckpoint, match=r"its layers is \(784, 32, 10\), that of the run \(784, 33, 10\)"):
        resume(copy, dataset)


def test_a_full_disk_leaves_the_last_good_checkpoint(
    tmp_path: Path, tiny: Recipe, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create_run(tiny, tmp_path / "run")

    def fill_the_disk(end: EpochEnd) -> None:
        if end.report.epoch == 2:
            monkeypatch.setattr("os.fsync", _no_space)

    with pytest.raises(CannotWrite, match="No space left"):
        train(tiny, dataset, run, [fill_the_disk])
    assert load_checkpoint(run.last, tiny).epoch == 2
    monkeypatch.undo()
    assert resume(run, dataset)


def _no_space(_descriptor: int) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(("loss", "output"), [("mse", "none"), ("bce", "sigmoid")])
def test_a_loss_that_is_no_number_any_more_ends_the_run(
    tmp_path: Path, tiny: Recipe, dataset: Dataset, loss: str, output: str
) -> None:
    mad = tiny.model_copy(
        update={
            "optimizer": "sgd",
            "learning_rate": 1e30,
            "normalisation": "none",
            "output_activation": output,
            "loss": loss,
        }
    )
    with pytest.raises(Diverged, match="try a smaller learning_rate"):
        _train(mad, dataset, tmp_path / "run")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_told(tmp_path: Path, tiny: Recipe, dataset: Dataset) -> None:
    with pytest.raises(InvalidRecipe, match="device is cuda"):
        _train(tiny.model_copy(update={"device": "cuda"}), dataset, tmp_path / "run")


def test_torchs_settings_are_put_back_after_training(tmp_path: Path, tiny: Recipe, dataset: Dataset) -> None:
    threads = torch.get_num_threads()
    _train(tiny.model_copy(update={"threads": threads + 1, "epochs": 1, "batch_size": 512}), dataset, tmp_path / "run")
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_bar_is_drawn_on_a_terminal_only(
    tmp_path: Path,
    tiny: Recipe,
    dataset: Dataset,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = tiny.model_copy(update={"epochs": 1, "batch_size": 8})
    _train(recipe, dataset, tmp_path / "quiet")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    _train(recipe, dataset, tmp_path / "loud")
    assert "epoch 1/1" in capsys.readouterr().err


def test_images_on_the_disk_give_the_same_network_as_images_in_memory(
    tmp_path: Path, finished_run: RunFolder, tiny: Recipe, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.data.images.MAX_MEMORY_BYTES", 1000)
    run = _train(tiny, dataset, tmp_path / "run")
    assert _metrics(run) == _metrics(finished_run)
    _assert_equal(load_checkpoint(run.best, tiny).model, load_checkpoint(finished_run.best, tiny).model)
