import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from service import healthcheck


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
    assert healthcheck.main() == 0


def test_a_service_that_is_not_ready_fails_in_a_sentence(
    answering: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    answering(503)
    assert healthcheck.main() == 1
    assert "503" in capsys.readouterr().err


def test_no_service_fails_in_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("LATENTWIRE_PORT", "1")
    assert healthcheck.main() == 1
    assert capsys.readouterr().err.startswith("not ready: http://127.0.0.1:1/readyz")


def test_the_port_that_kubernetes_sets_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def urlopen(url: str, **_: object) -> None:
        asked.append(url)
        raise TimeoutError

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    monkeypatch.setenv("LATENTWIRE_PORT", "tcp://10.0.0.7:80")
    assert healthcheck.main() == 1
    assert asked == ["http://127.0.0.1:8000/readyz"]
