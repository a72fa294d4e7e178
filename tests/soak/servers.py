"""The service under test: replicas behind the edge, or one process; of both roles, or a sender and a receiver."""

import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from deploy.edge import DEFAULTS
from latentwire.model.card import DECODER_FILE, ENCODER_FILE
from latentwire.registry import Registry
from service.inference.registry import open_registry
from service.settings import Role, read_settings
from tests.edge.launching import Edge, run_edge
from tests.service.launching import PATIENCE_S, Server, wait_until
from tests.soak.expectations import Half

GAUGES = (
    "latentwire_requests_in_flight",
    "latentwire_requests_queued",
    "latentwire_batches_in_flight",
    "latentwire_body_buffered_bytes",
)
LOG_FAULTS = ("Traceback", "ERROR", "CRITICAL")
EDGE_LOG_FAULTS = ("[crit]", "[alert]", "[emerg]")
# Time for everything to be released, on a slow machine.
RELEASE_TIMEOUT_S = 90
# Files that each process may have open more than before: closing connections, and metrics that came with the load.
SPARE_FILES = 4


class Target(NamedTuple):
    """Where clients connect to."""

    address: tuple[str, int]
    base_url: str


class Replica:
    """One `python -m service`, which can be stopped and started again on its port."""

    def __init__(self, name: str, flags: Sequence[str], scratch: Path) -> None:
        self.name = name
        self.faults: list[str] = []
        self._flags = flags
        self._scratch = scratch
        self._starts = 0
        self.server = self._start("0")

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return self.server.address

    def restart(self, number: signal.Signals) -> None:
        """End it by a signal and start it again; with workers, SIGKILL ends one, which its parent starts again."""
        server = self.server
        workers = children(server.process.pid)
        if number == signal.SIGKILL and len(workers) > 1:
            os.kill(workers[-1], number)
            wait_until(
                lambda: workers[-1] not in (now := children(server.process.pid)) and len(now) >= len(workers),
                f"another worker of {self.name} has started",
            )
            wait_until(lambda: server.client.get("/readyz").status_code == 200, f"{self.name} is ready")
            return
        port = str(self.address[1])
        server.process.send_signal(number)
        code = server.process.wait(PATIENCE_S)
        if code != (0 if number == signal.SIGTERM else -number):
            self.faults.append(f"{self.name} has ended with exit code {code} on {number.name}")
        self._check_log()
        server.client.close()
        server.log.close()
        self.server = self._start(port)

    def check(self) -> list[str]:
        """Return a sentence for each thing that is wrong after the load."""
        if (code := self.server.process.poll()) is not None:
            self.faults.append(f"{self.name} has ended with exit code {code}")
        elif held := self._not_released():
            self.faults.append(f"{self.name} still counts work: {', '.join(held)}")
        self._check_log()
        return self.faults

    def stop(self) -> None:
        """End it."""
        if self.server.process.poll() is None:
            self.server.stop()
        self.server.client.close()
        self.server.log.close()

    def _start(self, port: str) -> Server:
        log = (self._scratch / f"{self.name}-{self._starts}.log").open("wb")
        self._starts += 1
        return Server(*self._flags, "--port", port, log=log)

    def _check_log(self) -> None:
        self.faults += _faulty_lines(f"the log of {self.name}", self.server.output(), LOG_FAULTS)

    def _not_released(self) -> list[str]:
        deadline = time.monotonic() + RELEASE_TIMEOUT_S
        while True:
            lines = self.server.client.get("/metrics").text.splitlines()
            held = [line for line in lines if line.startswith(GAUGES) and float(line.split()[-1]) != 0]
            if not held or time.monotonic() > deadline:
                return held
            time.sleep(0.1)


class Service:
    """Everything that runs, where each half is reached, and the models of each half, opened in this process, too."""

    def __init__(
        self,
        replicas: list[Replica],
        edges: list[Edge],
        targets: dict[Half, Target],
        registries: dict[Half, Registry],
    ) -> None:
        self.replicas = replicas
        self.edges = edges
        self.targets = targets
        self.registries = registries

    def faults(self, files_before: int) -> list[str]:
        """Return a sentence for each thing that is wrong when all clients have gone."""
        faults = [fault for replica in self.replicas for fault in replica.check()]
        for edge in self.edges:
            if (code := edge.process.poll()) is not None:
                faults.append(f"an edge has ended with exit code {code}")
            faults += _faulty_lines("the edge's log", edge.output(), EDGE_LOG_FAULTS)
            # New nginx processes have no idle connections to the replicas, which would count as open files.
            edge.reload()
        allowed = files_before + SPARE_FILES * len(self._pids())
        deadline = time.monotonic() + RELEASE_TIMEOUT_S
        while (files := self.open_files()) > allowed:
            if time.monotonic() > deadline:
                faults.append(f"{files} files are open, {files_before} at the start")
                break
            time.sleep(0.5)
        return faults

    def resident_bytes(self) -> int:
        """Return the memory of all processes, with workers and nginx."""
        return sum(_resident_bytes(pid) for pid in self._pids())

    def open_files(self) -> int:
        """Return the number of open files of all processes, with workers and nginx."""
        return sum(_open_files(pid) for pid in self._pids())

    def _pids(self) -> list[int]:
        found = [each.server.process.pid for each in self.replicas] + [each.process.pid for each in self.edges]
        for pid in found:
            found += children(pid)
        return found


@contextmanager
def serve(
    models_dir: Path, default: str, scratch: Path, flags: Sequence[str], *, pair: bool, replicas: int
) -> Iterator[Service]:
    """Start the service, and end it afterwards.

    Args:
        models_dir: the models.
        default: the default model.
        scratch: a folder to write in.
        flags: more of `python -m service`.
        pair: start a sender and a receiver, each with a folder that lacks the other half of each model.
        replicas: number of processes of each role behind the role's edge; 0 starts one process without an edge.
    """
    with ExitStack() as stack:
        started: list[Replica] = []
        edges: list[Edge] = []

        def start(role: Role, folder: Path) -> tuple[Target, Registry]:
            given = ["--role", role, "--models-dir", str(folder), "--default-model", default, *flags]
            if replicas:
                # A large image takes more than the default time to stop on a machine as busy as this one.
                given += ["--drain-period-s", "1", "--graceful-shutdown-timeout-s", "60"]
            own = []
            for number in range(max(1, replicas)):
                own.append(Replica(f"{role}-{number}", given, scratch))
                stack.callback(own[-1].stop)
            started.extend(own)
            target = Target(own[0].address, str(own[0].server.client.base_url))
            if replicas:
                addresses = [each.address for each in own]
                # All clients have this host's address.
                limit = DEFAULTS["LATENTWIRE_EDGE_MAX_REQUESTS"]
                edge = stack.enter_context(
                    run_edge(addresses, scratch, f"{role}-edge", EDGE_MAX_REQUESTS_PER_ADDRESS=limit)
                )
                edges.append(edge)
                target = Target(edge.address, str(edge.client.base_url))
            return target, open_registry(read_settings(given))

        if pair:
            sender, sending = start("sender", _without(models_dir, scratch / "sender", DECODER_FILE))
            receiver, receiving = start("receiver", _without(models_dir, scratch / "receiver", ENCODER_FILE))
        else:
            sender, sending = receiver, receiving = start("both", models_dir)
        targets: dict[Half, Target] = {"sender": sender, "receiver": receiver}
        yield Service(started, edges, targets, {"sender": sending, "receiver": receiving})


def children(pid: int) -> list[int]:
    """Return the processes that `pid` has started and that have not ended."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return []
    return [int(child) for child in found]


def _without(models_dir: Path, folder: Path, file: str) -> Path:
    shutil.copytree(models_dir, folder, ignore=shutil.ignore_patterns(file))
    return folder


def _resident_bytes(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:  # it has ended
        return 0
    # A process that has ended and is not waited for has no such line.
    return 1024 * int(status.partition("VmRSS:")[2].split()[0]) if "VmRSS:" in status else 0


def _open_files(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208
    except OSError:  # it has ended
        return 0


def _faulty_lines(log: str, output: str, words: tuple[str, ...]) -> list[str]:
    """Return a sentence for each of these words that is in a log, with the first line that has it."""
    first = {word: next((line for line in output.splitlines() if word in line), None) for word in words}
    return [f"{log} has a line with {word}: {line[:500]}" for word, line in first.items() if line is not None]
