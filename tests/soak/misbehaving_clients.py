"""Clients that misbehave below HTTP: that leave, dawdle, lie about lengths, or do not speak HTTP at all.

A server's address enters; what came of it leaves, in a word. Whatever the server answers must be a refusal, or right.
"""

import http.client
import io
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import NamedTuple

import httpx

from tests.soak.expectations import Exchange, Half, WrongAnswer, check_no_fault, check_problem

PATIENCE_S = 90
Addresses = dict[Half, tuple[str, int]]
Rude = Callable[[Random], str]


class Manners(NamedTuple):
    """How long the patient ones dawdle, in seconds, and how many come at once in a burst."""

    dawdle_s: float
    burst: int


class RudeClients:
    """Misbehaves towards the servers at these addresses."""

    def __init__(self, addresses: Addresses, good: dict[str, list[Exchange]], manners: Manners) -> None:
        """Know what single requests are answered with, from `good`."""
        self._addresses = addresses
        self._good = good
        self._singles = [one for kind in ("encode, wire", "encode, JSON", "decode, PNG") for one in good[kind]]
        self._batches = good["encode a batch"] + good["decode a batch"]
        self._manners = manners

    def kinds(self) -> dict[str, Rude]:
        """Return what misbehaves in each way; it returns what came of it."""
        return {
            "says nothing": self._says_nothing,
            "leaves within the head": self._leaves_within_the_head,
            "leaves within the body": self._leaves_within_the_body,
            "leaves before the answer": self._leaves_before_the_answer,
            "leaves within the answer": self._leaves_within_the_answer,
            "ends the body early": self._ends_early,
            "sends more than it says": self._sends_more,
            "sends slowly": self._sends_slowly,
            "reads slowly": self._reads_slowly,
            "asks many at once": self._pipelines,
            "asks for a word first": self._expects_a_word,
            "speaks no HTTP": self._speaks_no_http,
            "sends a long head": self._sends_a_long_head,
            "comes in a crowd": self._comes_in_a_crowd,
        }

    def _says_nothing(self, random: Random) -> str:
        with self._connected(random.choice(list(self._addresses))) as connection:
            time.sleep(self._manners.dawdle_s * random.random())
            if random.random() < 0.5:
                connection.shutdown(socket.SHUT_WR)
                return _only_refusals(received(connection))
        return "left"

    def _leaves_within_the_head(self, random: Random) -> str:
        one = self._one(random)
        with self._connected(one.half) as connection:
            data = head(one)
            connection.sendall(data[: random.randrange(1, len(data))])
            time.sleep(self._manners.dawdle_s * random.random() / 4)
            _leave(connection, random)
        return "left"

    def _leaves_within_the_body(self, random: Random) -> str:
        one = self._one(random)
        with self._connected(one.half) as connection:
            connection.sendall(head(one) + one.body[: random.randrange(len(one.body))])
            time.sleep(self._manners.dawdle_s * random.random() / 4)
            _leave(connection, random)
        return "left"

    def _leaves_before_the_answer(self, random: Random) -> str:
        one = self._one(random)
        with self._connected(one.half) as connection:
            connection.sendall(head(one) + one.body)
            _leave(connection, random)
        return "left"

    def _leaves_within_the_answer(self, random: Random) -> str:
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
            return _only_refusals(received(connection))

    def _sends_more(self, random: Random) -> str:
        one = random.choice(self._singles)
        with self._connected(one.half) as connection:
            try:
                connection.sendall(head(one) + one.body + random.randbytes(random.randint(8, 2000)))
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the server has closed it, which it may
            answers = received(connection)
        if answers and answers[0].status_code == 200:
            one.check(answers.pop(0))
        return _only_refusals(answers)

    def _sends_slowly(self, random: Random) -> str:
        one = self._one(random)
        data = head(one, "Connection: close") + one.body
        pieces = random.randint(2, 8)
        with self._connected(one.half) as connection:
            try:
                for number in range(pieces):
                    connection.sendall(data[number * len(data) // pieces : (number + 1) * len(data) // pieces])
                    time.sleep(self._manners.dawdle_s / pieces)
            except ConnectionError:
                return _turned_away_meanwhile(received(connection))
            return _right_or_busy(one, received(connection))

    def _reads_slowly(self, random: Random) -> str:
        one = random.choice(self._batches)
        with self._connected(one.half) as connection:
            connection.sendall(head(one, "Connection: close") + one.body)
            data = b""
            try:
                for _ in range(4):
                    data += connection.recv(1000)
                    time.sleep(self._manners.dawdle_s / 4)
            except ConnectionError:
                return _turned_away_meanwhile(received(connection, data))
            return _right_or_busy(one, received(connection, data))

    def _pipelines(self, random: Random) -> str:
        many = [random.choice(self._singles) for _ in range(4)]
        half = many[0].half
        many = [one for one in many if one.half == half]
        with self._connected(half) as connection:
            *most, last = many
            connection.sendall(b"".join(head(one) + one.body for one in most))
            connection.sendall(head(last, "Connection: close") + last.body)
            answers = received(connection)
        if len(answers) != len(many):
            raise WrongAnswer(f"{len(answers)} answers to {len(many)} requests")
        return "; ".join(sorted({_right_or_busy(one, [answer]) for one, answer in zip(many, answers, strict=True)}))

    def _expects_a_word(self, random: Random) -> str:
        one = random.choice(self._singles)
        with self._connected(one.half) as connection:
            connection.sendall(head(one, "Connection: close", "Expect: 100-continue"))
            word = connection.recv(1000)
            if not word.startswith(b"HTTP/1.1 100 "):
                return _right_or_busy(one, received(connection, word))
            connection.sendall(one.body)
            return _right_or_busy(one, received(connection, word.partition(b"\r\n\r\n")[2]))

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

    def _sends_a_long_head(self, random: Random) -> str:
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
            return _only_refusals(received(connection))

    def _comes_in_a_crowd(self, random: Random) -> str:
        many = [random.choice(self._singles) for _ in range(self._manners.burst)]
        connections: list[socket.socket] = []
        outcomes = set()
        try:
            for one in many:
                connections.append(socket.create_connection(self._addresses[one.half], PATIENCE_S))
                connections[-1].sendall(head(one, "Connection: close") + one.body)
            for one, connection in zip(many, connections, strict=True):
                outcomes.add(_right_or_busy(one, received(connection)))
        finally:
            for connection in connections:
                connection.close()
        return "; ".join(sorted(outcomes))

    def _one(self, random: Random) -> Exchange:
        return random.choice(self._singles if random.random() < 0.7 else self._batches)

    @contextmanager
    def _connected(self, half: Half) -> Iterator[socket.socket]:
        with socket.create_connection(self._addresses[half], PATIENCE_S) as connection:
            yield connection


def head(exchange: Exchange, *more: str) -> bytes:
    """Return what is sent before the body."""
    lines = [f"{exchange.method} {exchange.path} HTTP/1.1", "Host: soak", f"Content-Length: {len(exchange.body)}"]
    lines += [f"{name}: {value}" for name, value in exchange.headers.items()]
    return "\r\n".join([*lines, *more, "", ""]).encode()


def received(connection: socket.socket, data: bytes = b"") -> list[httpx.Response]:
    """Return all answers until the connection is closed; `data` has been received already.

    Raises:
        WrongAnswer: the connection stays open without a byte, or an answer is not whole.
    """
    pieces = [data]
    try:
        while piece := connection.recv(1 << 16):
            pieces.append(piece)
    except TimeoutError as error:
        raise WrongAnswer(f"the connection was still open after {PATIENCE_S} s: {b''.join(pieces)[:100]!r}") from error
    except ConnectionError:
        pass  # closed with a reset, as it may be where bytes have been sent that the server did not read
    stream = _Stream(b"".join(pieces))
    answers = []
    while stream.peek():
        answer = http.client.HTTPResponse(stream)  # type: ignore[arg-type]
        try:
            answer.begin()
            answers.append(httpx.Response(answer.status, headers=answer.getheaders(), content=answer.read()))
            check_no_fault(answers[-1])
        except http.client.HTTPException as error:
            raise WrongAnswer(f"an answer is not whole: {error!r}") from error
    return answers


class _Stream(io.BytesIO):
    """Bytes that `http.client` takes for a socket, and leaves open after each answer."""

    def makefile(self, _mode: str) -> io.BytesIO:
        return self

    def peek(self) -> bytes:
        return self.getvalue()[self.tell() : self.tell() + 1]

    def close(self) -> None:
        pass


def _right_or_busy(one: Exchange, answers: list[httpx.Response]) -> str:
    if len(answers) != 1:
        raise WrongAnswer(f"{len(answers)} answers to one request")
    if answers[0].status_code == 429:
        check_problem(answers[0])
        return "turned away"
    one.check(answers[0])
    return "right"


def _turned_away_meanwhile(answers: list[httpx.Response]) -> str:
    """Expect a 429 or nothing: where a client still sends, or is late to read, a closed connection loses the answer."""
    for answer in answers:
        if answer.status_code != 429:
            raise WrongAnswer(f"the connection was closed after a status {answer.status_code}")
        check_problem(answer)
    return "turned away" if answers else "closed"


def _only_refusals(answers: list[httpx.Response]) -> str:
    """Expect that nothing but refusals came, or just the end of the connection."""
    for answer in answers:
        check_problem(answer)
    return "refused" if answers else "closed"


def _leave(connection: socket.socket, random: Random) -> None:
    """Close, half of the time with a reset."""
    if random.random() < 0.5:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
