"""Ends replicas while clients work, one at a time, by SIGTERM and SIGKILL in turn, and starts them again.

The only replica of a role is never told to stop, as nobody would answer meanwhile; only its workers are killed.
"""

import itertools
import signal
import threading

from tests.soak.servers import Service

# Between the end of a restart and the next.
PAUSE_S = 2.0
SIGNALS = (signal.SIGTERM, signal.SIGKILL)


class Restarts:
    """Restarts of a service's replicas.

    A batch that was under way during a restart may be interrupted, so clients compare `epoch` before and after it.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        # Odd while a replica restarts.
        self._epoch = 0
        self.error: Exception | None = None

    @property
    def epoch(self) -> int:
        """A number that changes when a restart begins and when it ends."""
        return self._epoch

    @property
    def count(self) -> int:
        """Number of restarts that have come to their end."""
        return self._epoch // 2

    def overlap(self, epoch: int) -> bool:
        """Return whether a replica has restarted at some time since `epoch` was read."""
        return bool(epoch % 2) or self._epoch != epoch

    def start(self, count: int | None) -> None:
        """Restart replicas in another thread, `count` times or until `stop`."""
        if self._service.edges and self._thread is None:
            self._thread = threading.Thread(target=self._run, args=(count,), daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Wait for the end of a restart that has begun, and begin no other."""
        self._stop.set()
        self.join()

    def join(self) -> None:
        """Wait for the end of all restarts."""
        if self._thread is not None:
            self._thread.join()

    def _run(self, count: int | None) -> None:
        try:
            replicas = self._service.replicas
            alone = len(replicas) == len(self._service.edges)
            for number in itertools.islice(itertools.count(), count):
                if number and self._stop.wait(PAUSE_S):
                    return
                self._epoch += 1
                replica = replicas[number // len(SIGNALS) % len(replicas)]
                replica.restart(signal.SIGKILL if alone else SIGNALS[number % len(SIGNALS)])
                self._epoch += 1
        except Exception as error:  # a thread that ends silently would make the soak look better than it was
            self.error = error
