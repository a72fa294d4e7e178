import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import NoReturn

import anyio
import pytest

from latentwire.encoder import Encoder
from latentwire.imaging.image import Pixels
from service.errors import ClientGone, Overloaded
from service.scheduling.admission import MAX_KINDS, Admission
from tests.service.client import Client, assert_problem

PATIENCE_S = 10


async def forever() -> None:
    await asyncio.Event().wait()


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.001)


async def never_read() -> AsyncIterator[bytes]:
    raise AssertionError("the body is read")
    yield b""


def name_of_thread(items: Sequence[None]) -> list[int]:
    return [threading.get_ident() for _ in items]


def as_it_is(items: Sequence[str]) -> list[str]:
    return list(items)


class Gate:
    """Work that runs until it is let go."""

    def __init__(self) -> None:
        self.entered = 0
        self._open = threading.Event()
        self._lock = threading.Lock()

    def work(self, items: Sequence[str]) -> list[str]:
        with self._lock:
            self.entered += 1
        assert self._open.wait(PATIENCE_S)
        return list(items)

    def open(self) -> None:
        self._open.set()


def test_admission_runs_queues_and_turns_away() -> None:
    async def scenario() -> None:
        admission, gate = (
            Admission(
                max_concurrency=2,
                max_queue_size=3,
                max_concurrent_batches=1,
                max_buffered_body_bytes=10,
                queue_timeout_s=PATIENCE_S,
            ),
            Gate(),
        )
        jobs = [asyncio.create_task(admission.run(gate.work, "done", forever)) for _ in range(5)]
        await until(lambda: gate.entered == 2 and admission.admitted == 5)
        with pytest.raises(Overloaded):
            await admission.run(gate.work, "done", forever)
        assert gate.entered == 2
        gate.open()
        assert await asyncio.gather(*jobs) == ["done"] * 5
        assert admission.admitted == 0
        assert await admission.run(gate.work, "done", forever) == "done"
        admission.close()

    asyncio.run(scenario())


def test_a_client_that_goes_while_it_waits_frees_its_place() -> None:
    async def scenario() -> None:
        admission, gate, gone = (
            Admission(
                max_concurrency=1,
                max_queue_size=1,
                max_concurrent_batches=1,
                max_buffered_body_bytes=10,
                queue_timeout_s=PATIENCE_S,
            ),
            Gate(),
            asyncio.Event(),
        )

        async def until_gone() -> None:
            await gone.wait()

        running = asyncio.create_task(admission.run(gate.work, "done", until_gone))
        await until(lambda: gate.entered == 1)
        waiting = asyncio.create_task(admission.run(gate.work, "done", until_gone))
        await until(lambda: admission.admitted == 2)
        gone.set()
        with pytest.raises(ClientGone):
            await waiting
        assert admission.admitted == 1
        gate.open()
        assert await running == "done"
        assert gate.entered == 1
        admission.close()

    asyncio.run(scenario())


def test_a_turn_that_does_not_come_in_time_is_given_up() -> None:
    async def scenario() -> None:
        admission = Admission(
            max_concurrency=1,
            max_queue_size=1,
            max_concurrent_batches=1,
            max_buffered_body_bytes=10,
            queue_timeout_s=0.01,
        )
        gate = Gate()
        running = asyncio.create_task(admission.run(gate.work, "done", forever))
        await until(lambda: gate.entered == 1)
        with pytest.raises(Overloaded, match=r"within 0\.01 seconds"):
            await admission.run(gate.work, "done", forever)
        assert admission.admitted == 1
        gate.open()
        assert await running == "done"
        assert gate.entered == 1
        admission.close()

    asyncio.run(scenario())


def test_work_of_a_quick_kind_runs_in_the_event_loop_and_other_work_in_a_thread() -> None:
    async def scenario() -> None:
        admission = Admission(
            max_concurrency=1,
            max_queue_size=1,
            max_concurrent_batches=1,
            max_buffered_body_bytes=10,
            queue_timeout_s=PATIENCE_S,
        )
        here = threading.get_ident()
        assert await admission.run(name_of_thread, None, forever) != here
        assert await admission.run(name_of_thread, None, forever, "a") != here
        assert await admission.run(name_of_thread, None, forever, "a") == here
        assert await admission.run(name_of_thread, None, forever, "b") != here
        admission.close()

    asyncio.run(scenario())


def test_of_many_kinds_those_that_come_often_are_remembered() -> None:
    async def scenario() -> None:
        admission = Admission(
            max_concurrency=1,
            max_queue_size=1,
            max_concurrent_batches=1,
            max_buffered_body_bytes=10,
            queue_timeout_s=PATIENCE_S,
        )
        here = threading.get_ident()
        for kind in range(2 * MAX_KINDS):
            assert await admission.run(name_of_thread, None, forever, kind) != here
            ran_in = await admission.run(name_of_thread, None, forever, "often")
            assert (ran_in == here) == (kind > 0)
        assert len(admission._paces) == MAX_KINDS
        assert await admission.run(name_of_thread, None, forever, 0) != here
        admission.close()

    asyncio.run(scenario())


def test_quick_work_waits_for_its_turn_too() -> None:
    async def scenario() -> None:
        admission = Admission(
            max_concurrency=1,
            max_queue_size=1,
            max_concurrent_batches=1,
            max_buffered_body_bytes=10,
            queue_timeout_s=PATIENCE_S,
        )
        gate = Gate()
        await admission.run(as_it_is, "first", forever, "a")
        slow = asyncio.create_task(admission.run(gate.work, "done", forever))
        await until(lambda: gate.entered == 1)
        quick = asyncio.create_task(admission.run(as_it_is, "quick", forever, "a"))
        await until(lambda: admission.admitted == 2)
        with pytest.raises(Overloaded):
            await admission.run(as_it_is, "quick", forever, "a")
        gate.open()
        assert (await slow, await quick) == ("done", "quick")
        admission.close()

    asyncio.run(scenario())


def test_of_many_quick_requests_at_once_only_so_many_get_a_place() -> None:
    async def scenario() -> None:
        admission = Admission(
            max_concurrency=2,
            max_queue_size=3,
            max_concurrent_batches=1,
            max_buffered_body_bytes=10,
            queue_timeout_s=PATIENCE_S,
        )
        await admission.run(as_it_is, "first", forever, "a")
        jobs = [admission.run(as_it_is, "done", forever, "a") for _ in range(8)]
        outcomes = await asyncio.gather(*jobs, return_exceptions=True)
        assert outcomes[:5] == ["done"] * 5
        assert all(isinstance(outcome, Overloaded) for outcome in outcomes[5:])
        assert admission.admitted == 0
        admission.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("busy", [False, True])
def test_what_the_work_raises_is_raised_to_the_one_who_asked(busy: bool) -> None:
    async def scenario() -> None:
        admission, gate = (
            Admission(
                max_concurrency=1,
                max_queue_size=1,
                max_concurrent_batches=1,
                max_buffered_body_bytes=10,
                queue_timeout_s=PATIENCE_S,
            ),
            Gate(),
        )
        others = [asyncio.create_task(admission.run(gate.work, "done", forever))] if busy else []
        await until(lambda: admission.admitted == len(others))

        def fail(items: Sequence[str]) -> NoReturn:
            raise KeyError(items[0])

        failing = asyncio.create_task(admission.run(fail, "mine", forever))
        await until(lambda: admission.admitted == len(others) + 1 or failing.done())
        gate.open()
        with pytest.raises(KeyError, match="mine"):
            await failing
        await asyncio.gather(*others)
        assert admission.admitted == 0
        admission.close()

    asyncio.run(scenario())


def test_bodies_are_held_up_to_a_limit_of_all_together() -> None:
    told: list[int] = []
    admission = Admission(
        max_concurrency=1,
        max_queue_size=0,
        max_concurrent_batches=1,
        max_buffered_body_bytes=10,
        queue_timeout_s=PATIENCE_S,
        watch_held=told.append,
    )
    with admission.hold() as first:
        first.add(6)
        with admission.hold() as second:
            second.add(4)
            for held in (first, second):
                with pytest.raises(Overloaded):
                    held.add(1)
            assert admission.held_bytes == 10
        first.add(4)
    with suppress(KeyError), admission.hold() as held:
        held.add(3)
        raise KeyError
    assert told == [6, 10, 6, 10, 0, 3, 0]
    admission.close()


def test_one_body_alone_is_held_whatever_its_length() -> None:
    admission = Admission(
        max_concurrency=1,
        max_queue_size=0,
        max_concurrent_batches=1,
        max_buffered_body_bytes=10,
        queue_timeout_s=PATIENCE_S,
    )
    with admission.hold() as held:
        held.add(8)
        held.add(8)
        assert admission.held_bytes == 16
    admission.close()


def test_a_full_service_turns_away_with_retry_after_while_probes_answer(
    start: Callable[..., Client], monkeypatch: pytest.MonkeyPatch, png: bytes
) -> None:
    gate = Gate()
    original = Encoder.encode

    def slow(self: Encoder, pixels: Pixels) -> object:
        gate.work(())
        return original(self, pixels)

    monkeypatch.setattr(Encoder, "encode", slow)
    client = start(max_concurrency=1, max_queue_size=2)
    admission = client.app.state.shared.admission
    requests = [client.portal.start_task_soon(client.post_later("/encode", png)) for _ in range(3)]
    client.portal.call(until, lambda: gate.entered == 1 and admission.admitted == 3)
    for path in ("/encode", "/decode"):
        refused = client.post(path, never_read())
        assert_problem(refused, 429, "overloaded")
        assert refused.headers["retry-after"] == "1"
    for path in ("/livez", "/readyz", "/models", "/docs"):
        assert client.get(path).status_code == 200
    gate.open()
    assert [request.result(PATIENCE_S).status_code for request in requests] == [200] * 3
    assert client.encode(png).status_code == 200


def test_bodies_that_still_come_take_no_place_but_count_by_their_bytes(
    start: Callable[..., Client], png: bytes
) -> None:
    client = start(max_concurrency=1, max_queue_size=0, max_buffered_body_bytes=1000)
    admission = client.app.state.shared.admission
    arrived = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield png[:50]
        await arrived.wait()
        yield png[50:]

    requests = [client.portal.start_task_soon(client.post_later("/encode", slow())) for _ in range(5)]
    client.portal.call(until, lambda: admission.held_bytes == 250)
    assert client.encode(png).status_code == 200
    assert_problem(client.encode(bytes(751)), 429, "overloaded", "bytes")
    client.portal.call(arrived.set)
    statuses = {request.result(PATIENCE_S).status_code for request in requests}
    assert 200 in statuses <= {200, 429}
    assert admission.held_bytes == admission.admitted == 0
