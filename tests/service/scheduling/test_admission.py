import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

import anyio
import pytest

from latentwire.batching.cost_model import BatchKey
from latentwire.cancelling import check_cancelled
from latentwire.encoder import Encoder
from latentwire.errors import ClientGone, Overloaded
from latentwire.imaging.image import Pixels
from latentwire.timing import StageTimer, timed_stage
from service.observability.metrics import Metrics
from service.scheduling.admission import Admission
from service.settings import Settings
from tests.service.client import Client, assert_problem

TIMEOUT_S = 60
KEY = BatchKey("/encode")


async def forever() -> None:
    await asyncio.Event().wait()


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(TIMEOUT_S):
        while not condition():
            await asyncio.sleep(0.001)


async def never_read() -> AsyncIterator[bytes]:
    raise AssertionError("the body is read")
    yield b""


def name_of_thread(items: Sequence[None]) -> list[int]:
    return [threading.get_ident() for _ in items]


@timed_stage("entropy")
def as_it_is(items: Sequence[str]) -> list[str]:
    return list(items)


def admission_of(metrics: Metrics | None = None, **changes: Any) -> Admission:
    """One slot, without a queue, unless `changes` says otherwise."""
    limits: dict[str, Any] = {
        "max_concurrency": 1,
        "max_queue_size": 0,
        "max_concurrent_batches": 1,
        "max_buffered_body_bytes": 10,
        "queue_timeout_s": TIMEOUT_S,
    }
    # Some are smaller than an operator may set.
    return Admission(Settings.model_construct(**(limits | changes)), metrics or RecordedMetrics())


class Gate:
    """Work that runs until it is let go."""

    def __init__(self) -> None:
        self.entered = 0
        self._open = threading.Event()
        self._lock = threading.Lock()

    def work(self, items: Sequence[str]) -> list[str]:
        with self._lock:
            self.entered += 1
        assert self._open.wait(TIMEOUT_S)
        return list(items)

    def open(self) -> None:
        self._open.set()


def test_admission_runs_queues_and_refuses() -> None:
    async def scenario() -> None:
        admission, gate = admission_of(max_concurrency=2, max_queue_size=3), Gate()
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


def test_a_client_that_disconnects_in_the_queue_frees_its_place() -> None:
    async def scenario() -> None:
        admission, gate, gone = admission_of(max_queue_size=1), Gate(), asyncio.Event()

        async def wait_for_disconnect() -> None:
            await gone.wait()

        running = asyncio.create_task(admission.run(gate.work, "done", wait_for_disconnect))
        await until(lambda: gate.entered == 1)
        waiting = asyncio.create_task(admission.run(gate.work, "done", wait_for_disconnect))
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


def test_a_request_that_waits_too_long_is_refused() -> None:
    async def scenario() -> None:
        admission = admission_of(max_queue_size=1, queue_timeout_s=0.01)
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


def test_short_work_runs_in_the_event_loop_and_other_work_in_a_thread() -> None:
    async def scenario() -> None:
        admission = admission_of(max_queue_size=1)
        here = threading.get_ident()
        assert await admission.run(name_of_thread, None, forever) != here
        assert await admission.run(name_of_thread, None, forever, KEY) != here
        assert await admission.run(name_of_thread, None, forever, KEY) == here
        assert await admission.run(name_of_thread, None, forever, BatchKey("/decode")) != here
        admission.close()

    asyncio.run(scenario())


def test_short_work_waits_in_the_queue_too() -> None:
    async def scenario() -> None:
        admission = admission_of(max_queue_size=1)
        gate = Gate()
        await admission.run(as_it_is, "first", forever, KEY)
        slow = asyncio.create_task(admission.run(gate.work, "done", forever))
        await until(lambda: gate.entered == 1)
        quick = asyncio.create_task(admission.run(as_it_is, "quick", forever, KEY))
        await until(lambda: admission.admitted == 2)
        with pytest.raises(Overloaded):
            await admission.run(as_it_is, "quick", forever, KEY)
        gate.open()
        assert (await slow, await quick) == ("done", "quick")
        admission.close()

    asyncio.run(scenario())


def test_short_requests_beyond_the_queue_are_refused() -> None:
    async def scenario() -> None:
        admission = admission_of(max_concurrency=2, max_queue_size=3)
        await admission.run(as_it_is, "first", forever, KEY)
        jobs = [admission.run(as_it_is, "done", forever, KEY) for _ in range(8)]
        outcomes = await asyncio.gather(*jobs, return_exceptions=True)
        assert outcomes[:5] == ["done"] * 5
        assert all(isinstance(outcome, Overloaded) for outcome in outcomes[5:])
        assert admission.admitted == 0
        admission.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("busy", [False, True])
def test_an_error_of_the_work_reaches_its_request(busy: bool) -> None:
    async def scenario() -> None:
        admission, gate = admission_of(max_queue_size=1), Gate()
        others = [asyncio.create_task(admission.run(gate.work, "done", forever))] if busy else []
        await until(lambda: admission.admitted == len(others))

        def fail(items: Sequence[str]) -> NoReturn:
            raise KeyError(items[0])

        failing: asyncio.Task[str] = asyncio.create_task(admission.run(fail, "mine", forever))
        await until(lambda: admission.admitted == len(others) + 1 or failing.done())
        gate.open()
        with pytest.raises(KeyError, match="mine"):
            await failing
        await asyncio.gather(*others)
        assert admission.admitted == 0
        admission.close()

    asyncio.run(scenario())


class RecordedMetrics(Metrics):
    """Keeps what it was told last."""

    def __init__(self) -> None:
        super().__init__("1", "both")
        self.load: list[int] = []
        self.buffered_bytes: list[int] = []
        self.micro_batches: list[tuple[str, int]] = []
        self.stages: list[set[str]] = []

    def update(self) -> None:
        gauges = self._current_values()
        self.load = [gauges[name] for name in ("requests_in_flight", "requests_queued", "batches_in_flight")]
        self.buffered_bytes.append(gauges["body_buffered_bytes"])

    def observe_micro_batch(self, route: str, size: int, timer: StageTimer) -> None:
        self.micro_batches.append((route, size))
        self.stages.append(set(timer.total_ns))


def test_the_metrics_show_load_and_micro_batches() -> None:
    async def scenario() -> None:
        metrics, gate = RecordedMetrics(), Gate()
        admission = admission_of(max_queue_size=2, metrics=metrics)
        await admission.run(as_it_is, "first", forever, KEY)
        assert metrics.micro_batches == []
        await asyncio.gather(*(admission.run(as_it_is, "next", forever, KEY) for _ in range(3)))
        assert metrics.micro_batches == [("/encode", 3)]
        assert metrics.stages == [{"entropy"}]
        jobs = [asyncio.create_task(admission.run(gate.work, "done", forever)) for _ in range(3)]
        await until(lambda: admission.admitted == 3)
        async with admission.batch():
            assert metrics.load == [1, 2, 1]
        gate.open()
        await asyncio.gather(*jobs)
        assert metrics.load == [0, 0, 0]
        admission.close()

    asyncio.run(scenario())


def test_bodies_are_buffered_up_to_a_limit_of_all_together() -> None:
    metrics = RecordedMetrics()
    admission = admission_of(metrics=metrics)
    with admission.reserve("a") as first:
        first.add(6)
        with admission.reserve("b") as second:
            second.add(4)
            for budget in (first, second):
                with pytest.raises(Overloaded):
                    budget.add(1)
            assert admission.buffered_bytes == 10
        first.add(4)
    with suppress(KeyError), admission.reserve("") as budget:
        budget.add(3)
        raise KeyError
    assert metrics.buffered_bytes == [0, 6, 10, 6, 10, 0, 3, 0]
    admission.close()


def test_one_client_has_at_most_half_of_the_bytes() -> None:
    admission = admission_of()
    with admission.reserve("a") as first, admission.reserve("a") as second, admission.reserve("b") as other:
        first.add(3)
        second.add(2)
        with pytest.raises(Overloaded, match="of this client"):
            second.add(1)
        other.add(5)
    with admission.reserve("a") as alone, admission.reserve("a") as next_one:
        alone.add(10)
        with pytest.raises(Overloaded, match="of this client"):
            next_one.add(1)
    assert admission.buffered_bytes == 0
    with admission.reserve("a") as first, admission.reserve("a") as second:
        first.add(2)
        second.add(3)
    admission.close()


def test_a_body_alone_may_exceed_the_limit() -> None:
    admission = admission_of()
    with admission.reserve("") as budget:
        budget.add(8)
        budget.add(8)
        assert admission.buffered_bytes == 16
    admission.close()


def test_a_full_service_answers_retry_after_while_probes_succeed(
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
    assert [request.result(TIMEOUT_S).status_code for request in requests] == [200] * 3
    assert client.encode(png).status_code == 200


def test_arriving_bodies_take_no_slot_but_count_by_their_bytes(start: Callable[..., Client], png: bytes) -> None:
    client = start(max_concurrency=1, max_queue_size=0, max_buffered_body_bytes=1000)
    admission = client.app.state.shared.admission
    arrived = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield png[:50]
        await arrived.wait()
        yield png[50:]

    requests = [client.portal.start_task_soon(client.post_later("/encode", slow())) for _ in range(5)]
    client.portal.call(until, lambda: admission.buffered_bytes == 250)
    assert client.encode(png).status_code == 200
    assert_problem(client.encode(bytes(751)), 429, "overloaded", "bytes")
    client.portal.call(arrived.set)
    statuses = {request.result(TIMEOUT_S).status_code for request in requests}
    assert 200 in statuses <= {200, 429}
    assert admission.buffered_bytes == admission.admitted == 0


def test_large_images_are_admitted_by_their_pixels() -> None:
    async def scenario() -> None:
        admission = admission_of(max_concurrency=2, max_queue_size=9, max_image_pixels=5_000_000)
        gates = [Gate() for _ in range(4)]
        sizes = (3_000_000, 4_000_000, 1_500_000, 1_000_000)
        running = [
            asyncio.ensure_future(admission.run_pixels(partial(gate.work, ["x"]), pixels, forever))
            for gate, pixels in zip(gates, sizes, strict=True)
        ]
        # The small one takes a slot of its own; the third would fit, but is not before the second.
        await until(lambda: gates[0].entered == gates[3].entered == 1)
        assert (gates[1].entered, gates[2].entered, admission.admitted) == (0, 0, 4)
        assert await admission.run(as_it_is, "y", forever) == "y"
        gates[0].open()
        await until(lambda: gates[1].entered == 1)
        assert gates[2].entered == 0
        for gate in gates:
            gate.open()
        assert await asyncio.gather(*running) == [["x"]] * 4
        assert admission.admitted == 0
        admission.close()

    asyncio.run(scenario())


def test_a_large_image_whose_turn_does_not_come_is_refused() -> None:
    async def scenario() -> None:
        admission = admission_of(max_queue_size=9, max_image_pixels=2_000_000, queue_timeout_s=0.01)
        gate = Gate()
        first = asyncio.ensure_future(admission.run_pixels(partial(gate.work, ["x"]), 9_000_000, forever))
        await until(lambda: gate.entered == 1)
        with pytest.raises(Overloaded, match="turn did not come"):
            await admission.run_pixels(partial(as_it_is, ["y"]), 2_000_000, forever)

        async def gone() -> None:
            pass

        with pytest.raises(ClientGone):
            await admission.run_pixels(partial(as_it_is, ["y"]), 2_000_000, gone)
        gate.open()
        assert await first == ["x"]
        assert await admission.run_pixels(partial(as_it_is, ["y"]), 2_000_000, forever) == ["y"]
        admission.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("in_batch", [False, True])
def test_work_on_a_large_image_ends_when_its_client_has_gone(in_batch: bool) -> None:
    async def scenario() -> None:
        admission = admission_of(max_queue_size=9, max_image_pixels=2_000_000)
        begun, ended, gone = threading.Event(), threading.Event(), asyncio.Event()

        def work() -> None:
            begun.set()
            try:
                while True:
                    check_cancelled()
            finally:
                ended.set()

        async def gone_away() -> None:
            await gone.wait()

        async def run() -> None:
            if not in_batch:
                await admission.run_pixels(work, 2_000_000, gone_away)
            async with admission.batch() as run_part:
                await run_part(work, 2_000_000, asyncio.ensure_future(gone_away()))

        request = asyncio.ensure_future(run())
        await until(begun.is_set)
        gone.set()
        with pytest.raises(ClientGone):
            await request
        await until(ended.is_set)
        async with admission.batch() as run_part:
            assert await run_part(partial(as_it_is, ["y"]), 2_000_000, None) == ["y"]
        admission.close()

    asyncio.run(scenario())
