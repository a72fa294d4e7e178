"""Requests -> how many a server answers and how fast, driven over kept connections, each of which sends on and on.

By wrk, or where that is not installed by the clients of `benchmarks.service.clients`.
"""

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benchmarks.service import clients
from benchmarks.service.servers import on_core

# What wrk is told to say at its end, as its own text has no more than the 99th percentile.
_REPORT = """
function done(summary, latency, requests)
    local errors = summary.errors
    local broken = errors.connect + errors.read + errors.write + errors.timeout
    io.write(string.format(
        '\\nresult [%d, %d, %d, %d, %d, %d, %d]\\n', summary.requests, summary.duration, latency:percentile(50),
        latency:percentile(99), latency:percentile(99.9), errors.status, broken))
end
"""


class Request(NamedTuple):
    """What is sent."""

    path: str
    body: bytes
    headers: dict[str, str]
    method: str = "POST"

    def as_bytes(self) -> bytes:
        """Return the request as HTTP/1.1 has it."""
        headers = {"Host": "localhost", "Content-Length": str(len(self.body)), **self.headers}
        lines = [f"{self.method} {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


class Load(NamedTuple):
    """What one run found; times in seconds. `refused` are the answers of 400 and above."""

    requests: int
    duration_s: float
    p50_s: float
    p99_s: float
    p999_s: float
    refused: int

    @property
    def per_s(self) -> float:
        """Requests a second."""
        return self.requests / self.duration_s


def drive(port: int, requests: Sequence[Request], connections: int, seconds: float, core: int, *, by_wrk: bool) -> Load:
    """Send these requests in turn, over and over, for so many seconds, and return what came of it.

    Args:
        port: of the server, on this machine.
        requests: at least one.
        connections: that are kept open, each with one request under way.
        seconds: wrk knows whole ones only.
        core: that what sends runs on.
        by_wrk: whether to send by wrk, or by clients written in Python.

    Raises:
        RuntimeError: connections broke.
    """
    messages = [request.as_bytes() for request in requests]
    if by_wrk:
        found, broken = _by_wrk(port, messages, connections, seconds, core)
    else:
        found, broken = _by_clients(port, messages, connections, seconds, core)
    if broken or not found.requests:
        raise RuntimeError(f"{broken} requests found no answer, {found.requests} did")
    return found


def has_wrk() -> bool:
    """Whether wrk is installed."""
    return shutil.which("wrk") is not None


def _by_wrk(port: int, messages: list[bytes], connections: int, seconds: float, core: int) -> tuple[Load, int]:
    with TemporaryDirectory() as folder, on_core(core):
        script = Path(folder, "requests.lua")
        script.write_text(lua(messages), encoding="ascii")
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(script)]
        told = subprocess.run(  # noqa: S603
            [*command, f"http://127.0.0.1:{port}"], capture_output=True, text=True, check=True
        ).stdout
    return _read_report(told)


def lua(messages: Sequence[bytes]) -> str:
    """Return a script by which wrk sends these messages in turn."""
    # Every byte as a number, so that nothing in a body means anything to Lua.
    quoted = ",\n".join('"' + "".join(f"\\{byte:03d}" for byte in message) + '"' for message in messages)
    return f"""local messages = {{
{quoted}
}}
local at = 0
function request()
    at = at % #messages + 1
    return messages[at]
end
{_REPORT}"""


def _read_report(told: str) -> tuple[Load, int]:
    requests, *times_us, refused, broken = json.loads(told.rpartition("\nresult ")[2])
    duration_s, p50_s, p99_s, p999_s = (time_us / 1e6 for time_us in times_us)
    return Load(requests, duration_s, p50_s, p99_s, p999_s, refused), broken


def _by_clients(port: int, messages: list[bytes], connections: int, seconds: float, core: int) -> tuple[Load, int]:
    with on_core(core):
        found = clients.send(port, messages, connections, seconds)
    p50_s, p99_s, p999_s = (found.percentile_s(percent) for percent in (50, 99, 99.9))
    return Load(len(found.times_s), found.duration_s, p50_s, p99_s, p999_s, found.refused), found.broken
