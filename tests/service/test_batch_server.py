"""Batches through the real server: in bounded memory, with slow clients and with clients that leave."""

import contextlib
import io
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from latentwire.encoder import Encoder
from latentwire.format.container import HEADER_BYTES
from latentwire.format.container_reader import FrameReader
from latentwire.format.container_writer import FrameWriter
from latentwire.format.npy import npy_header
from tests.service.client import JSON, OCTETS
from tests.service.launching import PATIENCE_S, LaunchServer, Server
from tests.service.raw_http import read_to_end
from tests.tiny_model import SHAPE, publish_tiny_model

NPY = "application/x-npy"
BLOCK = np.random.default_rng(0).integers(0, 256, (4096, *SHAPE.as_tuple()), dtype=np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("batch")
    return publish_tiny_model(folder / "models", folder / "scratch")


@pytest.fixture(scope="module")
def server(launch_server: LaunchServer, model: Path) -> Server:
    return launch_server(
        model.parent, "--max-batch-images", "1000000", "--max-concurrent-batches", "1", "--io-idle-timeout-s", "1"
    )


@pytest.fixture(scope="module")
def container(model: Path) -> bytes:
    return b"".join(Encoder.open(model).encode_batch([BLOCK] * 3, announced=3 * len(BLOCK)))


@pytest.fixture(scope="module")
def large(model: Path) -> bytes:
    """A container of more images than buffers between a server and a client hold."""
    return b"".join(Encoder.open(model).encode_batch([BLOCK] * 80, announced=80 * len(BLOCK)))


def array_of(blocks: int) -> Iterator[bytes]:
    yield npy_header(np.uint8, (blocks * len(BLOCK), *SHAPE.as_tuple()))
    for _ in range(blocks):
        yield BLOCK.tobytes()


def ask(path: str, content_type: str, *more: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: test", f"Content-Type: {content_type}", *more]
    return "\r\n".join([*lines, "", ""]).encode()


def _wait_for(server: Server, said: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while said not in server.output():
        assert time.monotonic() < deadline, f"the server did not say '{said}':\n{server.output()}"
        time.sleep(0.05)


def test_memory_does_not_grow_with_the_batch(server: Server) -> None:
    def peak_after(blocks: int) -> int:
        container = server.client.post("/encode/batch", content=array_of(blocks), headers={"Content-Type": NPY})
        assert container.status_code == 200
        with server.client.stream("POST", "/decode/batch", content=container.content) as answer:
            size = sum(map(len, answer.iter_raw()))
        assert size == len(next(array_of(blocks))) + blocks * BLOCK.nbytes
        return server.resident_bytes()

    small = peak_after(5)
    assert peak_after(100) - small < BLOCK.nbytes * 95 // 2


def test_an_answer_that_goes_wrong_late_is_cut_off(server: Server, container: bytes) -> None:
    reader = FrameReader()
    reader.feed(container)
    # Sound in every checksum; but the last chunk's lanes do not end where they must.
    writer = FrameWriter(container[2:6], announced=3 * len(BLOCK))
    hostile = writer.header()
    for frame in iter(reader.take, None):
        hostile += writer.chunk(frame.images, frame.body + (b"\0\0" if frame.number == 2 else b""))
    hostile += writer.end()
    for accept in (NPY, JSON):
        headers = {"Accept": accept}
        with server.client.stream("POST", "/decode/batch", content=hostile, headers=headers) as answer:
            assert answer.status_code == 200
            with pytest.raises(httpx.RemoteProtocolError):
                answer.read()
    assert "the response to a batch was cut off: chunk 2" in server.output()
    assert server.client.post("/decode/batch", content=container).status_code == 200


def test_a_body_that_does_not_go_on_is_given_up(server: Server, container: bytes) -> None:
    with socket.create_connection(server.address, PATIENCE_S) as connection:
        connection.sendall(ask("/decode/batch", OCTETS, "Content-Length: 1000", "Connection: close"))
        connection.sendall(container[: HEADER_BYTES + 5])
        assert read_to_end(connection).startswith(b"HTTP/1.1 408 ")
    assert server.client.post("/decode/batch", content=container).status_code == 200


def test_a_batch_that_comes_slowly_is_given_up_in_the_end(launch_server: LaunchServer, model: Path) -> None:
    server = launch_server(model.parent, "--max-concurrent-batches", "1", "--batch-timeout-s", "1")
    with socket.create_connection(server.address, PATIENCE_S) as connection:
        connection.sendall(ask("/encode/batch", NPY, "Content-Length: 1000000"))
        connection.settimeout(0.05)
        answer, body = b"", b"".join(array_of(1))
        for sent in range(len(body)):
            connection.sendall(body[sent : sent + 1])
            with contextlib.suppress(TimeoutError):
                answer = connection.recv(1 << 16)
                break
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert server.client.post("/encode/batch", content=b"".join(array_of(1)), headers={"Content-Type": NPY}).is_success


def test_a_client_that_takes_nothing_is_given_up(launch_server: LaunchServer, model: Path, large: bytes) -> None:
    server = launch_server(
        model.parent, "--max-concurrent-batches", "1", "--io-idle-timeout-s", "1", "--max-batch-images", "1000000"
    )
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(server.address)
        connection.sendall(ask("/decode/batch", OCTETS, f"Content-Length: {len(large)}") + large)
        _wait_for(server, "the response to a batch was cut off")
    assert server.client.post("/decode/batch", content=large[:10]).status_code == 400


def test_a_client_that_reads_too_late_for_a_long_answer_is_not_left_waiting(
    launch_server: LaunchServer, model: Path
) -> None:
    server = launch_server(model.parent, "--max-body-bytes", "100000", "--io-idle-timeout-s", "1")
    body = b"".join(array_of(12))
    with socket.socket() as connection:
        connection.settimeout(PATIENCE_S)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        connection.connect(server.address)
        # The server may cut the connection while the client still sends.
        with contextlib.suppress(ConnectionError):
            connection.sendall(ask("/encode/batch", NPY, f"Content-Length: {len(body)}", f"Accept: {JSON}") + body)
        # How much the kernel holds for a client that does not read differs, so the time to be late is waited for.
        _wait_for(server, "the response to a batch was cut off")
        answer = read_to_end(connection)
    assert not answer.endswith(b"0\r\n\r\n")


def test_a_client_that_leaves_frees_the_only_place(server: Server, container: bytes) -> None:
    for sent in (0, HEADER_BYTES + 100, len(container)):
        with socket.create_connection(server.address, PATIENCE_S) as connection:
            length = f"Content-Length: {len(container)}"
            connection.sendall(ask("/decode/batch", OCTETS, length) + container[:sent])
            time.sleep(0.05)
    deadline = time.monotonic() + PATIENCE_S
    while server.client.post("/decode/batch", content=container).status_code == 429 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert server.client.post("/decode/batch", content=container).status_code == 200


def test_one_batch_more_than_the_setting_is_turned_away_and_single_images_are_not(
    launch_server: LaunchServer, model: Path, png: bytes
) -> None:
    server = launch_server(model.parent, "--max-concurrent-batches", "1")
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with socket.create_connection(server.address, PATIENCE_S) as holder:
            holder.sendall(ask("/encode/batch", NPY, "Content-Length: 1000"))
            time.sleep(0.05)
            answer = server.client.post("/encode/batch", content=b"".join(array_of(0)), headers={"Content-Type": NPY})
            if answer.status_code == 200:  # it came before the holder, which was turned away perhaps
                assert time.monotonic() < deadline
                continue
            assert answer.status_code == 429
            assert answer.headers["retry-after"]
            assert server.client.post("/encode", content=png).status_code == 200
            return


def test_a_client_may_send_everything_before_it_reads_anything(server: Server) -> None:
    blocks = 40
    body = b"".join(array_of(blocks))
    answer = server.client.post("/encode/batch", content=body, headers={"Content-Type": NPY})
    back = server.client.post("/decode/batch", content=answer.content)
    array = np.load(io.BytesIO(back.content), allow_pickle=False)
    assert array.shape == (blocks * len(BLOCK), *SHAPE.as_tuple())
    assert np.array_equal(array[: len(BLOCK)], array[-len(BLOCK) :])
