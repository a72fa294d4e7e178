"""Writes an answer's head together with the first bytes of its body.

A server gives both one after the other. To write each by itself takes a call of the system more, and a packet.
"""

import asyncio

_CONTINUE = b"HTTP/1.1 100"


class AnswerWriter:
    """Another transport, as far as one answer needs it, but that it holds the answer's head back for a moment."""

    __slots__ = ("_has_begun", "_head", "_transport", "is_closing")

    def __init__(self, transport: asyncio.Transport) -> None:
        """Write to `transport`."""
        self._transport = transport
        self._has_begun = False
        self._head = b""
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Write bytes; those that come first, the head, with what comes next."""
        if self._head:
            data, self._head = self._head + data, b""
        elif not self._has_begun and not data.startswith(_CONTINUE):
            self._has_begun, self._head = True, data
            return
        self._transport.write(data)

    def flush(self) -> None:
        """Write the head if it waits: an answer to HEAD, say, has nothing else."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        """Write the head if it waits, and close."""
        self.flush()
        self._transport.close()
