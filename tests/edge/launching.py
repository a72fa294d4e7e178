"""Starts the edge proxy with the real nginx, in front of services of these tests."""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import httpx

from tests.service.launching import PATIENCE_S, ROOT, wait_until

PROGRAM = ROOT / "deploy" / "edge.py"
# Debian keeps nginx where users do not look.
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
HAS_NGINX = shutil.which("nginx", path=SEARCH_PATH) is not None


class Edge:
    """`deploy/edge.py` on a free port, and a client for it. It accepts connections when made.

    `variables` are those of deploy/README.md without `LATENTWIRE_`.
    """

    def __init__(self, upstreams: Sequence[tuple[str, int]], log: IO[bytes], **variables: object) -> None:
        self.log = log
        # nginx that is started by root works as another user, who may not enter pytest's folders.
        self._folder = tempfile.TemporaryDirectory(prefix="latentwire-edge-")
        Path(self._folder.name).chmod(0o711)
        self.address = "127.0.0.1", free_port()
        settings = {
            "EDGE_LISTEN": "{}:{}".format(*self.address),
            "EDGE_UPSTREAMS": " ".join(f"{host}:{port}" for host, port in upstreams),
            "EDGE_FOLDER": f"{self._folder.name}/run",
            "EDGE_TLS_CERTIFICATE": "/nonexistent",
            **variables,
        }
        self.environment = {**os.environ, "PATH": SEARCH_PATH} | {
            f"LATENTWIRE_{name}": str(value) for name, value in settings.items()
        }
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM)], env=self.environment, stdout=log, stderr=subprocess.STDOUT
        )
        scheme = "http" if settings["EDGE_TLS_CERTIFICATE"] == "/nonexistent" else "https"
        # A self-signed certificate is verified by the test that makes it.
        url = f"{scheme}://127.0.0.1:{self.address[1]}"
        self.client = httpx.Client(base_url=url, timeout=PATIENCE_S, verify=False)  # noqa: S501
        self.client.headers.clear()
        try:
            wait_until(lambda: self.process.poll() is not None or accepts(self.address), "the edge listens")
            assert self.process.poll() is None, f"the edge did not start: {self.output()}"
        except BaseException:
            self.stop()
            raise

    @property
    def folder(self) -> Path:
        """Where nginx keeps what it writes."""
        return Path(self._folder.name) / "run"

    def connect(self) -> socket.socket:
        """Return a new connection."""
        return socket.create_connection(self.address, PATIENCE_S)

    def reload(self) -> None:
        """Let new nginx processes take the place of those that run."""
        os.kill(int((self.folder / "nginx.pid").read_text(encoding="ascii")), signal.SIGHUP)

    def output(self) -> str:
        """Return what nginx has logged."""
        return Path(self.log.name).read_text(encoding="utf-8")

    def stop(self) -> int:
        """End it; return its exit code."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE_S)
        finally:
            self._folder.cleanup()


@contextmanager
def run_edge(
    upstreams: Sequence[tuple[str, int]], folder: Path, name: str = "edge", **variables: object
) -> Iterator[Edge]:
    """Run an edge whose log is in `folder`; see `Edge`."""
    with (folder / f"{name}.log").open("wb") as log:
        edge = Edge(upstreams, log, **variables)
        try:
            yield edge
        finally:
            edge.stop()


def free_port() -> int:
    """Return a port on which nothing listens, outside the range from which the system gives ports to other tests."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def accepts(address: tuple[str, int]) -> bool:
    """Whether a connection to `address` can be made."""
    try:
        socket.create_connection(address, PATIENCE_S).close()
    except ConnectionError:
        return False
    return True
