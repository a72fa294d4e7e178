"""Several processes that answer on one socket: uvicorn starts them, replaces one that has ended, and stops them."""

import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from service.server.shutdown import STOP_SIGNALS, end_by_force_after

# Time for killed workers to end.
KILLED_S = 1.0


class Workers(Multiprocess):
    """The parent of all workers. It answers no request itself."""

    def __init__(
        self, config: uvicorn.Config, listener: socket.socket, announce: Callable[[], None], stop_timeout_s: float
    ) -> None:
        """Prepare to start `config.workers` processes.

        Args:
            config: can be pickled; each worker gets a copy.
            listener: shared by all workers.
            announce: called once, when all workers answer.
            stop_timeout_s: time in which all workers have ended after they were told to stop; then they are killed.
        """
        super().__init__(config, [listener])
        self._announce: Callable[[], None] | None = announce
        self._stop_timeout_s = stop_timeout_s
        self._is_stopping = False
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_stop)

    def serve(self) -> int:
        """Run until told to stop; return the exit code, 2 if a worker could not start."""
        self.run()
        return 2 if any(worker.exitcode == STARTUP_FAILURE for worker in self.processes) else 0

    def keep_subprocess_alive(self) -> None:
        """Replace workers that have ended; uvicorn calls this twice a second."""
        for worker in self.processes:
            # Without this process's own copy, the end of a worker is seen at once, and not after its time to respond.
            worker.child_conn.close()
        super().keep_subprocess_alive()
        if self._announce and not self.should_exit.is_set() and all(worker.is_ready() for worker in self.processes):
            self._announce()
            self._announce = None

    def _on_stop(self, number: int, _frame: FrameType | None) -> None:
        self.signal_queue.append(number)
        if self._is_stopping:
            return
        self._is_stopping = True
        # Not later, as this process may be waiting for a worker that hangs.
        for worker in self.processes:
            with suppress(ProcessLookupError):
                os.kill(worker.pid or 0, signal.SIGTERM)
        end_by_force_after(self._stop_timeout_s + KILLED_S)
        timer = threading.Timer(self._stop_timeout_s, self._kill_all)
        timer.daemon = True
        timer.start()

    def _kill_all(self) -> None:
        for worker in self.processes:
            worker.process.kill()

    def terminate_all(self) -> None:
        """Tell all workers to stop."""
        # While this process has the socket, connections would wait there after the last worker has closed it.
        for listener in self.sockets:
            listener.close()
        super().terminate_all()
