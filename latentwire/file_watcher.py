"""What was read from files, read again when the files have changed."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

CHECK_EVERY_S = 1.0

Content = TypeVar("Content")

_log = logging.getLogger(__name__)


class FileWatcher(Generic[Content]):
    """The content of some files, at most `CHECK_EVERY_S` old.

    What goes wrong after the start is logged once, and the last good content stays. Not safe for several threads.
    """

    def __init__(self, paths: Sequence[Path], read: Callable[[], Content], what: str) -> None:
        """Read the files.

        Args:
            paths: files that `read` reads.
            read: returns their content, or raises an error whose message is a sentence on what is wrong with them.
            what: name of the content in the log, in the plural.

        Raises:
            Exception: what `read` raised.
        """
        self._paths = paths
        self._read = read
        self._what = what
        self._signatures = self._current_signatures()
        self._content = read()
        self._checked_s = time.monotonic()
        self._failure = ""

    def current(self) -> Content:
        """Return the content, read again if a check is due and a file has changed."""
        now_s = time.monotonic()
        if now_s - self._checked_s >= CHECK_EVERY_S:
            self._checked_s = now_s
            signatures = self._current_signatures()
            if signatures != self._signatures or self._failure:
                self._reload(signatures)
        return self._content

    def _reload(self, signatures: list[object]) -> None:
        try:
            self._content = self._read()
        except Exception as error:
            # The signatures stay those of the last good content, as one of several files may be written later.
            if str(error) != self._failure:
                self._failure = str(error)
                _log.error("%s; the %s from before stay in use", error, self._what)
        else:
            self._signatures, self._failure = signatures, ""
            files = " and ".join(f"'{path}'" for path in self._paths)
            _log.warning("the %s in %s were read again", self._what, files)

    def _current_signatures(self) -> list[object]:
        signatures: list[object] = []
        for path in self._paths:
            with suppress(OSError):
                status = path.stat()
                signatures.append((status.st_ino, status.st_size, status.st_mtime_ns))
        return signatures
