"""What `encode_many` and `decode_many` do, without doing it: which request is sent when, and which result is next.

As in `exchanges`, a stream is a generator of steps that a client carries out. Results come in the order of their
sources, and an error in the place of its result.
"""

import os
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, Protocol

from latentwire.client import exchanges
from latentwire.client.exchanges import Exchange, Work
from latentwire.client.groups import Group, Grouper
from latentwire.client.options import EncodeOptions
from latentwire.client.results import Encoded
from latentwire.client.sources import BitstreamSource, ImageSource, prepare

# Exchanges that may be complete behind one that takes long, for each request that may be under way.
MAX_GROUPS_BEHIND = 4

# Requests that succeed, for each one under way, before another one may be.
REQUESTS_PER_STEP = 16

# What a client sends for `Pull` when the sources have ended.
END = object()


class Future(Protocol):
    """An exchange that has been started, by either client."""

    def done(self) -> bool:
        """Whether the exchange has ended."""

    def result(self) -> list[Any]:
        """Return its results, or raise its error."""


class Pull(NamedTuple):
    """Take the next source; END if there is none."""


class Start(NamedTuple):
    """Carry out an exchange beside all others, and return its future."""

    exchange: Exchange[list[Any]]


class Wait(NamedTuple):
    """Wait until one of these futures is done."""

    futures: Sequence[Future]


class Emit(NamedTuple):
    """Give a result to the caller."""

    result: Any


StreamStep = Pull | Work | Start | Wait | Emit
Stream = Generator[StreamStep, Any, None]


class Weighted(NamedTuple):
    """An exchange of several results, the last of which may be an error; and how many requests it counts as."""

    weight: int
    exchange: Exchange[list[Any]]


class Feed(Protocol):
    """Sources -> exchanges."""

    def add(self, source: Any) -> Generator[Work, Any, list[Weighted]]:
        """Add a source; return the exchanges that can start."""

    def rest(self) -> list[Weighted]:
        """Return the exchanges of the sources that are left."""


class EncodeFeed:
    """Sources of images, small ones in batches."""

    def __init__(self, protocol: exchanges.Protocol, options: EncodeOptions, concurrency: int) -> None:
        self._protocol = protocol
        self._options = options
        self._grouper = Grouper(batches=exchanges.may_batch(options))
        # A service runs few batches at one time.
        self._weight_of_batches = max(1, concurrency // 2)

    def add(self, source: ImageSource) -> Generator[Work, Any, list[Weighted]]:
        """Add an image; return the exchanges of the groups that are complete."""
        if isinstance(source, str | os.PathLike):
            prepared = yield Work(partial(prepare, source))
        else:
            prepared = prepare(source)
        return list(map(self._weighted, self._grouper.add(prepared)))

    def rest(self) -> list[Weighted]:
        """Return the exchange of the last group."""
        return list(map(self._weighted, self._grouper.rest()))

    def _weighted(self, group: Group) -> Weighted:
        weight = 1 if len(group.images) == 1 else self._weight_of_batches
        return Weighted(weight, self._protocol.encode_group(group, self._options, self._grouper))


class DecodeFeed:
    """Sources of bitstreams, each by itself: a service takes no batch of single bitstreams."""

    def __init__(self, protocol: exchanges.Protocol) -> None:
        self._protocol = protocol
        self._count = 0

    def add(self, source: BitstreamSource) -> Generator[Work, Any, list[Weighted]]:
        """Return the exchange of a bitstream."""
        self._count += 1
        return [Weighted(1, self._protocol.decode_one_of_many(self._count - 1, source))]
        yield  # a generator, as the other feed

    def rest(self) -> list[Weighted]:
        """Return nothing: no exchange waits for others."""
        return []


class Pace:
    """How many requests may be under way: fewer when the service is overloaded, and slowly more again."""

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._limit = float(concurrency)

    @property
    def limit(self) -> int:
        """The number of requests that may be under way, from 1 to the concurrency."""
        return int(self._limit)

    def slow_down(self) -> None:
        """Halve the number, as a request must be sent again."""
        self._limit = max(1.0, self._limit / 2)

    def speed_up(self) -> None:
        """Raise the number a little, as a request has succeeded."""
        self._limit = min(self._concurrency, self._limit + 1 / (REQUESTS_PER_STEP * self._limit))


class _Pending:
    """The exchanges that were started and whose results were not yet given to the caller, in their order."""

    def __init__(self, concurrency: int, pace: Pace) -> None:
        self._concurrency = concurrency
        self._pace = pace
        self._groups: deque[tuple[int, Future]] = deque()

    def start(self, weighted: Weighted) -> Stream:
        """Start an exchange as soon as it may be under way beside the others, and emit what is ready before."""
        yield from self._emit_done()
        while not self._has_room(weighted.weight):
            yield Wait([future for _, future in self._groups if not future.done()])
            yield from self._emit_done()
        self._groups.append((weighted.weight, (yield Start(weighted.exchange))))

    def finish(self) -> Stream:
        """Emit all that is left."""
        while self._groups:
            yield Wait([self._groups[0][1]])
            yield from self._emit_done()

    def _emit_done(self) -> Stream:
        while self._groups and self._groups[0][1].done():
            for result in self._groups.popleft()[1].result():
                if isinstance(result, Exception):
                    raise result
                yield Emit(result)
            self._pace.speed_up()

    def _has_room(self, weight: int) -> bool:
        busy = sum(weight for weight, future in self._groups if not future.done())
        is_free = not busy or busy + weight <= self._pace.limit
        return is_free and len(self._groups) < MAX_GROUPS_BEHIND * self._concurrency


def check_sources(sources: object) -> None:
    """Refuse a single image or bitstream, whose elements would be taken for several; raise TypeError."""
    if isinstance(sources, str | bytes | bytearray | os.PathLike | Encoded):
        raise TypeError(
            f"this takes several images or bitstreams, not one {type(sources).__name__}; put it into a list"
        )


def encode_many(protocol: exchanges.Protocol, options: EncodeOptions, concurrency: int) -> Stream:
    """Encode any number of images, small ones in batches."""
    pace = Pace(concurrency)
    return _stream(EncodeFeed(replace(protocol, on_pause=pace.slow_down), options, concurrency), concurrency, pace)


def decode_many(protocol: exchanges.Protocol, concurrency: int) -> Stream:
    """Decode any number of bitstreams."""
    pace = Pace(concurrency)
    return _stream(DecodeFeed(replace(protocol, on_pause=pace.slow_down)), concurrency, pace)


def _stream(feed: Feed, concurrency: int, pace: Pace) -> Stream:
    pending = _Pending(concurrency, pace)
    failure: Exception | None = None
    while failure is None:
        try:
            source = yield Pull()
            if source is END:
                break
            started = yield from feed.add(source)
        except Exception as error:  # of the caller's iterator, or of a source: it comes after the results before it
            failure = error
        else:
            for weighted in started:
                yield from pending.start(weighted)
    for weighted in feed.rest():
        yield from pending.start(weighted)
    yield from pending.finish()
    if failure is not None:
        raise failure
