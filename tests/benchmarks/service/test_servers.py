import os
import sys
import urllib.request
from pathlib import Path

import pytest

from benchmarks.service.servers import Server, environment, free_port


def test_servers_may_keep_what_python_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("LATENTWIRE_DATA", "data")
    assert environment()["LATENTWIRE_DATA"] == "data"
    assert "PYTHONDONTWRITEBYTECODE" not in environment()


# Answers every request, one of them by touching 64 MiB that are free again afterwards.
SERVER = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/large":
            len(b"1" * (64 << 20))
        self.send_response(200)
        self.end_headers()

HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is read from Linux's /proc")
def test_the_peak_of_memory_is_that_of_the_time_looked_at() -> None:
    port = free_port()
    with Server([sys.executable, "-c", SERVER, str(port)], port, os.sched_getaffinity(0)) as server:
        rest = server.resident_bytes()
        urllib.request.urlopen(f"http://127.0.0.1:{port}/large").close()
        assert server.peak_bytes() > rest + (60 << 20)
        server.forget_peak()
        assert server.peak_bytes() < rest + (30 << 20)
