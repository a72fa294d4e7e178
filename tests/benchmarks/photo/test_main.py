import json
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.photo.__main__ import main
from tests.tiny_any_size_model import drawn_picture


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(drawn_picture(60 + number, 90)).save(folder / f"{number}.png")
    return folder


def test_the_command_prints_points_and_rates(
    any_size_model: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "figures.json"
    arguments = ["--images", str(pictures), "--first", "2", "--qualities", "0", "50", "100", "--json", str(out)]
    assert main([str(any_size_model), *arguments]) == 0
    printed = capsys.readouterr().out
    assert "2 pictures" in printed
    assert "BD-rate against webp" in printed
    points = json.loads(out.read_text())["points"]
    assert [point["quality"] for point in points] == [0, 50, 100]
    assert sorted(point["bytes"] for point in points) == [point["bytes"] for point in points]
    assert sorted(point["psnr_db"] for point in points) == [point["psnr_db"] for point in points]


def test_what_cannot_be_measured_is_said(
    any_size_model: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, says in (
        ([str(tiny_model)], "one image shape"),
        ([str(tmp_path)], "no readable card.json"),
        ([str(any_size_model), "--images", str(tmp_path)], "no pictures"),
    ):
        assert main(arguments) == 2
        assert says in capsys.readouterr().err
