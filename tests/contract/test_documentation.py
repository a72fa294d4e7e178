"""The commands and programs that the documentation shows are run, and must print what it shows."""

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.contract.documentation import Block, Terminal, assert_prints, blocks_of
from tests.contract.goldens import REPOSITORY

PAGES = [
    page.relative_to(REPOSITORY).as_posix()
    for page in sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")])
    if any(block.is_run for block in blocks_of(page))
]
# The ports that the pages name; a test takes free ones.
PORTS = ("8000", "8001", "8002", "8003", "8004", "8443")
START_TIMEOUT_S = 300


class Checkout:
    """Folders that look like a checkout after `make serve` and `make test`, and the services that pages start there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = dict(zip(PORTS, _free_ports(len(PORTS)), strict=True))
        self._started: dict[str, subprocess.Popen[bytes]] = {}

    def lay_out(self, name: str) -> Path:
        """Return a new folder with links to the repository's files and two environments with this Python."""
        folder = self._folder / name
        folder.mkdir()
        for path in REPOSITORY.iterdir():
            if not path.name.startswith(".") and path.name not in ("data", "runs", "build"):
                (folder / path.name).symlink_to(path)
        for environment in (".venv", ".venv-serve"):
            programs = folder / environment / "bin"
            programs.mkdir(parents=True)
            _write_program(programs / "python", f'exec "{sys.executable}" "$@"')
            _write_program(programs / "latentwire", f'exec "{sys.executable}" -m latentwire "$@"')
            (programs / "activate").write_text(f'PATH="{programs}:$PATH"\n')
            # Newer than pyproject.toml, so that make installs nothing.
            (folder / environment / "installed").touch()
        return folder

    def environment(self) -> dict[str, str]:
        """Return the variables of a terminal, with a free port as the default and without data sets."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("LATENTWIRE_")}
        clean["LATENTWIRE_DATA"] = str(self._folder / "no-data")
        clean["PORT"] = clean["LATENTWIRE_PORT"] = self._ports["8000"]
        return {**clean, "PYTHONPATH": str(REPOSITORY)}

    def translate(self, command: str) -> str:
        """Return a command with the ports that are free here in place of those that the page names."""
        return re.sub(rf"\b({'|'.join(PORTS)})\b", lambda found: self._ports[found[0]], command)

    def start(self, command: str, folder: Path) -> None:
        """Start a service and wait until it is ready; `make serve` is started once for all pages."""
        here = self.translate(command)
        if here in self._started:
            return
        with (self._folder / f"service-{len(self._started)}.log").open("wb") as log:
            process = subprocess.Popen(
                ["bash", "-c", here], cwd=folder, env=self.environment(), stdout=log, stderr=log, start_new_session=True
            )
        self._started[here] = process
        scheme = "https" if "_TLS_" in here else "http"
        named = re.search("|".join(self._ports.values()), here)
        port = named[0] if named else self._ports["8000"]
        url = f"{scheme}://localhost:{port}/readyz"
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            assert process.poll() is None, f"{command}ended:\n{Path(log.name).read_text()}"
            try:
                if httpx.get(url, verify=False).status_code == 200:  # noqa: S501
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise AssertionError(f"{command}did not answer:\n{Path(log.name).read_text()}")

    def stop(self) -> None:
        """End all services."""
        for process in self._started.values():
            os.killpg(process.pid, signal.SIGTERM)
        for process in self._started.values():
            process.wait(START_TIMEOUT_S)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    checkout = Checkout(tmp_path_factory.mktemp("documentation"))
    yield checkout
    checkout.stop()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("page", PAGES)
def test_blocks_print_what_the_page_shows(page: str, checkout: Checkout) -> None:
    folder = checkout.lay_out(page.replace("/", "-"))
    with Terminal(folder, checkout.environment()) as terminal:
        for block in blocks_of(REPOSITORY / page):
            if not block.is_run:
                continue
            if block.language == "python":
                _run_python(block, folder, checkout)
            elif block.is_background:
                for command, _ in block.steps():
                    checkout.start(command, folder)
            else:
                _type(block, terminal, checkout)


def test_the_readme_shows_the_command_line_the_service_and_the_library() -> None:
    run = [block for block in blocks_of(REPOSITORY / "README.md") if block.is_run]
    typed = "".join(block.body for block in run if block.language == "console")
    assert "make serve" in typed
    assert "curl" in typed
    assert "latentwire encode" in typed


def test_the_readme_is_short() -> None:
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def _type(block: Block, terminal: Terminal, checkout: Checkout) -> None:
    steps = block.steps()
    shows_output = any(shown for _, shown in steps)
    for command, shown in steps:
        status, printed = terminal.run(checkout.translate(command))
        assert status == 0, f"{command}failed with status {status}:\n{printed}"
        if shows_output:
            assert_prints(printed, shown, command)


def _run_python(block: Block, folder: Path, checkout: Checkout) -> None:
    result = subprocess.run(
        [sys.executable, "-c", checkout.translate(block.body)],
        cwd=folder,
        env=checkout.environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, f"{block.body}{result.stderr}"
    assert_prints(result.stdout, block.printed(), block.body)


def _free_ports(count: int) -> list[str]:
    """Return free ports outside the range that the system takes for connections, so that they stay free."""
    free: list[str] = []
    for port in random.sample(range(20_000, 32_000), 1000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            free.append(str(port))
        if len(free) == count:
            break
    return free


def _write_program(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
