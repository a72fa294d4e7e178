import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from latentwire import __version__
from latentwire.imaging.reader import DEFAULT_MAX_PIXELS
from latentwire.options import OnOod
from service.errors import StartupRefused
from service.settings import LogFormat, Role, Settings, read_settings
from tests.service.launching import PATIENCE_S, ROOT


def test_the_defaults() -> None:
    settings = read_settings([])
    assert settings == Settings()
    assert (settings.role, settings.host, settings.port) == ("both", "127.0.0.1", 8000)
    assert settings.models_dir == Path("models")
    assert settings.default_model is None
    assert settings.max_body_bytes == 10 * 1024 * 1024
    assert settings.max_image_pixels == DEFAULT_MAX_PIXELS


def test_every_setting_is_a_flag() -> None:
    values: dict[object, str] = {
        int: "7",
        str: "tiny",
        str | None: "tiny",
        Path: "there",
        Role: "sender",
        OnOod: "warn",
        Path | None: "there",
        SecretStr | None: "*" * 10,
        LogFormat: "json",
    }
    checked = {"image_formats": "png,tiff", "cors_origins": "https://a.example"}
    for name, field in Settings.model_fields.items():
        flag = name.replace("_", "-")
        if field.annotation in (bool, bool | None):
            assert getattr(read_settings([f"--{flag}"]), name) is True
            assert getattr(read_settings([f"--no-{flag}"]), name) is False
        else:
            value = checked.get(name) or values[field.annotation]
            assert str(getattr(read_settings([f"--{flag}", value]), name)) == value


def test_a_flag_overrides_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTWIRE_PORT", "1")
    monkeypatch.setenv("LATENTWIRE_ROLE", "sender")
    settings = read_settings(["--port", "2"])
    assert (settings.port, settings.role) == (2, "sender")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--port", "-1"], "port"),
        (["--max-concurrency", "0"], "max_concurrency"),
        (["--intra-op-threads", "many"], "threads"),
        (["--role", "relay"], "role"),
        (["--nonsense"], "--nonsense"),
        (["stray"], "stray"),
        (["--port"], "--port"),
    ],
)
def test_a_bad_flag_is_refused_in_one_line(arguments: list[str], says: str) -> None:
    with pytest.raises(StartupRefused) as caught:
        read_settings(arguments)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bad_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTWIRE_MAX_BODY_BYTES", "lots")
    with pytest.raises(StartupRefused, match="max_body_bytes"):
        read_settings([])


def test_settings_cannot_be_changed() -> None:
    settings = Settings()
    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("role", "encodes", "decodes"), [("both", True, True), ("sender", True, False), ("receiver", False, True)]
)
def test_a_role_has_its_components(role: Role, encodes: bool, decodes: bool) -> None:
    settings = Settings(role=role)
    assert (settings.encodes, settings.decodes) == (encodes, decodes)


def test_the_port_that_kubernetes_sets_is_ignored(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LATENTWIRE_PORT", "tcp://10.0.0.7:80")
    monkeypatch.setenv("LATENTWIRE_PORT_80_TCP_ADDR", "10.0.0.7")
    assert read_settings([]).port == 8000
    assert "'tcp://10.0.0.7:80', as Kubernetes sets it" in caplog.text
    assert read_settings(["--port", "9000"]).port == 9000
    with pytest.raises(StartupRefused, match="port"):
        read_settings(["--port", "tcp://10.0.0.7:80"])


@pytest.mark.parametrize(
    ("flags", "workers", "threads", "max_concurrency"),
    [
        ([], 1, 1, 6),
        (["--workers", "0"], 6, 1, 2),
        (["--workers", "2", "--intra-op-threads", "0"], 2, 3, 3),
        (["--workers", "100", "--intra-op-threads", "0"], 100, 1, 2),
        (["--max-concurrency", "9"], 1, 1, 9),
    ],
)
def test_the_processors_are_divided_among_the_workers(
    monkeypatch: pytest.MonkeyPatch, flags: list[str], workers: int, threads: int, max_concurrency: int
) -> None:
    monkeypatch.setattr("service.settings.usable_cpus", lambda: 6)
    settings = read_settings(flags)
    assert (settings.workers, settings.intra_op_threads, settings.max_concurrency) == (
        workers,
        threads,
        max_concurrency,
    )


def test_a_worker_runs_at_most_eight_requests_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.settings.usable_cpus", lambda: 64)
    assert read_settings([]).max_concurrency == 8


def test_an_invalid_number_of_workers_is_named_in_the_error() -> None:
    with pytest.raises(StartupRefused, match="the setting workers is not valid"):
        read_settings(["--workers", "-1"])


def test_the_port_of_a_platform_is_used_where_no_other_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "9001")
    assert read_settings([]).port == 9001
    assert read_settings(["--port", "9002"]).port == 9002
    monkeypatch.setenv("LATENTWIRE_PORT", "9003")
    assert read_settings([]).port == 9003
    monkeypatch.setenv("LATENTWIRE_PORT", "tcp://10.0.0.7:80")
    assert read_settings([]).port == 9001
    monkeypatch.setenv("LATENTWIRE_PORT", "")
    monkeypatch.setenv("PORT", "")
    assert read_settings([]).port == 8000
    monkeypatch.setenv("PORT", "http")
    with pytest.raises(StartupRefused, match="port"):
        read_settings([])


def test_empty_variables_are_the_defaults_but_not_where_they_would_turn_off_a_protection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    protecting = {"api_keys", "api_keys_file", "tls_certificate", "tls_key"}
    for name in Settings.model_fields.keys() - protecting:
        monkeypatch.setenv(f"LATENTWIRE_{name.upper()}", "")
    assert read_settings([]) == Settings()
    for name in (*(f"LATENTWIRE_{name.upper()}" for name in protecting), "latentwire_api_keys"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "")
            with pytest.raises(StartupRefused, match=f"{name} is empty"):
                read_settings([])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("LATENTWIRE_MAX_BODY_BYTE", "; did you mean LATENTWIRE_MAX_BODY_BYTES?"),
        ("LATENTWIRE_LOGFORMAT", "; did you mean LATENTWIRE_LOG_FORMAT?"),
        ("latentwire_defaultmodel", "; did you mean LATENTWIRE_DEFAULT_MODEL?"),
        ("LATENTWIRE_APIKEYS_FILE", "; did you mean LATENTWIRE_API_KEYS_FILE?"),
        ("LATENTWIRE_XYZ", ""),
    ],
)
def test_a_misspelt_variable_is_told_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, says: str
) -> None:
    monkeypatch.setenv(name, "1")
    read_settings([])
    assert f"{name} is not a setting{says}" in caplog.messages


def test_variables_of_others_are_not_told_of(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    for name in (
        "LATENTWIRE_DATA",
        "LATENTWIRE_EDGE_LISTEN",
        "LATENTWIRE_SERVICE_HOST",
        "LATENTWIRE_SERVICE_PORT_HTTP",
        "LATENTWIRE_PORT_8000_TCP_ADDR",
        "LATENTWIRE_RECEIVER_PORT",
        "LATENTWIRE_RECEIVER_PORT_8000_TCP",
    ):
        monkeypatch.setenv(name, "1")
    read_settings([])
    assert caplog.messages == []


def test_every_program_tells_its_version() -> None:
    for program in ("service", "latentwire", "training"):
        command = [sys.executable, "-m", program, "--version"]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
        assert ended.stdout == f"latentwire {__version__}\n"
