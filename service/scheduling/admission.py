"""Admission control: bounds how many requests run and wait, how many batches run, and how many bytes are buffered.

Work runs in a thread, so that health probes are answered meanwhile; work that the cost model predicts to be short runs
in the event loop, batched with other requests'. A request takes no slot while its body arrives, or slow clients would
keep all others out. The bytes that have arrived count towards the limit of buffered bytes instead. Large images are
admitted by their pixels, and run in threads of their own.
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import copy_context
from functools import partial
from time import perf_counter_ns
from typing import Any, Protocol, Self, TypeVar

from latentwire.batching.batcher import BatchFunction, DynamicBatcher, Item, run_isolated
from latentwire.batching.cost_model import BatchKey, new_cost_model
from latentwire.cancelling import cancelled_by
from latentwire.errors import ClientGone, Overloaded
from latentwire.timing import record
from service.observability.metrics import Metrics
from service.settings import Settings

Result = TypeVar("Result")

# More is admitted by its pixels. An image of that size takes about a second, and is one part in its bitstream.
MAX_SMALL_PIXELS = 1 << 20


class RunPart(Protocol):
    """Runs one part of a batch's work."""

    async def __call__(self, work: Callable[[], Result], pixels: int, gone: asyncio.Future[None] | None, /) -> Result:
        """Run blocking work in a thread, and return its result.

        Work on a large image waits for its turn, and ends early once `gone`, that the client has gone, is done.
        """


class Admission:
    """Running slots with a queue before them. Use it from one event loop."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        """Start with all slots free; `settings` has the limits, and `metrics` shows the load."""
        self._settings = settings
        self._metrics = metrics
        self.admitted = 0  # requests that run or wait
        self.buffered_bytes = 0  # body bytes in memory
        self._bytes_of_clients: dict[str, int] = {}
        self._batches = 0
        self._in_threads = 0
        self._estimate_of = new_cost_model()
        self._batcher = DynamicBatcher(metrics.observe_micro_batch)
        self._threads = ThreadPoolExecutor(settings.max_concurrency, thread_name_prefix="codec")
        self._pixels = 0  # of the large images that run
        self._turns: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._large_threads = ThreadPoolExecutor(settings.max_concurrency, thread_name_prefix="pixels")
        metrics.watch(self._load)

    def reserve(self, client: str) -> "BodyBudget":
        """Return an empty budget for the body of a new request of a client, which is known by its address.

        Raises:
            Overloaded: all slots are taken and the queue is full, so reading the body would be of no use.
        """
        self._check_capacity()
        return BodyBudget(self, client)

    async def run(
        self,
        work: BatchFunction[Item, Result],
        item: Item,
        wait_for_disconnect: Callable[[], Awaitable[None]],
        batch_key: BatchKey | None = None,
    ) -> Result:
        """Run `work` on `item` when its turn has come, and return the result.

        Args:
            work: blocking; takes items, and returns for each its result, or the exception to raise here.
            item: this request's argument.
            wait_for_disconnect: returns when the client has closed the connection. A client that goes while its
                request waits frees the place in the queue.
            batch_key: requests with equal keys have the same `work`. Once that is known to be short, it runs in the
                event loop, on all items of the key together. Without a key, or while threads use all slots, it runs
                in a thread.

        Raises:
            Overloaded: all slots are taken and the queue is full, or the turn did not come in time.
            ClientGone: the client went away while the request waited.
            Exception: what `work` raised or returned for this item.
        """
        self._check_capacity()
        self.admitted += 1
        self._metrics.update()
        try:
            estimate = None if batch_key is None else self._estimate_of(batch_key)
            if batch_key and estimate and estimate.runs_inline and self._in_threads < self._settings.max_concurrency:
                return await self._batcher.submit(work, item, batch_key, estimate)
            job, results = self._start_thread(partial(run_isolated, work, [item], estimate))
            if self.admitted > self._settings.max_concurrency:
                await self._wait_in_queue(job, results, wait_for_disconnect)
            (result,) = await results
            if isinstance(result, Exception):
                raise result
            return result
        finally:
            self.admitted -= 1
            self._metrics.update()

    async def run_pixels(
        self, work: Callable[[], Result], pixels: int, wait_for_disconnect: Callable[[], Awaitable[None]]
    ) -> Result:
        """Run `work` on an image of so many pixels when its turn has come, and return the result.

        Large images run while they have no more pixels together than one image may have, in the order of their coming.
        Their work ends early when the client has gone.

        Raises:
            Overloaded: as in `run`.
            ClientGone: the client went away before the result was there.
            Exception: what `work` raised.
        """
        if pixels <= MAX_SMALL_PIXELS:
            return await self.run(lambda items: [item() for item in items], work, wait_for_disconnect)
        self._check_capacity()
        self.admitted += 1
        self._metrics.update()
        gone = asyncio.ensure_future(wait_for_disconnect())
        try:
            return await self._run_large(work, pixels, gone, self._settings.queue_timeout_s)
        finally:
            gone.cancel()
            self.admitted -= 1
            self._metrics.update()

    async def _run_large(
        self, work: Callable[[], Result], pixels: int, gone: asyncio.Future[None], timeout_s: float | None
    ) -> Result:
        loop, cancelled = asyncio.get_running_loop(), threading.Event()
        try:
            await self._wait_for_pixels(pixels, gone, timeout_s)
            with cancelled_by(cancelled):
                job, result = _start(work, self._large_threads)
            # Not the end of this request: its thread still holds the image until it notices that it is cancelled.
            job.add_done_callback(lambda _: loop.call_soon_threadsafe(self._change_pixels, -pixels))
            result.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # nobody may be left to ask
            either: list[asyncio.Future[Any]] = [result, gone]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not result.done():
                raise ClientGone("the connection was closed before the response was there")
            return result.result()
        finally:
            cancelled.set()

    @asynccontextmanager
    async def batch(self) -> AsyncIterator[RunPart]:
        """Admit a batch. Each part of its work takes its turn, so that a slow client's batch occupies no thread.

        Raises:
            Overloaded: as many batches as allowed are running.
        """
        if self._batches >= self._settings.max_concurrent_batches:
            raise Overloaded("the service runs as many batches as it may; send this batch again a little later")
        self._batches += 1
        self._metrics.update()
        try:
            yield self._run_part
        finally:
            self._batches -= 1
            self._metrics.update()

    async def _wait_for_pixels(self, pixels: int, gone: asyncio.Future[None], timeout_s: float | None) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._turns.append((pixels, turn))
        self._change_pixels(0)
        try:
            await asyncio.wait([turn, gone], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            has_come = turn.done()
            if not has_come:
                self._turns.remove((pixels, turn))
                self._change_pixels(0)
        if not has_come:
            raise self._turn_missed(gone)

    def _change_pixels(self, change: int) -> None:
        """Count pixels, and let those images run whose turn has come."""
        self._pixels += change
        while self._turns and (not self._pixels or self._pixels + self._turns[0][0] <= self._settings.max_image_pixels):
            pixels, turn = self._turns.popleft()
            self._pixels += pixels
            turn.set_result(None)

    def _turn_missed(self, gone: asyncio.Future[None]) -> Exception:
        if gone.done():
            return ClientGone("the connection was closed while the request waited for its turn")
        waited_s = self._settings.queue_timeout_s
        return Overloaded(f"the request's turn did not come within {waited_s} seconds; send it again later")

    async def _wait_in_queue(
        self, job: Future[Result], result: asyncio.Future[Result], wait_for_disconnect: Callable[[], Awaitable[None]]
    ) -> None:
        gone = asyncio.ensure_future(wait_for_disconnect())
        try:
            either: list[asyncio.Future[Any]] = [result, gone]
            await asyncio.wait(either, timeout=self._settings.queue_timeout_s, return_when=asyncio.FIRST_COMPLETED)
            # A thread that has begun cannot be stopped; its request keeps its slot until it ends.
            if not result.done() and job.cancel():
                raise self._turn_missed(gone)
        finally:
            gone.cancel()

    def _check_capacity(self) -> None:
        if self.admitted >= self._settings.max_concurrency + self._settings.max_queue_size:
            raise Overloaded("the service is at its limit of requests; send the request again a little later")

    def _buffer(self, client: str, size: int) -> None:
        self.buffered_bytes += size
        if of_client := self._bytes_of_clients.pop(client, 0) + size:
            self._bytes_of_clients[client] = of_client
        self._metrics.update()

    async def _run_part(self, work: Callable[[], Result], pixels: int, gone: asyncio.Future[None] | None, /) -> Result:
        if pixels <= MAX_SMALL_PIXELS:
            return await self._start_thread(work)[1]
        # The time of the whole batch bounds that of waiting.
        return await self._run_large(work, pixels, gone or asyncio.get_running_loop().create_future(), None)

    def _start_thread(self, work: Callable[[], Result]) -> tuple[Future[Result], asyncio.Future[Result]]:
        started = _start(work, self._threads)
        self._in_threads += 1
        started[1].add_done_callback(self._leave_thread)
        return started

    def _leave_thread(self, _result: asyncio.Future[Any]) -> None:
        self._in_threads -= 1

    def _load(self) -> dict[str, int]:
        running = min(self.admitted, self._settings.max_concurrency)
        return {
            "requests_in_flight": running,
            "requests_queued": self.admitted - running,
            "batches_in_flight": self._batches,
            "body_buffered_bytes": self.buffered_bytes,
        }

    def close(self) -> None:
        """Wait for the work that runs, and drop the work that waits."""
        self._threads.shutdown(cancel_futures=True)
        self._large_threads.shutdown(cancel_futures=True)


def _start(work: Callable[[], Result], threads: ThreadPoolExecutor) -> tuple[Future[Result], asyncio.Future[Result]]:
    """Return the job, whose `cancel()` fails once a thread has taken it, and its result."""
    submitted_ns = perf_counter_ns()

    def run() -> Result:
        record("wait", submitted_ns)
        return work()

    job = threads.submit(copy_context().run, run)
    return job, asyncio.wrap_future(job)


class BodyBudget:
    """The buffered bytes of one body. The end of its `with` block gives them back."""

    def __init__(self, admission: Admission, client: str) -> None:
        self._admission = admission
        self._client = client
        self._max_bytes = admission._settings.max_buffered_body_bytes
        self._bytes = 0

    def add(self, size: int) -> None:
        """Take `size` more bytes.

        Raises:
            Overloaded: the bodies together would exceed the limit, or those of this client half of it. A body that is
                alone never does; `max_body_bytes` bounds it.
        """
        admission = self._admission
        of_client = admission._bytes_of_clients.get(self._client, 0)
        if of_client > self._bytes and of_client + size > self._max_bytes // 2:
            raise Overloaded("the service buffers as many body bytes of this client as it may; send fewer at a time")
        others = admission.buffered_bytes - self._bytes
        if others and admission.buffered_bytes + size > self._max_bytes:
            raise Overloaded("the service buffers as many body bytes as it may; send the request again a little later")
        self._bytes += size
        admission._buffer(self._client, size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._admission._buffer(self._client, -self._bytes)
