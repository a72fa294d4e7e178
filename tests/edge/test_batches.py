"""Batches through the edge stream both ways."""

import socket
import time
from collections.abc import Callable, Iterator

import httpx
import numpy as np

from latentwire.format.npy import npy_header
from tests.edge.launching import Edge
from tests.edge.test_requests import StartEdge
from tests.service.launching import PATIENCE_S, Server
from tests.soak.raw_responses import received as responses
from tests.tiny_model import SHAPE

NPY = "application/x-npy"
BLOCK = np.random.default_rng(0).integers(0, 256, (4096, *SHAPE.as_tuple()), dtype=np.uint8)
BLOCKS = 20


def array_of(blocks: int) -> Iterator[bytes]:
    yield npy_header(np.uint8, (blocks * len(BLOCK), *SHAPE.as_tuple()))
    for _ in range(blocks):
        yield BLOCK.tobytes()


def test_a_batch_and_its_container_pass(edge: Edge, server: Server) -> None:
    headers = {"Content-Type": NPY}
    container = edge.client.post("/encode/batch", content=array_of(BLOCKS), headers=headers)
    assert container.status_code == 200
    direct = server.client.post("/encode/batch", content=array_of(BLOCKS), headers=headers)
    assert container.content == direct.content
    images = edge.client.post("/decode/batch", content=container.content)
    assert images.content == server.client.post("/decode/batch", content=container.content).content


def test_a_response_begins_while_the_body_still_comes(launch: Callable[..., Server], start_edge: StartEdge) -> None:
    # A response that is longer than this is not held until it is complete.
    server = launch("--max-body-bytes", "1000")
    edge = start_edge([server.address])
    pieces = list(array_of(BLOCKS))
    with edge.connect() as connection:
        fields = [f"Content-Type: {NPY}", f"Accept: {NPY}", f"Content-Length: {sum(map(len, pieces))}"]
        lines = ["POST /encode/batch HTTP/1.1", "Host: test", "Connection: close", *fields]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        for piece in pieces[:-1]:
            connection.sendall(piece)
        connection.settimeout(PATIENCE_S)
        beginning = connection.recv(1 << 16)
        assert beginning.startswith(b"HTTP/1.1 200 ")
        connection.sendall(pieces[-1])
        (response,) = responses(connection, beginning)
    whole = server.client.post("/encode/batch", content=array_of(BLOCKS), headers={"Content-Type": NPY, "Accept": NPY})
    assert response.content == whole.content


def test_a_batch_that_is_refused_early_is_answered(launch: Callable[..., Server], start_edge: StartEdge) -> None:
    server = launch("--max-batch-images", "1")
    edge = start_edge([server.address])
    # More than the buffers between a client and the service hold: the client is still sending when it is refused.
    response = edge.client.post("/encode/batch", content=array_of(500), headers={"Content-Type": NPY})
    assert response.status_code == 413
    assert response.json()["code"] == "batch-too-large"
    # The rest of the body would be taken for the next request.
    assert response.headers["connection"] == "close"


def test_a_client_that_leaves_ends_its_batch(launch: Callable[..., Server], start_edge: StartEdge) -> None:
    server = launch("--max-concurrent-batches", "1")
    edge = start_edge([server.address])
    with edge.connect() as connection:
        connection.sendall(b"POST /encode/batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-npy\r\n")
        connection.sendall(b"Content-Length: 1000000\r\n\r\n" + next(array_of(5)))
        # Another batch before this one has the only place would take it, and this one would be refused.
        deadline = time.monotonic() + PATIENCE_S
        while "latentwire_batches_in_flight 1.0" not in server.client.get("/metrics").text:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert ask(edge).status_code == 429
        connection.shutdown(socket.SHUT_RDWR)
    deadline = time.monotonic() + PATIENCE_S
    while (response := ask(edge)).status_code == 429 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert response.status_code == 200


def ask(edge: Edge) -> httpx.Response:
    return edge.client.post("/encode/batch", content=b"".join(array_of(1)), headers={"Content-Type": NPY})
