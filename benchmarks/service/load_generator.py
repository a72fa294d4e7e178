"""Drives a server with wrk: kept connections, each of which sends the next request when its response has come."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benchmarks.service.servers import on_core

# wrk's own report ends at the 99th percentile.
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
    """One request."""

    path: str
    body: bytes
    headers: dict[str, str]
    method: str = "POST"

    def as_bytes(self) -> bytes:
        """Return the request as an HTTP/1.1 message."""
        headers = {"Host": "localhost", "Content-Length": str(len(self.body)), **self.headers}
        lines = [f"{self.method} {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


class Load(NamedTuple):
    """The result of one run; times in seconds. `refused` counts the responses with a status of 400 and above."""

    requests: int
    duration_s: float
    p50_s: float
    p99_s: float
    p999_s: float
    refused: int

    @property
    def per_s(self) -> float:
        """Requests per second."""
        return self.requests / self.duration_s


def require_wrk() -> None:
    """Check that wrk is installed.

    Raises:
        RuntimeError: it is not.
    """
    if shutil.which("wrk") is None:
        raise RuntimeError("the load generator wrk is not installed; install it, for example by 'apt install wrk'")


def drive(port: int, requests: Sequence[Request], connections: int, seconds: float, core: int) -> Load:
    """Send requests in turn, over and over, and return the result.

    Args:
        port: of the server, on this machine.
        requests: at least one.
        connections: number of kept connections, each with one request in flight.
        seconds: duration; wrk takes whole seconds, at least 1.
        core: processor that wrk runs on.

    Raises:
        RuntimeError: wrk is not installed, or connections broke.
    """
    require_wrk()
    with TemporaryDirectory() as folder, on_core(core):
        script = Path(folder, "requests.lua")
        script.write_text(lua([request.as_bytes() for request in requests]), encoding="ascii")
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(script)]
        run = subprocess.run(  # noqa: S603
            [*command, f"http://127.0.0.1:{port}"], capture_output=True, text=True, check=False
        )
    if run.returncode:
        raise RuntimeError(f"wrk ended with {run.returncode}: {(run.stdout + run.stderr).strip()}")
    load, broken = _read_report(run.stdout)
    if broken or not load.requests:
        raise RuntimeError(f"{broken} requests got no response, {load.requests} got one")
    return load


def lua(messages: Sequence[bytes]) -> str:
    """Return a script with which wrk sends these messages in turn."""
    # Every byte is written as a number, so that no byte of a body means anything to Lua.
    quoted = ",\n".join('"' + "".join(f"\\{byte:03d}" for byte in message) + '"' for message in messages)
    return f"""local messages = {{
{quoted}
}}
local index = 0
function request()
    index = index % #messages + 1
    return messages[index]
end
{_REPORT}"""


def _read_report(output: str) -> tuple[Load, int]:
    requests, *times_us, refused, broken = json.loads(output.rpartition("\nresult ")[2])
    duration_s, p50_s, p99_s, p999_s = (time_us / 1e6 for time_us in times_us)
    return Load(requests, duration_s, p50_s, p99_s, p999_s, refused), broken
