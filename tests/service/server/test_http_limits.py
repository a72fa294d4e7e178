"""What connections may cost the real server, and what `http_limits` needs of uvicorn."""

import asyncio
import re
import socket
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from service.observability.metrics import Metrics
from service.server.connections import MAX_PIPELINED, ConnectionPool
from service.server.http_limits import LimitedHttpProtocol
from service.settings import Settings
from tests.service.launching import PATIENCE_S, ROOT, LaunchServer, Server, wait_until
from tests.service.raw_http import GET, assert_raw_problem, connect, is_closed, read_to_end

# `http_limits` was checked with these versions of uvicorn. Run this module with another one before adding it.
CHECKED_UVICORN = ("0.54",)
INTERNAL = re.compile(r"uvicorn\.(protocols|_\w)|from uvicorn import _")
POST = b"POST /encode HTTP/1.1\r\nHost: test\r\n"
PROBES = ("/livez", "/readyz", "/metrics")
BIG_FILE = b"GET /static-offline-docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: test\r\n\r\n"


@pytest.fixture(scope="module")
def hasty(launch_server: LaunchServer, models_dir: Path) -> Server:
    """A server that waits for a second only."""
    times = ("--header-timeout-s", "1", "--keep-alive-timeout-s", "1", "--io-idle-timeout-s", "1")
    return launch_server(models_dir, "--default-model", "tiny", "--max-body-bytes", "1000000", *times)


@pytest.fixture(scope="module")
def patient(launch_server: LaunchServer, models_dir: Path) -> Server:
    """A server that waits for an hour."""
    times = ("--header-timeout-s", "3600", "--keep-alive-timeout-s", "3600", "--io-idle-timeout-s", "3600")
    return launch_server(models_dir, "--default-model", "tiny", *times)


def read_response(connection: socket.socket) -> bytes:
    """Read one response that has a Content-Length, and nothing of the next."""
    response = b""
    while not response.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        assert byte, response
        response += byte
    (length,) = re.findall(rb"content-length: (\d+)", response.lower())
    return response + connection.recv(int(length), socket.MSG_WAITALL)


def assert_responds(server: Server, path: str) -> None:
    with httpx.Client(base_url=server.client.base_url, timeout=PATIENCE_S) as client:
        assert client.get(path).status_code == 200


def closed(server: Server, reason: str) -> float:
    return server.metric("latentwire_connections_closed_total", reason=reason)


class Wire(asyncio.Transport):
    """A connection that a test plays the client of."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.written = b""
        self.has_closed = self.is_aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.has_closed

    def close(self) -> None:
        self.has_closed = True

    def abort(self) -> None:
        self.has_closed = self.is_aborted = True

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


async def echo(scope: object, receive: object, send: object) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})  # type: ignore[operator]
    await send({"type": "http.response.body", "body": b"ok"})  # type: ignore[operator]


def connect_wire(pool: ConnectionPool) -> tuple[Wire, LimitedHttpProtocol]:
    config = uvicorn.Config(echo, log_config=None, log_level="critical")
    protocol = LimitedHttpProtocol(pool, config=config, server_state=ServerState(), app_state={})
    wire = Wire()
    protocol.connection_made(wire)
    return wire, protocol


def test_uvicorn_is_one_that_the_limits_were_checked_with() -> None:
    assert uvicorn.__version__.startswith(tuple(f"{version}." for version in CHECKED_UVICORN))


def test_uvicorn_has_the_internal_names_that_the_limits_use() -> None:
    # Methods that are overridden: uvicorn, its parser and the event loop call them.
    for name in ("data_received", "connection_made", "connection_lost", "pause_writing", "resume_writing", "shutdown"):
        assert name in vars(HttpToolsProtocol), name
    for name in (
        "on_headers_complete",
        "on_body",
        "on_response_complete",
        "timeout_keep_alive_handler",
    ):
        assert name in vars(HttpToolsProtocol), name
    assert "send_400_response" in vars(HttpToolsProtocol)

    async def look() -> None:
        _, protocol = connect_wire(ConnectionPool(Settings(), Metrics("0", "both")))
        assert protocol.cycle is None
        assert protocol.scope is None
        protocol.data_received(GET[:-2])
        assert protocol.cycle is None
        protocol.data_received(GET[-2:])
        assert protocol.scope["headers"] == [(b"host", b"test")]
        assert protocol.headers == []
        assert protocol.url == b"/livez"
        assert isinstance(protocol.cycle, RequestResponseCycle)
        assert protocol.cycle.scope is protocol.scope
        assert (protocol.cycle.keep_alive, protocol.cycle.response_started) == (True, False)
        assert protocol.cycle.more_body is False
        protocol.data_received(GET)
        assert len(protocol.pipeline) == 1

    asyncio.run(look())


def test_no_other_file_uses_internal_names_of_uvicorn() -> None:
    paths = (ROOT / "service").rglob("*.py")
    assert [path.name for path in paths if INTERNAL.search(path.read_text(encoding="utf-8"))] == ["http_limits.py"]


def test_a_connection_goes_on_after_a_response_and_closes_after_one_when_the_process_stops() -> None:
    async def look() -> None:
        pool = ConnectionPool(Settings(), Metrics("0", "both"))
        wire, protocol = connect_wire(pool)
        for number in (1, 2):
            protocol.data_received(GET)
            assert protocol.has_request
            await asyncio.gather(*protocol.tasks)
            assert wire.written.count(b"HTTP/1.1 200 ") == number
            assert not protocol.has_request
        assert b"connection: close" not in wire.written
        pool.close_after_responses()
        protocol.data_received(GET)
        await asyncio.gather(*protocol.tasks)
        assert b"connection: close" in wire.written
        assert wire.has_closed

    asyncio.run(look())


@pytest.mark.parametrize("said", [b"", b"POST /encode HT"], ids=["nothing", "half a line"])
def test_200_connections_that_send_nothing_keep_no_probe_waiting(patient: Server, said: bytes) -> None:
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(patient)) for _ in range(200)]
        for connection in connections:
            connection.sendall(said)
        for path in PROBES:
            assert_responds(patient, path)
        assert not any(is_closed(connection) for connection in connections)


@pytest.mark.parametrize("sent", [b"G", GET[:-2], POST], ids=["a letter", "all but the end", "a post"])
def test_headers_that_do_not_arrive_in_time_are_refused(hasty: Server, sent: bytes) -> None:
    with connect(hasty) as connection:
        connection.sendall(sent)
        assert_raw_problem(read_to_end(connection), 408, "request-timeout")


def test_headers_that_arrive_byte_by_byte_are_refused(hasty: Server) -> None:
    with connect(hasty) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nA: ")
        connection.settimeout(0.1)
        response = b""
        while not response:
            connection.sendall(b"a")
            try:
                response = connection.recv(1 << 16)
            except TimeoutError:
                continue
        connection.settimeout(PATIENCE_S)
        assert_raw_problem(response + read_to_end(connection), 408, "request-timeout")


@pytest.mark.parametrize("word", [b"", b"\r\n"], ids=["silent", "empty lines"])
@pytest.mark.parametrize("first", [b"", GET], ids=["new", "kept"])
def test_a_connection_without_another_request_is_closed(hasty: Server, first: bytes, word: bytes) -> None:
    with connect(hasty) as connection:
        if first:
            connection.sendall(first)
            assert read_response(connection).startswith(b"HTTP/1.1 200 ")

        def has_ended() -> bool:
            try:
                connection.send(word)
            except (BrokenPipeError, ConnectionResetError):
                return True
            return is_closed(connection)

        wait_until(has_ended, "the connection is closed")


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /livez HTTP/1.1\r\nA: " + b"a" * 40_000 + b"\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nA: " + b"a" * 400_000,
        b"GET /livez HTTP/1.1\r\n" + (b"A: " + b"a" * 1000 + b"\r\n") * 40 + b"\r\n",
        b"GET /livez HTTP/1.1\r\n" + b"A: a\r\n" * 101 + b"\r\n",
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /" + b"a" * 400_000,
    ],
    ids=["long header", "endless header", "long headers", "many headers", "long address", "endless address"],
)
def test_large_headers_are_refused(sent: bytes) -> None:
    async def look() -> bytes:
        pool = ConnectionPool(Settings(), Metrics("0", "both"))
        wire, protocol = connect_wire(pool)
        protocol.server_state.default_headers = [(b"x-content-type-options", b"nosniff")]
        for start in range(0, len(sent), 10_000):
            if not wire.has_closed:
                protocol.data_received(sent[start : start + 10_000])
        assert not protocol.tasks
        return wire.written

    assert_raw_problem(asyncio.run(look()), 431, "headers-too-large")


def test_headers_up_to_the_limit_are_accepted(hasty: Server) -> None:
    for more in (b"A: " + b"a" * 30_000 + b"\r\n", b"A: a\r\n" * 98):
        with connect(hasty) as connection:
            connection.sendall(GET[:-2] + more + b"Connection: close\r\n\r\n")
            assert read_to_end(connection).startswith(b"HTTP/1.1 200 ")


def test_a_long_body_that_arrives_with_its_headers_does_not_count_as_headers(hasty: Server) -> None:
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

        def is_refused() -> bool:
            try:
                connection.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                return True
            return False

        wait_until(is_refused, "the connection is closed")
    assert hasty.resident_bytes() - before < 16 << 20


def test_requests_are_answered_in_their_order_up_to_a_number_at_once(hasty: Server) -> None:
    with connect(hasty) as connection:
        connection.sendall((GET + b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n") * (MAX_PIPELINED // 2))
        statuses = re.findall(rb"HTTP/1\.1 (\d{3}) ", read_to_end(connection))
        assert statuses == [b"200", b"404"] * (MAX_PIPELINED // 2)
    with connect(hasty) as connection:
        connection.sendall(GET * 1000)
        assert_raw_problem(read_to_end(connection), 400, "invalid-request")


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"garbage\r\n\r\n", b"GET / HTTP/3.7\r\n\r\n"]
)
def test_what_is_not_http_is_refused(hasty: Server, data: bytes) -> None:
    with connect(hasty) as connection:
        connection.sendall(data)
        assert_raw_problem(read_to_end(connection), 400, "invalid-request")


HOST = b"Host: a\r\n"
EMPTY_CHUNKS = b"\r\n0\r\n\r\n"
AMBIGUOUS = {
    "HTTP/0.9": (b"GET /livez HTTP/0.9\r\n\r\n", "HTTP/0.9"),
    "HTTP/0.9 without its name": (b"GET /livez\r\n\r\n", "HTTP/0.9"),
    "HTTP/2.0": (b"GET /livez HTTP/2.0\r\n" + HOST + b"\r\n", "HTTP/2.0"),
    "no Host": (b"GET /livez HTTP/1.1\r\n\r\n", "0 Host headers"),
    "two Hosts": (b"GET /livez HTTP/1.1\r\n" + HOST + b"HOST: b\r\n\r\n", "2 Host headers"),
    "twice the same Host": (b"GET /livez HTTP/1.1\r\n" + HOST * 2 + b"\r\n", "2 Host headers"),
    "two Hosts of HTTP/1.0": (b"GET /livez HTTP/1.0\r\n" + HOST * 2 + b"\r\n", "2 Host headers"),
    "a Host with a path": (b"GET /livez HTTP/1.1\r\nHost: a/b\r\n\r\n", "Host header is not"),
    "a Host with a blank": (b"GET /livez HTTP/1.1\r\nHost: a b\r\n\r\n", "Host header is not"),
    "gzip and chunks": (
        b"POST /decode HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n" + EMPTY_CHUNKS,
        "chunked",
    ),
    "gzip and chunks in two headers": (
        b"POST /decode HTTP/1.1\r\n"
        + HOST
        + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"
        + EMPTY_CHUNKS,
        "chunked",
    ),
    "identity": (b"POST /decode HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: identity\r\n" + EMPTY_CHUNKS, "chunked"),
    "chunks of HTTP/1.0": (
        b"POST /decode HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n" + EMPTY_CHUNKS,
        "chunked",
    ),
    "chunks and a length": (
        b"POST /decode HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n" + EMPTY_CHUNKS,
        "well-formed",
    ),
    "two lengths": (
        b"POST /decode HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
        "well-formed",
    ),
    "a folded header": (b"GET /livez HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n", "well-formed"),
    "a blank before a colon": (b"GET /livez HTTP/1.1\r\nHost : a\r\n\r\n", "well-formed"),
    "a bare line feed": (b"GET /livez HTTP/1.1\nHost: a\n\n", "well-formed"),
}


@pytest.mark.parametrize(("data", "says"), AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_what_a_proxy_may_understand_in_another_way_is_refused(hasty: Server, data: bytes, says: str) -> None:
    with connect(hasty) as connection:
        connection.sendall(data)
        response = read_to_end(connection)
    assert_raw_problem(response, 400, "invalid-request")
    assert says.encode() in response


@pytest.mark.parametrize(
    "data",
    [
        b"GET /livez HTTP/1.0\r\n\r\n",
        b"GET /livez HTTP/1.0\r\nHost: a:80\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: [::1]:8000\r\nConnection: close\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: my_service.local.:8000\r\nConnection: close\r\n\r\n",
    ],
)
def test_requests_of_either_version_are_answered(hasty: Server, data: bytes) -> None:
    with connect(hasty) as connection:
        connection.sendall(data)
        assert read_to_end(connection).startswith(b"HTTP/1.1 200 ")


def test_trailers_are_no_headers(hasty: Server) -> None:
    head = b"POST /decode HTTP/1.1\r\n" + HOST + b"Connection: close\r\nTransfer-Encoding: Chunked\r\n\r\n"
    trailers = b"Accept: text/html\r\nX-Request-Id: trailer\r\nContent-Type: text/html\r\n"
    with connect(hasty) as connection:
        connection.sendall(head + b"5\r\nhello\r\n0\r\n" + trailers + b"\r\n")
        response = read_to_end(connection)
    assert b"invalid-code" in response
    assert b"x-request-id: trailer" not in response


def test_a_client_that_leaves_after_several_requests_causes_no_error(hasty: Server) -> None:
    for _ in range(10):
        with connect(hasty) as connection:
            connection.sendall(BIG_FILE * 5)
    assert_responds(hasty, "/livez")
    assert "Exception" not in hasty.output()


def test_a_client_that_does_not_read_its_responses_is_cut_off(hasty: Server) -> None:
    before = closed(hasty, "write-timeout")
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(PATIENCE_S)
        connection.connect(hasty.address)
        connection.sendall(BIG_FILE * MAX_PIPELINED)
        wait_until(lambda: closed(hasty, "write-timeout") == before + 1, "the connection is closed")


def test_one_connection_too_many_takes_the_place_of_the_one_that_was_idle_longest(
    launch_server: LaunchServer, models_dir: Path, png: bytes
) -> None:
    times = ("--header-timeout-s", "3600", "--keep-alive-timeout-s", "3600")
    server = launch_server(models_dir, "--default-model", "tiny", "--max-connections", "10", *times)
    with ExitStack() as stack:
        busy = [stack.enter_context(connect(server)) for _ in range(5)]
        for connection in busy:
            connection.sendall(POST + b"Connection: close\r\n" + f"Content-Length: {len(png)}\r\n\r\n".encode())
            connection.sendall(png[:1])
        # Many connections may be accepted before a request that came earlier is read.
        wait_until(lambda: server.metric("latentwire_body_buffered_bytes") == len(busy), "all bodies have begun")
        silent = [stack.enter_context(connect(server)) for _ in range(200)]
        for path in PROBES:
            assert_responds(server, path)
        wait_until(lambda: sum(map(is_closed, silent)) >= 195, "most connections are closed")
        assert is_closed(silent[0])
        assert closed(server, "evicted") >= 195
        for connection in busy:
            connection.sendall(png[1:])
            assert read_to_end(connection).startswith(b"HTTP/1.1 200 ")


def test_stalled_requests_and_unread_responses_keep_no_probe_out(launch_server: LaunchServer, models_dir: Path) -> None:
    times = ("--header-timeout-s", "3600", "--keep-alive-timeout-s", "3600", "--io-idle-timeout-s", "3600")
    server = launch_server(models_dir, "--default-model", "tiny", "--max-connections", "20", *times)
    # A kept connection would be evicted, too.
    server.client.headers["Connection"] = "close"
    with ExitStack() as stack:
        for number in range(100):
            connection = stack.enter_context(connect(server))
            if number % 2:
                connection.sendall(POST + b"Content-Length: 1000\r\n\r\nbody")
            else:
                connection.sendall(BIG_FILE * 10)
            if number % 20 == 19:
                for path in PROBES:
                    assert_responds(server, path)
        assert closed(server, "evicted") >= 20


def responds(server: Server) -> bool:
    try:
        assert_responds(server, "/livez")
    except httpx.TransportError:
        # The connections of before may still be open.
        return False
    return True


def test_connections_are_counted(patient: Server) -> None:
    def are_open(number: int) -> None:
        wait_until(lambda: patient.metric("latentwire_connections_open") == number, f"{number} are open")

    with connect(patient), connect(patient):
        are_open(3)
    are_open(1)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"", "no-request"),
        (b"G", "request-timeout"),
        (GET, "keep-alive-timeout"),
        (b"\0", "invalid-request"),
        (GET[:-2] + b"A: a\r\n" * 101 + b"\r\n", "headers-too-large"),
    ],
)
def test_connections_that_are_closed_are_counted(hasty: Server, sent: bytes, reason: str) -> None:
    before = closed(hasty, reason)
    with connect(hasty) as connection:
        connection.sendall(sent)
        read_to_end(connection)
        wait_until(lambda: closed(hasty, reason) > before, "it is counted")
