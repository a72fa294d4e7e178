"""The service under test: one process of both roles, or a sender and a receiver that share no file."""

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from latentwire.model.card import DECODER_FILE, ENCODER_FILE
from service.inference.registry import Registry, open_registry
from service.settings import Role, read_settings
from tests.service.launching import Server
from tests.soak.expectations import Half

GAUGES = (
    "latentwire_requests_in_flight",
    "latentwire_requests_queued",
    "latentwire_batches_in_flight",
    "latentwire_body_buffered_bytes",
)
BAD_WORDS = ("Traceback", "ERROR", "CRITICAL")
REST_S = 30
# Of each process: connections that are just being closed, and files of metrics that came with the load.
SPARE_FILES = 4


class Service:
    """The running servers, by the half that they have, and what they have opened, opened in this process, too."""

    def __init__(self, servers: dict[Half, Server], registries: dict[Half, Registry]) -> None:
        self.servers = servers
        self.registries = registries

    @property
    def processes(self) -> list[Server]:
        """Each server once."""
        return list(dict.fromkeys(self.servers.values()))

    def faults(self, files_before: int) -> list[str]:
        """Look for what is left when all clients have gone, and return a sentence for each fault."""
        faults = []
        for server in self.processes:
            if server.process.poll() is not None:
                faults.append(f"a server has ended, with exit code {server.process.returncode}")
                continue
            if taken := _wait_for_rest(server):
                faults.append(f"places are still taken: {', '.join(taken)}")
            faults += [f"the log has a line with {word}" for word in BAD_WORDS if word in server.output()]
        if (files := self.open_files()) > files_before + SPARE_FILES * len(self._pids()):
            faults.append(f"{files} files are open, {files_before} at the start")
        return faults

    def resident_bytes(self) -> int:
        """Return the memory of all processes, workers too."""
        return sum(_resident_bytes(pid) for pid in self._pids())

    def open_files(self) -> int:
        """Return the number of open files of all processes, workers too."""
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self._pids())  # noqa: PTH208

    def _pids(self) -> list[int]:
        found = [server.process.pid for server in self.processes]
        for pid in found:
            found += _children(pid)
        return found


@contextmanager
def serve(models_dir: Path, default: str, scratch: Path, flags: Sequence[str], *, pair: bool) -> Iterator[Service]:
    """Start the servers, and end them afterwards.

    Args:
        models_dir: the models.
        default: the default model.
        scratch: a folder to write in.
        flags: more of `python -m service`.
        pair: start a sender and a receiver, each with a folder that lacks the other half of each model.
    """
    with ExitStack() as stack:

        def start(role: Role, folder: Path) -> tuple[Server, Registry]:
            log = stack.enter_context((scratch / f"{role}.log").open("wb"))
            given = ["--role", role, "--models-dir", str(folder), "--default-model", default, *flags]
            server = Server(*given, log=log)
            stack.callback(_stop, server)
            return server, open_registry(read_settings(given))

        if pair:
            sender, sending = start("sender", _without(models_dir, scratch / "sender", DECODER_FILE))
            receiver, receiving = start("receiver", _without(models_dir, scratch / "receiver", ENCODER_FILE))
        else:
            sender, sending = receiver, receiving = start("both", models_dir)
        yield Service({"sender": sender, "receiver": receiver}, {"sender": sending, "receiver": receiving})


def _wait_for_rest(server: Server) -> list[str]:
    """Wait until nothing is being worked on; return the gauges that still say otherwise after some time."""
    deadline = time.monotonic() + REST_S
    while True:
        lines = server.client.get("/metrics").text.splitlines()
        taken = [line for line in lines if line.startswith(GAUGES) and float(line.split()[-1]) != 0]
        if not taken or time.monotonic() > deadline:
            return taken
        time.sleep(0.1)


def _stop(server: Server) -> None:
    if server.process.poll() is None:
        server.stop()
    server.client.close()


def _without(models_dir: Path, folder: Path, file: str) -> Path:
    shutil.copytree(models_dir, folder, ignore=shutil.ignore_patterns(file))
    return folder


def _resident_bytes(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:  # it has ended
        return 0
    return 1024 * int(status.partition("VmRSS:")[2].split()[0] or 0)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except OSError:
        return []
