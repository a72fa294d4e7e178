"""Writes the headers of a response together with the first bytes of its body.

uvicorn writes them one after the other. A process that is killed in between leaves headers alone, which a proxy has
passed on by then, so that it cannot send the request to another process.
"""

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    _Base = asyncio.Transport
else:
    _Base = object


class CoalescingTransport(_Base):
    """A transport that holds the headers of a response back until its body or its end comes."""

    def __init__(self, transport: asyncio.Transport) -> None:
        """Write to `transport`, which does everything else itself."""
        self._transport = transport
        self._write = transport.write
        self._headers = b""
        # uvicorn calls this for each request, and __getattr__ is slow.
        self.is_closing = transport.is_closing  # type: ignore[method-assign]

    def write(self, data: bytes) -> None:  # type: ignore[override]
        """Write bytes; those that begin a response with what comes next."""
        if self._headers:
            data, self._headers = self._headers + data, b""
        # 100 Continue comes alone: its client waits for it.
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 1"):
            self._headers = data
            return
        self._write(data)

    def flush(self) -> None:
        """Write what is held back, as the response to a HEAD request has no body."""
        if self._headers and not self.is_closing():
            self.write(b"")

    def close(self) -> None:
        """Write what is held back, and close."""
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
