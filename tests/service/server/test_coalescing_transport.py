import asyncio
from typing import cast

import pytest

from service.server.coalescing_transport import CoalescingTransport

HEADERS = b"HTTP/1.1 200 OK\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class RecordingTransport:
    """Records each write."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.written.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


@pytest.mark.parametrize(
    ("writes", "expected"),
    [
        ([HEADERS, b"a", b"b"], [HEADERS + b"a", b"b"]),
        ([CONTINUE, HEADERS, b"a"], [CONTINUE, HEADERS + b"a"]),
        ([HEADERS, b"a", HEADERS, b"b"], [HEADERS + b"a", HEADERS + b"b"]),
        ([HEADERS], [HEADERS]),
    ],
    ids=["with the body", "100 Continue alone", "two responses", "without a body"],
)
@pytest.mark.parametrize("end", ["flush", "close"])
def test_headers_are_written_with_the_first_bytes_of_the_body(
    writes: list[bytes], expected: list[bytes], end: str
) -> None:
    recording = RecordingTransport()
    transport = CoalescingTransport(cast(asyncio.Transport, recording))
    for data in writes:
        transport.write(data)
    getattr(transport, end)()
    assert recording.written == expected
    assert transport.is_closing() == recording.closed == (end == "close")


def test_nothing_is_written_to_a_transport_that_was_closed_meanwhile() -> None:
    recording = RecordingTransport()
    transport = CoalescingTransport(cast(asyncio.Transport, recording))
    transport.write(HEADERS)
    recording.close()
    transport.flush()
    assert recording.written == []
