from pathlib import Path

import pytest

from benchmarks.container import main, measure
from latentwire.model.card import load_card


def test_overhead_falls_below_a_tenth_of_a_byte_an_image(tiny_model: Path) -> None:
    card = load_card(tiny_model)
    rows = [measure(card, images, rounds=1) for images in (10, 2000)]
    assert rows[0].overhead_bytes > rows[1].overhead_bytes
    assert rows[1].overhead_bytes < 0.1
    assert rows[1].ideal_bytes < rows[1].container_bytes < rows[1].zlib_bytes


def test_the_command_prints_a_table_for_each_model(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tiny_model), "--images", "10", "20"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("tiny, 5 symbols an image")
    assert "| 20 |" in output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["nowhere"], "'nowhere' has no readable card.json"), (["--images", "0"], "numbers of 1 or more")],
)
def test_what_cannot_be_measured_is_said(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert says in capsys.readouterr().err
