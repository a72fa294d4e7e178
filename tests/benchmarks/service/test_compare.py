from pathlib import Path

import pytest

from benchmarks.service.compare import main, table
from benchmarks.service.load_generator import Load
from benchmarks.service.suites import ENCODE, Measurement


def measurement(per_s: float) -> Measurement:
    return Measurement(Load(int(per_s), 1, 0.001, 0.002, 0.003, 0), 1 / per_s)


def test_checkouts_are_compared_with_the_first_round_by_round() -> None:
    rounds = [
        [measurement(100), measurement(200)],
        [measurement(10), measurement(30)],
        [measurement(100), measurement(400)],
    ]
    first, second = table({ENCODE: rounds}).splitlines()[2:]
    assert [cell.strip() for cell in first.strip("|").split("|")] == [ENCODE, "0", "100", "1.000", "10000", "1.000"]
    assert [cell.strip() for cell in second.strip("|").split("|")] == [ENCODE, "1", "200", "3.000", "5000", "3.000"]


def test_an_unknown_model_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--default-model", "nothing"]) == 1
    assert "card.json" in capsys.readouterr().err
