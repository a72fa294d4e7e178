import shutil
import sys
from collections.abc import Iterator

import pytest

from benchmarks.service.load_generator import Request, _read_report, drive, lua
from benchmarks.service.servers import Cores, Server, empty_route

CORES = Cores.of_machine()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with empty_route({CORES.measured}) as server:
        yield server


@pytest.mark.parametrize(
    "by_wrk",
    [False, pytest.param(True, marks=pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is not installed"))],
)
def test_answers_and_refusals_are_counted(server: Server, by_wrk: bool) -> None:
    good = Request("/empty", bytes(range(256)), {"Content-Type": "image/png"})
    found = drive(server.port, [good, good._replace(path="/nowhere")], 3, 0.2, CORES.driver, by_wrk=by_wrk)
    assert found.requests > 4
    assert found.refused == pytest.approx(found.requests / 2, abs=4)
    assert 0 < found.p50_s <= found.p99_s <= found.p999_s < found.duration_s


def test_a_server_that_is_gone_is_said() -> None:
    with empty_route({CORES.measured}) as server:
        pass
    with pytest.raises((RuntimeError, ConnectionError)):
        drive(server.port, [Request("/empty", b"", {})], 1, 0.2, CORES.driver, by_wrk=False)


def test_a_server_that_does_not_start_is_said() -> None:
    with pytest.raises(RuntimeError, match="ended with 3"):
        Server([sys.executable, "-c", "raise SystemExit(3)"], 1, {CORES.measured})


def test_a_server_tells_what_it_uses(server: Server) -> None:
    before_s = server.cpu_s()
    drive(server.port, [Request("/empty", b"", {})], 1, 0.2, CORES.driver, by_wrk=False)
    assert 0 < server.cpu_s() - before_s < 2
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
