import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from training.photo.crops import Batch, CropSettings, batches, make_batch
from training.photo.model import LEVELS
from training.photo.origin import read_sources
from training.photo.pictures import (
    Picture,
    halve,
    is_validation,
    list_pictures,
    load_split,
    make_picture,
    read_rgb,
)

SETTINGS = CropSettings(crop=64, pixels=16384)


def equal(one: Batch, other: Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_batch_depends_on_its_key_alone(pictures: list[Picture]) -> None:
    assert equal(make_batch(pictures, SETTINGS, LEVELS, (1, 0, 5)), make_batch(pictures, SETTINGS, LEVELS, (1, 0, 5)))
    assert not torch.equal(
        make_batch(pictures, SETTINGS, LEVELS, (1, 0, 5)).quality,
        make_batch(pictures, SETTINGS, LEVELS, (2, 0, 5)).quality,
    )


def test_batches_go_on_from_any_step(pictures: list[Picture]) -> None:
    source = batches(pictures, SETTINGS, LEVELS, (0, 0), 0)
    first = [next(source) for _ in range(4)]
    source.close()
    later = batches(pictures, SETTINGS, LEVELS, (0, 0), 3)
    assert equal(next(later), first[3])
    later.close()


@pytest.mark.parametrize("step", range(30))
def test_a_batch_is_whole(pictures: list[Picture], step: int) -> None:
    batch = make_batch(pictures, SETTINGS, LEVELS, (0, 0, step))
    count, channels, height, width = batch.pixels.shape
    assert channels == 3
    assert height % 16 == width % 16 == 0
    assert batch.inside.shape == (count, 1, height, width)
    assert batch.quality.shape == (count,)
    assert 0 <= float(batch.pixels.min()) <= float(batch.pixels.max()) <= 1
    assert 0 <= float(batch.quality.min()) <= float(batch.quality.max()) <= LEVELS - 1
    # No more than a row or column of latents may be empty, and what fills up repeats the last pixel.
    inside = batch.inside[:, 0]
    assert bool((inside[:, : height - 15, : width - 15] == 1).all())
    for pixels, mask in zip(batch.pixels, inside, strict=True):
        rows, columns = int(mask[:, 0].sum()), int(mask[0].sum())
        assert float(mask.sum()) == rows * columns
        assert torch.equal(
            pixels[:, rows:, :columns], pixels[:, rows - 1 : rows, :columns].expand_as(pixels[:, rows:, :columns])
        )


def test_some_batches_are_small_whole_pictures_and_some_pictures_are_grey(pictures: list[Picture]) -> None:
    made = [make_batch(pictures, SETTINGS, LEVELS, (0, 0, step)) for step in range(60)]
    assert len({tuple(batch.pixels.shape[2:]) for batch in made}) > 3
    grey = [float((batch.pixels.amax(1) - batch.pixels.amin(1)).amax((1, 2)).min()) < 1e-6 for batch in made]
    assert any(grey)


def test_halving_averages_and_drops_an_odd_side() -> None:
    pixels = np.arange(5 * 3 * 3, dtype=np.uint8).reshape(5, 3, 3)
    half = halve(pixels)
    assert half.shape == (2, 1, 3)
    assert half[0, 0, 0] == round((0 + 3 + 9 + 12) / 4)


def test_levels_stop_before_a_picture_is_tiny() -> None:
    assert len(make_picture("a", np.zeros((130, 300, 3), np.uint8)).levels) == 2


def test_a_picture_keeps_its_side(photo_folder: Path) -> None:
    whole, part = load_split(photo_folder, 0.3), load_split(photo_folder, 0.3, every=2)
    assert {picture.name for picture in part.validation} <= {picture.name for picture in whole.validation}
    assert 0.03 < sum(is_validation(f"{number:04d}.jpg", 0.05) for number in range(2000)) / 2000 < 0.07


def test_too_few_photographs_are_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no photographs to train on"):
        load_split(tmp_path)


def test_pictures_are_read_as_a_sender_reads_them(tmp_path: Path) -> None:
    levels = np.arange(0, 65536, 257, dtype=np.uint16).reshape(8, 32)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    assert np.array_equal(read_rgb(tmp_path / "deep.png"), (levels // 257)[:, :, None].repeat(3, 2))
    turned = Image.Exif()
    turned[274] = 6  # to be shown turned by 90 degrees
    Image.fromarray((levels // 257).astype(np.uint8)).save(tmp_path / "turned.png", exif=turned)
    assert np.array_equal(read_rgb(tmp_path / "turned.png")[:, :, 0], np.rot90(levels // 257, -1))


def test_sources_are_those_of_the_pictures_that_are_there(photo_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(photo_folder, tmp_path / "train"))
    assert read_sources(folder, ["0000.png"]) == []
    lines = ["file\tsource\tlicence", "train/0000.png\tone/two a/b.jpg\tCC0", "train/0001.png\tone/two c.jpg\tCC0"]
    lines += ["train/0002.png\tDebian pictures d.jpg\tFAL", "eval/0003.png\tone/two e.jpg\tCC0"]
    (tmp_path / "sources.tsv").write_text("\n".join(lines))
    names = [path.name for path in list_pictures(folder)]
    assert read_sources(folder, names) == [
        {"source": "one/two", "licence": "CC0", "pictures": 2},
        {"source": "Debian pictures", "licence": "FAL", "pictures": 1},
    ]
