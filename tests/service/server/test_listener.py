import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator

import pytest

from service.server.listener import Acceptor, Crowd
from tests.service.launching import PATIENCE_S


class Greeter(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(b"hello")
        transport.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


async def received(listener: socket.socket, sent: bytes = b"") -> bytes:
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    try:
        writer.write(sent)
        return await asyncio.wait_for(reader.read(), PATIENCE_S)
    finally:
        writer.close()


def run(
    listener: socket.socket, others_have_fewer: Callable[[], bool], context: ssl.SSLContext | None = None
) -> list[bytes]:
    async def talk() -> list[bytes]:
        acceptor = Acceptor(listener, Greeter, context, others_have_fewer)
        try:
            return list(await asyncio.gather(*[received(listener, b"no TLS" if context else b"") for _ in range(3)]))
        finally:
            acceptor.close()

    return asyncio.run(talk())


def test_every_connection_is_accepted(listener: socket.socket) -> None:
    assert run(listener, lambda: False) == [b"hello"] * 3


def test_all_that_wait_are_accepted_in_one_turn_of_the_loop(listener: socket.socket) -> None:
    clients = [socket.create_connection(listener.getsockname()) for _ in range(5)]

    async def one_turn() -> int:
        acceptor = Acceptor(listener, Greeter, None, lambda: False)
        acceptor._accept()
        found = acceptor.beginning
        acceptor.close()
        while acceptor.beginning:
            await asyncio.sleep(0.001)
        return found

    assert asyncio.run(one_turn()) == 5
    for client in clients:
        client.close()


def test_a_connection_that_others_do_not_take_is_not_left_to_them_for_ever(listener: socket.socket) -> None:
    assert run(listener, lambda: True) == [b"hello"] * 3


def test_what_speaks_no_tls_is_dropped_and_the_next_accepted(listener: socket.socket) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert not any(b"hello" in answer for answer in run(listener, lambda: False, context))


def test_of_too_many_that_do_not_go_on_with_tls_the_oldest_are_dropped(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.server.listener.MAX_HANDSHAKES", 2)
    monkeypatch.setattr("service.server.listener.TLS_HANDSHAKE_S", 3600)

    async def come() -> None:
        acceptor = Acceptor(listener, Greeter, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), lambda: False)
        clients = [await asyncio.open_connection(*listener.getsockname()) for _ in range(6)]
        for reader, _ in clients[:4]:
            assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
        assert acceptor.beginning == 2
        assert not any(reader.at_eof() for reader, _ in clients[4:])
        acceptor.close()
        for _, writer in clients:
            writer.close()
        while acceptor.beginning:
            await asyncio.sleep(0.001)

    asyncio.run(come())


def test_without_a_free_file_it_looks_again_later(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("service.server.listener.PAUSE_S", 0.01)

    class Full(socket.socket):
        fails = 3

        def accept(self) -> tuple[socket.socket, object]:
            Full.fails -= 1
            if Full.fails >= 0:
                raise OSError(24, "Too many open files")
            return super().accept()

    with Full(fileno=listener.detach()) as full:
        assert run(full, lambda: False) == [b"hello"] * 3
    assert caplog.messages == ["no connection can be accepted: Too many open files"] * 3


def test_a_crowd_knows_who_has_fewer() -> None:
    crowd = Crowd(3)
    crowd.set(0, 1)
    # Places that nobody is in do not count.
    assert not crowd.others_have_fewer(0)
    crowd.set(1, 1)
    assert not crowd.others_have_fewer(0)
    crowd.set(1, 0)
    assert crowd.others_have_fewer(0)
    assert not crowd.others_have_fewer(1)
    crowd.leave(1)
    assert not crowd.others_have_fewer(0)


def test_a_crowd_knows_for_how_long_somebody_has_been_silent() -> None:
    crowd = Crowd(2)
    assert crowd.silent_s(0) == 0
    crowd.set(0, 5)
    before = crowd.silent_s(0)
    assert 0 <= before <= crowd.silent_s(0)
    crowd.leave(0)
    assert crowd.silent_s(0) == 0
