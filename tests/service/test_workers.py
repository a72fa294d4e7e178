"""Several worker processes behind one port: all work, one may die, and what they count adds up."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from latentwire.model.card import ENCODER_FILE
from service.observability.metrics import MULTIPROC_DIR
from service.server import server as server_module
from tests.service.client import Client
from tests.service.launching import PATIENCE_S, ROOT, LaunchServer, Server, start_in_vain, wait_until
from tests.service.load import Request, load

TWO = ("--workers", "2")
TINY = ("--default-model", "tiny")
KEY = "key-0123456789abcdef"


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the servers make their folders for metrics."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def requests(client: Client, bitstream: bytes, png: bytes) -> list[Request]:
    """An image and a code, with the responses that they get in this process."""
    picture = client.decode(bitstream, accept="image/png").content
    return [Request("/encode", png, bitstream), Request("/decode", bitstream, picture, "image/png")]


def workers_of(server: Server) -> list[int]:
    """Return the processes that serve; Python starts one more, which cleans up."""
    return children_of(server.process.pid)


def children_of(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children")
    return [pid for pid in map(int, children.read_text(encoding="ascii").split()) if "spawn_main" in command_of(pid)]


@contextmanager
def start_parent(script: str, models_dir: Path, folder: Path, *more: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a script with the service's flags in place of `{flags!r}`, and wait until the service has started."""
    flags = ["--port", "0", "--models-dir", str(models_dir), *TINY, *TWO, "--drain-period-s", "0", *more]
    (folder / "parent.py").write_text(script.format(flags=flags), encoding="utf-8")
    command = [sys.executable, str(folder / "parent.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=environment) as process,
    ):
        try:
            wait_until(lambda: "role both" in (folder / "log").read_text(), "the service has started")
            yield process
        finally:
            process.kill()


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")
    except OSError:
        return ""


def connections_of(pid: int, port: int) -> int:
    """Return how many clients' connections a process has."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    # Local address, state "established", and inode.
    known = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01"}
    opened = set()
    # A file that is closed, or a process that ends, while this looks is passed over.
    with suppress(FileNotFoundError):
        for path in list(Path(f"/proc/{pid}/fd").iterdir()):
            with suppress(FileNotFoundError):
                opened.add(str(path.readlink()))
    return len(known & opened)


def wait_until_each_has_a_connection(server: Server, stack: ExitStack) -> None:
    """Open connections until each worker has one."""

    def has_each() -> bool:
        stack.enter_context(socket.create_connection(server.address, PATIENCE_S))
        return all(connections_of(pid, server.address[1]) for pid in workers_of(server))

    wait_until(has_each, "each worker has a connection")


def test_both_workers_get_connections_and_their_counts_add_up_and_nothing_stays(
    launch_server: LaunchServer, models_dir: Path, requests: list[Request], temporary: Path
) -> None:
    server = launch_server(models_dir, *TINY, *TWO, "--max-concurrency", "3")
    assert len(workers_of(server)) == 2
    with ExitStack() as stack, load(server.address, requests, clients=8) as seen:
        wait_until_each_has_a_connection(server, stack)
        wait_until(lambda: seen.answered() >= 200, "200 requests are answered")
        # Its main thread, those that respond to the parent and write the log, three for requests, and two for probes
        # and metrics.
        assert all(threads_of(pid) <= 8 for pid in workers_of(server))
    assert not seen.wrong
    assert set(seen.ends) == {"answered"}

    def codings(metric: str) -> float:
        return sum(server.metric(metric, route=route) for route in ("/encode", "/decode"))

    # A request is counted after its response has been sent.
    wait_until(lambda: codings("latentwire_http_requests_total") == seen.answered(), "all requests are counted")
    assert codings("latentwire_http_request_duration_seconds_count") == seen.answered()
    assert server.metric("latentwire_requests_in_flight") == server.metric("latentwire_requests_queued") == 0
    assert list(temporary.glob("latentwire-metrics-*/counter_*.db"))
    assert server.stop() == 0
    assert list(temporary.iterdir()) == []


def test_what_is_wrong_with_a_model_is_said_once(own_models_dir: Path) -> None:
    (own_models_dir / "tiny" / ENCODER_FILE).write_bytes(b"x")
    assert "encoder.onnx of model 'tiny'" in start_in_vain(own_models_dir, "--port", "0", *TWO)


def test_a_port_that_is_taken_and_keys_that_are_not_there_are_said_once(own_models_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"cannot listen on 127.0.0.1 port {port}" in start_in_vain(own_models_dir, "--port", port, *TWO)
    nowhere = ("--api-keys-file", "nowhere")
    assert "the key file 'nowhere' cannot be read" in start_in_vain(own_models_dir, "--port", "0", *TWO, *nowhere)


def test_keys_stand_on_no_command_line_and_in_no_log(
    launch_server: LaunchServer, models_dir: Path, png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATENTWIRE_API_KEYS", KEY)
    server = launch_server(models_dir, *TINY, *TWO)
    for pid in (server.process.pid, *workers_of(server)):
        assert KEY not in command_of(pid)
    with ExitStack() as stack:
        wait_until_each_has_a_connection(server, stack)
    headers = {"Authorization": f"Bearer {KEY}"}
    for _ in range(10):
        # A new connection each time, so that both workers are asked.
        server.client.headers["Connection"] = "close"
        assert server.client.post("/encode", content=png).status_code == 401
        assert server.client.post("/encode", content=png, headers=headers).status_code == 200
    assert KEY not in server.output()


def test_a_killed_worker_comes_back_while_the_other_answers(
    launch_server: LaunchServer, models_dir: Path, requests: list[Request]
) -> None:
    server = launch_server(models_dir, *TINY, *TWO)
    clients = 4
    with load(server.address, requests, clients) as seen:
        wait_until(lambda: seen.answered() >= 50, "50 requests are answered")
        killed, other = workers_of(server)
        os.kill(killed, signal.SIGKILL)
        before = seen.answered()
        wait_until(lambda: seen.answered() >= before + 50, "the other answers")
        wait_until(lambda: len({*workers_of(server)} - {killed}) == 2, "another worker is there")
        with ExitStack() as stack:
            wait_until_each_has_a_connection(server, stack)
    assert other in workers_of(server)
    # Only the requests of the killed worker are lost, at most one of each client.
    assert len(seen.wrong) + seen.ends["closed idle"] + seen.ends["closed new"] <= clients
    assert not [sentence for sentence in seen.wrong if not sentence.startswith("half an answer")]
    assert seen.ends["refused"] == 0
    wait_until(
        lambda: server.metric("latentwire_requests_in_flight") == 0, "the requests of the killed worker are forgotten"
    )


def test_a_worker_that_cannot_start_stops_the_service(own_models_dir: Path, tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        server = Server("--models-dir", str(own_models_dir), *TWO, log=log)
        try:
            (own_models_dir / "tiny" / ENCODER_FILE).write_bytes(b"x")
            os.kill(workers_of(server)[0], signal.SIGKILL)
            assert server.process.wait(PATIENCE_S) == 2
        finally:
            if server.process.poll() is None:
                server.stop()
            server.client.close()
    sentences = [line for line in server.output().splitlines() if line.startswith("latentwire: ")]
    assert len(sentences) == 1
    assert re.search(r"cannot start: encoder\.onnx of model 'tiny' has 1 bytes", sentences[0])
    assert "Traceback" not in server.output()


# It does not wait long for a response of a worker, but for its start.
_HASTY_PARENT = """
import sys
from service.__main__ import main
from service.server import server

class HastyWorkers(server.Workers):
    def keep_subprocess_alive(self):
        super().keep_subprocess_alive()
        if self._announce is None:
            self.config.timeout_worker_healthcheck = 1

server.Workers = HastyWorkers
if __name__ == "__main__":
    sys.exit(main({flags!r}))
"""


def test_a_worker_that_hangs_is_replaced(models_dir: Path, tmp_path: Path) -> None:
    with start_parent(_HASTY_PARENT, models_dir, tmp_path) as process:
        try:
            hanging = children_of(process.pid)[0]
            os.kill(hanging, signal.SIGSTOP)
            wait_until(
                lambda: hanging not in (now := children_of(process.pid)) and len(now) == 2, "it has been replaced"
            )
        finally:
            process.terminate()
            assert process.wait(PATIENCE_S) == 0


# It waits long for a response of a worker, and not long for its end.
_PATIENT_PARENT = """
import sys
from service.__main__ import main
from service.server import server

server.HUNG_WORKER_S = 3600
server.HUNG_S = server.AFTER_WORKERS_S = 0.1

if __name__ == "__main__":
    sys.exit(main({flags!r}))
"""


def test_a_worker_that_hangs_does_not_hold_up_the_end_and_does_not_outlive_it(models_dir: Path, tmp_path: Path) -> None:
    with start_parent(_PATIENT_PARENT, models_dir, tmp_path, "--graceful-shutdown-timeout-s", "1") as process:
        try:
            workers = children_of(process.pid)
            assert len(workers) == 2
            os.kill(workers[0], signal.SIGSTOP)
            process.terminate()
            process.wait(PATIENCE_S)
            wait_until(lambda: not any(command_of(pid) for pid in workers), "the workers have ended")
        finally:
            process.kill()


def test_workers_end_when_their_parent_is_killed(launch_server: LaunchServer, models_dir: Path) -> None:
    server = launch_server(models_dir, *TINY, *TWO)
    orphans = workers_of(server)
    assert len(orphans) == 2
    server.process.kill()
    server.process.wait()
    # Nobody but the system removes their entries, so that a zombie counts as ended: it has no command line.
    wait_until(lambda: not any(command_of(pid) for pid in orphans), "the workers have ended")


def test_without_a_temporary_folder_metrics_go_to_shared_memory_and_without_that_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(MULTIPROC_DIR, "")
    monkeypatch.delenv(MULTIPROC_DIR)  # so that it is put back after the test
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    monkeypatch.setattr(server_module, "SHARED_MEMORY", str(tmp_path))
    with server_module._metrics_folder():
        folder = Path(os.environ[MULTIPROC_DIR])
        assert folder.parent == tmp_path
    assert not folder.exists()
    monkeypatch.delenv(MULTIPROC_DIR)
    monkeypatch.setattr(server_module, "SHARED_MEMORY", "/nowhere")
    with server_module._metrics_folder():
        assert MULTIPROC_DIR not in os.environ
    assert caplog.messages == [
        "no folder can be made for the workers' metrics, so /metrics shows those of one; set TMPDIR"
    ]


def test_a_folder_of_metrics_that_the_environment_names_is_used_and_stays(
    launch_server: LaunchServer, models_dir: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = temporary / "own"
    own.mkdir()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(own))
    server = launch_server(models_dir, *TINY, *TWO)
    wait_until(lambda: list(own.glob("counter_*.db")), "something is counted")
    assert server.stop() == 0
    assert list(own.glob("counter_*.db"))
    shutil.rmtree(own)
    assert list(temporary.iterdir()) == []


def threads_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))
