"""The README's sessions are run, against a real server, and must print what the README shows."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.contract.goldens import REPOSITORY

NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")


def session() -> list[tuple[str, str]]:
    """The commands of the README's session, and what it shows beneath each."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    block = "".join(re.findall(r"<!-- session -->\n```console\n(.*?)```", text, flags=re.DOTALL))
    steps: list[tuple[str, str]] = []
    unfinished = False
    for line in block.splitlines(keepends=True):
        if line.startswith("$ "):
            steps.append((line.removeprefix("$ "), ""))
        else:
            command, shown = steps[-1]
            steps[-1] = (command + line, shown) if unfinished else (command, shown + line)
        unfinished = (unfinished or line.startswith("$ ")) and line.endswith(("\\\n", "|\n"))
    return steps


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "service", "--port", str(port), "--models-dir", str(REPOSITORY / "models")]
    command += ["--default-model", "mnist-conv-10"]
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=log, stderr=log)
    try:
        for _ in range(300):
            try:
                if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_sessions_print_what_the_readme_shows(server: str, tmp_path: Path) -> None:
    workspace = tmp_path / "checkout"
    workspace.mkdir()
    for name in ("docs", "examples", "README.md"):
        (workspace / name).symlink_to(REPOSITORY / name)
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "latentwire").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m latentwire "$@"\n')
    (tools / "latentwire").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "LATENTWIRE_MODELS_DIR": str(REPOSITORY / "models"),
    }
    steps = session()
    assert len(steps) >= 5
    for command, shown in steps:
        here = command.replace("localhost:8000", server)
        result = subprocess.run(
            ["bash", "-c", here], cwd=workspace, env=environment, capture_output=True, text=True, timeout=60
        )
        assert result.returncode == 0, f"{command}{result.stderr}"
        # Another processor's floating point may differ in the last digits.
        assert NUMBER.sub("#", result.stdout) == NUMBER.sub("#", shown), command
        printed, expected = ([float(number) for number in NUMBER.findall(text)] for text in (result.stdout, shown))
        assert printed == pytest.approx(expected, rel=1e-3, abs=1e-3), command
