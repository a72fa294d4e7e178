"""Whether this role's models reproduce their golden outputs, for any number of probes.

Probes that come during a check share its result. So one graph at most runs for them, and no request loses its slot.
"""

import asyncio
import threading

from latentwire.errors import NotReady
from latentwire.registry import Registry
from service.observability.metrics import Metrics


class Readiness:
    """The golden checks of all models, shared by all who ask at the same time. Use it from one event loop."""

    def __init__(
        self, registry: Registry, metrics: Metrics, *, strict: bool, stopping: threading.Event | None = None
    ) -> None:
        """Check the models of `registry` until `stopping` is set; with `strict`, all of them must be usable."""
        self._registry = registry
        self._metrics = metrics
        self._strict = strict
        self._stopping = stopping
        self._check: asyncio.Task[dict[str, str]] | None = None

    async def check(self) -> dict[str, str]:
        """Return a sentence for each model that cannot be used, by its name, and show them in metrics.

        Raises:
            NotReady: the default model cannot be used, or any model if `strict`; or the process stops.
        """
        if self._stopping is not None and self._stopping.is_set():
            raise NotReady("the service has been told to stop")
        if self._check is None or self._check.done():
            self._check = asyncio.create_task(asyncio.to_thread(self._registry.check_golden))
        # A cancelled probe must not cancel the check for the others.
        failures = await asyncio.shield(self._check)
        self._metrics.show_ready_models(self._registry.cards, failures)
        if self._registry.default in failures or (self._strict and failures):
            raise NotReady("; ".join(failures.values()))
        return failures
