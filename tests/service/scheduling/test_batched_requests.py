import asyncio
import math
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np
import pytest

from latentwire.batching.cost_model import BatchKey
from latentwire.imaging.image import Pixels, write_png
from latentwire.model.onnx_session import Floats, OnnxModel
from latentwire.timing import StageTimer, timed_stage
from service.observability.metrics import Metrics
from service.scheduling.admission import Admission
from service.settings import Settings
from tests.service.client import OCTETS, Client

TIMEOUT_S = 60
KEY = BatchKey("/encode")


async def forever() -> None:
    await asyncio.Event().wait()


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), TIMEOUT_S))


def test_each_request_records_the_spans_of_its_batch() -> None:
    async def scenario() -> None:
        admission = Admission(Settings(max_concurrency=1, max_queue_size=9), Metrics("1", "both"))

        @timed_stage("infer")
        def work(items: Sequence[int]) -> Sequence[int | Exception]:
            return [ValueError("seven") if item == 7 else item for item in items]

        async def request(item: int) -> StageTimer:
            timer = StageTimer()
            with timer:
                try:
                    assert await admission.run(work, item, forever, KEY) == item
                except ValueError:
                    assert item == 7
            return timer

        assert set((await request(0)).total_ns) == {"wait", "infer"}  # in a thread
        first, failed = await asyncio.gather(request(1), request(7))
        assert set(first.total_ns) == set(failed.total_ns) == {"wait"}  # the metrics get `infer` from the batcher
        assert first.spans[-1] == failed.spans[-1]
        assert first.spans[-1][0] == "infer"
        admission.close()

    run(scenario)


@pytest.mark.parametrize("on_ood", ["warn", "refuse"])
def test_responses_are_the_same_batched_and_alone(
    start: Callable[..., Client], pixels: Pixels, monkeypatch: pytest.MonkeyPatch, on_ood: str
) -> None:
    # However slow this machine is.
    monkeypatch.setattr("latentwire.batching.cost_model.INLINE_LIMIT_NS", math.inf)
    monkeypatch.setattr("latentwire.batching.batcher.MAX_BATCH_NS", 10**12)
    client = start(on_ood=on_ood)
    pictures = [write_png(np.roll(pixels, shift)) for shift in range(6)] + [write_png(255 - pixels), b"no image"]
    bitstreams = [client.encode(picture, accept=OCTETS, on_ood="warn").content for picture in pictures[:-1]]
    run_graph, sizes = OnnxModel.run, []

    def count(graph: OnnxModel, values: Floats) -> Floats:
        sizes.append(len(values))
        return run_graph(graph, values)

    for path, bodies in (("/encode", pictures), ("/decode", [*bitstreams, b"no bitstream", bitstreams[0][:-1]])):
        alone = [client.post(path, body) for body in bodies]
        sizes.clear()
        with monkeypatch.context() as patched:
            patched.setattr(OnnxModel, "run", count)
            batched = client.post_at_once(path, bodies)
        assert [(each.status_code, each.content) for each in batched] == [
            (each.status_code, each.content) for each in alone
        ]
        assert max(sizes) > 1
    assert [each.status_code for each in batched[-2:]] == [400, 400]
