"""Images of any size on the command line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentwire import Codec
from latentwire.imaging.image import write_png
from tests.latentwire.cli.conftest import Run
from tests.tiny_any_size_model import drawn_logo, drawn_picture, publish_tiny_any_size_model
from tests.tiny_model import familiar_pixels, strange_pixels


@pytest.fixture(scope="module")
def models(guarded_model: Path, any_size_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a vector model, the default, and a model for images of any size."""
    folder = tmp_path_factory.mktemp("both")
    for model in (guarded_model, any_size_model):
        shutil.copytree(model, folder / model.name)
    return folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(write_png(drawn_picture(120, 170)))
    return path


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.array(picture)


def test_a_photograph_goes_there_and_back(run: Run, photo: Path, tmp_path: Path, any_size_model: Path) -> None:
    codec = Codec.load(any_size_model)
    wishes: dict[str, dict[str, float]] = {
        "--quality 80": {"quality": 80},
        "--target-bytes 900": {"target_bytes": 900},
        "--min-psnr 25": {"min_psnr_db": 25},
    }
    for options, wish in wishes.items():
        code, out, err = run("encode", "photo.png", "--model", "tiny-any", *options.split(), "--force")
        expected = codec.encode(photo, **wish)  # type: ignore[arg-type]
        assert (code, err) == (0, "")
        assert out == (
            f"photo.lw: {len(expected.bitstream):,} bytes, {expected.psnr_db:.2f} dB, quality {expected.quality:.1f}\n"
        )
        assert (tmp_path / "photo.lw").read_bytes() == expected.bitstream
    assert run("decode", "photo.lw", "--out", "back.png") == (
        0,
        "back.png: 170 × 120 pixels, 3 channels, of model tiny-any\n",
        "",
    )
    assert np.array_equal(pixels_of(tmp_path / "back.png"), codec.decode((tmp_path / "photo.lw").read_bytes()))
    assert run("encode", "photo.png", "--model", "tiny-any", "--framing", "raw")[0] == 0
    assert run("decode", "photo.raw", "--framing", "raw", "--model", "tiny-any", "--out", "raw.npy", "--format", "npy")
    assert np.load(tmp_path / "raw.npy").shape == (120, 170, 3)


def test_without_a_model_each_image_goes_to_the_one_that_is_for_it(run: Run, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "known.png").write_bytes(write_png(familiar_pixels(1)[0]))
    (tmp_path / "strange.png").write_bytes(write_png(strange_pixels(1)[0]))
    (tmp_path / "flat.png").write_bytes(write_png(np.full((300, 400, 3), 7, np.uint8)))
    code, out, err = run("encode", "known.png", "strange.png", "photo.png", "flat.png", "--out", "codes")
    assert (code, err) == (0, "")
    assert "; 1 of them losslessly" in out
    reports = {}
    for name in ("known", "strange", "photo", "flat"):
        reports[name] = json.loads(run("inspect", f"codes/{name}.lw", "--json")[1])
    assert {name: report["model"] for name, report in reports.items()} == {
        "known": "guarded",
        # Lossless by the vector model, it takes more bytes.
        "strange": "tiny-any",
        "photo": "tiny-any",
        "flat": "tiny-any",
    }
    assert (reports["known"]["holds"], reports["photo"]["holds"]) == ("symbols", "parts")
    assert reports["flat"]["holds"] == "webp"
    assert run("encode", "photo.png", "--out", "photo.lw")[1].endswith(", of model tiny-any\n")
    assert json.loads(run("encode", "known.png", "--quality", "70")[1] and run("inspect", "known.lw", "--json")[1])[
        "model"
    ] == ("tiny-any")
    for options in (["--framing", "raw"], ["--model", "guarded"], ["--max-mse", "0.5"]):
        assert run("encode", "photo.png", *options, "--out", "no")[0] == 1


def test_inspect_shows_the_parts_and_what_is_damaged(run: Run, tmp_path: Path) -> None:
    (tmp_path / "logo.png").write_bytes(write_png(drawn_logo(40, 1100, 4)))
    assert run("encode", "logo.png", "--quality", "50")[0] == 0
    data = (tmp_path / "logo.lw").read_bytes()
    report = json.loads(run("inspect", "logo.lw", "--json")[1])
    assert (report["shape"], report["quality"], report["errors"]) == ([40, 1100, 4], 50.0, [])
    assert [part["width"] for part in report["parts"]] == [576, 524]
    assert all(0 < part["alpha_bytes"] < part["bytes"] for part in report["parts"])
    assert sum(part["bytes"] for part in report["parts"]) + 30 > len(data) - 8
    code, out, _ = run("inspect", "logo.lw")
    assert code == 0
    assert "1,100 × 40 pixels, RGB and alpha" in out
    (tmp_path / "cut.lw").write_bytes(data[:-20])
    code, out, err = run("inspect", "cut.lw")
    assert (code, "576, 0: damaged or missing" in out) == (1, True)
    assert "part 1 is damaged or missing" in err


def test_what_is_whole_is_decoded_on_request(run: Run, tmp_path: Path) -> None:
    (tmp_path / "wide.png").write_bytes(write_png(drawn_picture(40, 1100)))
    assert run("encode", "wide.png")[0] == 0
    data = (tmp_path / "wide.lw").read_bytes()
    assert run("decode", "wide.lw", "--partial", "--out", "whole.png")[::2] == (0, "")
    (tmp_path / "cut.lw").write_bytes(data[: len(data) * 3 // 4])
    assert run("decode", "cut.lw")[0] == 1
    assert not (tmp_path / "cut.png").exists()
    code, out, err = run("decode", "cut.lw", "--partial")
    assert code == 3
    assert out.startswith("cut.png: 1100 × 40 pixels")
    assert err == "latentwire: cut.lw: warning: missing are 524 × 40 pixels, 576 from the left and 0 from above\n"
    assert np.array_equal(pixels_of(tmp_path / "cut.png")[:, :500], pixels_of(tmp_path / "whole.png")[:, :500])
    (tmp_path / "cut.lw").write_bytes(data[:20])
    assert run("decode", "cut.lw", "wide.lw", "--partial", "--out", "back")[0] == 1


def test_a_container_of_photographs_of_all_sizes(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    sizes = [(20, 30), (90, 40), (1, 1), (64, 200)]
    for number, size in enumerate(sizes):
        (folder / f"{number}.png").write_bytes(write_png(drawn_picture(*size, 1 if number == 1 else 3)))
    (folder / "bad.png").write_text("no image")
    arguments = "--model", "tiny-any", "--container", "all.lwb", "--names", "all.names", "--quality", "60"
    code, out, err = run("encode", "photos", *arguments)
    assert (code, out.startswith("all.lwb: 4 images in "), err.count("\n")) == (1, True, 1)
    assert run("decode", "all.lwb", "--names", "all.names", "--out", "back") == (0, "back: 4 images\n", "")
    # A container is made without decoders.
    plainly = "--quality", "60", "--effort", "1"
    assert run("encode", "photos", "--model", "tiny-any", *plainly, "--out", "alone")[0] == 1
    assert run("decode", "alone", "--out", "alone")[0] == 0
    for number, (height, width) in enumerate(sizes):
        one = pixels_of(tmp_path / "back" / f"{number}.png")
        assert one.shape[:2] == (height, width)
        assert np.array_equal(one, pixels_of(tmp_path / "alone" / f"{number}.png"))
    report = json.loads(run("inspect", "all.lwb", "--json")[1])
    assert (report["model"], report["images"], report["errors"]) == ("tiny-any", 4, [])
    assert run("decode", "all.lwb", "--format", "npy")[0] == 2
    (tmp_path / "bad.lwb").write_bytes((tmp_path / "all.lwb").read_bytes()[:-30])
    assert run("decode", "bad.lwb")[0] == 1


def test_the_models_of_both_kinds_are_listed(run: Run) -> None:
    code, out, _ = run("models")
    lines = out.splitlines()
    assert code == 0
    assert [line.split("  ")[0] for line in lines] == ["guarded", "tiny-any"]
    assert "any size" in lines[1]
    listed = [json.loads(line) for line in run("models", "--json")[1].splitlines()]
    assert [each["kind"] for each in listed] == ["vector", "any-size"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--quality nan", "not a number from 0 to 100"),
        ("--quality 101", "not a number from 0 to 100"),
        ("--quality 50 --target-bytes 100", "give one of them"),
        ("--quality 50 --model guarded", "has one quality"),
        ("--effort 2 --model guarded", "has one quality"),
        ("--effort 2 --no-verify-reconstruction", "--effort needs the decoder"),
        ("--model tiny-any --fit pad", "leave out --fit"),
        ("--model tiny-any --max-mse 0.1", "--max-mse is for vector models"),
        ("--model tiny-any --min-psnr 30 --no-verify-reconstruction", "needs the decoder"),
        ("--model guarded --target-bytes 10", "leave out --model"),
    ],
)
def test_options_that_a_model_does_not_have_are_refused(run: Run, photo: Path, options: str, says: str) -> None:
    code, _, err = run("encode", "photo.png", *options.split())
    assert (code, err.count("\n")) == (2, 1)
    assert says in err


def test_targets_that_cannot_be_met_are_told(run: Run, photo: Path, tmp_path: Path) -> None:
    assert run("encode", "photo.png", "--model", "tiny-any", "--target-bytes", "40", "--out", "small.lw")[0] == 0
    assert len((tmp_path / "small.lw").read_bytes()) <= 40
    for options in ("--target-bytes 5", "--target-bytes 40 --fit strict", "--min-psnr 99"):
        code, _, err = run("encode", "photo.png", "--model", "tiny-any", *options.split())
        assert (code, err.count("\n")) == (1, 1)
        assert not (tmp_path / "photo.lw").exists()


def test_a_folder_of_models_for_any_size_alone_has_a_default(run: Run, photo: Path, tmp_path: Path) -> None:
    publish_tiny_any_size_model(tmp_path / "any", tmp_path / "scratch", "first")
    assert run("encode", "photo.png", "--models-dir", "any")[0] == 0
    publish_tiny_any_size_model(tmp_path / "any", tmp_path / "scratch", "second", seed=1)
    assert run("encode", "photo.png", "--models-dir", "any", "--force")[0] == 2
    (tmp_path / "any" / "default-model.txt").write_text("second\n", encoding="utf-8")
    assert run("encode", "photo.png", "--models-dir", "any", "--force")[0] == 0
    code, _, err = run("decode", "photo.lw", "--models-dir", "any", "--model", "first")
    assert (code, err.count("\n")) == (1, 1)
