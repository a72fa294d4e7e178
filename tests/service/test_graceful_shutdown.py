"""The real server, told to stop: what it has accepted it answers, what it cannot answer it does not accept."""

import fcntl
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from latentwire.imaging.image import Pixels
from tests.service.client import Client, assert_problem
from tests.service.launching import PATIENCE_S, ROOT, LaunchServer, Server, wait_until
from tests.service.load import Request, load
from tests.service.raw_http import accepts, begin_response, connect, post_headers

NPY = "application/x-npy"
PATIENT = ("--drain-period-s", "3600", "--graceful-shutdown-timeout-s", "3600")
Launch = Callable[..., Server]


@pytest.fixture(params=["1", "2"], ids=["one worker", "two workers"])
def launch(request: pytest.FixtureRequest, launch_server: LaunchServer, models_dir: Path) -> Launch:
    """Start a server with these flags, alone or with workers."""

    def launch_with_workers(*flags: str) -> Server:
        return launch_server(models_dir, "--default-model", "tiny", "--workers", request.param, *flags)

    return launch_with_workers


def tell_to_stop(server: Server) -> None:
    """Return when the server has noticed. It must have a long drain period."""
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: server.client.get("/readyz").status_code == 503, "the service is not ready")


def end_drain_period(server: Server) -> None:
    """Return when the server accepts no connections. The signals of a terminal do not wait for the drain period."""
    os.killpg(server.process.pid, signal.SIGINT)
    server.client.close()
    wait_until(lambda: not accepts(server), "connections are refused")


def test_no_request_is_lost_under_load(launch: Launch, client: Client, bitstream: bytes, png: bytes) -> None:
    server = launch("--drain-period-s", "1")
    picture = client.decode(bitstream, accept="image/png").content
    requests = [Request("/encode", png, bitstream), Request("/decode", bitstream, picture, "image/png")]
    clients = 6
    with load(server.address, requests, clients) as seen:
        wait_until(lambda: seen.answered() >= 100, "100 requests are answered")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE_S) == 0
    assert not seen.wrong
    # Whatever was begun has come to its end at a client.
    lines = server.output().splitlines()
    assert sum('"POST /' in line and '" 200' in line for line in lines) == seen.answered()
    # As the socket is closed, a connection may wait that nobody has accepted, or a kept one may just be used again.
    assert seen.ends["closed new"] + seen.ends["closed idle"] <= clients


def test_it_is_not_ready_at_once_and_still_answers(launch: Launch, png: bytes, bitstream: bytes) -> None:
    server = launch(*PATIENT)
    with connect(server) as kept:
        kept.sendall(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n")
        response = begin_response(kept)
        assert response.read() == b'{"status":"alive"}'
        assert response.getheader("Connection") is None
        tell_to_stop(server)
        assert_problem(server.client.get("/readyz"), 503, "not-ready", "told to stop")
        assert server.client.get("/livez").status_code == 200
        while response.getheader("Connection") is None:
            kept.sendall(post_headers("/encode", len(png), Accept="application/octet-stream") + png)
            response = begin_response(kept)
            assert response.status == 200
            assert response.read() == bitstream
        # So that the next request is sent on a new connection, to another service.
        assert response.getheader("Connection") == "close"
        assert kept.recv(1) == b""
    end_drain_period(server)
    assert server.process.wait(PATIENCE_S) == 0


def test_a_request_that_has_begun_is_answered_when_no_other_is_accepted(
    launch: Launch, png: bytes, bitstream: bytes
) -> None:
    server = launch(*PATIENT)
    with connect(server) as connection:
        connection.sendall(post_headers("/encode", len(png), Accept="application/octet-stream") + png[:10])
        tell_to_stop(server)
        end_drain_period(server)
        connection.sendall(png[10:])
        response = begin_response(connection)
        assert (response.status, response.getheader("Connection")) == (200, "close")
        assert response.read() == bitstream
    assert server.process.wait(PATIENCE_S) == 0


def test_a_batch_that_is_streamed_comes_to_its_end(launch: Launch, client: Client, pixels: Pixels) -> None:
    file = io.BytesIO()
    np.save(file, np.stack([pixels[:, :, 0]] * 20_000))
    body = file.getvalue()
    whole = client.post("/encode/batch", body, NPY, accept=NPY).content
    # So short that the answer begins while the body comes.
    server = launch(*PATIENT, "--max-body-bytes", "1000")
    with connect(server) as connection:
        connection.sendall(post_headers("/encode/batch", len(body), Content_Type=NPY, Accept=NPY))
        connection.sendall(body[: len(body) // 2])
        response = begin_response(connection)
        first = response.read(100)
        tell_to_stop(server)
        end_drain_period(server)
        connection.sendall(body[len(body) // 2 :])
        assert first + response.read() == whole
    assert server.process.wait(PATIENCE_S) == 0


def test_a_request_that_does_not_end_is_cut_off(launch: Launch, png: bytes) -> None:
    server = launch("--drain-period-s", "0", "--graceful-shutdown-timeout-s", "1")
    with connect(server) as connection:
        connection.sendall(post_headers("/encode", len(png)) + png[:10])
        # So that the server has seen it.
        assert server.client.get("/livez").status_code == 200
        wait_until(lambda: server.metric("latentwire_body_buffered_bytes"), "the body has begun to come")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE_S) == 0
        with suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    assert "1 connections are cut off" in server.output()


def test_a_terminal_does_not_wait_for_the_drain_period(launch: Launch, png: bytes, bitstream: bytes) -> None:
    server = launch(*PATIENT)
    with connect(server) as connection:
        connection.sendall(post_headers("/encode", len(png), Accept="application/octet-stream") + png[:10])
        wait_until(lambda: server.metric("latentwire_body_buffered_bytes"), "the body has begun to come")
        end_drain_period(server)
        connection.sendall(png[10:])
        assert begin_response(connection).read() == bitstream
    assert server.process.wait(PATIENCE_S) == 0


def test_a_second_signal_from_a_terminal_ends_it_at_once(launch: Launch, png: bytes) -> None:
    server = launch(*PATIENT)
    with connect(server) as connection:
        connection.sendall(post_headers("/encode", len(png)) + png[:10])
        wait_until(lambda: server.metric("latentwire_body_buffered_bytes"), "the body has begun to come")
        end_drain_period(server)
        os.killpg(server.process.pid, signal.SIGINT)
        assert server.process.wait(PATIENCE_S) == 0


_HANGS = """
import sys, threading, time
import uvicorn
import service.server.shutdown
from service.observability.metrics import Metrics
from service.server.connections import ConnectionPool
from service.server.server import listen
from service.settings import Settings

service.server.shutdown.HUNG_S = 0.5
kept = []

async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    print("started", flush=True)
    await receive()
    time.sleep(3600)

def make_app():
    settings = Settings(drain_period_s=0, graceful_shutdown_timeout_s=1)
    pool = ConnectionPool(settings, Metrics("0", "both"))
    kept.append(service.server.shutdown.GracefulShutdown(settings, threading.Event(), pool))
    return app

uvicorn.Server(uvicorn.Config(make_app, factory=True, log_level="error")).run([listen("127.0.0.1", 0)])
"""


def test_a_process_that_hangs_is_ended_by_force_and_shows_where() -> None:
    command = [sys.executable, "-c", _HANGS]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "started\n"
        process.terminate()
        _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "in app" in errors


def test_it_is_ended_by_force_even_if_nobody_reads_where() -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, bytes(4096))
    command = [sys.executable, "-c", _HANGS]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=writer, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "started\n"
        process.terminate()
        assert process.wait(PATIENCE_S) == 1
    os.close(reader)
    os.close(writer)


_STARTS_FOR_EVER = """
import sys, threading
import service.__main__
from service.server import server

service.__main__.END_S = 0.1

def start(settings, announce):
    try:
        print("starting", flush=True)
        threading.Event().wait()
    finally:
        threading.Event().wait()

server.serve = start
sys.exit(service.__main__.main([]))
"""


def test_a_start_that_hangs_does_not_hold_up_the_end() -> None:
    command = [sys.executable, "-c", _STARTS_FOR_EVER]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "starting\n"
        process.terminate()
        assert process.wait(PATIENCE_S) == 1
