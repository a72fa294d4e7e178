"""More than the real server can do: what it turns away, what it holds, and who frees a place by leaving."""

import io
import socket
import sys
import threading
from collections import Counter
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.service.client import assert_problem
from tests.service.launching import PATIENCE_S, LaunchServer, Server, wait_until
from tests.service.raw_http import connect, read_to_end

RUNNING, QUEUED, BUFFERED = "requests_in_flight", "requests_queued", "body_buffered_bytes"
needs_addresses = pytest.mark.skipif(sys.platform != "linux", reason="one address of the loopback interface only")
PROBES = ("/livez", "/readyz", "/metrics")


@pytest.fixture(scope="module")
def server(launch_server: LaunchServer, models_dir: Path) -> Server:
    """One request is worked on at a time, and many may wait for long."""
    limits = ("--max-concurrency", "1", "--max-queue-size", "64", "--queue-timeout-s", "600")
    return launch_server(models_dir, "--default-model", "tiny", *limits)


@pytest.fixture(scope="module")
def slow_png() -> bytes:
    """A few bytes that take a tenth of a second: the most pixels that are allowed."""
    buffer = io.BytesIO()
    Image.new("RGBA", (2048, 2048)).save(buffer, "PNG")
    return buffer.getvalue()


def ask_to_fit(body: bytes, sent: int | None = None) -> bytes:
    head = f"POST /encode?fit=resize HTTP/1.1\r\nHost: test\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body[:sent]


def gauge(server: Server, name: str) -> float:
    return server.metric(f"latentwire_{name}")


def outcomes(server: Server, outcome: str) -> float:
    return server.metric("latentwire_http_requests_total", outcome=outcome, route="/encode")


def wait_until_idle(server: Server) -> None:
    for name in (RUNNING, QUEUED, BUFFERED):
        wait_until(partial(is_zero, server, name), f"{name} is 0")


def is_zero(server: Server, name: str) -> bool:
    return gauge(server, name) == 0


def test_a_full_queue_turns_away_at_once_while_probes_answer(
    launch_server: LaunchServer, models_dir: Path, png: bytes, slow_png: bytes
) -> None:
    server = launch_server(models_dir, "--default-model", "tiny", "--max-concurrency", "1", "--max-queue-size", "1")
    statuses: Counter[int] = Counter()
    enough = threading.Event()

    def keep_busy() -> None:
        with httpx.Client(base_url=server.client.base_url, timeout=PATIENCE_S) as client:
            while not enough.is_set():
                answer = client.post("/encode", params={"fit": "resize"}, content=slow_png)
                statuses[answer.status_code] += 1
                enough.wait(0.01)

    threads = [threading.Thread(target=keep_busy) for _ in range(6)]
    try:
        for thread in threads:
            thread.start()
        refused: list[httpx.Response] = []

        def turned_away() -> bool:
            refused.append(server.client.post("/encode", content=png))
            return refused[-1].status_code == 429

        wait_until(turned_away, "a request is refused")
        assert_problem(refused[-1], 429, "overloaded")
        assert refused[-1].headers["retry-after"] == "1"
        for path in PROBES:
            assert server.client.get(path).status_code == 200
        wait_until(lambda: len(statuses) > 1, "some of the others are answered, and some refused")
    finally:
        enough.set()
        for thread in threads:
            thread.join()
    assert statuses.keys() == {200, 429}
    assert server.client.post("/encode", content=png).status_code == 200
    assert gauge(server, QUEUED) == gauge(server, RUNNING) == 0


def test_a_turn_that_does_not_come_in_time_is_given_up(
    launch_server: LaunchServer, models_dir: Path, slow_png: bytes
) -> None:
    limits = ("--max-concurrency", "1", "--max-queue-size", "200", "--queue-timeout-s", "1")
    server = launch_server(models_dir, "--default-model", "tiny", *limits)
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(server)) for _ in range(150)]
        for connection in connections:
            connection.sendall(ask_to_fit(slow_png))
        answers = Counter(read_to_end(connection)[9:12] for connection in connections)
    assert answers.keys() == {b"200", b"429"}
    assert gauge(server, QUEUED) == gauge(server, BUFFERED) == 0


def test_slow_senders_keep_nobody_out(launch_server: LaunchServer, models_dir: Path, png: bytes) -> None:
    server = launch_server(models_dir, "--default-model", "tiny", "--max-concurrency", "1", "--max-queue-size", "0")
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(server)) for _ in range(50)]
        for connection in connections:
            connection.sendall(ask_to_fit(png, 20))
        wait_until(lambda: gauge(server, BUFFERED) == 50 * 20, "all bodies have begun")
        assert server.client.post("/encode", content=png).status_code == 200
        connections[0].sendall(png[20:])
        assert read_to_end(connections[0]).startswith(b"HTTP/1.1 200 ")
    wait_until_idle(server)


@needs_addresses
def test_the_bytes_of_all_bodies_together_are_bounded(
    launch_server: LaunchServer, models_dir: Path, png: bytes
) -> None:
    server = launch_server(models_dir, "--default-model", "tiny", "--max-buffered-body-bytes", "300000")
    body = bytes(100_000)
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(server, f"127.0.0.{number}")) for number in (2, 3, 4)]
        for connection in connections:
            connection.sendall(ask_to_fit(body, 99_900))
        wait_until(lambda: gauge(server, BUFFERED) == 3 * 99_900, "all bodies have begun")
        assert_problem(server.client.post("/encode", content=body), 429, "overloaded", "bytes")
        connections[0].sendall(body[99_900:])
        assert read_to_end(connections[0]).startswith(b"HTTP/1.1 400 ")
        assert server.client.post("/encode", content=png).status_code == 200
    wait_until_idle(server)


@needs_addresses
def test_bodies_of_one_client_that_stall_keep_no_other_out(
    launch_server: LaunchServer, models_dir: Path, png: bytes
) -> None:
    server = launch_server(models_dir, "--default-model", "tiny", "--max-buffered-body-bytes", "300000")
    with ExitStack() as stack:

        def stall() -> socket.socket:
            connection = stack.enter_context(connect(server, "127.0.0.2"))
            connection.sendall(ask_to_fit(bytes(40_000), 39_900))
            return connection

        def have_begun(bodies: int) -> bool:
            return gauge(server, BUFFERED) == bodies * 39_900

        for number in range(1, 4):
            stall()
            wait_until(partial(have_begun, number), "the body has begun")
        response = read_to_end(stall())
        assert response.startswith(b"HTTP/1.1 429 ")
        assert b"of this client" in response
        assert_problem(server.client.post("/encode", content=bytes(100_000)), 400, "invalid-image")
        assert server.client.post("/encode", content=png).status_code == 200
    wait_until_idle(server)


def test_a_client_that_leaves_while_it_sends_frees_what_it_held(server: Server, png: bytes) -> None:
    before = outcomes(server, "incomplete-body")
    with ExitStack() as stack:
        for sent in (0, 1, len(png) - 1):
            stack.enter_context(connect(server)).sendall(ask_to_fit(png, sent))
        wait_until(lambda: gauge(server, BUFFERED) == len(png), "all bodies have begun")
    wait_until_idle(server)
    wait_until(lambda: outcomes(server, "incomplete-body") == before + 3, "all are counted")


def test_clients_that_leave_while_they_wait_or_are_served_free_their_places(
    server: Server, png: bytes, slow_png: bytes
) -> None:
    before = outcomes(server, "incomplete-body")
    with ExitStack() as stack:
        connections: list[socket.socket] = []
        for _ in range(60):
            connections.append(stack.enter_context(connect(server)))
            connections[-1].sendall(ask_to_fit(slow_png))
        wait_until(lambda: gauge(server, RUNNING) == 1 and gauge(server, QUEUED) > 40, "many wait")
    # Not all of them: some were being worked on, or had been, when their clients left.
    wait_until(lambda: outcomes(server, "incomplete-body") > before + 30, "most are counted")
    wait_until_idle(server)
    assert server.client.post("/encode", content=png).status_code == 200
