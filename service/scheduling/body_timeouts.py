"""The requests whose bodies are coming: each has a time for its next bytes, and one for the whole.

They are looked at all together, once a second, so that a request sets no timer: most bodies come with their heads.
"""

import asyncio
from functools import cached_property

from service.errors import BodyStalled

LOOK_EVERY_S = 1.0


class Readers:
    """All requests whose bodies are coming. Used from one event loop."""

    def __init__(self, io_idle_timeout_s: float, body_timeout_s: float, look_every_s: float = LOOK_EVERY_S) -> None:
        """Begin with none.

        Args:
            io_idle_timeout_s: longest time without a byte.
            body_timeout_s: longest time for the whole, so that a byte now and then does not make it last for ever.
            look_every_s: by so much more either may last.
        """
        self._stall_timeout_s = io_idle_timeout_s
        self._receive_timeout_s = body_timeout_s
        self._look_every_s = look_every_s
        self._readers: set[Reader] = set()
        self._added = False
        self._timer: asyncio.TimerHandle | None = None

    @cached_property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that this is used from: to ask for it each time takes a call of the system."""
        return asyncio.get_running_loop()

    def add(self, reader: "Reader") -> None:
        """Begin to look at one."""
        self._readers.add(reader)
        self._added = True
        if self._timer is None:
            self._look_later()

    def remove(self, reader: "Reader") -> None:
        """Look at it no more."""
        self._readers.discard(reader)

    def _look_later(self) -> None:
        self._added = False
        self._timer = self.loop.call_later(self._look_every_s, self._look)

    def _look(self) -> None:
        self._timer = None
        for reader in self._readers:
            if reader.silent_s >= self._stall_timeout_s:
                reader.give_up(body_stalled(self._stall_timeout_s))
            elif reader.whole_s >= self._receive_timeout_s:
                reader.give_up(BodyStalled(f"the whole body did not come within {self._receive_timeout_s} seconds"))
            reader.silent_s += self._look_every_s
            reader.whole_s += self._look_every_s
        # Where requests come and go, the timer is not set anew for each.
        if self._readers or self._added:
            self._look_later()


class Reader:
    """One of them: what runs within its `with` is given up when a time has passed."""

    __slots__ = ("_fault", "_readers", "_task", "silent_s", "whole_s")

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._task: asyncio.Task[object] | None = None
        self._fault: BodyStalled | None = None
        # How long it has been looked at since the last bytes came, and in all.
        self.silent_s = 0.0
        self.whole_s = 0.0

    def __enter__(self) -> "Reader":
        self._task = asyncio.current_task(self._readers.loop)
        self._readers.add(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        self._readers.remove(self)
        if self._fault is not None and kind is asyncio.CancelledError and self._task is not None:
            self._task.uncancel()
            raise self._fault from error

    def give_up(self, fault: BodyStalled) -> None:
        """Have this raised where the body is waited for."""
        if self._fault is None and self._task is not None:
            self._fault = fault
            self._task.cancel()


def body_stalled(io_idle_timeout_s: float) -> BodyStalled:
    """Return the error of a body that does not go on."""
    return BodyStalled(f"no more of the body came within {io_idle_timeout_s} seconds")
