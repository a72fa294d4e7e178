"""What connections cost the real server: slow, silent and endless clients, and too many of them."""

import asyncio
import json
import re
import resource
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import cast

import httpx
import pytest
import uvicorn
from uvicorn.server import ServerState

from service.http.problems import PROBLEM_MEDIA_TYPE
from service.observability.metrics import Metrics
from service.server.protocol import MAX_PIPELINED, BoundedProtocol, bounded_protocol
from service.settings import Settings
from tests.service.launching import PATIENCE_S, Server
from tests.service.server.test_server import launch

__all__ = ["launch"]

GET = b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n"
POST = b"POST /encode HTTP/1.1\r\nHost: test\r\n"
PROBES = ("/livez", "/readyz", "/metrics")
BIG_FILE = b"GET /static-offline-docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: test\r\n\r\n"


@pytest.fixture(scope="module")
def hasty(launch: Callable[..., Server], models_dir: Path) -> Server:
    """A server that waits for a second only."""
    times = (
        "--header-timeout-s",
        "1",
        "--keep-alive-timeout-s",
        "1",
        "--io-idle-timeout-s",
        "1",
        "--body-timeout-s",
        "2",
    )
    return launch(models_dir, "--default-model", "tiny", "--max-body-bytes", "1000000", *times)


@pytest.fixture(scope="module")
def patient(launch: Callable[..., Server], models_dir: Path) -> Server:
    """A server that waits for an hour."""
    times = ("--header-timeout-s", "3600", "--keep-alive-timeout-s", "3600", "--io-idle-timeout-s", "3600")
    return launch(models_dir, "--default-model", "tiny", *times)


def connect(server: Server) -> socket.socket:
    return socket.create_connection(server.address, PATIENCE_S)


def read_to_end(connection: socket.socket) -> bytes:
    data = b""
    try:
        while piece := connection.recv(1 << 16):
            data += piece
    except ConnectionResetError:
        # What the server had not read when it closed the connection.
        pass
    return data


def read_answer(connection: socket.socket) -> bytes:
    """Read one answer that has a Content-Length, and nothing of the next."""
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        assert byte, answer
        answer += byte
    (length,) = re.findall(rb"content-length: (\d+)", answer.lower())
    return answer + connection.recv(int(length), socket.MSG_WAITALL)


def is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def send_without_end(connection: socket.socket, piece: bytes) -> bytes:
    """Send the same again and again until the server has closed the connection; return its answer."""
    deadline = time.monotonic() + PATIENCE_S
    try:
        while time.monotonic() < deadline:
            connection.sendall(piece)
            time.sleep(0.001)
    except (BrokenPipeError, ConnectionResetError):
        return read_to_end(connection)
    raise AssertionError("the server takes whatever comes")


def assert_raw_problem(answer: bytes, status: int, code: str) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), answer[:500]
    lines = head.lower().split(b"\r\n")
    assert f"content-type: {PROBLEM_MEDIA_TYPE}".encode() in lines
    assert b"x-content-type-options: nosniff" in lines
    assert b"connection: close" in lines
    problem = json.loads(body)
    assert (problem["status"], problem["code"]) == (status, code)


def assert_answers_within_a_second(server: Server, path: str) -> None:
    """By the best of several tries, as the machine may be busy with other things."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with httpx.Client(base_url=server.client.base_url, timeout=1) as client:
                assert client.get(path).status_code == 200
                return
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("said", [b"", b"POST /encode HT"], ids=["nothing", "half a line"])
def test_200_connections_that_send_nothing_keep_no_probe_waiting(patient: Server, said: bytes) -> None:
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(patient)) for _ in range(200)]
        for connection in connections:
            connection.sendall(said)
        for path in PROBES:
            assert_answers_within_a_second(patient, path)
        assert not any(is_closed(connection) for connection in connections)


def test_a_silent_connection_is_closed(hasty: Server) -> None:
    with connect(hasty) as connection:
        assert read_to_end(connection) == b""


@pytest.mark.parametrize("head", [b"G", GET[:-2], POST], ids=["a letter", "all but the end", "a post"])
def test_a_head_that_does_not_go_on_is_given_up(hasty: Server, head: bytes) -> None:
    with connect(hasty) as connection:
        connection.sendall(head)
        assert_raw_problem(read_to_end(connection), 408, "request-timeout")


def test_a_head_that_comes_byte_by_byte_is_given_up(hasty: Server) -> None:
    with connect(hasty) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nA: ")
        connection.settimeout(0.1)
        answer = b""
        while not answer:
            connection.sendall(b"a")
            try:
                answer = connection.recv(1 << 16)
            except TimeoutError:
                continue
        connection.settimeout(PATIENCE_S)
        assert_raw_problem(answer + read_to_end(connection), 408, "request-timeout")


@pytest.mark.parametrize("word", [b"", b"\r\n"], ids=["silent", "empty lines"])
def test_a_connection_without_another_request_is_closed(hasty: Server, word: bytes) -> None:
    with connect(hasty) as connection:
        connection.sendall(GET)
        assert read_answer(connection).startswith(b"HTTP/1.1 200 ")
        deadline = time.monotonic() + PATIENCE_S
        while not is_closed(connection) and time.monotonic() < deadline:
            try:
                connection.send(word)
            except (BrokenPipeError, ConnectionResetError):
                return
            time.sleep(0.1)
        assert time.monotonic() < deadline


@pytest.mark.parametrize(
    "head",
    [
        b"GET /livez HTTP/1.1\r\nA: " + b"a" * 40_000 + b"\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nA: " + b"a" * 400_000,
        b"GET /livez HTTP/1.1\r\n" + (b"A: " + b"a" * 1000 + b"\r\n") * 40 + b"\r\n",
        b"GET /livez HTTP/1.1\r\n" + b"A: a\r\n" * 101 + b"\r\n",
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /" + b"a" * 400_000,
        POST + b"Content-Length: 1000\r\nA: " + b"a" * 40_000 + b"\r\n\r\n" + b"a" * 1000,
    ],
    ids=["long header", "endless header", "long headers", "many headers", "long address", "endless address", "post"],
)
def test_a_large_head_is_refused(hasty: Server, head: bytes) -> None:
    with connect(hasty) as connection:
        connection.sendall(head)
        assert_raw_problem(read_to_end(connection), 431, "headers-too-large")


def test_a_head_up_to_the_limit_is_taken(hasty: Server) -> None:
    for more in (b"A: " + b"a" * 30_000 + b"\r\n", b"A: a\r\n" * 98):
        with connect(hasty) as connection:
            connection.sendall(GET[:-2] + more + b"Connection: close\r\n\r\n")
            assert read_to_end(connection).startswith(b"HTTP/1.1 200 ")


def test_a_long_body_that_comes_with_its_head_does_not_count_as_head(hasty: Server) -> None:
    with connect(hasty) as connection:
        connection.sendall(POST + b"Content-Length: 200000\r\nConnection: close\r\n\r\n" + bytes(200_000))
        assert_raw_problem(read_to_end(connection), 400, "invalid-image")


@pytest.mark.parametrize(
    ("begun", "piece"),
    [(b"1;", b"e" * 10_000), (b"1\r\na\r\n0\r\n", b"T: t\r\n" * 1000), (b"1\r\na\r\n0\r\nT: ", b"t" * 10_000)],
    ids=["of a chunk's extension", "of trailers", "of a trailer"],
)
def test_there_is_an_end(hasty: Server, begun: bytes, piece: bytes) -> None:
    before = hasty.resident_bytes()
    with connect(hasty) as connection:
        connection.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n" + begun)
        send_without_end(connection, piece)
    assert hasty.resident_bytes() - before < 16 << 20


def test_what_comes_after_an_answer_is_not_read_for_ever(hasty: Server) -> None:
    with connect(hasty) as connection:
        connection.sendall(b"POST /nowhere HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n")
        answer = send_without_end(connection, b"2710\r\n" + bytes(10_000) + b"\r\n")
        assert answer.startswith(b"HTTP/1.1 404 ") or not answer


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (b"POST /nowhere HTTP/1.1\r\nConnection: close\r\nContent-Length: 20000000\r\n\r\n", 404, "not-found"),
        (b"POST /nowhere HTTP/1.0\r\nContent-Length: 20000000\r\n\r\n", 404, "not-found"),
        (POST + b"Connection: close\r\nContent-Length: 20000000\r\n\r\n", 413, "body-too-large"),
        (POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n1312d00\r\n", 413, "body-too-large"),
        (POST + b"A: a\r\n" * 101 + b"Content-Length: 20000000\r\n\r\n", 431, "headers-too-large"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nno chunk\r\n", 400, "invalid-request"),
        (b"\0", 400, "invalid-request"),
    ],
    ids=["no route", "HTTP/1.0", "length", "chunk", "head", "no chunk", "no HTTP"],
)
def test_a_client_that_sends_everything_before_it_reads_gets_its_early_answer(
    patient: Server, head: bytes, status: int, code: str
) -> None:
    with connect(patient) as connection:
        connection.sendall(head)
        piece = bytes(1 << 18)
        for _ in range(20_000_000 // len(piece)):
            connection.sendall(piece)
            time.sleep(0.001)
        answer = b"".join(iter(partial(connection.recv, 1 << 16), b""))
    assert_raw_problem(answer, status, code)


@pytest.mark.parametrize("limit", [("--body-timeout-s", "1"), ("--max-batch-bytes", "1000000")])
def test_what_comes_after_the_last_answer_is_not_read_for_ever(
    launch: Callable[..., Server], models_dir: Path, limit: tuple[str, str]
) -> None:
    times = ("--header-timeout-s", "3600", "--keep-alive-timeout-s", "3600", "--io-idle-timeout-s", "3600")
    server = launch(models_dir, "--default-model", "tiny", "--max-body-bytes", "1000000", *times, *limit)
    with connect(server) as connection:
        connection.sendall(b"POST /nowhere HTTP/1.0\r\nContent-Length: 1000000000000\r\n\r\n")
        send_without_end(connection, bytes(10_000))


def test_a_client_that_is_silent_after_its_last_answer_is_closed_and_counted_until_then(hasty: Server) -> None:
    before = metric(hasty, 'connections_closed_total{reason="lingering-timeout"}')
    with connect(hasty) as connection:
        connection.sendall(b"POST /nowhere HTTP/1.0\r\nContent-Length: 1000\r\n\r\n")
        assert read_to_end(connection).startswith(b"HTTP/1.1 404 ")
        assert metric(hasty, "connections") == 2
        wait_until(lambda: metric(hasty, 'connections_closed_total{reason="lingering-timeout"}') == before + 1)
    wait_until(lambda: metric(hasty, "connections") == 1)


def test_one_connection_too_many_takes_the_place_of_one_that_has_its_last_answer(
    launch: Callable[..., Server], models_dir: Path
) -> None:
    server = launch(models_dir, "--default-model", "tiny", "--max-connections", "2", "--header-timeout-s", "3600")
    with connect(server) as connection:
        connection.sendall(b"POST /nowhere HTTP/1.0\r\nContent-Length: 1000\r\n\r\n")
        assert read_to_end(connection).startswith(b"HTTP/1.1 404 ")
        with connect(server) as other:
            other.sendall(GET)
            assert read_answer(other).startswith(b"HTTP/1.1 200 ")
    assert metric(server, 'connections_closed_total{reason="evicted"}')


def test_a_batch_that_is_no_http_any_more_frees_its_place_at_once(
    launch: Callable[..., Server], models_dir: Path
) -> None:
    server = launch(
        models_dir, "--default-model", "tiny", "--max-concurrent-batches", "1", "--header-timeout-s", "3600"
    )
    npy = b"POST /encode/batch HTTP/1.1\r\nContent-Type: application/x-npy\r\nTransfer-Encoding: chunked\r\n\r\n"
    with connect(server) as connection:
        connection.sendall(npy + b"1\r\n\x93\r\n")
        wait_until(lambda: metric(server, "batches") == 1)
        connection.sendall(b"no chunk\r\n")
        assert_raw_problem(read_to_end(connection), 400, "invalid-request")
        # It has not closed its side.
        wait_until(lambda: metric(server, "batches") == 0)
        assert metric(server, "connections") == 2


def test_an_early_answer_is_not_lost_over_tls(
    launch: Callable[..., Server],
    models_dir: Path,
    make_certificate: Callable[[str], tuple[Path, Path]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    certificate, key = make_certificate("tls")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    files = ("--tls-certificate", str(certificate), "--tls-key", str(key))
    server = launch(models_dir, "--default-model", "tiny", "--header-timeout-s", "1", *files)
    context = ssl.create_default_context(cafile=str(certificate))
    with context.wrap_socket(connect(server), server_hostname="localhost") as connection:
        connection.sendall(b"POST /nowhere HTTP/1.0\r\nContent-Length: 20000000\r\n\r\n")
        for _ in range(20):
            connection.sendall(bytes(1_000_000))
        assert_raw_problem(read_to_end(connection), 404, "not-found")


def test_a_connection_goes_on_after_a_body_that_was_refused(hasty: Server) -> None:
    with connect(hasty) as connection:
        connection.sendall(b"POST /nowhere HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000))
        assert read_answer(connection).startswith(b"HTTP/1.1 404 ")
        connection.sendall(GET)
        assert read_answer(connection).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("every_s", [0.1, PATIENCE_S])
def test_a_body_that_comes_slowly_is_given_up(hasty: Server, every_s: float) -> None:
    for length in (b"Content-Length: 1000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"):
        with connect(hasty) as connection:
            connection.sendall(POST + length)
            connection.settimeout(every_s)
            answer = b""
            while not answer:
                connection.sendall(b"1\r\na\r\n" if b"chunked" in length else b"a")
                try:
                    answer = connection.recv(1 << 16)
                except TimeoutError:
                    continue
            connection.settimeout(PATIENCE_S)
            assert_raw_problem(answer + read_to_end(connection), 408, "request-timeout")


def test_requests_are_answered_in_their_order_up_to_a_number_at_once(hasty: Server) -> None:
    with connect(hasty) as connection:
        connection.sendall((GET + b"GET /nowhere HTTP/1.1\r\n\r\n") * (MAX_PIPELINED // 2))
        statuses = re.findall(rb"HTTP/1\.1 (\d{3}) ", read_to_end(connection))
        assert statuses == [b"200", b"404"] * (MAX_PIPELINED // 2)
    with connect(hasty) as connection:
        connection.sendall(GET * 1000)
        assert_raw_problem(read_to_end(connection), 400, "invalid-request")


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"garbage\r\n\r\n", b"GET / HTTP/3.7\r\n\r\n"]
)
def test_what_is_not_http_is_told_so(hasty: Server, data: bytes) -> None:
    with connect(hasty) as connection:
        connection.sendall(data)
        assert_raw_problem(read_to_end(connection), 400, "invalid-request")


def test_a_request_to_speak_another_protocol_is_answered_in_this_one(hasty: Server, png: bytes) -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n"
    length = f"Content-Length: {len(png)}\r\n\r\n".encode()
    chunked = b"Transfer-Encoding: chunked\r\n\r\n"
    chunks = f"{len(png):x}\r\n".encode() + png + b"\r\n0\r\n\r\n"
    with connect(hasty) as connection:
        for request in (POST + upgrade + length + png, POST + upgrade + chunked + chunks, GET[:-2] + upgrade + b"\r\n"):
            for cut in (len(request), len(request) - 50, len(POST)):
                connection.sendall(request[:cut])
                time.sleep(0.01)
                connection.sendall(request[cut:])
                assert read_answer(connection).startswith(b"HTTP/1.1 200 ")
        key = (
            b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + b"a" * 22
        )
        connection.sendall(GET[:-2] + key + b"==\r\n\r\n")
        assert read_answer(connection).startswith(b"HTTP/1.1 200 ")
        connection.sendall((POST + upgrade + length + png) * 2 + GET)
        for _ in range(3):
            assert read_answer(connection).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_leaves_after_several_requests_leaves_no_fault(hasty: Server) -> None:
    for _ in range(10):
        with connect(hasty) as connection:
            connection.sendall(BIG_FILE * 5)
    assert_answers_within_a_second(hasty, "/livez")
    assert "Exception" not in hasty.output()


def test_a_client_that_does_not_take_its_answers_is_given_up(hasty: Server) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(PATIENCE_S)
        connection.connect(hasty.address)
        connection.sendall(BIG_FILE * MAX_PIPELINED)
        poller = select.poll()
        poller.register(connection, 0)
        assert poller.poll(1000 * PATIENCE_S), "the connection is open still"


async def _no_app(scope: object, receive: object, send: object) -> None:
    pass


class Wire(asyncio.Transport):
    """A connection whose client acknowledges what the test says, of an answer that is longer than buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.acked_bytes = 0
        self.unsent_bytes = 100_000
        self.aborted = False
        self.has_socket = True

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self if name == "socket" and self.has_socket else default

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", 1

    getpeername = getsockname

    def getsockopt(self, *_: int) -> bytes:
        return struct.pack("=120xQ", self.acked_bytes)

    def setsockopt(self, *_: object) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes

    def is_closing(self) -> bool:
        return self.aborted

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def write(self, data: object) -> None:
        pass

    def abort(self) -> None:
        self.aborted = True


@pytest.mark.parametrize(
    ("acked_before", "acked", "unsent", "given_up_after"),
    [
        (1000, 0, 0, 30),
        (1000, 1, 0, 61),
        (1000, 125, 0, 120),
        (1000, 250, 0, None),
        # The kernel took a part of a megabyte in one second of eighty, and the client ten kilobytes in each.
        (1000, 10_000, 0, None),
        # Where nothing is known of what is acknowledged, what leaves the buffer tells whether any is.
        (0, 0, 0, 30),
        (0, 0, -1, None),
    ],
)
def test_a_client_that_takes_an_answer_slowly_is_given_up_by_what_it_acknowledges(
    acked_before: int, acked: int, unsent: int, given_up_after: int | None
) -> None:
    bitstream = Wire()
    bitstream.acked_bytes = acked_before
    with unread_answer(bitstream) as connection:
        for second in range(1000):
            connection.look(second)
            if bitstream.aborted:
                break
            bitstream.acked_bytes += acked
            bitstream.unsent_bytes += unsent
    assert (second if bitstream.aborted else None) == given_up_after


def test_a_connection_that_has_no_socket_any_more_is_given_up_too() -> None:
    bitstream = Wire()
    with unread_answer(bitstream) as connection:
        connection.look(0)
        bitstream.has_socket = False  # as TLS has none when it ends
        for second in range(1, 40):
            connection.look(second)
    assert bitstream.aborted


@contextmanager
def unread_answer(bitstream: Wire) -> Iterator[BoundedProtocol]:
    """A connection by this wire, whose client has not taken its answer."""
    loop = asyncio.new_event_loop()
    config = uvicorn.Config(_no_app, log_config=None)
    protocol = cast("partial[BoundedProtocol]", bounded_protocol(Settings(), Metrics("0", "both")))
    connection = protocol(config=config, server_state=ServerState(), app_state={}, _loop=loop)
    connection.connection_made(bitstream)
    connection.pause_writing()
    yield connection
    loop.close()


def test_one_connection_too_many_takes_the_place_of_the_one_that_waited_longest(
    launch: Callable[..., Server], models_dir: Path, png: bytes
) -> None:
    times = ("--header-timeout-s", "3600", "--keep-alive-timeout-s", "3600")
    server = launch(models_dir, "--default-model", "tiny", "--max-connections", "10", *times)
    with ExitStack() as stack:
        busy = [stack.enter_context(connect(server)) for _ in range(5)]
        for connection in busy:
            connection.sendall(POST + b"Connection: close\r\n" + f"Content-Length: {len(png)}\r\n\r\n".encode())
            connection.sendall(png[:1])
        # Many connections may be accepted before a request that came earlier is read.
        wait_until(lambda: metric(server, "held_bytes") == len(busy))
        silent = [stack.enter_context(connect(server)) for _ in range(200)]
        for path in PROBES:
            assert_answers_within_a_second(server, path)
        wait_until(lambda: sum(map(is_closed, silent)) >= 195)
        assert is_closed(silent[0])
        for connection in busy:
            connection.sendall(png[1:])
            assert read_to_end(connection).startswith(b"HTTP/1.1 200 ")


def test_one_connection_too_many_is_closed_if_none_waits(launch: Callable[..., Server], models_dir: Path) -> None:
    server = launch(models_dir, "--default-model", "tiny", "--max-connections", "2")
    server.client.close()
    with connect(server) as first, connect(server) as second:
        for connection in (first, second):
            connection.sendall(POST + b"Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        with connect(server) as third:
            assert read_to_end(third) == b""
    assert_answers_within_a_second(server, "/livez")


def metric(server: Server, name: str) -> float:
    found = re.findall(rf"^latentwire_{name} (\S+)$", server.client.get("/metrics").text, re.MULTILINE)
    return sum(map(float, found))


def test_connections_are_counted(patient: Server) -> None:
    with connect(patient), connect(patient):
        wait_until(lambda: metric(patient, "connections") == 3)
    wait_until(lambda: metric(patient, "connections") == 1)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"", "no-request"),
        (b"G", "request-timeout"),
        (b"\0", "invalid-request"),
        (GET[:-2] + b"A: a\r\n" * 101 + b"\r\n", "headers-too-large"),
    ],
)
def test_connections_that_are_cut_are_counted(hasty: Server, sent: bytes, reason: str) -> None:
    before = metric(hasty, f'connections_closed_total{{reason="{reason}"}}')
    with connect(hasty) as connection:
        connection.sendall(sent)
        read_to_end(connection)
    wait_until(lambda: metric(hasty, f'connections_closed_total{{reason="{reason}"}}') == before + 1)


@pytest.mark.parametrize(
    ("allowed", "most", "raised_to", "connections"),
    [
        (1024, 4096, 1384, 1000),
        (1024, resource.RLIM_INFINITY, 1384, 1000),
        (256, 512, 512, 128),
        (64, 64, 64, 1),
        (4096, 4096, None, 1000),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, None, 1000),
    ],
)
def test_there_are_files_for_as_many_connections_as_are_taken(
    monkeypatch: pytest.MonkeyPatch, allowed: int, most: int, raised_to: int | None, connections: int
) -> None:
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (allowed, most))
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: limits.append(both))
    protocol = cast("partial[BoundedProtocol]", bounded_protocol(Settings(max_connections=1000), Metrics("0", "both")))
    assert protocol.args[0].limits.max_connections == connections
    assert limits == ([] if raised_to is None else [(raised_to, most)])
