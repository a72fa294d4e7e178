"""Several worker processes behind one port: all work, one may die, and what they count adds up."""

import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from latentwire.model.card import ENCODER_FILE
from tests.service.client import Client
from tests.service.launching import PATIENCE_S, ROOT, Server, stop_all
from tests.service.load import Request, load, wait_until

Launch = Callable[..., Server]


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the servers make their folders of metrics; one that is killed leaves its behind."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def launch(models_dir: Path, tmp_path: Path) -> Iterator[Launch]:
    """Start one server with these flags; two workers unless they say otherwise."""
    servers: list[Server] = []

    def launch_one(*flags: str, models: Path = models_dir) -> Server:
        log = (tmp_path / f"server-{len(servers)}.log").open("wb")
        server = Server("--models-dir", str(models), "--default-model", "tiny", "--workers", "2", *flags, log=log)
        servers.append(server)
        return server

    yield launch_one
    stop_all(servers)


@pytest.fixture
def requests(client: Client, bitstream: bytes, png: bytes) -> list[Request]:
    """An image and a code, with the answers that they get in this process."""
    picture = client.decode(bitstream, accept="image/png").content
    return [Request("/encode", png, bitstream), Request("/decode", bitstream, picture, "image/png")]


def workers_of(server: Server) -> list[int]:
    return children_of(server.process.pid)


def children_of(process: int) -> list[int]:
    children = Path(f"/proc/{process}/task/{process}/children")
    return [int(pid) for pid in children.read_text(encoding="ascii").split()]


def connections_of(pid: int, port: int) -> int:
    """How many clients' connections a process has."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    # Local address, state "established", and inode.
    known = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01"}
    return len(known & {str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()})


def counted(server: Server, name: str, **labels: str) -> float:
    families = text_string_to_metric_families(server.client.get("/metrics").text)
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def test_both_workers_get_connections_and_their_counts_add_up(launch: Launch, requests: list[Request]) -> None:
    server = launch()
    wait_until(lambda: len(workers_of(server)) == 2, "there are two workers")
    with load(server.address, requests, clients=4) as seen:
        first, second = workers_of(server)
        port = server.address[1]
        wait_until(lambda: connections_of(first, port) and connections_of(second, port), "both have connections")
        wait_until(lambda: seen.answered() >= 100, "100 requests are answered")
    assert not seen.wrong
    assert set(seen.ends) == {"answered"}

    def codings(metric: str) -> float:
        return sum(counted(server, metric, route=route) for route in ("/encode", "/decode"))

    # A request is counted after its answer has been sent.
    wait_until(lambda: codings("latentwire_http_requests_total") == seen.answered(), "all requests are counted")
    assert codings("latentwire_http_request_duration_seconds_count") == seen.answered()
    assert counted(server, "latentwire_requests_in_flight") == counted(server, "latentwire_requests_queued") == 0


def test_what_is_wrong_with_a_model_is_said_once(own_models_dir: Path) -> None:
    (own_models_dir / "tiny" / ENCODER_FILE).write_bytes(b"x")
    command = [sys.executable, "-m", "service", "--port", "0", "--workers", "2", "--models-dir", str(own_models_dir)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert re.fullmatch(r"latentwire: encoder\.onnx of model 'tiny' has 1 bytes; its card says \d+\n", ended.stderr)


def test_a_killed_worker_comes_back_while_the_other_answers(launch: Launch, requests: list[Request]) -> None:
    server = launch()
    wait_until(lambda: len(workers_of(server)) == 2, "there are two workers")
    with load(server.address, requests, clients=4) as seen:
        wait_until(lambda: seen.answered() >= 50, "50 requests are answered")
        killed, other = workers_of(server)
        os.kill(killed, signal.SIGKILL)
        before = seen.answered()
        wait_until(lambda: seen.answered() >= before + 50, "the other answers")
        wait_until(lambda: "worker 0 is back" in server.output(), "the worker is back")
        newest = next(pid for pid in workers_of(server) if pid != other)

        def gets_connections() -> bool:
            # Those of before stay where they are; new ones go to the worker that has fewer.
            with load(server.address, requests, clients=1) as later:
                wait_until(lambda: later.answered(), "a new connection is answered")
                return connections_of(newest, server.address[1]) > 0

        wait_until(gets_connections, "it gets connections")
    left = workers_of(server)
    assert len(left) == 2
    assert other in left
    assert killed not in left
    assert f"worker 0, process {killed}, was ended by SIGKILL" in server.output()
    # Only what the killed one was working on is lost, at most one request of each client.
    assert len(seen.wrong) + seen.ends["closed idle"] + seen.ends["closed new"] <= 4
    assert not [sentence for sentence in seen.wrong if not sentence.startswith("half an answer")]
    assert seen.ends["refused"] == 0
    wait_until(
        lambda: counted(server, "latentwire_requests_in_flight") == 0, "what the killed one was working on is forgotten"
    )


def test_a_worker_that_cannot_come_back_says_why_and_is_tried_less_and_less(
    launch: Launch, own_models_dir: Path, png: bytes
) -> None:
    # With more threads than one each worker opens the models itself; else it has those of its parent.
    server = launch("--intra-op-threads", "2", models=own_models_dir)
    wait_until(lambda: len(workers_of(server)) == 2, "there are two workers")
    graph = own_models_dir / "tiny" / ENCODER_FILE
    shutil.copy(graph, graph.with_suffix(".kept"))
    graph.write_bytes(b"x")
    os.kill(workers_of(server)[0], signal.SIGKILL)
    wait_until(lambda: "another is started in 1 s" in server.output(), "the pause is said")
    assert "encoder.onnx of model 'tiny' has 1 bytes" in server.output()
    assert server.client.post("/encode", content=png).status_code == 200
    graph.with_suffix(".kept").replace(graph)
    wait_until(lambda: "worker 0 is back" in server.output(), "the worker is back")


def test_a_worker_that_hangs_is_replaced(models_dir: Path, tmp_path: Path) -> None:
    code = "import service.server.supervisor as s; s.HUNG_AFTER_S = 2; from service.__main__ import main; import sys"
    flags = ["--port", "0", "--models-dir", str(models_dir), "--default-model", "tiny", "--workers", "2"]
    command = [sys.executable, "-c", f"{code}; sys.exit(main({flags!r}))"]
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT) as process,
        ExitStack() as connections,
    ):
        try:
            output = (tmp_path / "log").read_text
            wait_until(lambda: "role both" in output(), "the service has started")
            port = int(re.findall(r":(\d+) ", output())[0])
            hanging = children_of(process.pid)[1]

            def accepts() -> bool:
                connections.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE_S))
                return connections_of(hanging, port) > 0

            wait_until(accepts, "the second worker accepts connections")
            os.kill(hanging, signal.SIGSTOP)
            wait_until(lambda: "worker 1 is back" in output(), "it has been replaced")
            assert f"worker 1, process {hanging}, hangs and is killed" in output()
        finally:
            process.terminate()
            assert process.wait(PATIENCE_S) == 0


def test_workers_end_when_their_parent_is_killed(launch: Launch) -> None:
    server = launch()
    wait_until(lambda: len(workers_of(server)) == 2, "there are two workers")
    orphans = workers_of(server)
    server.process.kill()
    server.process.wait()
    wait_until(lambda: not any(alive(pid) for pid in orphans), "the workers have ended")


def test_the_folder_of_metrics_is_removed_in_the_end(launch: Launch, temporary: Path) -> None:
    server = launch()
    wait_until(lambda: list(temporary.glob("latentwire-metrics-*/counter_*.db")), "something is counted")
    assert server.stop() == 0
    assert list(temporary.iterdir()) == []


def test_a_folder_of_metrics_that_was_left_is_removed_by_the_next_parent(launch: Launch, temporary: Path) -> None:
    def folders() -> set[Path]:
        return set(temporary.glob("latentwire-metrics-*"))

    first = launch()
    (left,) = folders()
    orphans = workers_of(first)
    first.process.kill()
    first.process.wait()
    wait_until(lambda: not any(alive(pid) for pid in orphans), "the workers have ended")
    # A worker may live longer than its parent, and writes still.
    with locked(left):
        second = launch()
    assert left in folders()
    (own,) = folders() - {left}
    third = launch()
    assert left not in folders()
    assert own in folders()
    assert len(folders()) == 2
    assert counted(second, "latentwire_build_info") == counted(third, "latentwire_build_info") == 1
    assert (second.stop(), third.stop()) == (0, 0)
    assert not folders()


def test_a_worker_has_no_threads_that_it_does_not_need(launch: Launch, requests: list[Request]) -> None:
    server = launch("--max-concurrency", "3")
    wait_until(lambda: len(workers_of(server)) == 2, "there are two workers")
    with load(server.address, requests, clients=8) as seen:
        wait_until(lambda: seen.answered() >= 200, "200 requests are answered")
        # Itself, three that work, and one or two that answer probes and show metrics.
        assert all(threads_of(pid) <= 6 for pid in workers_of(server))
    assert threads_of(server.process.pid) == 1


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock that workers have from their parent, when they have let it go."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        # A process that has ended may have threads for a moment longer, and files with them.
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def alive(pid: int) -> bool:
    try:
        # The orphans are not this process's children, so that nobody but the system buries them.
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return False


def threads_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))
