"""Bounds the work: so many requests run, so many wait, the next is turned away at once; and so many batches.

A piece of blocking work enters and its result leaves; it runs in a thread of its own, so that health probes are
answered meanwhile, or in the event loop, together with others of its kind, if it is known to be over before anybody
notices. What the work is, is not known here.

A request whose body still comes takes no place, or slow clients would keep all others out: of those requests, the bytes
that have come are bounded, together with those of the bodies that wait and are worked on.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, nullcontext
from contextvars import copy_context
from functools import partial
from time import perf_counter_ns
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from latentwire.timing import record, record_all
from service.errors import ClientGone, Overloaded
from service.scheduling.batching import Item, Together, WorkOnAll, outcomes_of
from service.scheduling.cost_model import Pace

Result = TypeVar("Result")

# Whose paces are kept. Clients could make up any number, by numbers that they ask for.
MAX_KINDS = 256


class RunPart(Protocol):
    """Runs one part of a batch's work."""

    async def __call__(self, work: Callable[[], Result], /) -> Result:
        """Run blocking work in a thread, and return what it returns."""


class Admission:
    """Running slots with a queue before them. Used from one event loop."""

    def __init__(
        self,
        max_concurrency: int,
        max_queue_size: int,
        max_concurrent_batches: int,
        max_buffered_body_bytes: int,
        queue_timeout_s: float,
        watch: Callable[[int, int, int], None] | None = None,
        watch_held: Callable[[int], None] | None = None,
    ) -> None:
        """Begin with all slots free.

        `watch` is told, at each change, how many requests run, wait, and are batches; `watch_held`, how many bytes of
        bodies are held.
        """
        self._max_running = max_concurrency
        self._max_queued = max_queue_size
        self._admitted = 0
        self._max_batches = max_concurrent_batches
        self._batches = 0
        self._max_held_bytes = max_buffered_body_bytes
        self._held_bytes = 0
        self._queue_timeout_s = queue_timeout_s
        self._watch = watch
        self._watch_held = watch_held
        self._in_threads = 0
        self._paces: dict[Hashable, Pace] = {}
        self._together = Together()
        self._threads = ThreadPoolExecutor(max_concurrency, thread_name_prefix="codec")

    @property
    def admitted(self) -> int:
        """How many requests are running or waiting."""
        return self._admitted

    @property
    def held_bytes(self) -> int:
        """How many bytes of bodies are held."""
        return self._held_bytes

    def hold(self) -> "Held":
        """Begin to hold a body; what it is, is told to the answer as it comes.

        Raises:
            Overloaded: all slots are taken and the queue is full, so that it is of no use to read the body.
        """
        self._check_for_room()
        return Held(self)

    async def run(
        self,
        work: WorkOnAll[Item],
        item: Item,
        until_gone: Callable[[], Awaitable[None]],
        kind: Hashable = None,
    ) -> Any:
        """Run `work` on `item`, when its turn has come, and return what it makes of it.

        Args:
            work: blocking; takes items, and returns for each a result, or the exception that is to be raised to the
                one who brought it. What it raises is raised here.
            item: of this request.
            until_gone: returns when the client has gone away. A client that goes while it waits frees its place.
            kind: of work; requests of one kind have the same `work`. If it is quick, it runs in the event loop, on all
                items of its kind together. Without a kind, or while threads take all places, it runs in a thread.

        Raises:
            Overloaded: all slots are taken and the queue is full, or its turn did not come in time. Work that has
                begun is waited for: a thread cannot be stopped.
            ClientGone: the client went away while it waited.
        """
        self._check_for_room()
        self._admitted += 1
        self._tell()
        try:
            pace = None if kind is None else self._pace(kind)
            if pace is not None and pace.quick and self._in_threads < self._max_running:
                joined_ns = perf_counter_ns()
                done = await self._together.join(work, item, kind, pace)
                record("wait", joined_ns, done.begun_ns)
                record_all(done.timer)
                return _taken(done.outcome)
            job = self._submit(partial(_alone, work, item, pace))
            outcome = self._outcome(job)
            if self._admitted > self._max_running:
                await self._wait_in_queue(job, outcome, until_gone)
            return _taken(await outcome)
        finally:
            self._admitted -= 1
            self._tell()

    @asynccontextmanager
    async def batch(self) -> AsyncIterator[RunPart]:
        """Admit a batch. Its work is done part by part, each in its turn with the other requests.

        So a batch takes no thread while its client sends or reads slowly, and single images need not wait for its end.

        Raises:
            Overloaded: as many batches as are allowed are being worked on.
        """
        if self._batches >= self._max_batches:
            raise Overloaded("the service is working on as many batches as it takes; send this one a little later")
        self._batches += 1
        self._tell()
        try:
            yield self._run_part
        finally:
            self._batches -= 1
            self._tell()

    async def _wait_in_queue(
        self, job: Future[Result], outcome: asyncio.Future[Result], until_gone: Callable[[], Awaitable[None]]
    ) -> None:
        gone = asyncio.ensure_future(until_gone())
        try:
            both: list[asyncio.Future[Any]] = [outcome, gone]
            await asyncio.wait(both, timeout=self._queue_timeout_s, return_when=asyncio.FIRST_COMPLETED)
            # Work that has begun cannot be stopped; it keeps its place until it ends.
            if not outcome.done() and job.cancel():
                if gone.done():
                    raise ClientGone("the connection was closed while the request waited for its turn")
                raise Overloaded(
                    f"the request's turn did not come within {self._queue_timeout_s} seconds; send it again later"
                )
        finally:
            gone.cancel()

    def _pace(self, kind: Hashable) -> Pace:
        """Return the pace of a kind, the last to be forgotten now."""
        pace = self._paces.pop(kind, None) or Pace()
        if len(self._paces) >= MAX_KINDS:
            del self._paces[next(iter(self._paces))]
        self._paces[kind] = pace
        return pace

    def _check_for_room(self) -> None:
        if self._admitted >= self._max_running + self._max_queued:
            raise Overloaded("the service is working at its limit; send the request again a little later")

    def _change_held(self, size: int) -> None:
        self._held_bytes += size
        if self._watch_held is not None:
            self._watch_held(self._held_bytes)

    async def _run_part(self, work: Callable[[], Result], /) -> Result:
        return await self._outcome(self._submit(work))

    def _submit(self, work: Callable[[], Result]) -> Future[Result]:
        submitted_ns = perf_counter_ns()

        def begin() -> Result:
            record("wait", submitted_ns)
            return work()

        return self._threads.submit(copy_context().run, begin)

    def _outcome(self, job: Future[Result]) -> asyncio.Future[Result]:
        self._in_threads += 1
        outcome = asyncio.wrap_future(job)
        outcome.add_done_callback(self._leave_thread)
        return outcome

    def _leave_thread(self, _outcome: asyncio.Future[Any]) -> None:
        self._in_threads -= 1

    def _tell(self) -> None:
        if self._watch is not None:
            running = min(self._admitted, self._max_running)
            self._watch(running, self._admitted - running, self._batches)

    def close(self) -> None:
        """Let running work end, drop what waits."""
        self._threads.shutdown(cancel_futures=True)


class Held:
    """The bytes of one body; given back at the end of a `with`."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._bytes = 0

    def add(self, size: int) -> None:
        """Hold so many bytes more.

        Raises:
            Overloaded: all bodies together would be too long. One alone never is: its own limit is another's business.
        """
        admission = self._admission
        others = admission.held_bytes - self._bytes
        if others and admission.held_bytes + size > admission._max_held_bytes:
            raise Overloaded("the service holds as many bytes as it can; send the request again a little later")
        self._bytes += size
        admission._change_held(size)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._admission._change_held(-self._bytes)


def _alone(work: WorkOnAll[Item], item: Item, pace: Pace | None) -> Any:
    with nullcontext() if pace is None else pace.measured():
        return outcomes_of(work, [item])[0]


def _taken(outcome: Any) -> Any:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
