import numpy as np
import pytest
import torch
from PIL import Image

from training.photo.crops import CropSettings
from training.photo.gathered import GatheredPictures
from training.photo.model import LEVELS
from training.photo.pictures import Picture, make_picture

PLAIN = CropSettings(crop=64, pixels=8 * 64**2, small_share=0, grey_share=0, changed_share=0, filled_share=0)


def test_a_batch_depends_on_its_key_alone(pictures: list[Picture]) -> None:
    gathered = GatheredPictures(pictures, "cpu")
    one, two = (gathered.batch(CropSettings(crop=64), LEVELS, (1, 0, 5)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("step", range(20))
def test_a_batch_is_whole(pictures: list[Picture], step: int) -> None:
    batch = GatheredPictures(pictures, "cpu").batch(CropSettings(crop=64, pixels=16384), LEVELS, (0, 0, step))
    count, channels, height, width = batch.pixels.shape
    assert channels == 3
    assert height % 16 == width % 16 == 0
    assert batch.inside.shape == (count, 1, height, width)
    assert 0 <= float(batch.pixels.min()) <= float(batch.pixels.max()) <= 1
    assert bool((batch.inside[:, 0, : height - 15, : width - 15] == 1).all())
    for pixels, mask in zip(batch.pixels, batch.inside[:, 0], strict=True):
        rows, columns = int(mask[:, 0].sum()), int(mask[0].sum())
        assert float(mask.sum()) == rows * columns
        beyond = pixels[:, rows:, :columns]
        assert torch.allclose(beyond, pixels[:, rows - 1 : rows, :columns].expand_as(beyond))


def test_parts_at_full_scale_are_of_the_picture_to_the_pixel() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 110, 3), dtype=np.uint8)
    gathered = GatheredPictures([make_picture("a", pixels)], "cpu")
    batch = gathered.batch(PLAIN._replace(full_scale_share=1), LEVELS, (0, 0, 0))
    flat = {tuple(row) for row in pixels.reshape(-1, 3)}
    found = (batch.pixels * 255).round().byte().permute(0, 2, 3, 1).reshape(-1, 3)
    assert {tuple(row) for row in found.numpy()} <= flat


def test_a_whole_picture_is_about_what_pil_makes_of_it() -> None:
    coarse = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    pixels = np.asarray(Image.fromarray(coarse).resize((300, 300), Image.Resampling.BICUBIC))
    gathered = GatheredPictures([make_picture("a", pixels)], "cpu")
    batch = gathered.batch(PLAIN._replace(full_scale_share=0, smallest_scale=0.1), LEVELS, (0, 0, 0))
    small = np.asarray(Image.fromarray(pixels).resize((64, 64), Image.Resampling.BOX)) / 255
    turns = [np.rot90(small, turn) for turn in range(4)] + [np.rot90(small[:, ::-1], turn) for turn in range(4)]
    errors = [
        min(float(np.abs(part.permute(1, 2, 0).numpy() - turn).mean()) for turn in turns) for part in batch.pixels
    ]
    assert min(errors) < 0.01
