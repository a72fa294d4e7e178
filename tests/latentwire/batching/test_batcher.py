import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from latentwire.batching.batcher import (
    MAX_BATCH_NS,
    MAX_BATCH_SIZE,
    BatchFunction,
    DynamicBatcher,
    map_ok,
    run_isolated,
)
from latentwire.batching.cost_model import INLINE_LIMIT_NS, BatchKey, CostEstimate
from latentwire.timing import StageTimer

TIMEOUT_S = 60
KEY = BatchKey("/encode")


class Recorder:
    """Work that records which items it got at once."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def work(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        return [10 * item for item in items]


def ignore(_route: str, _size: int, _timer: StageTimer) -> None:
    """Do nothing with a micro-batch that has run."""


def expecting(time_ns: int = 1000) -> CostEstimate:
    estimate = CostEstimate()
    estimate.observe(time_ns)
    return estimate


async def submit_all(
    batcher: DynamicBatcher, work: BatchFunction[Any, Any], items: Sequence[object], estimate: CostEstimate
) -> list[Any]:
    """Submit all items in one turn of the event loop; return results and exceptions."""
    submitted = (batcher.submit(work, item, KEY, estimate) for item in items)
    return await asyncio.gather(*submitted, return_exceptions=True)


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), TIMEOUT_S))


def test_items_that_arrive_together_are_one_batch() -> None:
    async def scenario() -> None:
        sizes: list[tuple[str, int]] = []
        batcher, recorder = DynamicBatcher(lambda route, size, _timer: sizes.append((route, size))), Recorder()
        assert await submit_all(batcher, recorder.work, [1, 2, 3], expecting()) == [10, 20, 30]
        assert await submit_all(batcher, recorder.work, [4], expecting()) == [40]
        assert recorder.batches == [[1, 2, 3], [4]]
        assert sizes == [("/encode", 3), ("/encode", 1)]

    run(scenario)


def test_a_batch_waits_while_each_turn_brings_more_items() -> None:
    async def scenario() -> None:
        batcher, recorder, estimate = DynamicBatcher(ignore), Recorder(), expecting()

        async def submit(item: int) -> None:
            for _ in range(item):
                await asyncio.sleep(0)
            await batcher.submit(recorder.work, item, KEY, estimate)

        await asyncio.gather(*(submit(item) for item in (0, 0, 1, 2, 3, 9)))
        assert recorder.batches == [[0, 0, 1, 2, 3], [9]]

    run(scenario)


def test_a_single_item_waits_for_others_only_after_a_batch_of_several() -> None:
    async def scenario() -> None:
        batcher, recorder, estimate = DynamicBatcher(ignore), Recorder(), expecting()

        async def submit(item: int, turn: int) -> None:
            for _ in range(turn):
                await asyncio.sleep(0)
            await batcher.submit(recorder.work, item, KEY, estimate)

        await asyncio.gather(submit(1, 0), submit(2, 1))
        await submit_all(batcher, recorder.work, [3, 4], estimate)
        await asyncio.gather(submit(5, 0), submit(6, 1))
        assert recorder.batches == [[1], [2], [3, 4], [5, 6]]

    run(scenario)


def test_each_key_has_a_batch_of_its_own_in_order_of_arrival() -> None:
    async def scenario() -> None:
        batcher, recorder, estimate = DynamicBatcher(ignore), Recorder(), expecting()
        options = ("a", "b", "a", "c", "b")
        await asyncio.gather(
            *(
                batcher.submit(recorder.work, item, BatchKey("/encode", option), estimate)
                for item, option in enumerate(options)
            )
        )
        assert recorder.batches == [[0, 2], [1, 4], [3]]

    run(scenario)


@pytest.mark.parametrize(
    ("time_ns", "max_size"), [(1000, MAX_BATCH_SIZE), (MAX_BATCH_NS // 4, 4), (2 * MAX_BATCH_NS, 1)]
)
def test_the_expected_time_limits_the_size_of_a_batch(time_ns: int, max_size: int) -> None:
    async def scenario() -> None:
        batcher, recorder, items = DynamicBatcher(ignore), Recorder(), list(range(2 * MAX_BATCH_SIZE))
        assert await submit_all(batcher, recorder.work, items, expecting(time_ns)) == [10 * item for item in items]
        assert recorder.batches == [items[start : start + max_size] for start in range(0, len(items), max_size)]

    run(scenario)


def test_other_callbacks_run_between_two_batches() -> None:
    async def scenario() -> None:
        batcher, turns = DynamicBatcher(ignore), []

        def work(items: Sequence[int]) -> Sequence[int]:
            turns.append("batch")
            asyncio.get_running_loop().call_soon(turns.append, "other")
            return items

        await submit_all(batcher, work, range(2 * MAX_BATCH_SIZE), expecting())
        assert turns == ["batch", "other", "batch", "other"]

    run(scenario)


def test_an_error_reaches_only_the_item_that_caused_it() -> None:
    def returns_an_error(items: Sequence[int]) -> list[object]:
        return [ValueError("seven") if item == 7 else item for item in items]

    def raises_an_error(items: Sequence[int]) -> Sequence[int]:
        if 7 in items:
            raise ValueError("seven")
        return items

    async def scenario() -> None:
        for work in (returns_an_error, raises_an_error):
            first, failed, last = await submit_all(DynamicBatcher(ignore), work, [6, 7, 8], expecting())
            assert (first, str(failed), last) == (6, "seven", 8)
            assert isinstance(failed, ValueError)

    run(scenario)


def test_a_cancelled_request_leaves_the_others_of_its_batch_alone() -> None:
    async def scenario() -> None:
        batcher, recorder, estimate = DynamicBatcher(ignore), Recorder(), expecting()
        first, cancelled, last = (
            asyncio.create_task(batcher.submit(recorder.work, item, KEY, estimate)) for item in (1, 2, 3)
        )
        await asyncio.sleep(0)
        cancelled.cancel()
        assert (await first, await last) == (10, 30)
        assert cancelled.cancelled()

    run(scenario)


def test_only_the_processor_time_of_work_is_estimated() -> None:
    def sleep(items: Sequence[int]) -> list[int]:
        time.sleep(0.01)
        return list(items)

    estimate = CostEstimate()
    run_isolated(sleep, [1], estimate)
    assert estimate.runs_inline


def test_the_time_of_work_that_raises_is_estimated_too() -> None:
    def fail(_items: Sequence[int]) -> list[int]:
        raise ZeroDivisionError

    estimate = CostEstimate()
    (error,) = run_isolated(fail, [1], estimate)
    assert isinstance(error, ZeroDivisionError)
    assert estimate.runs_inline


def test_the_time_of_a_batch_is_divided_among_its_items() -> None:
    def keep_busy(items: Sequence[int]) -> list[int]:
        until_ns = time.thread_time_ns() + 2 * INLINE_LIMIT_NS
        while time.thread_time_ns() < until_ns:
            pass
        return list(items)

    alone, batched = CostEstimate(), CostEstimate()
    run_isolated(keep_busy, [1], alone)
    run_isolated(keep_busy, range(1000), batched)
    assert batched.runs_inline
    assert not alone.runs_inline


def test_map_ok_keeps_errors_in_their_places() -> None:
    first, second = ValueError("first"), ValueError("second")
    results: list[int | Exception] = [1, first, 2, 3]
    assert map_ok(results, lambda ok: [second if item == 2 else 10 * item for item in ok]) == [10, first, second, 30]


def test_map_ok_does_not_call_the_function_without_results() -> None:
    error = ValueError()
    assert map_ok([error], lambda _ok: pytest.fail("called")) == [error]
    assert map_ok([], lambda _ok: pytest.fail("called")) == []
