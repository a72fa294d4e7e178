import asyncio
from typing import cast

from service.server.coalescing_transport import AnswerWriter

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


class Line:
    """A transport that keeps what is written to it, write by write."""

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


def writer() -> tuple[AnswerWriter, Line]:
    line = Line()
    return AnswerWriter(cast(asyncio.Transport, line)), line


def test_a_head_goes_out_with_the_first_bytes_of_its_body_and_the_others_as_they_come() -> None:
    answer, line = writer()
    for data in (HEAD, b"a", b"b"):
        answer.write(data)
    answer.flush()
    assert line.written == [HEAD + b"a", b"b"]


def test_a_head_without_a_body_goes_out_when_the_answer_ends() -> None:
    answer, line = writer()
    answer.write(HEAD)
    assert not line.written
    answer.flush()
    answer.flush()
    assert line.written == [HEAD]


def test_a_head_goes_out_before_the_connection_is_closed() -> None:
    answer, line = writer()
    answer.write(HEAD)
    answer.close()
    assert line.written == [HEAD]
    assert answer.is_closing()


def test_a_client_that_waits_to_be_told_to_go_on_is_told_at_once() -> None:
    answer, line = writer()
    for data in (b"HTTP/1.1 100 Continue\r\n\r\n", HEAD, b"a"):
        answer.write(data)
    assert line.written == [b"HTTP/1.1 100 Continue\r\n\r\n", HEAD + b"a"]
