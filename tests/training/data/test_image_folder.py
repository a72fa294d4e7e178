import errno
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentwire.imaging.formats import installed_formats, pillow_names
from training.data.image_folder import load_folder
from training.data.images import TargetShape
from training.errors import CorruptData, InvalidRecipe


def _draw(path: Path, shade: int, size: tuple[int, int] = (6, 4), mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = shade if mode == "L" else (shade, 0, 0, 255)[: len(mode)]
    Image.new(mode, size, colour).save(path)


def test_the_first_level_of_folders_is_the_class_and_the_order_is_that_of_the_names(tmp_path: Path) -> None:
    for shade, name in enumerate(("dog/b.png", "cat/z.png", "dog/a/x.png", "cat/y.bmp", ".hidden/a.png"), start=1):
        _draw(tmp_path / name, shade)
    found = load_folder(tmp_path, TargetShape())
    assert found.train.pixels.shape == (4, 4, 6, 1)
    assert found.train.pixels[:, 0, 0, 0].tolist() == [4, 2, 3, 1]
    assert found.classes == ("cat", "dog")
    assert found.train.labels.tolist() == [0, 0, 1, 1]
    assert found.test is None


def test_a_folder_without_folders_has_no_classes(tmp_path: Path) -> None:
    _draw(tmp_path / "a.png", 1)
    found = load_folder(tmp_path, TargetShape())
    assert found.classes == ()
    assert found.train.labels.tolist() == [0]


def test_train_and_test_folders_are_the_two_parts_with_the_same_classes(tmp_path: Path) -> None:
    for name in ("train/b/1.png", "train/c/2.png", "test/c/3.png"):
        _draw(tmp_path / name, 9)
    found = load_folder(tmp_path, TargetShape())
    assert found.train.labels.tolist() == [0, 1]
    assert found.test is not None
    assert found.test.labels.tolist() == [1]


def test_unreadable_files_are_named_and_passed_over(tmp_path: Path) -> None:
    for name in ("a.png", "c.png"):
        _draw(tmp_path / name, 7)
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "b.png").write_bytes(whole[:-20])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("not an image")
    found = load_folder(tmp_path, TargetShape())
    assert found.train.pixels[:, 0, 0, 0].tolist() == [7, 7]
    assert [path for path, _ in found.skipped] == ["b.png", "empty.png", "notes.txt"]
    assert found.skipped[0].reason == "the PNG image is truncated"
    assert found.skipped[1].reason == "the file is empty"
    assert found.skipped[2].reason.startswith("the file is not a readable PNG, JPEG, WebP, BMP, GIF")


def test_images_of_mixed_sizes_and_colours_are_fitted_as_the_service_fits_them(tmp_path: Path) -> None:
    _draw(tmp_path / "a.png", 200, (8, 8), "RGB")
    _draw(tmp_path / "b.png", 100, (4, 2))
    padded = load_folder(tmp_path, TargetShape(height=4, width=4, channels=3, fit="pad")).train.pixels
    assert padded.shape == (2, 4, 4, 3)
    assert padded[0, 0, 0].tolist() == [200, 0, 0]
    assert padded[1, :, 0, 0].tolist() == [0, 100, 100, 0]
    grey = load_folder(tmp_path, TargetShape(height=4, width=4, channels=1, fit="resize")).train.pixels
    assert grey[1, :, :, 0].tolist() == [[100] * 4] * 4


def test_transparent_drawings_are_laid_on_the_background_that_the_recipe_names(tmp_path: Path) -> None:
    drawing = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    drawing.paste((0, 0, 0, 255), (2, 2, 6, 6))
    drawing.save(tmp_path / "a.png")
    drawing.save(tmp_path / "b.webp", lossless=True)
    for background, ground in (("auto", 255), ("white", 255), ("black", 0)):
        target = TargetShape(height=4, width=4, channels=1, fit="resize", background=background)  # type: ignore[arg-type]
        pixels = load_folder(tmp_path, target).train.pixels
        assert abs(pixels[:, 0, 0, 0].astype(int) - ground).max() <= 1
    assert load_folder(tmp_path, TargetShape()).train.pixels.shape == (2, 8, 8, 4)


def test_files_of_every_installed_format_are_read(tmp_path: Path) -> None:
    for name in installed_formats():
        (file_format,) = pillow_names((name,))
        Image.new("RGB", (8, 8), (90, 90, 90)).save(tmp_path / f"{name}.x", file_format)
    found = load_folder(tmp_path, TargetShape(height=4, width=4, channels=1, fit="resize"))
    assert len(found.train.pixels) == len(installed_formats())
    assert abs(found.train.pixels.astype(int) - 90).max() <= 2


def test_an_image_that_does_not_fit_is_refused_unless_the_recipe_says_how(tmp_path: Path) -> None:
    _draw(tmp_path / "a.png", 1, (8, 8))
    _draw(tmp_path / "b.png", 1, (8, 9))
    with pytest.raises(InvalidRecipe, match=r"b\.png: the image is 8 × 9.*fit=resize or fit=pad"):
        load_folder(tmp_path, TargetShape())


def test_the_size_is_that_of_the_upright_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((4, 8), np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    assert load_folder(tmp_path, TargetShape()).train.pixels.shape == (1, 8, 4, 1)


def test_a_folder_without_a_readable_image_is_told(tmp_path: Path) -> None:
    with pytest.raises(CorruptData, match="0 files, and none"):
        load_folder(tmp_path, TargetShape())
    (tmp_path / "a.png").write_bytes(b"text")
    with pytest.raises(CorruptData, match="1 files, and none"):
        load_folder(tmp_path, TargetShape(height=4, width=4, channels=1))


def test_images_that_memory_is_not_meant_for_lie_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for at in range(3):
        _draw(tmp_path / f"{at}.png", at)
    in_memory = load_folder(tmp_path, TargetShape()).train
    monkeypatch.setattr("training.data.images.MAX_MEMORY_BYTES", 30)
    found = load_folder(tmp_path, TargetShape()).train
    assert isinstance(found.pixels.base, np.memmap)
    np.testing.assert_array_equal(found.pixels, in_memory.pixels)
    order = np.array([2, 0])
    assert isinstance(found.take(order).pixels, np.memmap)
    np.testing.assert_array_equal(found.take(order).pixels, in_memory.take(order).pixels)


def test_images_without_room_in_memory_and_on_the_disk_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _draw(tmp_path / "a.png", 1)

    def full(_file: int, _start: int, _size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("training.data.images.MAX_MEMORY_BYTES", 20)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InvalidRecipe, match=r"No space left on device\); name another folder with TMPDIR, or ask for"):
        load_folder(tmp_path, TargetShape())
