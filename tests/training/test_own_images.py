"""A folder of one's own images, all the way: trained on, published, drawn, and decoded in colour by the codec."""

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from latentwire.model.card import load_card
from training.cli.main import main
from training.runs import RunFolder

FIELDS = {
    "architecture": "conv-plain",
    "conv-widths": "4",
    "code-size": "6",
    "epochs": "2",
    "image-height": "12",
    "image-width": "16",
    "fit": "resize",
}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes of pictures of mixed sizes: red ones and blue ones."""
    random = np.random.default_rng(0)
    for at in range(60):
        colour, name = ((at * 4, 0, 0), "red") if at % 2 else ((0, 0, at * 4), "blue")
        path = tmp_path / "pictures" / name / f"{at:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (int(random.integers(9, 30)), int(random.integers(9, 30))), colour).save(path)
    (tmp_path / "pictures" / "red" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    return tmp_path / "pictures"


def _train(pictures: Path, run: Path, *more: str) -> list[str]:
    fields = [word for name, value in FIELDS.items() for word in (f"--{name}", value)]
    return ["train", "--recipe", "synthetic-tiny", "--dataset", str(pictures), "--run", str(run), *fields, *more]


def test_a_folder_of_colour_images_becomes_a_model_of_colour_images(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, models, picture = tmp_path / "run", tmp_path / "models", tmp_path / "a.png"
    assert main(_train(pictures, run)) == 0
    out, err = capsys.readouterr()
    assert "1 file of pictures cannot be read: red/broken.jpg" in err
    assert "49 to train on in batches of 6, 5 to choose the best epoch by, 6 to test" in out
    assert main(["publish", str(run), "--models-dir", str(models), "--name", "mine"]) == 0
    public = (models / "mine" / "card.json").read_text() + (models / "mine" / "README.md").read_text()
    assert str(tmp_path) not in public
    assert "An autoencoder of 16 × 12 colour images (pictures), with a code of 6 numbers." in public
    assert "drawn digits" not in public
    images = ["--dataset", str(pictures)]
    assert main(["evaluate", "--model", str(models / "mine"), *images]) == 0
    assert "6 images of pictures test" in capsys.readouterr().out
    assert main(["plot", "codes", "--model", str(models / "mine"), "--out", str(picture), *images]) == 0

    encoder, decoder = Encoder.open(models / "mine"), Decoder.open(models / "mine")
    assert encoder.card.image.as_tuple() == (12, 16, 3)
    code = encoder.encode_file((pictures / "red" / "31.png").read_bytes(), "resize")
    assert decoder.decode([code.bitstream]).shape == (1, 12, 16, 3)


def test_an_unreadable_file_fails_a_strict_run_before_it_starts(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_train(pictures, tmp_path / "run", "--strict")) == 1
    assert "1 file of pictures cannot be read: red/broken.jpg" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_mixed_sizes_without_a_fit_are_refused(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_train(pictures, tmp_path / "run", "--fit", "strict")) == 2
    assert "ask for fit=resize or fit=pad" in capsys.readouterr().err


def test_a_run_on_other_images_is_named_after_them_and_replaces_no_model(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], finished_run: RunFolder
) -> None:
    run, models = tmp_path / "my run", tmp_path / "models"
    assert main(_train(pictures, run)) == 0
    (published,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("next: ")]
    command = shlex.split(published.removeprefix("next: python -m training "))
    assert command == ["publish", str(run)]
    assert RunFolder(run).recipe().name == "pictures"

    (models / "pictures").mkdir(parents=True)
    (models / "pictures" / "notes.txt").write_text("mine")
    assert main([*command, "--models-dir", str(models), "--force"]) == 1
    assert "is not the folder of a model, and is never replaced" in capsys.readouterr().err
    (models / "pictures" / "card.json").write_text("{}")
    assert main([*command, "--models-dir", str(models)]) == 1
    assert "already holds a model; choose another --name, or replace it with --force" in capsys.readouterr().err
    assert (models / "pictures" / "card.json").read_text() == "{}"
    assert main([*command, "--models-dir", str(models), "--force"]) == 0
    assert load_card(models / "pictures").image.as_tuple() == (12, 16, 3)
    assert sorted(path.name for path in models.iterdir()) == ["pictures"]


def test_a_log_folder_may_lie_in_the_folder_of_its_run(pictures: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main(_train(pictures, run, "--epochs", "1", "--log-dir", str(run / "tb"))) == 0
    assert list((run / "tb").glob("events.*"))


def test_a_run_that_cannot_begin_leaves_no_folder_behind(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert main(_train(pictures, tmp_path / "run", "--log-dir", str(tmp_path / "file"))) == 1
    assert "TensorBoard's folder" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("count", [4, 9, 40])
def test_a_folder_of_any_number_of_images_can_be_trained_on(tmp_path: Path, count: int) -> None:
    for index in range(count):
        (tmp_path / "few").mkdir(exist_ok=True)
        Image.new("L", (28, 28), index).save(tmp_path / "few" / f"{index}.png")
    command = ["train", "--layers", "784,8,2", "--dataset", str(tmp_path / "few"), "--epochs", "1"]
    assert main([*command, "--run", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--image-height", "0"], "say which one all get, as with --image-height"),
        (["--image-width", "0"], "say which one all get, as with --image-width"),
        (["--image-height", "0", "--image-width", "0"], "as with --image-height 20 --image-width 20"),
    ],
)
@pytest.mark.parametrize("fit", ["pad", "resize"])
def test_no_size_is_taken_where_the_images_have_several(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], fit: str, more: list[str], words: str
) -> None:
    assert main(_train(pictures, tmp_path / "run", "--fit", fit, *more)) == 2
    assert words in capsys.readouterr().err


def test_grey_and_colour_images_in_one_folder_need_a_choice(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("L", (9, 9)).save(pictures / "red" / "grey.png")
    assert main(_train(pictures, tmp_path / "run")) == 2
    assert "(width × height × channels); say which one all get, as with --channels 3" in capsys.readouterr().err
    assert main(_train(pictures, tmp_path / "run", "--channels", "1", "--epochs", "1")) == 0


def test_images_of_another_size_are_measured_in_the_size_of_the_model(
    published: Path, finished_run: RunFolder, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(finished_run.path, tmp_path / "run"))
    for source in (["--model", str(published)], [str(run)]):
        command = ["evaluate", *source, "--dataset", str(pictures)]
        assert main(command) == 2
        assert "fit=resize or fit=pad" in capsys.readouterr().err
        assert main([*command, "--fit", "resize"]) == 0
        assert "6 images of pictures test" in capsys.readouterr().out


def test_a_run_is_calibrated_by_its_own_images_whatever_is_drawn_of_it(
    finished_run: RunFolder, pictures: Path, tmp_path: Path
) -> None:
    run = RunFolder(Path(shutil.copytree(finished_run.path, tmp_path / "run")))
    calibrated = run.quantizer_file.read_bytes()
    run.quantizer_file.unlink()
    plot = ["plot", "two-rows", str(run.path), "--out", str(tmp_path / "a.png")]
    assert main([*plot, "--dataset", str(pictures), "--fit", "pad"]) == 0
    assert run.quantizer_file.read_bytes() == calibrated


def test_a_model_whose_images_are_elsewhere_asks_where(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(published, tmp_path / published.name))
    card = json.loads((folder / "card.json").read_text())
    card["provenance"]["recipe"]["dataset"] = "pictures"
    (folder / "card.json").write_text(json.dumps(card))
    for command in (["evaluate", "--model"], ["guard"], ["report", "--model"]):
        assert main([*command, str(folder)]) == 1
        assert "is not in the data folder; say where it is with --dataset" in capsys.readouterr().err


def test_a_network_that_learned_nothing_is_published_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    (tmp_path / "noise").mkdir()
    for at in range(60):
        Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8)).save(tmp_path / "noise" / f"{at}.png")
    assert main(_train(tmp_path / "noise", tmp_path / "run", "--epochs", "1", "--learning-rate", "1e-9")) == 0
    capsys.readouterr()
    publish = ["publish", str(tmp_path / "run"), "--models-dir", str(tmp_path / "models"), "--ood-images"]
    assert main(publish) == 0
    out, err = capsys.readouterr()
    assert "PSNR, mean image (dB)" in out
    assert "python -m training: WARNING: test images are delivered with" in err
    assert "has learned next to nothing" in (tmp_path / "models" / "noise" / "README.md").read_text()
