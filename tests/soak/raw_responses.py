"""What is sent and received on a connection without an HTTP client, and which responses are right."""

import http.client
import io
import socket

import httpx

from tests.soak.expectations import Exchange, IncompleteResponse, WrongResponse, check_no_fault, check_problem

# Of a byte of a response.
TIMEOUT_S = 90


def head(exchange: Exchange, *more: str) -> bytes:
    """Return what is sent before the body."""
    lines = [f"{exchange.method} {exchange.path} HTTP/1.1", "Host: soak", f"Content-Length: {len(exchange.body)}"]
    lines += [f"{name}: {value}" for name, value in exchange.headers.items()]
    return "\r\n".join([*lines, *more, "", ""]).encode()


def received(connection: socket.socket, data: bytes = b"") -> list[httpx.Response]:
    """Return all responses until the connection is closed; `data` has been received already.

    Raises:
        WrongResponse: the connection stays open without a byte, or a response is a 5xx.
        IncompleteResponse: a response ends early.
    """
    pieces = [data]
    try:
        while piece := connection.recv(1 << 16):
            pieces.append(piece)
    except TimeoutError as error:
        raise WrongResponse(f"the connection was still open after {TIMEOUT_S} s: {b''.join(pieces)[:100]!r}") from error
    except ConnectionError:
        pass  # The server may close with a reset if it has not read everything.
    stream = _Stream(b"".join(pieces))
    responses = []
    while stream.peek():
        response = http.client.HTTPResponse(stream)  # type: ignore[arg-type]
        try:
            response.begin()
            responses.append(httpx.Response(response.status, headers=response.getheaders(), content=response.read()))
            check_no_fault(responses[-1])
        except http.client.HTTPException as error:
            raise IncompleteResponse(f"a response ends early: {error!r}") from error
    return responses


class _Stream(io.BytesIO):
    """Bytes that `http.client` takes for a socket, and leaves open after each response."""

    def makefile(self, _mode: str) -> io.BytesIO:
        return self

    def peek(self) -> bytes:
        return self.getvalue()[self.tell() : self.tell() + 1]

    def close(self) -> None:
        pass


def right_or_busy(one: Exchange, responses: list[httpx.Response]) -> str:
    if not responses:
        raise IncompleteResponse("the connection was closed without a response")
    if len(responses) != 1:
        raise WrongResponse(f"{len(responses)} responses to one request")
    if responses[0].status_code == 429:
        check_problem(responses[0])
        return "turned away"
    one.check(responses[0])
    return "right"


def turned_away_meanwhile(responses: list[httpx.Response]) -> str:
    """Expect a 429 or nothing: a client that still sends, or is late to read, can lose its response by a reset."""
    for response in responses:
        if response.status_code != 429:
            raise WrongResponse(f"the connection was closed after a status {response.status_code}")
        check_problem(response)
    return "turned away" if responses else "closed"


def only_refusals(responses: list[httpx.Response]) -> str:
    """Expect refusals only, or just the end of the connection."""
    for response in responses:
        check_problem(response)
    return "refused" if responses else "closed"
