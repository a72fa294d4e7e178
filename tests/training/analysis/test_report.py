import base64
import io
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from training.analysis.report import SECTIONS, data_url, write_report
from training.cli.main import main
from training.data.datasets import Dataset
from training.plots.catalogue import KINDS
from training.release.artifacts import find_source
from training.runs import RunFolder


@pytest.fixture(scope="module")
def few(dataset: Dataset) -> Dataset:
    first = np.arange(60)
    return dataset._replace(train=dataset.train.take(first), test=dataset.test.take(first))


def test_a_report_of_a_run_is_one_file_with_all_that_there_is_to_see(
    tmp_path: Path, finished_run: RunFolder, few: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    sections = ("learning", "animate", "two-rows", "codes")
    assert set(sections) < set(SECTIONS) < set(KINDS)
    monkeypatch.setattr("training.analysis.report.SECTIONS", sections)  # the others are drawn one by one elsewhere
    run = shutil.copytree(finished_run.path, tmp_path / "run")
    snapshots = run / "snapshots"
    snapshots.mkdir()
    np.save(snapshots / "originals.npy", few.test.pixels[:3])
    for epoch in (1, 2):
        np.save(snapshots / f"{epoch:04d}.npy", few.test.pixels[epoch : epoch + 3])
    out = tmp_path / "new" / "report.html"
    assert write_report(find_source(run), few, out) == list(sections)
    text = out.read_text(encoding="utf-8")
    HTMLParser().feed(text)
    pictures = [base64.b64decode(found) for found in re.findall(r"data:image/webp;base64,([^\"]+)", text)]
    assert len(pictures) == len(sections)
    assert [getattr(Image.open(io.BytesIO(picture)), "n_frames", 1) for picture in pictures] == [1, 2, 1, 1]
    assert not re.search(r"<script|<link|https?://|src=\"(?!data:)", text)
    for name in sections:
        assert KINDS[name].title in text
    assert "PSNR" in text
    assert "synthetic-tiny" in text


def test_a_report_of_a_model_leaves_out_what_only_a_run_knows(
    tmp_path: Path, published: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.analysis.report.SECTIONS", ("learning", "animate", "two-rows"))
    out = tmp_path / "report.html"
    assert main(["report", "--model", str(published), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: two-rows\n"
    assert "Learning curve" not in out.read_text(encoding="utf-8")


def test_what_cannot_be_reported_is_told_in_one_sentence(
    tmp_path: Path, published: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.analysis.report.SECTIONS", ("two-rows",))
    (tmp_path / "file").write_bytes(b"")
    for arguments, code, words in (
        ([], 2, "either the folder of a run or --model"),
        ([str(tmp_path), "--model", str(published)], 2, "either the folder of a run or --model"),
        ([str(tmp_path)], 1, "neither the folder of a run"),
        (["--model", str(tmp_path)], 1, "card.json"),
        (["--model", str(published), "--out", str(tmp_path / "file" / "a.html")], 1, "cannot be written"),
    ):
        assert main(["report", *arguments]) == code
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert words in error


def test_an_animation_of_many_epochs_is_a_small_part_of_a_report(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    still = random.integers(0, 256, (270, 1000, 3), dtype=np.uint8)
    frames = []
    for _ in range(10):
        still[40:220, 100:900] = np.kron(random.integers(0, 256, (9, 40, 1)), np.ones((20, 20, 3)))
        frames.append(Image.fromarray(still).filter(ImageFilter.GaussianBlur(2)).quantize(128))
    path = tmp_path / "a.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[250] * 9 + [3000], loop=0)
    with Image.open(io.BytesIO(base64.b64decode(data_url(path).partition(",")[2]))) as found:
        assert getattr(found, "n_frames", 1) == 10
    assert len(data_url(path)) < 0.35 * path.stat().st_size
