from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentwire.errors import ImageMismatch
from training.data.datasets import Dataset, Images
from training.errors import CannotWrite
from training.plots.reconstructions import plot_reconstructions


@pytest.mark.parametrize("count", [1, 10, 17])
def test_the_picture_is_a_thousand_pixels_wide_and_shows_the_originals(
    published: Path, dataset: Dataset, tmp_path: Path, count: int
) -> None:
    out = tmp_path / "new" / "picture.png"
    plot_reconstructions(published, dataset, out, count)
    with Image.open(out) as picture:
        assert picture.format == "PNG"
        assert picture.width == 1000
        assert picture.height < 1000
        shades = np.asarray(picture.convert("RGB"))
    assert (shades < 10).all(axis=-1).mean() > 0.02  # the dark ground of the digits
    assert (shades[..., 0].astype(int) != shades[..., 2]).mean() > 0.005  # the coloured cells


def test_the_same_model_gives_the_same_picture(published: Path, dataset: Dataset, tmp_path: Path) -> None:
    first, second = tmp_path / "1.png", tmp_path / "2.png"
    plot_reconstructions(published, dataset, first, 3)
    plot_reconstructions(published, dataset, second, 3)
    assert first.read_bytes() == second.read_bytes()


def test_images_of_another_shape_are_refused(published: Path, tmp_path: Path) -> None:
    wide = Images(np.zeros((2, 28, 30, 1), np.uint8), np.zeros(2, np.uint8))
    with pytest.raises(ImageMismatch, match="wide has 30 × 28"):
        plot_reconstructions(published, Dataset("wide", wide, wide), tmp_path / "a.png")


def test_a_picture_that_cannot_be_written_is_told(published: Path, dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CannotWrite, match="cannot be written"):
        plot_reconstructions(published, dataset, tmp_path / "file" / "a.png", 1)
