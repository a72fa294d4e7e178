from pathlib import Path

import pytest

from benchmarks.service.compare import main, table
from benchmarks.service.load_generator import Load
from benchmarks.service.suites import ENCODE, Answered


def answered(per_s: float) -> Answered:
    return Answered(Load(int(per_s), 1, 0.001, 0.002, 0.003, 0), 1 / per_s)


def test_checkouts_are_compared_with_the_first_round_by_round() -> None:
    rounds = [[answered(100), answered(200)], [answered(10), answered(30)], [answered(100), answered(400)]]
    first, second = table({ENCODE: rounds}).splitlines()[2:]
    assert [cell.strip() for cell in first.strip("|").split("|")] == [ENCODE, "0", "100", "1.000", "10000", "1.000"]
    assert [cell.strip() for cell in second.strip("|").split("|")] == [ENCODE, "1", "200", "3.000", "5000", "3.000"]


def test_a_checkout_without_a_service_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--default-model", "nothing"]) == 1
    assert "card.json" in capsys.readouterr().err
