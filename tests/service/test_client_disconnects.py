"""Clients that go away at any moment leave nothing behind in the real server: no place, no bytes, no open file."""

import io
import os
import re
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentwire.encoder import Encoder
from tests.service.client import JSON, OCTETS
from tests.service.hostile import save
from tests.service.launching import PATIENCE_S, LaunchServer, Server
from tests.tiny_model import strange_pixels

GAUGES = (
    "latentwire_requests_in_flight",
    "latentwire_requests_queued",
    "latentwire_batches_in_flight",
    "latentwire_body_buffered_bytes",
)
NPY = "application/x-npy"
CLIENTS = 10


@pytest.fixture(scope="module")
def server(launch_server: LaunchServer, models_dir: Path) -> Server:
    """With one place of each kind, so that one that is not given back is missed at once."""
    places = ("--max-concurrency", "1", "--max-queue-size", "60", "--max-concurrent-batches", "1")
    return launch_server(models_dir, "--default-model", "tiny", *places)


@pytest.fixture(scope="module")
def requests(models_dir: Path) -> dict[str, bytes]:
    """One good request to each route, whole, with an answer that is worth leaving."""
    encoder = Encoder.open(models_dir / "tiny")
    pixels = strange_pixels(600)
    array = io.BytesIO()
    np.save(array, pixels)
    # It takes its time to be unpacked and made small.
    large = save(Image.new("L", (1200, 1200), 100), "PNG")
    container = b"".join(encoder.encode_batch([pixels], announced=len(pixels)))
    return {
        "encode": whole("/encode?fit=resize", "image/png", large),
        "decode": whole("/decode", OCTETS, encoder.encode(pixels[:1])[0].bitstream),
        "encode a batch": whole("/encode/batch", NPY, array.getvalue(), f"Accept: {JSON}"),
        "decode a batch": whole("/decode/batch", OCTETS, container),
    }


def whole(path: str, content_type: str, body: bytes, *more: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: test", f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *more, "", ""]).encode() + body


def close(connection: socket.socket, *, reset: bool) -> None:
    if reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def taken(server: Server) -> list[str]:
    """Wait until nothing is worked on any more; return what still is after a long time."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        lines = server.client.get("/metrics").text.splitlines()
        found = [line for line in lines if line.startswith(GAUGES) and float(line.split()[-1])]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.02)


def requests_counted(server: Server) -> int:
    text = server.client.get("/metrics").text
    counted = re.findall(
        r'^latentwire_http_requests_total\{.*route="/(?:en|de)code.*\} (\S+)$', text, flags=re.MULTILINE
    )
    return int(sum(map(float, counted)))


def open_files(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))  # noqa: PTH208


PHASES: dict[str, Callable[[bytes], int]] = {
    "before the request": lambda _: 0,
    "within the head": lambda request: request.index(b"\r\n\r\n") // 2,
    "after the head": lambda request: request.index(b"\r\n\r\n") + 4,
    "within the body": lambda request: (request.index(b"\r\n\r\n") + 4 + len(request)) // 2,
    "one byte before the end": lambda request: len(request) - 1,
    "before the answer": len,
    "within the answer": len,
}


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("route", ["encode", "decode", "encode a batch", "decode a batch"])
def test_a_client_that_leaves_leaves_nothing(
    server: Server, requests: dict[str, bytes], png: bytes, route: str, phase: str, *, reset: bool
) -> None:
    assert not taken(server)
    files = open_files(server)
    request = requests[route]
    connections = [socket.create_connection(server.address, PATIENCE_S) for _ in range(CLIENTS)]
    for connection in connections:
        connection.sendall(request[: PHASES[phase](request)])
    for connection in connections:
        if phase == "within the answer":
            assert connection.recv(20).startswith(b"HTTP/1.1 ")
        close(connection, reset=reset)
    assert not taken(server)
    for good in requests.values():
        with socket.create_connection(server.address, PATIENCE_S) as connection:
            connection.sendall(good)
            assert connection.recv(20).startswith(b"HTTP/1.1 200 ")
        assert not taken(server)
    deadline = time.monotonic() + PATIENCE_S
    while open_files(server) > files and time.monotonic() < deadline:
        time.sleep(0.02)
    assert open_files(server) <= files


def test_clients_that_leave_the_queue_are_each_counted_once(server: Server, requests: dict[str, bytes]) -> None:
    before = requests_counted(server)
    connections = [socket.create_connection(server.address, PATIENCE_S) for _ in range(30)]
    for connection in connections:
        connection.sendall(requests["encode"])
    for connection in connections[1:]:
        close(connection, reset=True)
    # The first one is still answered.
    assert connections[0].recv(20).startswith(b"HTTP/1.1 200 ")
    connections[0].close()
    assert not taken(server)
    assert requests_counted(server) - before <= 30
    assert "Traceback" not in server.output()
