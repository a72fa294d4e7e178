"""Slow and idle clients: the edge ends them, and the service never sees them."""

import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import httpx
import pytest

from tests.edge.test_requests import StartEdge, head_of
from tests.service.client import OCTETS
from tests.service.launching import PATIENCE_S, Server

IDLE = 2000


def is_closed(connection: socket.socket) -> bool:
    """Wait until the other side closes the connection, which it may do with a reset, without a response."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


@contextmanager
def open_files(count: int) -> Iterator[None]:
    """Allow this process to open `count` files, or skip the test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"this process may open {hard} files, fewer than {count}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_headers_that_do_not_end_are_not_waited_for(start_edge: StartEdge) -> None:
    edge = start_edge(HEADER_TIMEOUT_S=1)
    for beginning in (b"", b"GET /livez HT", b"GET /livez HTTP/1.1\r\nHost: test\r\nX-Slow: "):
        with edge.connect() as connection:
            connection.sendall(beginning)
            assert is_closed(connection)


def test_headers_have_a_time_for_the_whole_of_them(start_edge: StartEdge) -> None:
    edge = start_edge(HEADER_TIMEOUT_S=1)
    with edge.connect() as connection, suppress(ConnectionError):
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: test\r\nX-Slow: ")
        connection.settimeout(0.1)
        while True:
            # A byte each 0.1 s, until the edge has closed the connection.
            connection.sendall(b"x")
            with suppress(TimeoutError):
                assert connection.recv(1) == b""
                break


def test_slow_bodies_hold_nothing_in_the_service(
    launch: Callable[..., Server], start_edge: StartEdge, png: bytes, encoded: httpx.Response
) -> None:
    server = launch("--max-concurrency", "1", "--max-queue-size", "0")
    edge = start_edge([server.address], IO_IDLE_TIMEOUT_S=1)
    with ExitStack() as stack:
        slow = [stack.enter_context(edge.connect()) for _ in range(20)]
        for connection in slow:
            connection.sendall(head_of("/encode", len(png)) + png[:-1])
        response = edge.client.post("/encode", content=png, headers={"Accept": OCTETS})
        assert (response.status_code, response.content) == (200, encoded.content)
        assert all(is_closed(connection) for connection in slow)
    server.stop()
    assert server.output().count("POST /encode") == 1


def test_a_kept_connection_is_closed_when_it_is_idle(start_edge: StartEdge) -> None:
    edge = start_edge(KEEP_ALIVE_TIMEOUT_S=1)
    with edge.connect() as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n")
        received = b""
        while piece := connection.recv(1 << 16):
            received += piece
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("places", [4096, 512], ids=["enough places", "few places"])
def test_idle_connections_keep_nobody_out(start_edge: StartEdge, places: int) -> None:
    edge = start_edge(EDGE_MAX_CONNECTIONS=places, HEADER_TIMEOUT_S=PATIENCE_S)
    with open_files(IDLE + 200), ExitStack() as stack:
        for _ in range(IDLE):
            stack.enter_context(edge.connect())
        for _ in range(5):
            with httpx.Client(base_url=edge.client.base_url, timeout=PATIENCE_S) as client:
                assert client.get("/livez").json() == {"status": "alive"}
