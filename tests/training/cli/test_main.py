import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from latentwire.imaging.image import read_image
from latentwire.model.card import ImageShape, load_card
from training.cli.main import main
from training.data.datasets import load_dataset
from training.recipe import Recipe
from training.recipe.architecture import KINDS
from training.runs import RunFolder

ROOT = Path(__file__).parents[3]
TINY = ["--recipe", "synthetic-tiny", "--training-images", "128", "--batch-size", "32", "--layers", "784,16,10"]


def _fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Run a command that fails; return its exit code and its one sentence."""
    try:
        code = main(arguments)
    except SystemExit as exit_:
        code = int(str(exit_.code))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("python -m training")
    return code, err


def test_the_whole_way_from_recipe_to_picture_step_by_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, models, picture = str(tmp_path / "run"), str(tmp_path / "models"), str(tmp_path / "a.png")
    assert main(["train", *TINY, "--epochs", "2", "--run", run]) == 0
    out = capsys.readouterr().out
    assert "epoch 2/2  loss 0." in out
    assert f"python -m training publish {run}" in out
    assert main(["export", run]) == 0
    assert "differs from torch by at most" in capsys.readouterr().out
    assert main(["calibrate", run, "--max-rmse-increase", "0.01"]) == 0
    assert "bits an image; validation RMSE 0." in capsys.readouterr().out
    assert main(["evaluate", run]) == 0
    out = capsys.readouterr().out
    for line in ("RMSE, as delivered", "ideal code length (bits)", "payload (bytes)", "bitstream (bytes)"):
        assert f"\n{line} " in out
    assert main(["publish", run, "--models-dir", models, "--name", "mine"]) == 0
    assert "model id " in capsys.readouterr().out
    folder = tmp_path / "models" / "mine"
    assert load_card(folder).provenance["recipe"]["max_rmse_increase"] == 0.01
    assert main(["evaluate", "--model", str(folder)]) == 0
    assert "measured" in capsys.readouterr().out
    assert main(["plot", "reconstructions", "--model", str(folder), "--out", picture, "--count", "4"]) == 0
    assert Path(picture).stat().st_size > 1000
    assert main(["resume", run]) == 0
    assert "is complete" in capsys.readouterr().out


def test_evaluate_fails_if_the_card_tells_another_quality(
    tmp_path: Path, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(published, tmp_path / published.name))
    card = json.loads((folder / "card.json").read_text())
    card["quality"]["rmse"] *= 0.9
    (folder / "card.json").write_text(json.dumps(card))
    assert main(["evaluate", "--model", str(folder)]) == 1
    assert "has another RMSE than this measurement" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train"], "train needs a --recipe, or --layers as in 784,512,128,10"),
        (["train", "--recipe", "synthetic-tiny", "--layers", "800,10"], "layers start with 800"),
        (
            ["train", "--layers", "784,10", "--tied", "true", "--architecture", "conv"],
            "the architecture conv has no field",
        ),
        (["train", "--layers", "784,0"], "'layers' is '784,0'"),
        (["train", "--recipe", "synthetic-tiny", "--learnin-rate", "1"], "did you mean '--learning-rate'?"),
        (["train", "--recipe", "synthetic-tiny", "--epochs", "0"], "'epochs' is '0'"),
        (["train", "--recipe", "synthetic-tiny", "--epochs"], "expected one argument"),
        (["train", "--recipe", "synthetic-tine"], "did you mean 'synthetic-tiny'?"),
        (["train", "--recipe", "synthetic-tiny", "--training-images", "9999"], "not enough"),
        (["trian"], "'trian'"),
        (["calibrate", "run", "--max-rmse-increase", "much"], "invalid float value: 'much'"),
        (["evaluate"], "either the folder of a run or --model"),
        (["evaluate", "run", "--model", "model"], "either the folder of a run or --model"),
        (["plot", "reconstructions", "--model", "a", "--out", "b", "--count", "0"], "1 to 40"),
        (["plot", "heatmap", "--model", "a", "--out", "b"], "'heatmap'"),
    ],
)
def test_what_was_typed_wrong_is_told_in_one_sentence(
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, message = _fails(capsys, *arguments)
    assert code == 2
    assert words in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["resume", "{empty}"], "not the folder of a run"),
        (["publish", "{empty}"], "not the folder of a run"),
        (["evaluate", "--model", "{empty}"], "card.json"),
        (["plot", "reconstructions", "--model", "{empty}", "--out", "a.png"], "card.json"),
        (["train", "--recipe", "mnist-dense-10", "--data", "{empty}"], "python -m training data"),
        (["train", "--recipe", "synthetic-tiny", "--run", "{full}"], "already exists"),
        (["data", "--to", "{empty}", "--mirror", "http://127.0.0.1:1/"], "no mirror gives train-images"),
    ],
)
def test_what_goes_wrong_on_the_way_is_told_in_one_sentence(
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
    tmp_path: Path,
    finished_run: RunFolder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("training.data.download.RETRIES", 0)
    (tmp_path / "empty").mkdir()
    places = {"empty": tmp_path / "empty", "full": finished_run.path}
    code, message = _fails(capsys, *(argument.format(**places) for argument in arguments))
    assert code == 1
    assert words in message


def test_ctrl_c_tells_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = str(tmp_path / "run")

    def interrupted(_end: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("training.cli.train.print_epoch", interrupted)
        assert main(["train", *TINY, "--epochs", "2", "--run", run]) == 130
    assert f"after epoch 1 of 2 with `python -m training resume {run}`" in capsys.readouterr().err
    assert main(["resume", run]) == 0
    assert "epoch 2/2" in capsys.readouterr().out


def test_a_run_that_stopped_early_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stopping = ["--stop-on", "validation", "--patience", "1", "--min-change", "0.5", "--epochs", "9"]
    assert main(["train", *TINY, *stopping, "--run", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert "epoch 2/9" in out
    assert "epoch 3/9" not in out
    assert "stopped early: the validation loss fell by no more than 0.5 in 1 epochs" in out


def test_every_field_of_a_recipe_is_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    help_text = capsys.readouterr().out
    fields = {*Recipe.model_fields, *(name for kind in KINDS.values() for name in kind.model_fields)} - {"kind"}
    for field in fields:
        assert f"--{field.replace('_', '-')} " in help_text


def test_a_test_image_is_written_as_a_file_to_send(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "digit.png"
    assert main(["sample", "--dataset", "synthetic", "--index", "3", "--out", str(out)]) == 0
    assert "labelled 3" in capsys.readouterr().out
    test = load_dataset("synthetic").test
    shape = ImageShape(height=28, width=28, channels=1)
    np.testing.assert_array_equal(read_image(out.read_bytes(), shape), test.pixels[3])


def test_an_image_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index in ("500", "-1", "x"):
        code, _ = _fails(capsys, "sample", "--dataset", "synthetic", "--index", index, "--out", str(tmp_path / "a.png"))
        assert code == 2
    assert not list(tmp_path.iterdir())


def test_recipes_are_listed_with_what_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    listed = capsys.readouterr().out
    assert re.search(r"^synthetic-tiny +A small dense autoencoder", listed, re.MULTILINE)


def test_no_command_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "publish" in capsys.readouterr().out


def test_commands_that_do_not_train_start_without_torch() -> None:
    code = (
        "import sys; from training.cli.main import main; main(['recipes']); assert 'matplotlib' not in sys.modules; "
        "import training.cli.publish, training.cli.plot, training.cli.results, training.cli.data; "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
