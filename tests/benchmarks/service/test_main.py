from pathlib import Path

import pytest

from benchmarks.service.__main__ import main
from benchmarks.service.dense import NAME, SIZES, publish_dense
from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from training.data.synthetic import draw_digits


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dense")
    publish_dense(folder / "models", folder)
    return folder / "models"


def test_the_dense_model_works(models_dir: Path) -> None:
    pixels, _ = draw_digits(3, 0)
    encoded = Encoder.open(models_dir / NAME).encode(pixels)
    assert len(encoded[0].y) == SIZES[-1]
    assert Decoder.open(models_dir / NAME).decode([one.bitstream for one in encoded]).shape == pixels.shape


def test_every_part_is_measured(models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = [
        "--data",
        str(tmp_path),
        "--rounds",
        "1",
        "--seconds",
        "0.05",
        "--without-wrk",
        "--connections",
        "8",
        "--batch-images",
        "64",
    ]
    small += ["--starts", "1", "--first-requests", "50", "--memory-requests", "300"]
    parts = [f"--only={part}" for part in ("routes", "stages", "batches", "starts", "memory")]
    assert main([*small, *parts, "--models-dir", str(models_dir), "--default-model", NAME]) == 0
    text = capsys.readouterr().out
    for said in (
        "drawn by the model",
        "| /decode, JSON to JSON",
        "| infer | entropy |",
        "over HTTP",
        "start to ready",
        "under load",
        "| figure",
    ):
        assert said in text


def test_a_model_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--models-dir", str(tmp_path), "--only", "starts"]) == 1
    assert "card.json" in capsys.readouterr().err


@pytest.mark.parametrize("typed", [["--rounds", "0"], ["--seconds", "-1"], ["--only", "nothing"], ["--seconds", "x"]])
def test_what_cannot_be_meant_is_refused(typed: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(typed)
    assert ended.value.code == 2
