import shutil
import sys
import urllib.request
from collections.abc import Iterator

import pytest

from benchmarks.service.load_generator import Request, _read_report, drive, lua
from benchmarks.service.servers import Cores, Server, baseline, free_port

CORES = Cores.of_machine()
needs_wrk = pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is not installed")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with baseline({CORES.measured}) as server:
        yield server


@needs_wrk
def test_requests_take_turns_and_refusals_are_counted(server: Server) -> None:
    accepted = Request("/baseline", bytes(range(256)), {"Content-Type": "image/png"})
    load = drive(server.port, [accepted, accepted._replace(path="/nowhere")], 3, 1, CORES.driver)
    assert load.requests > 4
    assert load.refused == pytest.approx(load.requests / 2, abs=4)
    assert 0 < load.p50_s <= load.p99_s <= load.p999_s < load.duration_s


@needs_wrk
def test_a_server_that_is_gone_is_reported() -> None:
    with pytest.raises(RuntimeError, match=r"wrk ended with|got no response"):
        drive(free_port(), [Request("/baseline", b"", {})], 1, 1, CORES.driver)


def test_a_missing_wrk_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match="wrk is not installed; install it"):
        drive(1, [Request("/baseline", b"", {})], 1, 1, CORES.driver)


def test_a_server_that_does_not_start_is_reported() -> None:
    with pytest.raises(RuntimeError, match="ended with 3"):
        Server([sys.executable, "-c", "raise SystemExit(3)"], 1, {CORES.measured})


def test_the_time_and_memory_of_a_server_are_read(server: Server) -> None:
    before_s = server.cpu_s()
    for _ in range(20):
        urllib.request.urlopen(f"http://127.0.0.1:{server.port}/readyz").close()
    assert 0 < server.cpu_s() - before_s < 60
    assert 1 << 20 < server.resident_bytes() < 1 << 30


def test_a_script_holds_every_byte() -> None:
    message = Request("/a", b'"\\\n\0\xff', {"Accept": "b"}).as_bytes()
    assert message.startswith(b"POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nAccept: b\r\n\r\n")
    script = lua([message])
    assert script.isascii()
    quoted = script.partition('"')[2].partition('"')[0]
    assert bytes(map(int, quoted.split("\\")[1:])) == message


def test_a_report_is_read() -> None:
    found, broken = _read_report("Running 1s test\n\nresult [300, 2000000, 10, 20, 30, 4, 5]\n")
    assert (found.requests, found.per_s, found.p999_s, found.refused, broken) == (300, 150, 30e-6, 4, 5)
