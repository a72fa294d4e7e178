import resource

import pytest

from service.observability.metrics import Metrics
from service.server.connections import ConnectionPool, allow_connections
from service.settings import Settings


class FakeConnection:
    def __init__(self) -> None:
        self.aborted = ""
        self.closes = False

    def abort(self, reason: str) -> None:
        self.aborted = reason

    def close_after_response(self) -> None:
        self.closes = True


def make_pool(max_connections: int) -> ConnectionPool:
    return ConnectionPool(Settings(max_connections=max_connections), Metrics("0", "both"))


def test_the_connection_that_was_idle_longest_goes_first() -> None:
    pool = make_pool(3)
    first, second, third, *more = [FakeConnection() for _ in range(6)]
    for connection in (first, second, third):
        pool.add(connection)
    pool.set_working(first)
    pool.set_working(second)
    pool.set_idle(second)
    for connection in more:
        pool.add(connection)
    assert [connection.aborted for connection in (first, third, second, *more)] == [
        "",
        "evicted",
        "evicted",
        "evicted",
        "",
        "",
    ]


def test_a_new_connection_is_closed_if_none_waits_for_its_client() -> None:
    pool = make_pool(1)
    busy, new = FakeConnection(), FakeConnection()
    pool.add(busy)
    pool.set_working(busy)
    pool.add(new)
    assert (busy.aborted, new.aborted) == ("", "evicted")


def test_a_connection_whose_client_stalls_goes_if_none_is_idle() -> None:
    pool = make_pool(3)
    first, second, idle, *more = [FakeConnection() for _ in range(6)]
    for connection in (first, second, idle):
        pool.add(connection)
    for connection in (first, second, first):
        pool.set_waiting(connection)
    for connection in more:
        pool.add(connection)
        pool.set_working(connection)
    assert [connection.aborted for connection in (idle, second, first, *more)] == ["evicted"] * 3 + [""] * 3


def test_a_connection_that_is_lost_is_never_closed_for_another() -> None:
    pool = make_pool(1)
    lost, new = FakeConnection(), FakeConnection()
    pool.add(lost)
    pool.remove(lost)
    pool.set_idle(lost)
    pool.add(new)
    assert (lost.aborted, new.aborted) == ("", "")
    assert pool.abort_all() == 1
    assert (lost.aborted, new.aborted) == ("", "shutdown")


def test_all_connections_close_after_a_response_when_the_process_stops() -> None:
    pool = make_pool(2)
    connections = [FakeConnection(), FakeConnection()]
    for connection in connections:
        pool.add(connection)
    pool.close_after_responses()
    assert pool.is_stopping
    assert all(connection.closes for connection in connections)


@pytest.mark.parametrize(
    ("hard_limit", "connections"), [(4096, 1000), (resource.RLIM_INFINITY, 1000), (512, 384), (64, 1)]
)
def test_there_are_as_many_connections_as_open_files_allow(
    monkeypatch: pytest.MonkeyPatch, hard_limit: int, connections: int
) -> None:
    limits = [(64, hard_limit)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: limits.append(both))
    assert allow_connections(1000) == connections
    assert limits[-1] == (hard_limit, hard_limit)


def test_a_system_that_refuses_more_open_files_bounds_the_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_kind: int, _limits: tuple[int, int]) -> None:
        raise ValueError

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert allow_connections(1000) == 128
