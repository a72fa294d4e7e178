"""Commands -> servers in processes of their own, each on its core, and what they use of processor and memory.

Linux only: it reads /proc. What the servers answer is not known here.
"""

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Self

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60
POLL_S = 0.002


class Cores(NamedTuple):
    """Who runs where: what is measured, and what drives it. The same core twice where there is one only."""

    measured: int
    driver: int

    @classmethod
    def of_machine(cls) -> Self:
        """Take the first and the last core that this process may use."""
        allowed = sorted(os.sched_getaffinity(0))
        return cls(allowed[0], allowed[-1])


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Keep this thread on one core; what it starts inside stays there."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Server:
    """A server process, and its workers. Ready when made; `ready_s` is what that took from its start."""

    def __init__(self, command: Sequence[str], port: int, cores: set[int], folder: Path = ROOT) -> None:
        """Start `command`, which serves on `port`, on `cores`.

        Raises:
            RuntimeError: it ended, or did not get ready.
        """
        self.port = port
        began = time.perf_counter()
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cores)
        try:
            self.process = subprocess.Popen(  # noqa: S603
                command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
            )
        finally:
            os.sched_setaffinity(0, before)
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        self.ready_s = time.perf_counter() - began

    def resident_bytes(self) -> int:
        """Return the memory that the process and its workers have now."""
        return sum(_resident_bytes(pid) for pid in self._pids())

    def cpu_s(self) -> float:
        """Return the processor time that the process and its workers have used."""
        return sum(_cpu_s(pid) for pid in self._pids())

    def stop(self) -> None:
        """End it, at the latest by force."""
        self.process.terminate()
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _pids(self) -> list[int]:
        pids, new = [self.process.pid], [self.process.pid]
        while new:
            listed = Path(f"/proc/{new.pop()}")
            found = [int(pid) for file in listed.glob("task/*/children") for pid in file.read_text().split()]
            pids += found
            new += found
        return pids

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}: {self.process.args!r}")
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
                connection.request("GET", "/readyz")
                if connection.getresponse().status == http.HTTPStatus.OK:
                    return
            except OSError:
                time.sleep(POLL_S)
            finally:
                connection.close()
        raise RuntimeError(f"the server did not get ready: {self.process.args!r}")


def service(models_dir: Path, default_model: str, cores: set[int], *flags: str, folder: Path = ROOT) -> Server:
    """Start the service of a checkout; without `flags` of the role both, and without a line for each request."""
    port = free_port()
    command = [sys.executable, "-m", "service", "--port", str(port), "--models-dir", str(models_dir)]
    command += ["--default-model", default_model, "--no-access-log", *flags]
    return Server(command, port, cores, folder)


def empty_route(cores: set[int], *flags: str) -> Server:
    """Start the FastAPI route that only reads its body."""
    port = free_port()
    return Server([sys.executable, "-m", "benchmarks.service.baseline_app", str(port), *flags], port, cores)


def environment() -> dict[str, str]:
    """Return this process's environment, but that Python keeps what it compiles, as it does of installed packages."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _cpu_s(pid: int) -> float:
    # The clock of another process, as clock_getcpuclockid(3) makes its number; /proc counts hundredths only.
    return time.clock_gettime(~pid << 3 | 2)
