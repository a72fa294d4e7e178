"""A plain load tool, for where wrk is not installed: connections that each send, wait for the answer, and send again.

It is written in Python and so takes a good part of a core itself: give it one of its own, and take its percentiles for
what they are, times as a busy client sees them.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

_LENGTH = b"\r\ncontent-length:"


class Found(NamedTuple):
    """The time of each answer, and how many were refusals, of 400 and above, or never came."""

    times_s: list[float]
    duration_s: float
    refused: int
    broken: int

    def percentile_s(self, percent: float) -> float:
        """Return the time that so many of the answers took at most; 0 if there are none."""
        ordered = sorted(self.times_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0


def send(port: int, messages: Sequence[bytes], connections: int, seconds: float) -> Found:
    """Send HTTP/1.1 messages in turn over so many connections to this machine, for so many seconds."""
    return asyncio.run(_send(port, messages, connections, seconds))


async def _send(port: int, messages: Sequence[bytes], connections: int, seconds: float) -> Found:
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    senders = []
    for number in range(connections):
        sender = _Sender(messages, number * len(messages) // connections, began + seconds)
        await loop.create_connection(lambda sender=sender: sender, "127.0.0.1", port)  # type: ignore[misc]
        senders.append(sender)
    await asyncio.gather(*(sender.ended for sender in senders))
    duration_s = time.perf_counter() - began
    times_s = [time_s for sender in senders for time_s in sender.times_s]
    refused, broken = (sum(getattr(sender, name) for sender in senders) for name in ("refused", "broken"))
    return Found(times_s, duration_s, refused, broken)


class _Sender(asyncio.Protocol):
    """One connection. Knows just enough of HTTP: answers with a Content-Length."""

    def __init__(self, messages: Sequence[bytes], first: int, until: float) -> None:
        self._messages = messages
        self._at = first
        self._until = until
        self._answer = b""
        self._sent = 0.0
        self.times_s: list[float] = []
        self.refused = 0
        self.broken = 0
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._send_next()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head_end = self._answer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = self._answer[:head_end].lower()
        length = int(head.partition(_LENGTH)[2].partition(b"\r\n")[0] or 0)
        if len(self._answer) < head_end + 4 + length:
            return
        now = time.perf_counter()
        self.times_s.append(now - self._sent)
        self.refused += head[9:10] in b"45"
        self._answer = b""
        if now < self._until:
            self._send_next()
        else:
            self._end()

    def connection_lost(self, _reason: Exception | None) -> None:
        if not self.ended.done():
            self.broken += 1
            self.ended.set_result(None)

    def _send_next(self) -> None:
        message = self._messages[self._at]
        self._at = (self._at + 1) % len(self._messages)
        self._sent = time.perf_counter()
        self._transport.write(message)

    def _end(self) -> None:
        self.ended.set_result(None)
        self._transport.close()
