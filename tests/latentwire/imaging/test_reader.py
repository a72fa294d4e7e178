"""Which files are read, and what reading them costs."""

import io
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from latentwire.errors import ImageMismatch, ImageTooLarge, InvalidImage
from latentwire.imaging import formats
from latentwire.imaging.fitting import Fitting
from latentwire.imaging.formats import FORMATS, installed_formats, parse_formats, pillow_names, recognize
from latentwire.imaging.image import fit_arrays
from latentwire.imaging.reader import AnySizeReader, ImageReader, _DecodingMemory, shape_of_file
from latentwire.model.card import ImageShape
from tests.latentwire.pictures import file_of, picture

GREY = ImageShape(height=28, width=28, channels=1)
PHONE = (4032, 3024)
MIB = 1 << 20

_PEAK = """
import resource, sys
from latentwire.imaging.formats import installed_formats
from latentwire.imaging.reader import ImageReader
from latentwire.model.card import ImageShape
data = open(sys.argv[1], "rb").read()
small = open(sys.argv[2], "rb").read()
reader = ImageReader(ImageShape(height=28, width=28, channels=1), "resize", formats=installed_formats())
reader.read(small)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
fitted = reader.read(data)
print(fitted.fitting.resized, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


def photograph(size: tuple[int, int] = PHONE, mode: str = "RGB") -> Image.Image:
    return Image.linear_gradient("L").resize(size).convert(mode)


@pytest.mark.parametrize(
    ("file_format", "options", "most_bytes"),
    [
        ("JPEG", {}, 8 * MIB),
        ("JPEG", {"progressive": True}, 48 * MIB),
        ("PNG", {"compress_level": 1}, 56 * MIB),
        ("WEBP", {"method": 0, "quality": 1}, 200 * MIB),
    ],
)
def test_a_photograph_of_a_phone_is_taken_in_bounded_memory(
    tmp_path: Path, file_format: str, options: dict[str, object], most_bytes: int
) -> None:
    (tmp_path / "large").write_bytes(file_of(photograph(), file_format, **options))
    (tmp_path / "small").write_bytes(file_of(photograph((300, 300)), file_format, **options))
    command = [sys.executable, "-c", _PEAK, str(tmp_path / "large"), str(tmp_path / "small")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    size, _, peak = done.stdout.rpartition(" ")
    assert size == "(3024, 4032)"
    assert int(peak) <= most_bytes


def test_a_large_jpeg_looks_as_if_it_was_decoded_whole() -> None:
    rows, columns = np.mgrid[0:800, 0:1000]
    waves = (127 + 60 * np.sin(rows / 60) + 60 * np.cos(columns / 90)).astype(np.uint8)
    data = file_of(Image.fromarray(waves), "JPEG", quality=95)
    with Image.open(io.BytesIO(data)) as whole:
        expected = np.asarray(whole.resize((28, 28), Image.Resampling.LANCZOS))
    fitted = ImageReader(GREY, "resize").read(data)
    assert np.abs(fitted.pixels[:, :, 0].astype(int) - expected).max() <= 4
    assert fitted.fitting == Fitting(resized=(800, 1000))


@pytest.mark.parametrize(
    ("file_format", "options", "pixels"), [("WEBP", {"lossless": True}, 4), ("JPEG", {"progressive": True}, 1)]
)
def test_what_takes_more_memory_counts_as_more_pixels(
    file_format: str, options: dict[str, object], pixels: int
) -> None:
    data = file_of(photograph((2000, 1500)), file_format, **options)
    assert ImageReader(GREY, "resize", max_pixels=3_000_000 * max(2, pixels)).read(data)
    with pytest.raises(ImageTooLarge, match=r"takes as much memory to decode as .*\(--max-image-pixels\)"):
        ImageReader(GREY, "resize", max_pixels=3_000_000).read(data)


def test_pictures_are_decoded_together_as_far_as_memory_allows() -> None:
    memory = _DecodingMemory()
    entered, leave = [threading.Event() for _ in range(2)], [threading.Event() for _ in range(2)]

    def decode(index: int, size_bytes: int) -> None:
        with memory.reserve(size_bytes, 100 * MIB):
            entered[index].set()
            leave[index].wait(60)

    threads = [threading.Thread(target=decode, args=(index, 60 * MIB), daemon=True) for index in range(2)]
    threads[0].start()
    assert entered[0].wait(60)
    threads[1].start()
    assert not entered[1].is_set()
    leave[0].set()
    assert entered[1].wait(60)
    for event in leave:
        event.set()
    for thread in threads:
        thread.join(60)


def test_one_array_of_many_is_bounded_as_arrays_are_not_reduced() -> None:
    with pytest.raises(ImageTooLarge, match=r"at most 4,194,304 .*send larger images as files"):
        fit_arrays(np.empty((0, 3000, 4000, 3), np.uint8), ImageReader(GREY, "resize"))


@pytest.mark.parametrize("name", installed_formats())
def test_a_listed_format_is_read(name: str, tmp_path: Path) -> None:
    (pillow,) = pillow_names((name,))
    data = file_of(photograph((64, 48)), pillow)
    fitted = ImageReader(GREY, "resize", formats=(name,)).read(data)
    assert np.ptp(fitted.pixels) > 200
    (tmp_path / "file").write_bytes(data)
    assert shape_of_file(tmp_path / "file", (name,)) == (48, 64, 3)


@pytest.mark.parametrize("name", [name for name in installed_formats() if name not in formats.DEFAULT_FORMATS])
def test_a_known_format_off_the_list_is_named_with_the_setting(name: str) -> None:
    data = file_of(photograph((64, 48)), pillow_names((name,))[0])
    assert recognize(data) == name
    with pytest.raises(InvalidImage, match=rf"format {FORMATS[name].name}, .* have {name} added .*--image-formats"):
        ImageReader(GREY, "resize").read(data)


def test_lists_of_formats_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_formats("PNG, tiff") == ("png", "tiff")
    for wrong in ("", "png,", "svg"):
        with pytest.raises(ValueError, match="there is no format"):
            parse_formats(wrong)
    monkeypatch.setattr(formats, "find_spec", lambda _module: None)
    with pytest.raises(ValueError, match=r"HEIF needs the package pillow-heif; install 'latentwire\[formats\]'"):
        parse_formats("png,heif")


def test_a_tiff_file_of_several_pages_is_refused() -> None:
    pages = [Image.fromarray(picture(28, 28, seed=seed)) for seed in (1, 2)]
    data = file_of(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    with pytest.raises(ImageMismatch, match="several pages"):
        ImageReader(GREY, formats=("tiff",)).read(data)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "tiff", "avif"])
def test_every_format_is_turned_upright(name: str, orientation: int, tmp_path: Path) -> None:
    if name not in installed_formats():
        pytest.skip("this Pillow does not read it")
    turns = {1: 0, 3: 2, 6: 1, 8: 3}[orientation]
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:8, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(upright, turns)))
    data = file_of(stored, FORMATS[name].pillow, exif=exif)
    shape = ImageShape(height=32, width=48, channels=3)
    pixels = ImageReader(shape, "resize", formats=(name,)).read(data).pixels
    assert np.abs(pixels.astype(int) - upright).mean() < 6
    (tmp_path / "file").write_bytes(data)
    assert shape_of_file(tmp_path / "file", (name,)) == (32, 48, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_images_of_any_size_are_turned_as_pillow_turns_them(mode: str, orientation: int) -> None:
    random = np.random.default_rng(orientation)
    picture = Image.fromarray(np.squeeze(random.integers(0, 255, (5, 7, len(mode)), np.uint8)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", exif=exif)
    with Image.open(buffer) as turned:
        expected = np.atleast_3d(np.asarray(ImageOps.exif_transpose(turned)))
    assert np.array_equal(AnySizeReader().read(buffer.getvalue()).pixels, expected)
