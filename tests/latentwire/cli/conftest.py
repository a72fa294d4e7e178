"""Fixtures of the command line's tests."""

from collections.abc import Callable
from pathlib import Path

import pytest

from latentwire.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in `tmp_path`; return its exit code, and what it printed and complained of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LATENTWIRE_MODELS_DIR", str(models))

    def run_one(*arguments: str) -> tuple[int, str, str]:
        try:
            code = main(arguments)
        except SystemExit as exit_:
            code = int(str(exit_.code))
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        assert not list(tmp_path.rglob("*.tmp"))
        return code, out, err

    return run_one
