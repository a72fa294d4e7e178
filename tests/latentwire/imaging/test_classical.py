import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentwire.errors import ImageTooLarge
from latentwire.imaging.classical import MAX_PIXELS, best_file
from latentwire.imaging.image import Pixels

SEVEN = Path(__file__).parents[3] / "examples" / "seven.png"


@pytest.fixture(scope="module")
def digit() -> Pixels:
    with Image.open(SEVEN) as picture:
        return np.asarray(picture)[:, :, None]


@pytest.fixture(scope="module")
def photo() -> Pixels:
    """Waves of several lengths in colours that differ, with noise."""
    y, x = np.mgrid[0:80, 0:120]
    noise = np.random.default_rng(0).normal(0, 12, (80, 120, 1))
    waves = [np.sin(x / 9 + channel) * 60 + np.cos(y / 5 - x / 21) * 40 + 128 for channel in range(3)]
    return np.clip(np.stack(waves, axis=2) + noise, 0, 255).astype(np.uint8)


def test_a_file_fits_and_shows_what_it_says(digit: Pixels, photo: Pixels) -> None:
    for pixels, budgets in ((digit, (60, 115, 222)), (photo, (300, 1500, 6000))):
        errors = []
        for max_bytes in budgets:
            file = best_file(pixels, max_bytes)
            assert len(file.content) <= max_bytes
            with Image.open(io.BytesIO(file.content)) as picture:
                assert picture.format == file.format.upper()
                assert picture.width == -(-pixels.shape[1] // file.reduced)
            assert file.pixels.shape == pixels.shape
            assert file.mse == pytest.approx(np.mean((file.pixels / 255.0 - pixels / 255.0) ** 2), rel=1e-4)
            errors.append(file.mse)
        assert errors == sorted(errors, reverse=True), "more bytes made it worse"


def test_no_quality_by_hand_is_better(digit: Pixels) -> None:
    file = best_file(digit, 115)
    for quality in range(0, 101, 5):
        written = io.BytesIO()
        Image.fromarray(digit[:, :, 0]).save(written, "WEBP", quality=quality, method=4)
        if len(written.getvalue()) <= 115:
            with Image.open(written) as picture:
                error = np.asarray(picture.convert("L"), dtype=np.float64) - digit[:, :, 0]
            # The search ends once it has used nearly all bytes.
            assert np.mean((error / 255) ** 2) >= 0.8 * file.mse, quality


def test_an_exact_file_wins_where_it_fits(digit: Pixels) -> None:
    file = best_file(digit, 400)
    assert (file.quality, file.mse, file.psnr_db) == (None, 0, float("inf"))
    assert (file.pixels == digit).all()


def test_the_smallest_file_is_returned_where_none_fits(digit: Pixels) -> None:
    file = best_file(digit, 14)
    assert 14 < len(file.content) < 60
    assert file.reduced > 1


@pytest.mark.parametrize(
    ("shape", "max_bytes"),
    [((1, 1, 3), 10), ((1, 1, 3), 1000), ((1, 70_000, 1), 10), ((20_000, 3, 3), 1000)],
)
def test_pictures_of_any_shape_can_be_compared(shape: tuple[int, int, int], max_bytes: int) -> None:
    file = best_file(np.zeros(shape, np.uint8), max_bytes)
    assert (file.mse, file.pixels.shape) == (0, shape)


def test_a_large_picture_is_refused() -> None:
    with pytest.raises(ImageTooLarge, match=f"{MAX_PIXELS:,}"):
        best_file(np.zeros((1024, 1024, 1), np.uint8), 1000)
