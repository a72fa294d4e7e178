from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from latentwire.imaging import image
from training.cli.main import main
from training.data.datasets import Dataset
from training.errors import CannotWrite, Interrupted
from training.loop.listeners import tensorboard_listeners, two_rows
from training.loop.trainer import EpochEnd, resume, train
from training.recipe import Recipe
from training.runs import create_run


def _events(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def test_curves_and_pictures_of_each_epoch_are_there_and_those_that_are_run_again_are_replaced(
    tmp_path: Path, tiny: Recipe, dataset: Dataset
) -> None:
    run, folder = create_run(tiny, tmp_path / "run"), tmp_path / "deep" / "log"

    after: list[bytes] = []

    def lose_the_third_epoch(end: EpochEnd) -> None:
        after.append(run.last.read_bytes())
        if end.report.epoch == 3:
            run.last.write_bytes(after[1])
            raise KeyboardInterrupt

    with tensorboard_listeners(folder, tiny, dataset) as listeners, pytest.raises(Interrupted):
        train(tiny, dataset, run, [*listeners, lose_the_third_epoch])
    with tensorboard_listeners(folder, tiny, dataset) as listeners:
        assert resume(run, dataset, listeners)
    events = _events(folder)
    metrics = run.metrics()
    for tag, field in {
        "loss/training": "train_loss",
        "loss/validation": "validation_loss",
        "RMSE/validation": "validation_rmse",
        "learning rate": "learning_rate",
    }.items():
        curve = events.Scalars(tag)
        assert [point.step for point in curve] == [1, 2, 3, 4]
        np.testing.assert_allclose([point.value for point in curve], [epoch[field] for epoch in metrics], rtol=1e-6)
    pictures = events.Images("originals over reconstructions")
    assert pictures[-1].step == 4
    assert (pictures[-1].height, pictures[-1].width) == (56, 112)


def test_originals_stand_over_their_reconstructions() -> None:
    pixels = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    x = image.to_x(pixels)
    picture = two_rows(x, 1 - x)
    assert picture.shape == (6, 8, 3)
    np.testing.assert_array_equal(picture[:3, 4:], pixels[1])
    np.testing.assert_array_equal(picture[3:, :4], 255 - pixels[0])


def test_nothing_is_written_without_a_folder(tiny: Recipe, dataset: Dataset) -> None:
    with tensorboard_listeners(None, tiny, dataset) as listeners:
        assert listeners == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path, tiny: Recipe, dataset: Dataset) -> None:
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(CannotWrite, match="TensorBoard's folder"),
        tensorboard_listeners(tmp_path / "file", tiny, dataset),
    ):
        pass


def test_article_001s_command_line_trains_without_a_recipe_and_is_watched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "--layers 784,16,10 --batch-size 64 --epochs 2 --optimizer adam --learning-rate 0.01 --noise 0.4"
    toy = "--dataset synthetic --training-images 128 --validation-images 32"
    run, log = tmp_path / "run", tmp_path / "log"
    assert main(["train", *words.split(), *toy.split(), "--log-dir", str(log), "--run", str(run)]) == 0
    assert "synthetic: synthetic, images of 28 × 28 pixels, 1 channel; 128 to train on" in capsys.readouterr().out
    recipe = (run / "recipe.toml").read_text()
    for line in ("layers = [784, 16, 10]", "noise = 0.4", 'activation = "sigmoid"', 'normalisation = "none"'):
        assert line in recipe
    assert len(_events(log).Scalars("loss/training")) == 2
    assert main(["resume", str(run), "--log-dir", str(log)]) == 0
    assert "is complete" in capsys.readouterr().out
