"""Clients that send requests to a real server without a pause, and know every way in which one can end."""

import socket
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from tests.service.launching import PATIENCE_S


class Request(NamedTuple):
    """What is sent, and the only body that is right."""

    path: str
    body: bytes
    answer: bytes
    accept: str = "application/octet-stream"

    def head(self) -> bytes:
        return (
            f"POST {self.path} HTTP/1.1\r\nHost: test\r\nAccept: {self.accept}\r\n"
            f"Content-Length: {len(self.body)}\r\n\r\n"
        ).encode()


class Load:
    """What several clients have seen.

    `ends` counts how requests ended: `answered`; `refused`, no connection; `closed idle`, the server closed a kept
    connection before a byte of an answer came, as HTTP allows at any time between two requests; `closed new`, the same
    on a connection without an answer before. Anything else is a sentence in `wrong`.
    """

    def __init__(self, address: tuple[str, int], requests: Sequence[Request]) -> None:
        self.ends: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._address = address
        self._requests = requests
        self._lock = threading.Lock()
        self._enough = threading.Event()

    def answered(self) -> int:
        with self._lock:
            return self.ends["answered"]

    def stop(self) -> None:
        self._enough.set()

    def run(self) -> None:
        connection, served = None, 0
        while not self._enough.is_set():
            for request in self._requests:
                if connection is None:
                    served = 0
                    try:
                        connection = socket.create_connection(self._address, PATIENCE_S)
                    except ConnectionError:
                        self._note("refused")
                        self._enough.wait(0.01)
                        continue
                end, keeps = _ask(connection, request)
                self._note({"closed": "closed idle" if served else "closed new"}.get(end, end))
                served += 1
                if not keeps:
                    connection.close()
                    connection = None
        if connection is not None:
            connection.close()

    def _note(self, end: str) -> None:
        with self._lock:
            if end in ("answered", "refused", "closed idle", "closed new"):
                self.ends[end] += 1
            else:
                self.wrong.append(end)


@contextmanager
def load(address: tuple[str, int], requests: Sequence[Request], clients: int) -> Iterator[Load]:
    """Send `requests` repeatedly from `clients` clients, each with a kept connection."""
    seen = Load(address, requests)
    threads = [threading.Thread(target=seen.run) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        seen.stop()
        for thread in threads:
            thread.join()


def _ask(connection: socket.socket, request: Request) -> tuple[str, bool]:
    received = b""
    try:
        connection.sendall(request.head() + request.body)
        while b"\r\n\r\n" not in received:
            received += (more := connection.recv(65536))
            if not more:
                return ("closed" if not received else f"half an answer: {received!r}"), False
        head, _, body = received.partition(b"\r\n\r\n")
        fields = head.lower().split(b"\r\n")
        length = int(next(field[15:] for field in fields if field.startswith(b"content-length:")))
        while len(body) < length:
            body += (more := connection.recv(65536))
            if not more:
                return f"half an answer: {head!r} and {len(body)} bytes", False
    except ConnectionError:
        return ("closed" if not received else f"half an answer: {received!r}"), False
    except TimeoutError:
        return "no answer", False
    if not head.startswith(b"HTTP/1.1 200 ") or body != request.answer:
        return f"a wrong answer: {head!r} {body[:300]!r}", False
    return "answered", b"connection: close" not in fields
