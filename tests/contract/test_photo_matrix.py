"""The comparison of processors finds what differs, by files that are changed between its two steps."""

from pathlib import Path

import numpy as np
import pytest

from latentwire.imaging.image import write_png
from tests.contract.photo_matrix import main
from tests.tiny_any_size_model import drawn_picture


def test_differences_of_symbols_and_pixels_are_found(
    any_size_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, folder = tmp_path / "photos", tmp_path / "found"
    photos.mkdir()
    (photos / "a.png").write_bytes(write_png(drawn_picture(250, 70)))
    (photos / "notes.txt").write_bytes(b"not a photograph")
    model = ["--model", str(any_size_model)]
    assert main(["write", str(folder), str(photos), "--qualities", "20,80", "--thumbnails", "1", *model]) == 0
    compare = ["compare", str(folder), *model]
    assert main(compare) == 0
    assert "0 of " in capsys.readouterr().out
    found = dict(np.load(folder / "a-thumbnail.npz"))
    for name, wrong in (("pixels", found["pixels"] ^ 4), ("latents", found["latents"] + 1)):
        np.savez(folder / "a-thumbnail.npz", **{**found, name: wrong})
        assert main(compare) == 1
    np.savez(folder / "a-thumbnail.npz", **found)
    damaged = folder / "a-q20.payload"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert main(compare) == 1
    assert "1 of which could not be read" in capsys.readouterr().out
