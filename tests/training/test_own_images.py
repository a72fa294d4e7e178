"""A folder of one's own images, all the way: trained on, published, drawn, and decoded in colour by the codec."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from training.cli.main import main

FIELDS = {
    "architecture": "conv-plain",
    "conv-widths": "4",
    "code-size": "6",
    "epochs": "2",
    "batch-size": "8",
    "validation-images": "8",
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
    assert "1 file of pictures cannot be read: red/broken.jpg" in capsys.readouterr().err
    assert main(["publish", str(run), "--models-dir", str(models), "--name", "mine"]) == 0
    assert main(["evaluate", "--model", str(models / "mine")]) == 0
    assert "6 images of pictures test" in capsys.readouterr().out
    assert main(["plot", "codes", "--model", str(models / "mine"), "--out", str(picture)]) == 0

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
