import fcntl
import logging
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.observability import logs
from service.observability.logs import BackgroundHandler
from tests.service.client import assert_problem
from tests.service.launching import PATIENCE_S, ROOT, LaunchServer, wait_until

Pipe = tuple[int, int]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """The two ends of a pipe that holds a page."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    yield reader, writer
    os.close(reader)
    os.close(writer)


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("test", logging.INFO, "", 0, message, None, None)


def read_until(reader: int, end: bytes) -> bytes:
    data = b""
    while end not in data:
        data += os.read(reader, 1 << 16)
    return data


def test_lines_are_written_in_order_and_the_last_ones_before_the_end(pipe: Pipe) -> None:
    reader, writer = pipe
    handler = BackgroundHandler(writer)
    for number in range(100):
        handler.emit(record(f"line {number}"))
    handler.close()
    lines = read_until(reader, b"line 99\n").decode().splitlines()
    assert lines == [f"line {number}" for number in range(100)]


def test_what_a_stalled_reader_does_not_take_is_dropped_and_counted(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = pipe
    monkeypatch.setattr(logs, "MAX_WAITING_LINES", 10)
    monkeypatch.setattr(logs, "CLOSE_TIMEOUT_S", 0.01)
    handler = BackgroundHandler(writer)
    handler.emit(record("x" * 10_000))
    wait_until(lambda: not handler._lines, "the pipe is full")
    for number in range(15):
        handler.emit(record(f"line {number}"))
    handler.close()  # nor does the end wait for the reader
    assert handler._thread.is_alive()
    data = read_until(reader, b"line 9\n").decode()
    assert "line 10" not in data
    wait_until(lambda: not handler._lines, "the lines are written")
    handler = BackgroundHandler(writer)
    handler._dropped = 5
    handler.emit(record("next"))
    assert read_until(reader, b"next\n") == b"5 lines of the log were dropped, as they were not read in time\nnext\n"
    handler.close()


def test_a_log_that_cannot_be_written_says_so_once(capfd: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    handler = BackgroundHandler(writer)
    for number in range(3):
        handler.emit(record(f"line {number}"))
        wait_until(lambda: not handler._lines and not handler._wake.is_set(), "the line is given up")
    handler.close()
    os.close(writer)
    assert capfd.readouterr().err == "latentwire: the log cannot be written: Broken pipe\n"


def test_an_output_that_is_set_not_to_block_loses_nothing(pipe: Pipe) -> None:
    reader, writer = pipe
    os.set_blocking(writer, False)
    handler = BackgroundHandler(writer)
    handler.emit(record("x" * 20_000))
    assert len(read_until(reader, b"\n")) == 20_001
    handler.close()


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return str(probe.getsockname()[1])


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_reader_that_stalls_holds_up_no_request_and_no_stop(models_dir: Path, pipe: Pipe, workers: str) -> None:
    reader, writer = pipe
    command = [sys.executable, "-m", "service", "--models-dir", str(models_dir), "--default-model", "tiny"]
    command += ["--port", "0", "--drain-period-s", "0", "--workers", workers]
    with subprocess.Popen(command, cwd=ROOT, stdout=writer, stderr=writer) as process:
        try:
            address = re.search(r"(http://\S+) ", read_until(reader, b" (try ").decode())
            assert address is not None
            with httpx.Client(base_url=address[1], timeout=PATIENCE_S) as client:
                for _ in range(200):  # their lines are longer than the pipe
                    assert client.get("/livez").status_code == 200
                assert client.get("/readyz").status_code == 200
            process.terminate()
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()


@pytest.mark.parametrize(("closed", "workers"), [("<&- >&- 2>&-", 1), (">&-", 2), ("> /dev/full", 1), ("| true", 1)])
def test_a_service_without_a_log_serves(models_dir: Path, tmp_path: Path, closed: str, workers: int) -> None:
    port = free_port()
    program = (
        f"{sys.executable} -m service --models-dir {models_dir} --default-model tiny --port {port} --workers {workers}"
    )
    # The shell says in a file which process is the service.
    script = f"{{ echo $BASHPID > {tmp_path}/pid; exec {program} --drain-period-s 0; }} {closed}"
    with (
        (tmp_path / "stderr").open("wb") as stderr,
        subprocess.Popen(["bash", "-c", script], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=stderr) as shell,
    ):
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client:

            def answers() -> bool:
                try:
                    return client.get("/readyz").status_code == 200
                except httpx.TransportError:
                    assert shell.poll() is None or closed == "| true"
                    return False

            wait_until(answers, "the service answers")
            for _ in range(3):
                assert client.get("/livez").status_code == 200
        os.kill(int((tmp_path / "pid").read_text()), 15)
        assert shell.wait(PATIENCE_S) == 0
    said = (tmp_path / "stderr").read_text()
    assert said.count("\n") <= 1, said
    if closed in ("> /dev/full", "| true"):
        assert said.startswith("latentwire: the log cannot be written: ")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_what_clients_send_writes_no_line_but_the_requests_own(
    launch_server: LaunchServer, models_dir: Path, log_format: str
) -> None:
    server = launch_server(models_dir, "--default-model", "tiny", "--log-format", log_format)
    before = server.output().count("\n")
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    assert_problem(server.client.post("/encode", content=b"--x\r\n", headers=form), 400, "invalid-multipart")
    assert_problem(server.client.post("/encode", content=b"\0" * 100), 400, "invalid-image")
    server.stop()
    lines = [line for line in server.output().splitlines()[before:] if "/encode" in line]
    assert len(lines) == 2
    assert "boundary character" not in server.output()
