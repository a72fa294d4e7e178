from pathlib import Path

import pytest

from tests.service.client import assert_problem
from tests.service.launching import LaunchServer


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
