import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from benchmarks.photo import classical, comparison, large
from benchmarks.photo import effort as efforts
from benchmarks.photo.__main__ import main
from benchmarks.photo.errors import ms_ssim, psnr_db
from benchmarks.photo.figures import lead_in_target, rate_against_best
from benchmarks.photo.measure import Measured, Point
from tests.tiny_any_size_model import drawn_picture

PIXELS = drawn_picture(170, 200)


def test_the_command_writes_tables_numbers_and_curves(any_size_model: Path, tmp_path: Path) -> None:
    page, cache, out = tmp_path / "page.md", tmp_path / "cache", tmp_path / "out"
    page.write_text("Before\n<!-- photo -->\n<!-- /photo -->\n<!-- photo-summary -->\n<!-- /photo-summary -->\nafter\n")
    codecs = ["--codec", classical.JPEG, "--codec", classical.WEBP]
    common = ["--data", str(tmp_path), "--first", "1", *codecs, "--cache", str(cache)]
    assert main(common) == 0
    kept = sorted(cache.iterdir())
    assert len(kept) == 4
    # The second run measures the model alone.
    for path in kept:
        path.write_text(path.read_text().replace('"bytes": [', '"bytes": [1'))
    model = Path(shutil.copytree(any_size_model, tmp_path / any_size_model.name))
    chosen = ["--qualities", "0", "100", "--card", "--out", str(out), "--text", str(page)]
    assert main([str(model), *common, *chosen]) == 0
    assert "| drawings |" in (model / "README.md").read_text()
    content = json.loads((out / "photo.json").read_text())
    assert list(content["sets"]) == ["drawings", "text"]
    ours = content["points"]["text"]["Latentwire"]
    assert [point["quality"] for point in ours] == [0, 100]
    assert ours[0]["bytes"] < ours[1]["bytes"]
    assert content["points"]["text"][classical.JPEG][0]["bytes"] > 10_000
    assert [row["quality"] for row in content["served"]["drawings"]] == [0, 100]
    text = page.read_text()
    assert "### Points of drawings" in text
    assert "headers included" in text
    assert text.startswith("Before")


def test_what_cannot_be_measured_is_said(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder, says in ((tiny_model, "one image shape"), (tmp_path, "no readable card.json")):
        assert main([str(folder), "--data", str(tmp_path), "--sets", "none"]) == 2
        assert says in capsys.readouterr().err


@pytest.mark.parametrize("codec", classical.codecs(), ids=lambda codec: codec.name)
def test_a_codec_writes_and_reads_and_its_headers_are_a_part(codec: classical.Codec) -> None:
    small, large = (codec.write(PIXELS, quality) for quality in (codec.qualities[0], codec.qualities[-1]))
    assert len(small) < len(large)
    assert psnr_db(PIXELS, codec.read(small)) < psnr_db(PIXELS, codec.read(large))
    headers = {len(file) - codec.data_bytes(file) for file in (small, large)}
    assert min(headers) >= 0
    assert codec.data_bytes(small) > 0
    if codec.name.startswith(("WebP", "AVIF")):
        assert len(headers) == 1


def test_ms_ssim_falls_with_noise() -> None:
    random = np.random.default_rng(0)
    worse = [np.clip(PIXELS + random.normal(0, sigma, PIXELS.shape), 0, 255).astype(np.uint8) for sigma in (2, 20)]
    assert ms_ssim(PIXELS, PIXELS) == pytest.approx(1)
    values = [ms_ssim(PIXELS, pixels) for pixels in worse]
    assert 1 > values[0] > values[1] > 0
    with pytest.raises(ValueError, match="161 pixels"):
        ms_ssim(PIXELS[:160], PIXELS[:160])


def test_the_best_rival_counts_at_each_picture_and_quality() -> None:
    def measured(codec: str, sizes: list[tuple[int, int]], best: tuple[float | None, float | None]) -> Measured:
        points = [Point(n, size, size, (30.0 + n, 30.0 + n), None) for n, size in enumerate(sizes)]
        return Measured(codec, "", tuple(points), best)

    ours = measured("ours", [(80, 80), (160, 160)], (30, 33))
    one = measured("one", [(100, 200), (200, 400)], (None, None))
    other = measured("other", [(200, 100), (400, 200)], (None, 31))
    assert rate_against_best(ours, [one, other]) == pytest.approx(-20)
    assert lead_in_target(ours, [one, other]) == (31, 33)


def test_efforts_are_compared(any_size_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "photos" / "kodak"
    folder.mkdir(parents=True)
    Image.fromarray(PIXELS).save(folder / "1.png")
    options = ["--data", str(tmp_path), "--qualities", "10", "40"]
    efforts.main([str(any_size_model), *options])
    rows = [line.split("|")[1:3] for line in capsys.readouterr().out.splitlines()[2:]]
    assert [int(row[0]) for row in rows] == [1, 2, 3]
    assert rows[0][1].strip() == "+0.0 %"


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is read from Linux's /proc")
def test_a_large_photograph_goes_through_the_service(
    any_size_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos" / "kodak"
    folder.mkdir(parents=True)
    for name, pixels in (("1", PIXELS[:60, :80]), ("2", PIXELS[:80, :60])):
        Image.fromarray(pixels).save(folder / f"{name}.png")
    large.main([str(any_size_model), "--data", str(tmp_path)])
    first, *table = capsys.readouterr().out.splitlines()
    assert first.startswith("480 × 300 pixels, ")
    both, decoded, sender = ([cell.strip() for cell in row.split("|")[1:-1]] for row in table[3:])
    assert both[1] == sender[1] != decoded[1]
    assert all(float(row[3]) > 0 for row in (both, decoded, sender))


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_a_photograph_is_shown_beside_others_of_as_many_bytes(
    any_size_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "photo.png")
    files = [str(any_size_model), str(tmp_path / "photo.png"), str(tmp_path / "out.jpg")]
    assert comparison.main([*files, "--bytes", "4000", "--thumbnail-bytes", "1500", "--thumbnail-height", "85"]) == 0
    captions = capsys.readouterr().out.splitlines()
    assert [caption.split(":")[0] for caption in captions[1:4]] == [classical.WEBP, classical.AVIF, "Latentwire"]
    sizes = [int(caption.split()[-4].replace(",", "")) for caption in captions if " bytes" in caption]
    assert all(0 < size <= limit for size, limit in zip(sizes, [4000] * 3 + [1500] * 3, strict=True))
    with Image.open(tmp_path / "out.jpg") as sheet:
        assert sheet.width == 2 * 200 + comparison.GAP
    with pytest.raises(ValueError, match="no quality of WebP m6 fits in 20 bytes"):
        comparison.main([*files, "--bytes", "20"])
