"""Several processes that answer on one socket: uvicorn starts them, replaces one that has ended, and stops them."""

import socket
from collections.abc import Callable

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from service.server.shutdown import end_by_force_after


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
            stop_timeout_s: time in which all workers have ended after they were told to stop.
        """
        super().__init__(config, [listener])
        self._announce: Callable[[], None] | None = announce
        self._stop_timeout_s = stop_timeout_s

    def serve(self) -> int:
        """Run until told to stop; return the exit code, 2 if a worker could not start."""
        self.run()
        return 2 if any(worker.exitcode == STARTUP_FAILURE for worker in self.processes) else 0

    def keep_subprocess_alive(self) -> None:
        """Replace workers that have ended; uvicorn calls this twice a second."""
        super().keep_subprocess_alive()
        if self._announce and not self.should_exit.is_set() and all(worker.is_ready() for worker in self.processes):
            self._announce()
            self._announce = None

    def terminate_all(self) -> None:
        """Tell all workers to stop."""
        # While this process has the socket, connections would wait there after the last worker has closed it.
        for listener in self.sockets:
            listener.close()
        end_by_force_after(self._stop_timeout_s)
        super().terminate_all()
