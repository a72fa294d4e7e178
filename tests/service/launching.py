"""Starts the real server in a process of its own, on a free port."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol

import httpx
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parents[2]
# Longest wait for what must come; the machine may be very busy.
PATIENCE_S = 120


class Server:
    """`python -m service` with these flags, and a client for it. Ready when made."""

    def __init__(self, *flags: str, log: IO[bytes]) -> None:
        command = [
            sys.executable,
            "-m",
            "service",
            "--port",
            "0",
            *([] if "--drain-period-s" in flags else ["--drain-period-s", "0"]),
            *flags,
        ]
        self.log = log
        # A session of its own, so that a test can send signals to its process group as a terminal does.
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        self.client = httpx.Client(timeout=PATIENCE_S)
        self.client.headers.clear()
        try:
            self.client.base_url = httpx.URL(self._wait_for_address())
            assert self.client.get("/readyz").status_code == 200
        except BaseException:
            self.stop()
            self.log.close()
            raise

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.client.base_url.port or 0

    def output(self) -> str:
        return Path(self.log.name).read_text(encoding="utf-8")

    def resident_bytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return 1024 * int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0])

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of all samples of this name with these labels."""
        families = text_string_to_metric_families(self.client.get("/metrics").text)
        samples = (sample for family in families for sample in family.samples)
        return sum(
            sample.value for sample in samples if sample.name == name and labels.items() <= sample.labels.items()
        )

    def stop(self) -> int:
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def _wait_for_address(self) -> str:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and self.process.poll() is None:
            if found := re.search(r"role \w+, models .*?: (https?://\S+) ", self.output()):
                return found[1]
            time.sleep(0.02)
        raise AssertionError(f"the server did not start: {self.output()}")


class LaunchServer(Protocol):
    """Starts a server that lives until the end of the test module."""

    def __call__(self, models_dir: Path, *flags: str) -> Server: ...


def stop_all(servers: list[Server]) -> None:
    """Stop those that still run, and look at what they said."""
    for server in servers:
        if server.process.poll() is None:
            server.stop()
        server.client.close()
        server.log.close()
    for server in servers:
        assert "Traceback" not in server.output()


def start_in_vain(models_dir: Path, *flags: str) -> str:
    """Start a server that must refuse to start; return the sentence that it says why with."""
    command = [sys.executable, "-m", "service", "--models-dir", str(models_dir), *flags]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert ended.returncode == 2, ended
    assert ended.stdout == ""
    assert ended.stderr.startswith("latentwire: ")
    assert ended.stderr.count("\n") == 1, ended.stderr
    return ended.stderr


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Return when `condition` holds; fail if it does not in time."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, f"waited in vain until {what}"
        time.sleep(0.02)
