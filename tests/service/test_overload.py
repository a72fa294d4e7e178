"""More than the real server can do: what it turns away, what it holds, and who frees a place by leaving."""

import io
import re
import socket
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.service.client import assert_problem
from tests.service.launching import PATIENCE_S, Server
from tests.service.server.test_protocol import PROBES, assert_answers_within_a_second, connect, read_to_end, wait_until
from tests.service.server.test_server import launch

__all__ = ["launch"]


@pytest.fixture(scope="module")
def server(launch: Callable[..., Server], models_dir: Path) -> Server:
    """One request is worked on at a time, and many may wait for long."""
    limits = ("--max-concurrency", "1", "--max-queue-size", "64", "--queue-timeout-s", "600")
    return launch(models_dir, "--default-model", "tiny", *limits)


@pytest.fixture(scope="module")
def slow_png() -> bytes:
    """A few bytes that take a tenth of a second: the most pixels that are allowed."""
    buffer = io.BytesIO()
    Image.new("RGBA", (2048, 2048)).save(buffer, "PNG")
    return buffer.getvalue()


def ask_to_fit(body: bytes, sent: int | None = None) -> bytes:
    head = f"POST /encode?fit=resize HTTP/1.1\r\nHost: test\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body[:sent]


def gauge(server: Server, name: str) -> int:
    (value,) = re.findall(rf"^latentwire_{name} (\S+)$", server.client.get("/metrics").text, re.MULTILINE)
    return int(float(value))


def outcomes(server: Server, outcome: str) -> int:
    line = rf'^latentwire_http_requests_total{{[^}}]*outcome="{outcome}",route="/encode"[^}}]*}} (\S+)$'
    return sum(int(float(value)) for value in re.findall(line, server.client.get("/metrics").text, re.MULTILINE))


def wait_until_idle(server: Server) -> None:
    for name in ("requests_in_flight", "requests_queued", "body_buffered_bytes"):
        wait_until(lambda name=name: gauge(server, name) == 0)  # type: ignore[misc]


def test_a_full_queue_turns_away_at_once_while_probes_answer(
    launch: Callable[..., Server], models_dir: Path, png: bytes, slow_png: bytes
) -> None:
    server = launch(models_dir, "--default-model", "tiny", "--max-concurrency", "1", "--max-queue-size", "1")
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

        wait_until(turned_away)
        assert_problem(refused[-1], 429, "overloaded")
        assert refused[-1].headers["retry-after"] == "1"
        for path in PROBES:
            assert_answers_within_a_second(server, path)
    finally:
        enough.set()
        for thread in threads:
            thread.join()
    assert statuses.keys() == {200, 429}
    assert server.client.post("/encode", content=png).status_code == 200
    assert gauge(server, "requests_queued") == gauge(server, "requests_in_flight") == 0


def test_a_turn_that_does_not_come_in_time_is_given_up(
    launch: Callable[..., Server], models_dir: Path, slow_png: bytes
) -> None:
    limits = ("--max-concurrency", "1", "--max-queue-size", "200", "--queue-timeout-s", "1")
    server = launch(models_dir, "--default-model", "tiny", *limits)
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(server)) for _ in range(150)]
        for connection in connections:
            connection.sendall(ask_to_fit(slow_png))
        answers = Counter(read_to_end(connection)[9:12] for connection in connections)
    assert answers.keys() == {b"200", b"429"}
    assert gauge(server, "requests_queued") == gauge(server, "body_buffered_bytes") == 0


def test_slow_senders_keep_nobody_out(launch: Callable[..., Server], models_dir: Path, png: bytes) -> None:
    server = launch(models_dir, "--default-model", "tiny", "--max-concurrency", "1", "--max-queue-size", "0")
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(server)) for _ in range(50)]
        for connection in connections:
            connection.sendall(ask_to_fit(png, 20))
        wait_until(lambda: gauge(server, "body_buffered_bytes") == 50 * 20)
        assert server.client.post("/encode", content=png).status_code == 200
        connections[0].sendall(png[20:])
        assert read_to_end(connections[0]).startswith(b"HTTP/1.1 200 ")
    wait_until_idle(server)


def test_the_bytes_of_all_bodies_together_are_bounded(
    launch: Callable[..., Server], models_dir: Path, png: bytes
) -> None:
    server = launch(models_dir, "--default-model", "tiny", "--max-buffered-body-bytes", "300000")
    body = bytes(100_000)
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(server)) for _ in range(3)]
        for connection in connections:
            connection.sendall(ask_to_fit(body, 99_900))
        wait_until(lambda: gauge(server, "body_buffered_bytes") == 3 * 99_900)
        assert_problem(server.client.post("/encode", content=body), 429, "overloaded", "bytes")
        connections[0].sendall(body[99_900:])
        assert read_to_end(connections[0]).startswith(b"HTTP/1.1 400 ")
        assert server.client.post("/encode", content=png).status_code == 200
    wait_until_idle(server)


def test_a_client_that_leaves_while_it_sends_frees_what_it_held(server: Server, png: bytes) -> None:
    before = outcomes(server, "incomplete-body")
    with ExitStack() as stack:
        for sent in (0, 1, len(png) - 1):
            stack.enter_context(connect(server)).sendall(ask_to_fit(png, sent))
        wait_until(lambda: gauge(server, "body_buffered_bytes") == len(png))
    wait_until_idle(server)
    wait_until(lambda: outcomes(server, "incomplete-body") == before + 3)


def test_clients_that_leave_while_they_wait_or_are_served_free_their_places(
    server: Server, png: bytes, slow_png: bytes
) -> None:
    before = outcomes(server, "incomplete-body")
    with ExitStack() as stack:
        connections: list[socket.socket] = []
        for _ in range(60):
            connections.append(stack.enter_context(connect(server)))
            connections[-1].sendall(ask_to_fit(slow_png))
        wait_until(lambda: gauge(server, "requests_in_flight") == 1 and gauge(server, "requests_queued") > 40)
    # Not all of them: some were being worked on, or had been, when their clients left.
    wait_until(lambda: outcomes(server, "incomplete-body") > before + 30)
    wait_until_idle(server)
    assert server.client.post("/encode", content=png).status_code == 200
