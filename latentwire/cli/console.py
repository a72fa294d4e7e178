"""What a command says to the person at the terminal: results, what is wrong with which file, and how far it is.

Results go to standard output, or to standard error where that carries bytes; everything else to standard error.
"""

import sys
import time

_PROGRESS_INTERVAL_S = 0.1


class WrongUsage(Exception):
    """What was typed cannot be done, whatever the files hold."""


class Desk:
    """The words of one command, and how many of its files failed."""

    def __init__(self, prog: str, *, quiet: bool) -> None:
        self._prog = prog
        self._quiet = quiet
        self._shown_s = 0.0
        self._progress = ""
        self.failures = 0

    def tell(self, sentence: str) -> None:
        """Print a result."""
        if not self._quiet:
            self._clear()
            print(sentence)

    def finish(self) -> None:
        """Take the progress off the terminal, and send what is still held back.

        Raises:
            OSError: standard output does not take it.
        """
        self._clear()
        if sys.stdout is not None:
            sys.stdout.flush()

    def remark(self, name: str, sentence: str) -> None:
        """Print a result of a file whose bytes go to standard output."""
        if not self._quiet:
            self._complain(f"{name}: {sentence}")

    def warn(self, name: str, sentence: object) -> None:
        """Say what someone should know of a file that went well."""
        self._complain(f"{name}: warning: {sentence}")

    def fail(self, name: str, error: object) -> None:
        """Say what is wrong with a file, and count it."""
        self.failures += 1
        if isinstance(error, OSError):
            error = error.strerror or error
        self._complain(f"{name}: {error}")

    def complain(self, message: object, code: int) -> int:
        """Say why the command ends; return its exit code."""
        self._complain(message)
        return code

    def progress(self, done: int, total: int | None = None) -> None:
        """Show how far it is, on a terminal."""
        now_s = time.monotonic()
        if self._quiet or now_s - self._shown_s < _PROGRESS_INTERVAL_S or not _is_terminal():
            return
        self._shown_s = now_s
        self._progress = f"{done:,} of {total:,}" if total else f"{done:,}"
        print(f"\r{self._progress}", end="", file=sys.stderr, flush=True)

    def _complain(self, message: object) -> None:
        self._clear()
        if sys.stderr is not None:  # print() would take standard output instead
            print(f"{self._prog}: {message}", file=sys.stderr)

    def _clear(self) -> None:
        if self._progress:
            print(f"\r{' ' * len(self._progress)}\r", end="", file=sys.stderr, flush=True)
            self._progress = ""


def counted(count: int, thing: str) -> str:
    """Say how many: `1 image`, `2,000 images`."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()
