import json
import re
from pathlib import Path

import numpy as np
import pytest

from latentwire.errors import ImageMismatch
from training.analysis.hidden_outlier import Found, hide, hide_and_rank
from training.cli.main import main
from training.data.datasets import Dataset, Images, split_training
from training.errors import Interrupted, InvalidRecipe, InvalidRun
from training.recipe import Recipe


@pytest.fixture
def quick(tiny: Recipe) -> Recipe:
    return tiny.model_copy(update={"epochs": 1, "training_images": 256})


@pytest.fixture
def strange() -> Images:
    """White images with a black pixel each, which are no digits."""
    pixels = np.full((6, 28, 28, 1), 255, np.uint8)
    pixels[np.arange(6), np.arange(6), 0] = 0
    return Images(pixels, np.zeros(6, np.uint8))


@pytest.mark.parametrize("number", [0, 1, 19])
def test_the_hidden_image_is_one_of_those_that_are_trained_on(
    dataset: Dataset, quick: Recipe, strange: Images, number: int
) -> None:
    mixed, index = hide(dataset, strange.pixels[0], quick, number)
    assert len(mixed.train) == len(dataset.train) + 1
    np.testing.assert_array_equal(mixed.train.pixels[index], strange.pixels[0])
    np.testing.assert_array_equal(np.delete(mixed.train.pixels, index, axis=0), dataset.train.pixels)
    trained = split_training(mixed, quick).train
    assert sum(bytes(one) == bytes(strange.pixels[0]) for one in trained.pixels) == 1
    assert hide(dataset, strange.pixels[0], quick, number + 1)[1] != index


def test_an_image_that_is_no_digit_is_found_first(
    tmp_path: Path, dataset: Dataset, quick: Recipe, strange: Images
) -> None:
    told: list[tuple[int, Found]] = []
    results = hide_and_rank(quick, dataset, strange, 2, tmp_path / "a", lambda *found: told.append(found))
    assert [(found.rank, found.rank_by_mae, found.images) for found in results] == [(1, 1, 2001)] * 2
    assert results[0].outlier != results[1].outlier
    assert all(found.rmse > found.worst_other_rmse > found.median_rmse for found in results)
    assert told == [(1, results[0]), (2, results[1])]
    lines = (tmp_path / "a" / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["outlier"] for line in lines] == [found.outlier for found in results]


def test_an_interrupted_experiment_goes_on_with_the_next_image(
    tmp_path: Path, dataset: Dataset, quick: Recipe, strange: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = hide_and_rank(quick, dataset, strange, 2, tmp_path / "whole", lambda *_found: None)

    def interrupted(*_arguments: object) -> None:
        raise Interrupted("stopped")

    def stop_after_the_first(number: int, _found: Found) -> None:
        if number == 1:
            monkeypatch.setattr("training.analysis.hidden_outlier.train", interrupted)

    folder = tmp_path / "stopped"
    with pytest.raises(Interrupted, match="after 1 of 2 hidden images; the same command goes on"):
        hide_and_rank(quick, dataset, strange, 2, folder, stop_after_the_first)
    monkeypatch.undo()
    again = hide_and_rank(quick, dataset, strange, 2, folder, lambda *_found: None)
    assert [found._replace(seconds=0) for found in again] == [found._replace(seconds=0) for found in whole]


def test_what_cannot_be_hidden_is_told(tmp_path: Path, dataset: Dataset, quick: Recipe, strange: Images) -> None:
    def run(images: Images, count: int, recipe: Recipe = quick, name: str = "a") -> None:
        hide_and_rank(recipe, dataset, images, count, tmp_path / name, lambda *_found: None)

    with pytest.raises(InvalidRecipe, match="7 images cannot be hidden; count is a number from 1 to 6"):
        run(strange, 7)
    with pytest.raises(ImageMismatch, match="those of synthetic of"):
        run(Images(strange.pixels[:, :20], strange.labels), 1)
    assert not list(tmp_path.iterdir())
    run(strange, 1)
    with pytest.raises(InvalidRun, match="an experiment with another recipe"):
        run(strange, 1, quick.model_copy(update={"seed": 5}))
    (tmp_path / "a" / "results.jsonl").write_text('{"outlier": 3}\n')
    with pytest.raises(InvalidRun, match="is damaged"):
        run(strange, 1)


def test_the_experiment_runs_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "white.npz", images=np.full((5, 28, 28), 255, np.uint8))
    fields = ["--epochs", "1", "--training-images", "128", "--batch-size", "32", "--layers", "784,16,10"]
    arguments = ["--recipe", "synthetic-tiny", *fields, "--against", str(tmp_path / "white.npz"), "--count", "1"]
    assert main(["outliers", *arguments, "--run", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert "training synthetic-tiny for 1 epochs, once for each of 1 images" in out
    assert "rank 1 of 2,001 by RMSE, 1 by mean absolute error and " in out
    assert re.search(r"^by coarse error: rank 1 for [01] of 1;", out, re.MULTILINE)
    assert "by RMSE: rank 1 for 1 of 1; median rank 1, worst 1" in out


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (["--count", "6"], 2, "6 images cannot be hidden; count is a number from 1 to 5"),
        (["--count", "0"], 2, "0 images cannot be hidden"),
        (["--count", "1", "--validation-images", "2001"], 2, "not enough for validation_images 2,001"),
        (["--count", "1", "--layers", "700,10"], 2, "layers start with 700"),
    ],
)
def test_what_is_refused_is_refused_before_anything_is_announced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], code: int, words: str
) -> None:
    np.savez(tmp_path / "white.npz", images=np.full((5, 28, 28), 255, np.uint8))
    arguments = ["--recipe", "synthetic-tiny", "--against", str(tmp_path / "white.npz"), *more]
    assert main(["outliers", *arguments, "--run", str(tmp_path / "run")]) == code
    out, error = capsys.readouterr()
    assert out == ""
    assert words in error
    assert not (tmp_path / "run").exists()
