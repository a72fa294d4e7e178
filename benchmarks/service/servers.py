"""Starts servers in processes of their own, each on its processor core, and reads the time and memory that they use.

Linux only: it reads /proc.
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
TIMEOUT_S = 60
POLL_S = 0.002


class Cores(NamedTuple):
    """The core of the measured server and that of the load generator; equal on a machine with one core."""

    measured: int
    driver: int

    @classmethod
    def of_machine(cls) -> Self:
        """Return the first and the last core that this process may use."""
        allowed = sorted(os.sched_getaffinity(0))
        return cls(allowed[0], allowed[-1])


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Keep this thread, and every process that it starts inside, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Server:
    """A server process with its workers, ready to serve. `ready_s` is the time from its start until it was ready."""

    def __init__(self, command: Sequence[str], port: int, cores: set[int], folder: Path = ROOT) -> None:
        """Start `command`, which serves on `port`, on `cores`.

        Raises:
            RuntimeError: the process ended, or did not get ready.
        """
        self.port = port
        started = time.perf_counter()
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
        self.ready_s = time.perf_counter() - started

    def resident_bytes(self) -> int:
        """Return the resident memory of the process and its workers."""
        return sum(_resident_bytes(pid) for pid in self._pids())

    def peak_bytes(self) -> int:
        """Return the most resident memory of the process and its workers since `forget_peak`, each at its own time."""
        return sum(_peak_bytes(pid) for pid in self._pids())

    def forget_peak(self) -> None:
        """Begin to look for the most resident memory anew."""
        for pid in self._pids():
            Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")

    def cpu_s(self) -> float:
        """Return the processor time that the process and its workers have used, in seconds."""
        return sum(_cpu_s(pid) for pid in self._pids())

    def stop(self) -> None:
        """Stop the process; kill it if it does not end in time."""
        self.process.terminate()
        try:
            self.process.wait(TIMEOUT_S)
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
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}: {self.process.args!r}")
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
                connection.request("GET", "/readyz")
                if connection.getresponse().status == http.HTTPStatus.OK:
                    return
            except OSError:
                time.sleep(POLL_S)
            finally:
                connection.close()
        raise RuntimeError(f"the server did not get ready: {self.process.args!r}")


def service(models_dir: Path, default_model: str, cores: set[int], *flags: str, folder: Path = ROOT) -> Server:
    """Start the service of the checkout in `folder`, without an access log; `flags` go to the service."""
    port = free_port()
    command = [sys.executable, "-m", "service", "--port", str(port), "--models-dir", str(models_dir)]
    command += ["--default-model", default_model, "--no-access-log", *flags]
    return Server(command, port, cores, folder)


def baseline(cores: set[int], *flags: str) -> Server:
    """Start the FastAPI application of `baseline_app`, whose route only reads its body."""
    port = free_port()
    return Server([sys.executable, "-m", "benchmarks.service.baseline_app", str(port), *flags], port, cores)


def environment() -> dict[str, str]:
    """Return this process's environment, but let Python keep its bytecode, as it does for installed packages."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _peak_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def _cpu_s(pid: int) -> float:
    # The clock of another process, numbered as by clock_getcpuclockid(3); /proc counts hundredths of a second only.
    return time.clock_gettime(~pid << 3 | 2)
