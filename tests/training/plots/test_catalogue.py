import shutil
from pathlib import Path

import pytest
from PIL import Image

from training.cli.main import main
from training.errors import InvalidRecipe
from training.plots import PICTURES
from training.plots.catalogue import KINDS, Options, check_request
from training.runs import RunFolder

TINY = ["--recipe", "synthetic-tiny", "--training-images", "64", "--batch-size", "32", "--layers", "784,8,10"]


def test_the_command_line_knows_the_kinds_of_the_catalogue() -> None:
    assert tuple(KINDS) == PICTURES


@pytest.mark.parametrize(
    ("kind", "sources", "out", "options", "words"),
    [
        ("codes", 0, "a.png", Options(), "needs the folder of a run, or --model"),
        ("codes", 2, "a.png", Options(), "draws one run or model, but 2 were given"),
        ("codes", 1, "a.png", Options(count=10_001), "from 1 to 10,000, not 10,001"),
        ("two-rows", 1, "a.png", Options(count=41), "from 1 to 40, not 41"),
        ("two-rows", 1, "a.jpg", Options(), "writes a .png file"),
        ("animate", 1, "a.png", Options(), "writes a .gif file"),
        ("denoise", 1, "a.png", Options(noise="dropout", noise_level=1.5), "a fraction of the pixels"),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_told_before_any_work(
    kind: str, sources: int, out: str, options: Options, words: str
) -> None:
    with pytest.raises(InvalidRecipe, match=words):
        check_request(kind, sources, Path(out), options)


def test_pictures_are_drawn_of_runs_and_models_alike(
    tmp_path: Path, finished_run: RunFolder, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(finished_run.path, tmp_path / "run")
    for arguments in (["two-rows", str(run)], ["two-rows", str(published)], ["compare", str(run), str(published)]):
        out = tmp_path / "a.png"
        assert main(["plot", *arguments, "--out", str(out), "--count", "2"]) == 0
        assert out.is_file()
        out.unlink()
    assert main(["plot", "learning", str(run), "--out", str(tmp_path / "b.png")]) == 0
    assert main(["plot", "learning", "--model", str(published), "--out", str(tmp_path / "c.png")]) == 1
    assert "needs the folder of a run" in capsys.readouterr().err
    assert main(["plot", "two-rows", str(tmp_path), "--out", str(tmp_path / "c.png")]) == 1
    assert "neither the folder of a run" in capsys.readouterr().err
    assert main(["plot", "animate", str(run), "--out", str(tmp_path / "c.gif")]) == 1
    assert "has no snapshots" in capsys.readouterr().err


def test_training_leaves_the_snapshots_of_an_animation(tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "a.gif"
    assert main(["train", *TINY, "--epochs", "3", "--run", str(run)]) == 0
    assert main(["plot", "animate", str(run), "--out", str(out)]) == 0
    with Image.open(out) as animation:
        assert animation.size[0] == 1000
        assert animation.n_frames == 3  # type: ignore[attr-defined]
