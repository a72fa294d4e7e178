"""Several processes that answer on one socket: starts them, replaces one that has ended, and stops them together.

Settings enter, an exit code leaves. The parent opens the models and answers no request. It forks, so that the workers
share the memory of what it has imported and opened; for this it must have a single thread.
"""

import contextlib
import gc
import logging
import logging.config
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from types import FrameType

from latentwire.errors import ModelError
from service.errors import StartupRefused
from service.inference.registry import Registry, open_registry
from service.observability.logs import log_config
from service.server.listener import Crowd
from service.server.server import HUNG_S, STOP_SIGNALS, Seat, listen, serve
from service.settings import Settings

# A worker that lived so long did not end because of how it starts.
SOUND_AFTER_S = 10.0
LONGEST_PAUSE_S = 30.0
# A worker is alive ten times a second. One that is not for so long will not be again.
HUNG_AFTER_S = 30.0
LOOK_EVERY_S = 5.0
# More than a worker takes to end itself where its requests do not.
KILL_AFTER_S = HUNG_S + 2

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Opened:
    """What a worker reports when it can serve."""

    models: Sequence[str]
    default: str


@dataclass(frozen=True)
class Refused:
    """What a worker reports when it cannot serve, as a sentence."""

    sentence: str


@dataclass
class Worker:
    """The process in one of the places, or the lack of one."""

    place: int
    process: ForkProcess | None = None
    reports: Connection | None = None
    started_s: float = 0
    due_s: float = 0
    # Ends in a row, soon after the start.
    failures: int = 0
    opened: Opened | None = None
    fault: str | None = None
    end: str = ""


class Supervisor:
    """The parent of all workers."""

    def __init__(self, settings: Settings, announce: Callable[[Opened, socket.socket], None]) -> None:
        """Open the models, and begin to listen, so that connections wait for the workers.

        Args:
            settings: of all processes.
            announce: called when all workers can serve, with what the first reported and the listener.

        Raises:
            StartupRefused: these settings and models cannot be served.
            ModelError: a model's card or graph is not what it should be.
        """
        if "fork" not in multiprocessing.get_all_start_methods():
            raise StartupRefused("this system knows no fork, without which there can be one worker only")
        self._settings = settings
        self._announce = announce
        self._registry = _open_to_share(settings)
        self._listener = listen(settings.host, settings.port)
        # Comes to its end for the workers when this process has ended, even if it was killed.
        self._lifeline, self._other_end = os.pipe()
        # Comes to its end when all workers can serve, so that the first does not take all the connections that wait.
        self._gate, self._gate_keeper = os.pipe()
        self._greeted = False
        self._crowd = Crowd(settings.workers)
        self._wakeup, self._wakeup_writer = socket.socketpair()
        self._workers = [Worker(place) for place in range(settings.workers)]
        self._told_to_stop: list[int] = []

    def run(self) -> int:
        """Keep the workers running until told to stop; return the exit code.

        Raises:
            StartupRefused: a worker cannot serve from the beginning.
        """
        logging.config.dictConfig(log_config(self._settings.log_format))
        with self._signals():
            self._start_all()
            while not self._told_to_stop:
                self._attend()
                for worker in self._workers:
                    if worker.process is None and worker.due_s <= time.monotonic():
                        self._start(worker)
            return self._stop()

    def _start_all(self) -> None:
        for worker in self._workers:
            self._start(worker)
        while not self._told_to_stop and not all(worker.opened for worker in self._workers):
            self._attend()
            for worker in self._workers:
                if worker.process is None:
                    self._stop()
                    raise StartupRefused(worker.fault or f"a worker process {worker.end} before it could serve")
        if opened := self._workers[0].opened:
            self._announce(opened, self._listener)
        self._greeted = True
        os.close(self._gate_keeper)

    def _start(self, worker: Worker) -> None:
        context = multiprocessing.get_context("fork")
        worker.reports, reports = context.Pipe(duplex=False)
        worker.process = context.Process(target=self._work, args=(worker.place, reports))
        worker.started_s = time.monotonic()
        worker.opened = worker.fault = None
        # What is frozen is not written to by the garbage collector, and so stays shared.
        gc.freeze()
        gc.enable()
        worker.process.start()
        reports.close()

    def _work(self, place: int, reports: Connection) -> None:
        # This runs in the worker. What is typed at a terminal goes to the parent alone, which passes it on.
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        os.close(self._other_end)
        if not self._greeted:
            os.close(self._gate_keeper)

        def report(registry: Registry, _listener: socket.socket) -> None:
            reports.send(Opened(list(registry.cards), registry.default))
            os.read(self._gate, 1)

        try:
            serve(self._settings, self._listener, report, self._registry, Seat(place, self._crowd, self._lifeline))
        except (StartupRefused, ModelError) as error:
            reports.send(Refused(str(error)))
            sys.exit(2)

    def _attend(self) -> None:
        """Wait until something has happened, or until a worker is due."""
        living = [worker for worker in self._workers if worker.process is not None]
        pauses = [worker.due_s - time.monotonic() for worker in self._workers if worker.process is None]
        sources: list[Connection | socket.socket | int] = [self._wakeup]
        sources += [worker.reports for worker in living if worker.reports is not None]
        sources += [worker.process.sentinel for worker in living if worker.process is not None]
        happened = wait(sources, max(0, min([*pauses, LOOK_EVERY_S, HUNG_AFTER_S / 2])))
        if self._wakeup in happened:
            self._wakeup.recv(1024)
        for worker in living:
            if worker.reports in happened:
                self._hear(worker)
            if worker.process is not None and worker.process.sentinel in happened:
                self._bury(worker)
            elif worker.process is not None and self._crowd.silent_s(worker.place) > HUNG_AFTER_S:
                _log.error("worker %d, process %d, hangs and is killed", worker.place, worker.process.pid)
                worker.process.kill()
                self._crowd.leave(worker.place)

    def _hear(self, worker: Worker) -> None:
        if worker.reports is None or worker.process is None:
            return
        try:
            report = worker.reports.recv()
        except EOFError:
            worker.reports.close()
            worker.reports = None
            return
        if isinstance(report, Opened):
            worker.opened = report
            if worker.failures:
                _log.warning("worker %d is back, as process %d", worker.place, worker.process.pid)
        else:
            worker.fault = report.sentence

    def _bury(self, worker: Worker) -> None:
        if worker.process is None:
            return
        worker.process.join()
        if worker.reports is not None:
            if worker.reports.poll():
                self._hear(worker)
            if worker.reports is not None:
                worker.reports.close()
                worker.reports = None
        self._crowd.leave(worker.place)
        lived_s = time.monotonic() - worker.started_s
        worker.failures = 1 if worker.opened and lived_s >= SOUND_AFTER_S else worker.failures + 1
        # The first end in a row may be an accident; those that follow are not to keep a processor busy.
        pause_s = 0.0 if worker.failures == 1 else min(LONGEST_PAUSE_S, 2.0 ** (worker.failures - 2))
        worker.due_s = time.monotonic() + pause_s
        pid, code = worker.process.pid, worker.process.exitcode
        worker.process.close()
        worker.process = None
        worker.end = _end_of(code)
        if self._told_to_stop or not self._greeted:
            return
        _log.error(
            "worker %d, process %d, %s after %.0f s%s; another is started %s",
            worker.place,
            pid,
            worker.end,
            lived_s,
            f": {worker.fault}" if worker.fault else "",
            f"in {pause_s:.0f} s" if pause_s else "now",
        )

    def _stop(self) -> int:
        # As long as this process listens, too, connections would come that nobody accepts.
        self._listener.close()
        living = [worker.process for worker in self._workers if worker.process is not None]
        end_s = time.monotonic() + self._settings.graceful_shutdown_timeout_s + KILL_AFTER_S
        passed_on = 0
        told = self._told_to_stop or [signal.SIGTERM]
        while living and time.monotonic() < end_s:
            # Each of them, as a second SIGINT means more than the first.
            for number in told[passed_on:]:
                for process in living:
                    _send(process, number)
            passed_on = len(told)
            wait([process.sentinel for process in living], 0.1)
            living = [process for process in living if process.is_alive()]
        for process in living:
            _log.error("process %d did not end in time and is killed", process.pid)
            process.kill()
            process.join()
        return 1 if living else 0

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        self._wakeup.setblocking(False)
        self._wakeup_writer.setblocking(False)
        signal.set_wakeup_fd(self._wakeup_writer.fileno(), warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_stop)
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)

    def _on_stop(self, number: int, _frame: FrameType | None) -> None:
        self._told_to_stop.append(number)


def _end_of(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _send(process: ForkProcess, number: int) -> None:
    if process.pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _open_to_share(settings: Settings) -> Registry | None:
    # A fork has none of its parent's threads, so graphs that run on several are opened by each worker for itself.
    if settings.intra_op_threads > 1:
        return None
    registry = open_registry(settings)
    # Those that Python has not started are seen here only.
    threads = Path("/proc/self/task")
    return registry if threads.exists() and len(list(threads.iterdir())) == 1 else None
