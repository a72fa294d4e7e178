"""The real server, told to stop: what it has accepted it answers, what it cannot answer it does not accept."""

import http.client
import io
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from latentwire.imaging.image import Pixels
from tests.service.client import Client, assert_problem
from tests.service.launching import PATIENCE_S, ROOT, Server, stop_all
from tests.service.load import Request, load, wait_until

Launch = Callable[..., Server]
NPY = "application/x-npy"


@pytest.fixture(params=["1", "2"], ids=["one worker", "two workers"])
def launch(request: pytest.FixtureRequest, models_dir: Path, tmp_path: Path) -> Iterator[Launch]:
    """Start one server with these flags, alone or with workers."""
    servers: list[Server] = []

    def launch_one(*flags: str) -> Server:
        log = (tmp_path / f"server-{len(servers)}.log").open("wb")
        models = ("--models-dir", str(models_dir), "--default-model", "tiny")
        servers.append(Server(*models, "--workers", request.param, *flags, log=log))
        return servers[-1]

    yield launch_one
    stop_all(servers)


def tell_to_stop(server: Server) -> None:
    """Return when the server has noticed. It needs a time in which it still accepts connections."""
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: server.client.get("/readyz").status_code == 503, "the service is not ready")


def accepts(server: Server) -> bool:
    try:
        socket.create_connection(server.address, PATIENCE_S).close()
    except ConnectionError:
        return False
    return True


def connect(server: Server) -> socket.socket:
    return socket.create_connection(server.address, PATIENCE_S)


def head_of(path: str, length: int, **fields: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: test", f"Content-Length: {length}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def begin_answer(connection: socket.socket) -> http.client.HTTPResponse:
    answer = http.client.HTTPResponse(connection, method="POST")
    answer.begin()
    return answer


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
    server = launch("--drain-period-s", "3600", "--graceful-shutdown-timeout-s", "3")
    with connect(server) as kept:
        kept.sendall(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n")
        answer = begin_answer(kept)
        assert answer.read() == b'{"status":"alive"}'
        assert answer.getheader("Connection") is None
        tell_to_stop(server)
        assert_problem(server.client.get("/readyz"), 503, "not-ready", "told to stop")
        assert server.client.get("/livez").status_code == 200
        while answer.getheader("Connection") is None:
            kept.sendall(head_of("/encode", len(png), Accept="application/octet-stream") + png)
            answer = begin_answer(kept)
            assert answer.status == 200
            assert answer.read() == bitstream
        # So that the next request is sent on a new connection, to another service.
        assert answer.getheader("Connection") == "close"
        assert kept.recv(1) == b""
    assert server.process.wait(PATIENCE_S) == 0


def test_a_request_that_has_begun_is_answered_when_no_other_is_accepted(
    launch: Launch, png: bytes, bitstream: bytes
) -> None:
    server = launch("--drain-period-s", "1", "--graceful-shutdown-timeout-s", "30")
    with connect(server) as connection:
        connection.sendall(head_of("/encode", len(png), Accept="application/octet-stream") + png[:10])
        tell_to_stop(server)
        server.client.close()
        wait_until(lambda: not accepts(server), "connections are refused")
        connection.sendall(png[10:])
        answer = begin_answer(connection)
        assert (answer.status, answer.getheader("Connection")) == (200, "close")
        assert answer.read() == bitstream
    assert server.process.wait(PATIENCE_S) == 0


def test_a_batch_that_is_streamed_comes_to_its_end(launch: Launch, client: Client, pixels: Pixels) -> None:
    file = io.BytesIO()
    np.save(file, np.stack([pixels[:, :, 0]] * 20_000))
    body = file.getvalue()
    whole = client.post("/encode/batch", body, NPY, accept=NPY).content
    # So short that the answer begins while the body comes.
    server = launch("--drain-period-s", "1", "--graceful-shutdown-timeout-s", "30", "--max-body-bytes", "1000")
    with connect(server) as connection:
        connection.sendall(head_of("/encode/batch", len(body), Content_Type=NPY, Accept=NPY))
        connection.sendall(body[: len(body) // 2])
        answer = begin_answer(connection)
        first = answer.read(100)
        tell_to_stop(server)
        server.client.close()
        wait_until(lambda: not accepts(server), "connections are refused")
        connection.sendall(body[len(body) // 2 :])
        assert first + answer.read() == whole
    assert server.process.wait(PATIENCE_S) == 0


def test_a_request_that_does_not_end_is_cut_off(launch: Launch, png: bytes) -> None:
    server = launch("--drain-period-s", "0", "--graceful-shutdown-timeout-s", "1")
    with connect(server) as connection:
        connection.sendall(head_of("/encode", len(png)) + png[:10])
        # So that the server has seen it.
        assert server.client.get("/livez").status_code == 200
        wait_until(lambda: shown(server, "latentwire_body_buffered_bytes"), "the body has begun to come")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE_S) == 0
        with suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    assert "1 connections are cut off" in server.output()


def test_a_client_that_still_sends_after_its_answer_gets_it_and_holds_nothing_up(launch: Launch) -> None:
    bounds = ("--graceful-shutdown-timeout-s", "3600", "--header-timeout-s", "3600", "--max-body-bytes", "1000")
    server = launch("--drain-period-s", "0", *bounds)
    with connect(server) as before, connect(server) as meanwhile:
        before.sendall(head_of("/nowhere", 1000, Connection="close"))
        assert begin_answer(before).status == 404
        meanwhile.sendall(b"POST /encode HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1312d00\r\nbegun")
        wait_until(lambda: shown(server, "latentwire_body_buffered_bytes"), "the body has begun to come")
        server.process.send_signal(signal.SIGTERM)
        server.client.close()
        wait_until(lambda: not accepts(server), "connections are refused")
        for _ in range(80):
            meanwhile.sendall(bytes(1 << 17))
        assert begin_answer(meanwhile).status == 413
        assert server.process.wait(PATIENCE_S) == 0
    assert "cut off" not in server.output()


def shown(server: Server, metric: str) -> float:
    lines = server.client.get("/metrics").text.splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(f"{metric} ")))


def test_a_terminal_does_not_wait_for_others_to_notice(launch: Launch) -> None:
    server = launch("--drain-period-s", "3600", "--graceful-shutdown-timeout-s", "3600")
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(PATIENCE_S) == 0


_HANGS = """
import sys, threading, time
import uvicorn
import service.server.server
from service.settings import Settings

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        print("started", flush=True)
        await receive()
        time.sleep(3600)

service.server.server.HUNG_S = 0.5
listener = service.server.server.listen("127.0.0.1", 0)
settings = Settings(drain_period_s=0, graceful_shutdown_timeout_s=1)
service.server.server.Server(uvicorn.Config(app, log_level="error"), settings, threading.Event()).run([listener])
"""


def test_what_hangs_is_ended_by_force_and_shows_where() -> None:
    command = [sys.executable, "-c", _HANGS]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "started\n"
        process.terminate()
        _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "in app" in errors


def test_a_renewed_certificate_is_used_without_a_restart(
    launch: Launch,
    tmp_path: Path,
    make_certificate: Callable[[str], tuple[Path, Path]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    certificate, key = make_certificate("first")
    newer, newer_key = make_certificate("second")
    old, new = certificate.read_text(), newer.read_text()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    server = launch("--tls-certificate", str(certificate), "--tls-key", str(key))
    monkeypatch.delenv("SSL_CERT_FILE")

    def presented() -> set[str]:
        # With two workers, several connections get to both.
        return {ssl.get_server_certificate(server.address, timeout=PATIENCE_S) for _ in range(6)}

    assert presented() == {old}
    newer.replace(certificate)
    wait_until(lambda: "the certificate of before stays in use" in server.output(), "the missing key is told")
    assert presented() == {old}
    newer_key.replace(key)
    wait_until(lambda: presented() == {new}, "the new certificate is presented")
    key.write_text("bad")
    wait_until(lambda: server.output().count("not a certificate and its key") >= 2, "the bad key is told")
    assert presented() == {new}
    assert os.fspath(tmp_path) in server.output()
