from pathlib import Path

import numpy as np
import pytest

from benchmarks import fallback
from benchmarks.fallback import Row, draw_fields, main, measure, publish_transform, table
from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from latentwire.model.card import ImageShape
from latentwire.selection.guard import Guard

SHAPE = ImageShape(height=32, width=48, channels=3)


def test_a_transform_of_blocks_is_a_model_whose_codes_are_shorter_than_the_images(tmp_path: Path) -> None:
    pixels = draw_fields(3, SHAPE)
    folder = publish_transform(tmp_path, SHAPE, 16, pixels)
    guard = Guard(Encoder.open(folder), Decoder.open(folder))
    assert 0 < (guard.encode(pixels[0], "warn").mse or 0) < np.square(pixels[0] / 255 - 0.5).mean()
    row = measure(guard, pixels, rounds=1)
    assert row.images == 3
    assert min(row.warn_us, row.fallback_us) > 0


def test_the_command_prints_the_ratios_and_fails_beyond_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # without models
    monkeypatch.setattr(fallback, "TRANSFORMS", ((32, 48, 16),))
    monkeypatch.setattr(fallback, "BOUND", 0)
    assert main(["--images", "2", "--rounds", "1"]) == 1
    assert "| blocks-48x32 | 2 of 48 × 32 pixels, 3 channels |" in capsys.readouterr().out


def test_the_ratio_is_that_of_the_two_policies() -> None:
    assert table([Row("some", SHAPE, 2, 1000, 1100)]).endswith("| 1,000 | 1,100 | 1.100 |")
