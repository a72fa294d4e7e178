"""Whether this role's models give their golden answers, asked as often as one likes.

Probes that come while a check is under way get that check's answer, so that any number of them runs one graph at a
time and no request's slot is taken.
"""

import asyncio
import threading
import time

from service.inference.registry import Registry

# How long the answers that the models gave when they were opened stand for the first check.
FRESH_S = 1.0


class Readiness:
    """The golden checks of all models, shared by all who ask at the same time. Used from one event loop."""

    def __init__(self, registry: Registry, stopping: threading.Event | None = None) -> None:
        """Share the checks of `registry`; there is no need of one when the process is `stopping`."""
        self._registry = registry
        self._stopping = stopping
        self._check: asyncio.Task[list[str]] | None = None

    async def failures(self) -> list[str]:
        """Return a sentence for each model that fails its golden check, or one on the end; none means ready."""
        if self._stopping is not None and self._stopping.is_set():
            return ["the service has been told to stop"]
        # Who waits for the start asks at once, when the answers have just been given.
        if self._check is None and time.monotonic() - self._registry.opened_s < FRESH_S:
            return self._registry.failures
        if self._check is None or self._check.done():
            self._check = asyncio.create_task(asyncio.to_thread(self._registry.check_golden))
        # A probe that is given up must not take the check from the others.
        return await asyncio.shield(self._check)
