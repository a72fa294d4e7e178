import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from deploy import healthcheck
from service.settings import read_settings


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Start a server that answers /readyz with a status, and name its port in the environment."""
    servers = []

    def start(status: int) -> None:
        class Ready(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status if self.path == "/readyz" else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Ready)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("LATENTWIRE_PORT", str(server.server_port))

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_ready_service_passes(answering: Callable[[int], None]) -> None:
    answering(200)
    assert healthcheck.main([]) == 0


def test_a_service_that_is_not_ready_fails_in_a_sentence(
    answering: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    answering(503)
    assert healthcheck.main([]) == 1
    assert "503" in capsys.readouterr().err


def test_no_service_fails_in_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("LATENTWIRE_PORT", "1")
    assert healthcheck.main([]) == 1
    assert capsys.readouterr().err.startswith("not ready: 127.0.0.1 port 1: [Errno 111]")


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy"])
def test_no_proxy_is_asked(answering: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    answering(200)
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    assert healthcheck.main([]) == 0


# variables, flags: where the service is asked
PLACES: list[tuple[dict[str, str], list[str], tuple[str, int, bool]]] = [
    ({}, [], ("127.0.0.1", 8000, False)),
    ({"LATENTWIRE_PORT": "9", "PORT": "8"}, [], ("127.0.0.1", 9, False)),
    ({"PORT": "8"}, [], ("127.0.0.1", 8, False)),
    ({"PORT": "8"}, ["--port", "7"], ("127.0.0.1", 7, False)),
    ({}, ["python3", "-m", "service", "--port=7", "--no-access-log", "--workers", "2"], ("127.0.0.1", 7, False)),
    ({"LATENTWIRE_PORT": "", "PORT": "", "LATENTWIRE_HOST": ""}, [], ("127.0.0.1", 8000, False)),
    ({"LATENTWIRE_PORT": "tcp://10.0.0.7:80"}, [], ("127.0.0.1", 8000, False)),
    ({"LATENTWIRE_HOST": "0.0.0.0"}, [], ("127.0.0.1", 8000, False)),  # noqa: S104
    ({"LATENTWIRE_HOST": "::"}, [], ("::1", 8000, False)),
    ({"LATENTWIRE_HOST": "10.0.0.7"}, ["--host", "10.0.0.8"], ("10.0.0.8", 8000, False)),
    ({"LATENTWIRE_TLS_CERTIFICATE": "tls.crt"}, [], ("127.0.0.1", 8000, True)),
    ({"LATENTWIRE_TLS_CERTIFICATE": ""}, [], ("127.0.0.1", 8000, False)),
    ({}, ["--tls-certificate", "tls.crt"], ("127.0.0.1", 8000, True)),
]


@pytest.mark.parametrize(("variables", "flags", "place"), PLACES)
def test_the_service_is_asked_where_it_listens(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], flags: list[str], place: tuple[str, int, bool]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert healthcheck._address(flags) == place
    if not any("tls" in word.lower() for word in (*variables, *flags)):
        settings = read_settings(flags[3:] if "-m" in flags else flags)
        assert (healthcheck._LOOPBACK.get(settings.host, settings.host), settings.port) == place[:2]


@pytest.mark.parametrize(
    ("command", "passes"), [("python3\0-m\0service\0--port\0{}\0", True), ("init\0--port\0{}\0", False)]
)
def test_the_flags_of_a_container_s_service_are_known(
    answering: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    command: str,
    passes: bool,
) -> None:
    answering(200)
    (tmp_path / "cmdline").write_text(command.format(os.environ["LATENTWIRE_PORT"]))
    monkeypatch.setenv("LATENTWIRE_PORT", "1")
    monkeypatch.setattr(healthcheck, "FIRST_PROCESS", tmp_path / "cmdline")
    assert healthcheck.main([]) == (0 if passes else 1)
