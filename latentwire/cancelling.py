"""Lets long work be given up: it asks between its steps whether anybody still waits for its result.

Whoever starts the work says so with an event; work without one is never cancelled.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Cancelled(Exception):
    """The work was given up: nobody waits for its result."""


_event: ContextVar[threading.Event | None] = ContextVar("cancelled", default=None)


@contextmanager
def cancelled_by(event: threading.Event) -> Iterator[None]:
    """Let the work in this `with` block, and in what copies its context, end once `event` is set."""
    token = _event.set(event)
    try:
        yield
    finally:
        _event.reset(token)


def check_cancelled() -> None:
    """Raise `Cancelled` if the work has been given up."""
    if (event := _event.get()) is not None and event.is_set():
        raise Cancelled("the work was given up")
