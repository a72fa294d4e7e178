"""Terminal output of a command: results, warnings, errors and progress.

Results go to standard output, or to standard error where standard output carries bytes. Everything else goes to
standard error.
"""

import sys
import time

_PROGRESS_INTERVAL_S = 0.1


class WrongUsage(Exception):
    """The command line cannot be carried out, whatever the files hold."""


class Console:
    """Prints what a command reports, and counts its failed files, and those that are decoded in part."""

    def __init__(self, prog: str, *, quiet: bool) -> None:
        self._prog = prog
        self._quiet = quiet
        self._shown_s = 0.0
        self._progress = ""
        self.failures = 0
        self.incomplete = 0

    def result(self, sentence: str) -> None:
        """Print a result, on one line."""
        if not self._quiet:
            self._clear()
            print(printable(sentence))

    def info(self, name: str, sentence: str) -> None:
        """Print a result about a file whose bytes go to standard output."""
        if not self._quiet:
            self._to_stderr(f"{name}: {sentence}")

    def warn(self, name: str, sentence: object) -> None:
        """Print a warning about a file that was processed."""
        self._to_stderr(f"{name}: warning: {sentence}")

    def fail(self, name: str, error: object) -> None:
        """Print what is wrong with a file, and count the file as failed."""
        self.failures += 1
        if isinstance(error, OSError):
            # It may be the place of the result that is wrong.
            path = error.filename2 or error.filename
            where = "" if path is None or str(path) == name else f"{path}: "
            error = f"{where}{error.strerror}" if error.strerror else error
        self._to_stderr(f"{name}: {error}")

    def error(self, message: object, exit_code: int) -> int:
        """Print why the command ends; return its exit code."""
        self._to_stderr(message)
        return exit_code

    def progress(self, done: int, total: int | None = None) -> None:
        """Show the number of files done, if standard error is a terminal."""
        now_s = time.monotonic()
        if self._quiet or now_s - self._shown_s < _PROGRESS_INTERVAL_S or not _is_terminal():
            return
        self._shown_s = now_s
        self._progress = f"{done:,} of {total:,}" if total else f"{done:,}"
        print(f"\r{self._progress}", end="", file=sys.stderr, flush=True)

    def finish(self) -> None:
        """Clear the progress, and flush standard output.

        Raises:
            OSError: standard output cannot be written.
        """
        self._clear()
        if sys.stdout is not None:
            sys.stdout.flush()

    def _to_stderr(self, message: object) -> None:
        self._clear()
        if sys.stderr is not None:  # print() would take standard output instead
            print(f"{self._prog}: {printable(str(message))}", file=sys.stderr)

    def _clear(self) -> None:
        if self._progress:
            print(f"\r{' ' * len(self._progress)}\r", end="", file=sys.stderr, flush=True)
            self._progress = ""


def printable(text: str) -> str:
    """Return a text with escape sequences for what would steer a terminal, such as a line break in a file name."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def pluralize(count: int, noun: str) -> str:
    """Return a count with its noun: `1 image`, `2,000 images`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()
