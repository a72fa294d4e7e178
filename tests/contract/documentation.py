"""The code blocks of a Markdown page, and a terminal to type their commands into.

Every `console` and `python` block of a page is run, in order, in a folder that looks like a checkout. A comment on the
line before the block says otherwise:

    <!-- background -->            the commands keep running, and the next block is typed into another terminal
    <!-- not run: REASON -->       the block needs something that a test cannot have

A block that shows output must show all of it, except for what a line of `…` stands for.
"""

import re
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Literal, NamedTuple

import pytest

BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>background|not run: [^\n]+) -->\n+)?^```(?P<language>console|python)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
PRINTED = re.compile(r"^ *print\(.*\)  # (.*)$", re.MULTILINE)
ELLIPSIS = "…"

# Long enough for a slow core that is busy with something else.
COMMAND_TIMEOUT_S = 300


class Block(NamedTuple):
    """One fenced block: its language, its mark ("" if it has none) and its text."""

    language: Literal["console", "python"]
    mark: str
    body: str

    @property
    def is_run(self) -> bool:
        """Whether a test runs the block."""
        return not self.mark.startswith("not run: ")

    @property
    def is_background(self) -> bool:
        """Whether the block's commands keep running."""
        return self.mark == "background"

    def steps(self) -> list[tuple[str, str]]:
        """Return the block's commands, each with the output that the page shows below it."""
        steps: list[tuple[str, str]] = []
        unfinished = False
        for line in self.body.splitlines(keepends=True):
            if line.startswith("$ "):
                steps.append((line.removeprefix("$ "), ""))
            else:
                command, shown = steps[-1]
                steps[-1] = (command + line, shown) if unfinished else (command, shown + line)
            unfinished = (unfinished or line.startswith("$ ")) and line.endswith(("\\\n", "|\n"))
        return steps

    def printed(self) -> str:
        """Return what a Python block prints, by the comments behind its calls of `print`."""
        return "".join(f"{line}\n" for line in PRINTED.findall(self.body))


def blocks_of(page: Path) -> list[Block]:
    """Return the `console` and `python` blocks of a Markdown page, in their order."""
    found = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Block(match["language"], match["mark"] or "", match["body"]) for match in found]  # type: ignore[arg-type]


def assert_prints(printed: str, shown: str, command: str) -> None:
    """Compare the output of a command with what its page shows; numbers may differ in their last digits."""
    pattern = re.escape(NUMBER.sub("#", shown)).replace(re.escape(f"{ELLIPSIS}\n"), "(?s:.*)")
    assert re.fullmatch(pattern, NUMBER.sub("#", printed)), f"{command}printed\n{printed}instead of\n{shown}"
    if ELLIPSIS not in shown:
        numbers = ([float(number) for number in NUMBER.findall(text)] for text in (printed, shown))
        assert next(numbers) == pytest.approx(next(numbers), rel=1e-3, abs=1e-3), command


class Terminal:
    """A bash process: variables, the folder and an activated environment last from one command to the next."""

    _DONE = "documentation-command-ended"

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._bash = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self._bash.kill()
        self._bash.communicate()

    def run(self, command: str) -> tuple[int, str]:
        """Run one command; return its exit status, and what it wrote to standard output and standard error."""
        keyboard, screen = _open(self._bash.stdin), _open(self._bash.stdout)
        keyboard.write(f'{{ {command}\n}} </dev/null\necho "{self._DONE} $?"\n')
        keyboard.flush()
        printed = ""
        watchdog = threading.Timer(COMMAND_TIMEOUT_S, self._bash.kill)
        watchdog.start()
        try:
            for line in screen:
                before, mark, status = line.partition(self._DONE)
                printed += before
                if mark:
                    return int(status), printed
        finally:
            watchdog.cancel()
        raise AssertionError(f"{command}ended the terminal, or took more than {COMMAND_TIMEOUT_S} s:\n{printed}")


def _open(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream
