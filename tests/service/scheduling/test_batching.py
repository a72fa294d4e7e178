import asyncio
import math
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np
import pytest

from latentwire.imaging.image import Pixels, write_png
from latentwire.model.onnx_session import Floats, OnnxModel
from latentwire.timing import StageTimer, timed_stage, timer_scope
from service.scheduling.admission import Admission
from service.scheduling.batching import LONGEST_NS, MOST_TOGETHER, Together, WorkOnAll
from service.scheduling.cost_model import Pace
from tests.service.client import OCTETS, Client

PATIENCE_S = 10


class Crews:
    """Work that keeps what it was given at once."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []

    def work(self, items: Sequence[int]) -> list[int]:
        self.seen.append(list(items))
        return [10 * item for item in items]


async def forever() -> None:
    await asyncio.Event().wait()


def quick(time_ns: int = 1000) -> Pace:
    pace = Pace()
    pace.note(time_ns)
    return pace


def join(together: Together, work: WorkOnAll[Any], items: Sequence[object], pace: Pace, kind: str = "a") -> Any:
    return [together.join(work, item, kind, pace) for item in items]


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S))


def test_what_comes_together_is_worked_on_together() -> None:
    async def scenario() -> None:
        together, crews = Together(), Crews()
        done = await asyncio.gather(*join(together, crews.work, [1, 2, 3], quick()))
        assert [one.outcome for one in done] == [10, 20, 30]
        done = await asyncio.gather(*join(together, crews.work, [4], quick()))
        assert [one.outcome for one in done] == [40]
        assert crews.seen == [[1, 2, 3], [4]]

    run(scenario)


def test_what_comes_while_others_still_come_is_waited_for() -> None:
    async def scenario() -> None:
        together, crews, pace = Together(), Crews(), quick()

        async def come(item: int) -> None:
            for _ in range(item):
                await asyncio.sleep(0)
            await together.join(crews.work, item, "a", pace)

        await asyncio.gather(*(come(item) for item in (0, 0, 1, 2, 3, 9)))
        assert crews.seen == [[0, 0, 1, 2, 3], [9]]

    run(scenario)


def test_one_that_comes_alone_is_waited_with_only_if_the_last_one_was_not_alone() -> None:
    async def scenario() -> None:
        together, crews, pace = Together(), Crews(), quick()

        async def come(item: int, after: int) -> None:
            for _ in range(after):
                await asyncio.sleep(0)
            await together.join(crews.work, item, "a", pace)

        await asyncio.gather(come(1, 0), come(2, 1))
        await asyncio.gather(*join(together, crews.work, [3, 4], pace))
        await asyncio.gather(come(5, 0), come(6, 1))
        assert crews.seen == [[1], [2], [3, 4], [5, 6]]

    run(scenario)


def test_other_kinds_are_other_crews_in_the_order_in_which_they_came() -> None:
    async def scenario() -> None:
        together, crews, pace = Together(), Crews(), quick()
        kinds = ("a", "b", "a", "c", "b")
        await asyncio.gather(*(together.join(crews.work, at, kind, pace) for at, kind in enumerate(kinds)))
        assert crews.seen == [[0, 2], [1, 4], [3]]

    run(scenario)


@pytest.mark.parametrize(("time_ns", "most"), [(1000, MOST_TOGETHER), (LONGEST_NS // 4, 4), (2 * LONGEST_NS, 1)])
def test_a_crew_has_no_more_than_can_be_done_in_time(time_ns: int, most: int) -> None:
    async def scenario() -> None:
        together, crews, items = Together(), Crews(), list(range(2 * MOST_TOGETHER))
        done = await asyncio.gather(*join(together, crews.work, items, quick(time_ns)))
        assert [one.outcome for one in done] == [10 * item for item in items]
        assert crews.seen == [items[at : at + most] for at in range(0, len(items), most)]

    run(scenario)


def test_between_two_crews_others_have_their_turn() -> None:
    async def scenario() -> None:
        together, turns = Together(), []

        def work(items: Sequence[int]) -> Sequence[int]:
            turns.append("crew")
            asyncio.get_running_loop().call_soon(turns.append, "other")
            return items

        await asyncio.gather(*join(together, work, range(2 * MOST_TOGETHER), quick()))
        assert turns == ["crew", "other", "crew", "other"]

    run(scenario)


def test_what_is_wrong_with_one_is_told_to_that_one_only() -> None:
    def work(items: Sequence[int]) -> list[object]:
        return [ValueError("seven") if item == 7 else item for item in items]

    def fails(items: Sequence[int]) -> Sequence[int]:
        if 7 in items:
            raise ValueError("seven")
        return items

    async def scenario() -> None:
        for given in (work, fails):
            done = await asyncio.gather(*join(Together(), given, [6, 7, 8], quick()))
            assert [str(one.outcome) for one in done] == ["6", "seven", "8"]
            assert isinstance(done[1].outcome, ValueError)

    run(scenario)


def test_one_who_has_gone_does_not_trouble_the_others() -> None:
    async def scenario() -> None:
        together, crews = Together(), Crews()
        first, gone, last = join(together, crews.work, [1, 2, 3], quick())
        gone.cancel()
        assert [(await one).outcome for one in (first, last)] == [10, 30]
        assert gone.cancelled()

    run(scenario)


def test_each_request_is_told_the_stages_of_its_crew() -> None:
    async def scenario() -> None:
        admission = Admission(
            max_concurrency=1,
            max_queue_size=9,
            max_concurrent_batches=1,
            max_buffered_body_bytes=10,
            queue_timeout_s=PATIENCE_S,
        )

        @timed_stage("infer")
        def work(items: Sequence[int]) -> Sequence[int]:
            return items

        async def ask(item: int) -> StageTimer:
            timer = StageTimer()
            with timer_scope(timer):
                assert await admission.run(work, item, forever, "a") == item
            return timer

        assert set((await ask(0)).total_ns) == {"wait", "infer"}  # in a thread
        first, second = await asyncio.gather(ask(1), ask(2))
        assert set(first.total_ns) == set(second.total_ns) == {"wait", "infer"}
        assert first.spans[-1] == second.spans[-1]
        assert first.spans[-1][0] == "infer"
        admission.close()

    run(scenario)


@pytest.mark.parametrize("on_ood", ["warn", "refuse"])
def test_requests_that_come_together_are_answered_as_they_are_alone(
    start: Callable[..., Client], pixels: Pixels, monkeypatch: pytest.MonkeyPatch, on_ood: str
) -> None:
    # Whatever this machine takes for it.
    monkeypatch.setattr("service.scheduling.cost_model.QUICK_NS", math.inf)
    monkeypatch.setattr("service.scheduling.batching.LONGEST_NS", 10**12)
    client = start(on_ood=on_ood)
    pictures = [write_png(np.roll(pixels, at)) for at in range(6)] + [write_png(255 - pixels), b"no image"]
    codes = [client.encode(picture, accept=OCTETS, on_ood="warn").content for picture in pictures[:-1]]
    run_graph, at_once = OnnxModel.run, []

    def count(graph: OnnxModel, values: Floats) -> Floats:
        at_once.append(len(values))
        return run_graph(graph, values)

    for path, bodies in (("/encode", pictures), ("/decode", [*codes, b"no code", codes[0][:-1]])):
        alone = [client.post(path, body) for body in bodies]
        at_once.clear()
        with monkeypatch.context() as patched:
            patched.setattr(OnnxModel, "run", count)
            together = client.post_at_once(path, bodies)
        assert [(one.status_code, one.content) for one in together] == [(one.status_code, one.content) for one in alone]
        assert max(at_once) > 1
    assert [one.status_code for one in together[-2:]] == [400, 400]
