"""Whether this role's models reproduce their golden outputs, for any number of probes.

Probes that come during a check share its result. So one graph at most runs for them, and no request loses its slot.
"""

import asyncio
import threading

from service.inference.registry import Registry


class Readiness:
    """The golden checks of all models, shared by all who ask at the same time. Use it from one event loop."""

    def __init__(self, registry: Registry, stopping: threading.Event | None = None) -> None:
        """Check the models of `registry` until `stopping` is set; then the process is not ready anyway."""
        self._registry = registry
        self._stopping = stopping
        self._check: asyncio.Task[list[str]] | None = None

    async def failures(self) -> list[str]:
        """Return a sentence for each failed golden check, or one that the process stops; an empty list means ready."""
        if self._stopping is not None and self._stopping.is_set():
            return ["the service has been told to stop"]
        if self._check is None or self._check.done():
            self._check = asyncio.create_task(asyncio.to_thread(self._registry.check_golden))
        # A cancelled probe must not cancel the check for the others.
        return await asyncio.shield(self._check)
