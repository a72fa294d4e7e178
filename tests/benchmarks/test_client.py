from pathlib import Path

import pytest

from benchmarks import client
from benchmarks.service.load_generator import Load
from tests.tiny_model import familiar_pixels, publish_tiny_model


def test_every_case_is_measured_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    publish_tiny_model(tmp_path / "models", tmp_path / "scratch")
    monkeypatch.setattr(client, "require_wrk", lambda: None)
    monkeypatch.setattr(client, "drive", lambda *_: Load(10, 1, 0, 0, 0, 0))
    monkeypatch.setattr(client, "images_for", lambda *_: (familiar_pixels(3), "pictures"))
    models = ["--models-dir", str(tmp_path / "models"), "--default-model", "tiny"]
    assert client.main([*models, "--images", "20", "--rounds", "1"]) == 0
    printed = capsys.readouterr().out
    for case in (client.WRK, client.BATCH, client.ARRAYS, client.FILES, client.ASYNC_ARRAYS):
        assert f"| {case} " in printed


def test_the_better_baseline_counts() -> None:
    per_s = {client.WRK: 100.0, client.BATCH: 200.0, client.ARRAYS: 150.0}
    found = {case: [client.Speed(value, 1 / value)] for case, value in per_s.items()}
    assert "0.75, by the service's CPU time 0.75; 0.8 is not met" in client.report(found)
    found[client.WRK], found[client.BATCH] = [client.Speed(180, 0.1)], [client.Speed(170, 0.2)]
    assert "0.83, by the service's CPU time 15.00; 0.8 is met" in client.report(found)
