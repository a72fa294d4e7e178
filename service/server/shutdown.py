"""How one process stops on a signal, without losing a request that it has accepted.

uvicorn stops at once when its signal handler is called: it closes its socket, and ends when the requests that it has
are answered. `GracefulShutdown` calls that handler later, and does before and after it what uvicorn does not.
"""

import asyncio
import faulthandler
import logging
import multiprocessing
import os
import signal
import threading
from types import FrameType

from service.server.connections import ConnectionPool
from service.settings import Settings

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# A process that has not ended by this time after its deadline is ended by force.
HUNG_S = 5.0
# Time to write its stacks.
DUMP_S = 1.0

_log = logging.getLogger(__name__)


def end_by_force_after(seconds: float) -> None:
    """End this process in this time whatever hangs, with exit code 1, and its stacks on standard error if possible."""
    faulthandler.dump_traceback_later(seconds, exit=True)
    timer = threading.Timer(seconds + DUMP_S, os._exit, (1,))
    timer.daemon = True
    timer.start()


class GracefulShutdown:
    """What happens when this process is told to stop.

    `/readyz` says so at once, and each response has `Connection: close`. For `drain_period_s` new connections are
    accepted, as their clients do not know yet. Then the socket is closed, and requests that have begun go on, until
    `graceful_shutdown_timeout_s` after the signal. SIGINT, which comes from a terminal, leaves out the drain period, or
    ends it; one more drops the requests that still run.
    """

    def __init__(self, settings: Settings, stopping: threading.Event, connections: ConnectionPool) -> None:
        """Take the place of uvicorn's signal handlers. Call it in uvicorn's event loop.

        Args:
            settings: has the times.
            stopping: set at the first signal.
            connections: of this process.
        """
        self._drain_period_s = min(settings.drain_period_s, settings.graceful_shutdown_timeout_s)
        self._timeout_s = settings.graceful_shutdown_timeout_s
        self._stopping = stopping
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._is_listening = True
        self._task: asyncio.Task[None] | None = None
        self._uvicorn_handler = signal.getsignal(signal.SIGTERM)
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_signal)
        if (parent := multiprocessing.parent_process()) is not None:
            # A worker whose parent was killed would keep the port.
            self._loop.add_reader(parent.sentinel, self._on_parent_end, parent.sentinel)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if not self._stopping.is_set():
            self._stopping.set()
            end_by_force_after(self._timeout_s + HUNG_S)
            self._loop.call_soon_threadsafe(self._begin, signal.Signals(number))
        elif number == signal.SIGINT:
            # From an impatient person.
            self._loop.call_soon_threadsafe(self._stop_sooner)

    def _begin(self, number: signal.Signals) -> None:
        self._task = self._loop.create_task(self._stop(number))

    async def _stop(self, number: signal.Signals) -> None:
        deadline = self._loop.time() + self._timeout_s
        self._connections.close_after_responses()
        if number == signal.SIGTERM:
            await asyncio.sleep(self._drain_period_s)
        self._stop_listening(number)
        await self._cut_off(deadline)

    def _stop_sooner(self) -> None:
        if self._is_listening:
            self._stop_listening(signal.SIGINT)
        else:
            self._connections.abort_all()

    def _stop_listening(self, number: signal.Signals) -> None:
        self._is_listening = False
        if callable(self._uvicorn_handler):
            self._uvicorn_handler(number, None)

    async def _cut_off(self, deadline: float) -> None:
        await asyncio.sleep(deadline - self._loop.time())
        if connections := self._connections.abort_all():
            _log.error("%d connections are cut off: their requests did not end in time", connections)

    def _on_parent_end(self, sentinel: int) -> None:
        self._loop.remove_reader(sentinel)
        self._on_signal(signal.SIGTERM, None)
