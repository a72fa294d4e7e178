import pytest

from benchmarks.service.servers import environment


def test_servers_may_keep_what_python_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("LATENTWIRE_DATA", "data")
    assert environment()["LATENTWIRE_DATA"] == "data"
    assert "PYTHONDONTWRITEBYTECODE" not in environment()
