"""Quick work that has come by now, done together, in the event loop.

To run a graph on eight images at once takes two thirds of what it takes for one after the other, and what is done
around it finds the processor's caches as it left them, where each run of a graph empties them. No time is set for
others to come: while each turn of the event loop brings some, they are waited for; then those of one kind are one crew,
be it of one. What the work is, is not known here.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from contextvars import Context
from functools import cached_property
from time import perf_counter_ns
from typing import Any, NamedTuple, TypeVar

from latentwire.timing import StageTimer, timer_scope
from service.scheduling.cost_model import Pace

# More at once gain little, and all of a crew wait for its last.
MOST_TOGETHER = 16
# Of what a crew may take: then others have their turn, probes among them.
LONGEST_NS = 8_000_000

Item = TypeVar("Item")
# What a crew's work makes of each item: a result, or the exception that is to be raised to the one who brought it.
WorkOnAll = Callable[[Sequence[Item]], Sequence[Any]]


class Done(NamedTuple):
    """What became of one item; `timer` has the stages of its whole crew."""

    outcome: Any
    begun_ns: int
    timer: StageTimer


class Together:
    """The crews that wait for their turn. Used from one event loop."""

    def __init__(self) -> None:
        """Begin with none."""
        self._crews: deque[_Crew] = deque()
        self._open: dict[Hashable, _Crew] = {}
        self._waiting = 0
        self._last_crew = 1

    def join(self, work: WorkOnAll[Item], item: Item, kind: Hashable, pace: Pace) -> "asyncio.Future[Done]":
        """Have `work` done on `item`, and on all other items of this kind that come by then.

        Args:
            work: the same for all of this kind, and quick. If it raises, each item is worked on alone, so that none
                suffers from another.
            item: what it is to work on.
            kind: of work.
            pace: of this kind.
        """
        loop = self._loop
        crew = self._open.get(kind)
        if crew is None or len(crew.items) >= crew.most:
            crew = self._open[kind] = _Crew(work, kind, pace)
            self._crews.append(crew)
            if len(self._crews) == 1:
                loop.call_soon(self._look, 0, context=Context())
        future: asyncio.Future[Done] = loop.create_future()
        crew.items.append(item)
        crew.futures.append(future)
        self._waiting += 1
        return future

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        # To ask for it each time takes a call of the system.
        return asyncio.get_running_loop()

    def _look(self, seen: int) -> None:
        """Work, unless more items wait than were `seen` a turn of the loop ago.

        A turn takes some microseconds. So one that comes alone, as the one before it did, is not kept waiting.
        """
        if seen < self._waiting < MOST_TOGETHER and max(self._waiting, self._last_crew) > 1:
            self._loop.call_soon(self._look, self._waiting)
            return
        crew = self._crews.popleft()
        if self._open[crew.kind] is crew:
            del self._open[crew.kind]
        self._last_crew = len(crew.items)
        self._waiting -= self._last_crew
        crew.work()
        if self._crews:
            # After the answers of this crew, and whatever else has come meanwhile.
            self._loop.call_soon(self._look, self._waiting)


class _Crew:
    def __init__(self, work: WorkOnAll[Any], kind: Hashable, pace: Pace) -> None:
        self.kind = kind
        self.most = max(1, min(MOST_TOGETHER, LONGEST_NS // max(1, pace.expected_ns)))
        self.items: list[Any] = []
        self.futures: list[asyncio.Future[Done]] = []
        self._work = work
        self._pace = pace

    def work(self) -> None:
        begun_ns, timer = perf_counter_ns(), StageTimer()
        with timer_scope(timer), self._pace.measured(len(self.items)):
            outcomes = outcomes_of(self._work, self.items)
        for future, outcome in zip(self.futures, outcomes, strict=True):
            if not future.done():  # unless nobody waits for it any more
                future.set_result(Done(outcome, begun_ns, timer))


def outcomes_of(work: WorkOnAll[Item], items: Sequence[Item]) -> Sequence[Any]:
    """Return what `work` makes of each item, or the exception that it ends with."""
    try:
        return work(items)
    except Exception as error:
        if len(items) == 1:
            return [error]
        return [outcome for item in items for outcome in outcomes_of(work, [item])]
