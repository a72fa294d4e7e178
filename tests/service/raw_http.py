"""HTTP byte by byte, for what no client library sends."""

import http.client
import json
import socket

from latentwire.problems import PROBLEM_MEDIA_TYPE
from tests.service.launching import PATIENCE_S, Server

GET = b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n"


def connect(server: Server, source: str = "127.0.0.1") -> socket.socket:
    """Connect from an address of this host."""
    return socket.create_connection(server.address, PATIENCE_S, source_address=(source, 0))


def accepts(server: Server) -> bool:
    try:
        connect(server).close()
    except ConnectionError:
        return False
    return True


def post_headers(path: str, length: int, **fields: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: test", f"Content-Length: {length}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def begin_response(connection: socket.socket) -> http.client.HTTPResponse:
    """Return the next response, of which only the headers have been read."""
    response = http.client.HTTPResponse(connection, method="POST")
    response.begin()
    return response


def read_to_end(connection: socket.socket) -> bytes:
    data = b""
    try:
        while piece := connection.recv(1 << 16):
            data += piece
    except ConnectionResetError:
        # The server had not read everything when it closed the connection.
        pass
    return data


def is_closed(connection: socket.socket) -> bool:
    """Return whether the server has closed a connection on which it has sent nothing."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    finally:
        connection.settimeout(PATIENCE_S)


def assert_raw_problem(response: bytes, status: int, code: str) -> None:
    """Check that this is the last response of a connection, and a problem document."""
    head, _, body = response.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), response[:500]
    lines = head.lower().split(b"\r\n")
    assert f"content-type: {PROBLEM_MEDIA_TYPE}".encode() in lines
    assert b"x-content-type-options: nosniff" in lines
    assert b"connection: close" in lines
    problem = json.loads(body)
    assert (problem["status"], problem["code"]) == (status, code)
