"""Clients that misbehave below HTTP: they leave, are slow, lie about lengths, or do not speak HTTP at all.

Each returns its outcome in a word. Every response that it gets must be correct or a refusal.
"""

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from random import Random
from typing import NamedTuple

from tests.soak.expectations import (
    Exchange,
    Half,
    WrongResponse,
    interruptible,
)
from tests.soak.raw_responses import TIMEOUT_S, head, only_refusals, received, right_or_busy, turned_away_meanwhile

Addresses = dict[Half, tuple[str, int]]
Misbehavior = Callable[[Random], str]


class SlowClientTiming(NamedTuple):
    """How long slow clients take, in seconds, and how many clients come at once in a burst."""

    delay_s: float
    burst: int


class MisbehavingClients:
    """Misbehaves towards the service at these addresses."""

    def __init__(self, addresses: Addresses, valid: dict[str, list[Exchange]], timing: SlowClientTiming) -> None:
        """Take valid requests, by kind, with the checks of their responses."""
        self._addresses = addresses
        self._singles = [one for kind in ("encode, bitstream", "encode, JSON", "decode, PNG") for one in valid[kind]]
        self._batches = valid["encode a batch"] + valid["decode a batch"]
        self._timing = timing

    def kinds(self) -> dict[str, Misbehavior]:
        """Return a function for each kind, which misbehaves once and returns the outcome."""
        return {
            "sends nothing": self._sends_nothing,
            "leaves within the headers": self._leaves_within_the_headers,
            "leaves within the body": self._leaves_within_the_body,
            "leaves before the response": self._leaves_before_the_response,
            "leaves within the response": self._leaves_within_the_response,
            "ends the body early": self._ends_early,
            "sends more than it says": self._sends_more,
            "sends slowly": self._sends_slowly,
            "reads slowly": self._reads_slowly,
            "pipelines": self._pipelines,
            "expects 100 Continue": self._expects_continue,
            "speaks no HTTP": self._speaks_no_http,
            "sends long headers": self._sends_long_headers,
            "comes in a crowd": self._comes_in_a_crowd,
        }

    def _sends_nothing(self, random: Random) -> str:
        with self._connected(random.choice(list(self._addresses))) as connection:
            time.sleep(self._timing.delay_s * random.random())
            if random.random() < 0.5:
                connection.shutdown(socket.SHUT_WR)
                return only_refusals(received(connection))
        return "left"

    def _leaves_within_the_headers(self, random: Random) -> str:
        one = self._one(random)
        with self._connected(one.half) as connection:
            data = head(one)
            connection.sendall(data[: random.randrange(1, len(data))])
            time.sleep(self._timing.delay_s * random.random() / 4)
            _leave(connection, random)
        return "left"

    def _leaves_within_the_body(self, random: Random) -> str:
        one = self._one(random)
        with self._connected(one.half) as connection:
            connection.sendall(head(one) + one.body[: random.randrange(len(one.body))])
            time.sleep(self._timing.delay_s * random.random() / 4)
            _leave(connection, random)
        return "left"

    def _leaves_before_the_response(self, random: Random) -> str:
        one = self._one(random)
        with self._connected(one.half) as connection:
            connection.sendall(head(one) + one.body)
            _leave(connection, random)
        return "left"

    def _leaves_within_the_response(self, random: Random) -> str:
        one = random.choice(self._batches)
        with self._connected(one.half) as connection:
            connection.sendall(head(one) + one.body)
            connection.recv(random.randint(1, 300))
            _leave(connection, random)
        return "left"

    def _ends_early(self, random: Random) -> str:
        one = self._one(random)
        with self._connected(one.half) as connection:
            connection.sendall(head(one) + one.body[: random.randrange(len(one.body))])
            connection.shutdown(socket.SHUT_WR)
            with interruptible(one):
                return only_refusals(received(connection))

    def _sends_more(self, random: Random) -> str:
        one = random.choice(self._singles)
        with self._connected(one.half) as connection:
            # The line breaks end the rest, which the server then refuses as another request.
            rest = random.randbytes(random.randint(8, 2000)) + b"\r\n\r\n"
            # The server may close the connection meanwhile.
            with suppress(OSError):
                connection.sendall(head(one) + one.body + rest)
            responses = received(connection)
        if responses and responses[0].status_code == 200:
            one.check(responses.pop(0))
        return only_refusals(responses)

    def _sends_slowly(self, random: Random) -> str:
        one = self._one(random)
        data = head(one, "Connection: close") + one.body
        pieces = random.randint(2, 8)
        with self._connected(one.half) as connection, interruptible(one):
            try:
                for number in range(pieces):
                    connection.sendall(data[number * len(data) // pieces : (number + 1) * len(data) // pieces])
                    time.sleep(self._timing.delay_s / pieces)
            except ConnectionError:
                return turned_away_meanwhile(received(connection))
            return right_or_busy(one, received(connection))

    def _reads_slowly(self, random: Random) -> str:
        one = random.choice(self._batches)
        with self._connected(one.half) as connection, interruptible(one):
            connection.sendall(head(one, "Connection: close") + one.body)
            data = b""
            try:
                for _ in range(4):
                    data += connection.recv(1000)
                    time.sleep(self._timing.delay_s / 4)
            except ConnectionError:
                return turned_away_meanwhile(received(connection, data))
            return right_or_busy(one, received(connection, data))

    def _pipelines(self, random: Random) -> str:
        many = [random.choice(self._singles) for _ in range(4)]
        half = many[0].half
        many = [one for one in many if one.half == half]
        with self._connected(half) as connection:
            *most, last = many
            connection.sendall(b"".join(head(one) + one.body for one in most))
            connection.sendall(head(last, "Connection: close") + last.body)
            responses = received(connection)
        if len(responses) != len(many):
            raise WrongResponse(f"{len(responses)} responses to {len(many)} requests")
        return "; ".join(
            sorted({right_or_busy(one, [response]) for one, response in zip(many, responses, strict=True)})
        )

    def _expects_continue(self, random: Random) -> str:
        one = random.choice(self._singles)
        with self._connected(one.half) as connection:
            connection.sendall(head(one, "Connection: close", "Expect: 100-continue"))
            word = connection.recv(1000)
            if not word.startswith(b"HTTP/1.1 100 "):
                return right_or_busy(one, received(connection, word))
            connection.sendall(one.body)
            return right_or_busy(one, received(connection, word.partition(b"\r\n\r\n")[2]))

    def _speaks_no_http(self, random: Random) -> str:
        one = random.choice(self._singles)
        start = f"POST {one.path} HTTP/1.1\r\nHost: x\r\n".encode()
        data = random.choice(
            [
                random.randbytes(random.randint(1, 2000)),
                b"\0" * 5000,
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random.randbytes(100),
                b"NONSENSE /encode HTTP/1.1\r\nHost: x\r\n\r\n",
                b"POST /encode HTTP/9.9\r\nHost: x\r\n\r\n",
                b"POST /enc ode HTTP/1.1\r\nHost: x\r\n\r\n",
                b"GET / HTTP/1.1\r\nHo st: x\r\n\r\n",
                b"GET / HTTP/1.1\r\nX: a\0b\r\n\r\n",
                start + b"Content-Length: -1\r\n\r\n",
                start + b"Content-Length: x\r\n\r\n",
                start + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
                start + b"Content-Length: 99999999999999999999999\r\n\r\n",
                start + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                start + b"Transfer-Encoding: gzip\r\n\r\nabc",
                start + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
                start + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nabcde\r\n0\r\n\r\n",
                start + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
                start + b"Transfer-Encoding: chunked\r\n\r\n5;" + b"x" * 20_000 + b"\r\n",
                start + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n",
            ]
        )
        return self._refusals_of(one.half, data)

    def _sends_long_headers(self, random: Random) -> str:
        one = random.choice(self._singles)
        size = random.choice([70_000, 300_000, 2_000_000])
        kind = random.randrange(3)
        if kind == 0:
            data = f"POST {one.path}?x={'x' * size} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        elif kind == 1:
            data = b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * size + b"\r\n\r\n"
        else:
            lines = b"".join(b"X-%d: y\r\n" % number for number in range(size // 10))
            data = b"GET /livez HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n"
        return self._refusals_of(one.half, data)

    def _refusals_of(self, half: Half, data: bytes) -> str:
        """Send these bytes and no more, as far as the server takes them; return what it says."""
        with self._connected(half) as connection:
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            return only_refusals(received(connection))

    def _comes_in_a_crowd(self, random: Random) -> str:
        many = [random.choice(self._singles) for _ in range(self._timing.burst)]
        connections: list[socket.socket] = []
        outcomes = set()
        try:
            for one in many:
                connections.append(socket.create_connection(self._addresses[one.half], TIMEOUT_S))
                connections[-1].sendall(head(one, "Connection: close") + one.body)
            for one, connection in zip(many, connections, strict=True):
                outcomes.add(right_or_busy(one, received(connection)))
        finally:
            for connection in connections:
                connection.close()
        return "; ".join(sorted(outcomes))

    def _one(self, random: Random) -> Exchange:
        return random.choice(self._singles if random.random() < 0.7 else self._batches)

    @contextmanager
    def _connected(self, half: Half) -> Iterator[socket.socket]:
        with socket.create_connection(self._addresses[half], TIMEOUT_S) as connection:
            yield connection


def _leave(connection: socket.socket, random: Random) -> None:
    """Close the connection, with a reset half of the time."""
    if random.random() < 0.5:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
