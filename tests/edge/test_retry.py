"""Two replicas behind the edge: no request is lost when one of them dies, stops or starts again."""

import signal
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress

import httpx
import pytest

from tests.edge.test_requests import StartEdge
from tests.service.launching import PATIENCE_S, Server, wait_until
from tests.service.load import Request, load

Launch = Callable[..., Server]
CLIENTS = 6


@pytest.fixture
def requests(server: Server, png: bytes, encoded: httpx.Response) -> list[Request]:
    picture = server.client.post("/decode", content=encoded.content, headers={"Accept": "image/png"}).content
    return [Request("/encode", png, encoded.content), Request("/decode", encoded.content, picture, "image/png")]


def served(server: Server) -> int:
    return server.output().count('" 200')


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "told to stop"])
def test_no_request_is_lost_when_a_replica_ends(
    launch: Launch, start_edge: StartEdge, requests: list[Request], number: signal.Signals
) -> None:
    first, second = launch("--drain-period-s", "1"), launch()
    edge = start_edge([first.address, second.address])
    with load(edge.address, requests, CLIENTS) as seen:
        wait_until(lambda: seen.answered() >= 200, "200 requests are answered")
        assert served(first) > 20
        assert served(second) > 20
        first.process.send_signal(number)
        first.process.wait(PATIENCE_S)
        before = seen.answered()
        wait_until(lambda: seen.answered() >= before + 200, "200 more requests are answered")
        again = launch("--port", str(first.address[1]))
        before = served(again)
        wait_until(lambda: served(again) >= before + 50, "the replica that has started again answers")
    assert not seen.wrong
    assert set(seen.ends) == {"answered"}


def test_a_request_that_a_replica_dies_of_is_repeated_a_few_times_only(start_edge: StartEdge, png: bytes) -> None:
    taken: list[bytes] = []

    def die(listener: socket.socket) -> None:
        """Close each connection when its request has come, as a process that dies does."""
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    taken.append(connection.recv(1 << 16))

    with ExitStack() as stack:
        addresses = []
        for _ in range(8):
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            addresses.append(listener.getsockname())
            threading.Thread(target=die, args=(listener,), daemon=True).start()
        edge = start_edge(addresses)
        response = edge.client.post("/encode", content=png)
        assert response.status_code == 503
        assert response.json()["code"] == "not-ready"
    assert len(taken) == 4


def test_a_replica_that_is_not_ready_is_passed_over(launch: Launch, start_edge: StartEdge) -> None:
    first, second = launch("--drain-period-s", "3600", "--graceful-shutdown-timeout-s", "3600"), launch()
    edge = start_edge([first.address, second.address])
    first.process.send_signal(signal.SIGTERM)
    wait_until(lambda: first.client.get("/readyz").status_code == 503, "the first replica is not ready")
    for _ in range(4):
        assert edge.client.get("/readyz").status_code == 200
    first.process.kill()
    first.process.wait()
