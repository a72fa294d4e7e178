"""Logging: lines for people, or one JSON object per line, written by a thread so that their reader holds up nobody."""

import json
import logging
import os
import select
import threading
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from uvicorn.logging import AccessFormatter, DefaultFormatter

from service.observability.request_record import current_record
from service.settings import LogFormat

MAX_WAITING_LINES = 4096
# Time for the last lines when the process ends.
CLOSE_TIMEOUT_S = 1.0
STDOUT, STDERR = 1, 2


class BackgroundHandler(logging.Handler):
    """Writes to standard output in a thread of its own. Lines that would wait too long are dropped, and counted."""

    def __init__(self, output: int = STDOUT) -> None:
        """Start to write to the file descriptor `output`."""
        super().__init__()
        self._output = output
        self._lines: deque[str] = deque()
        self._dropped = 0
        self._wake = threading.Event()
        self._is_closing = False
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Let the thread write a line, or drop it."""
        if len(self._lines) >= MAX_WAITING_LINES:
            self._dropped += 1
            return
        if self._dropped:
            lost = f"{self._dropped} lines of the log were dropped, as they were not read in time"
            self._dropped = 0
            self.emit(logging.LogRecord(__name__, logging.WARNING, "", 0, lost, None, None))
        self._lines.append(f"{self.format(record)}\n")
        self._wake.set()

    def close(self) -> None:
        """Wait for the last lines, for a limited time."""
        self._is_closing = True
        self._wake.set()
        self._thread.join(CLOSE_TIMEOUT_S)
        super().close()

    def _write_all(self) -> None:
        is_failing = False
        while self._lines or not self._is_closing:
            self._wake.wait()
            self._wake.clear()
            # All at once, as each write gives the interpreter to other threads.
            data = "".join([self._lines.popleft() for _ in range(len(self._lines))]).encode(errors="backslashreplace")
            try:
                while data:
                    select.select((), (self._output,), ())  # it may be set not to block
                    data = data[os.write(self._output, data) :]
            except OSError as error:
                if not is_failing:
                    with suppress(OSError):
                        os.write(STDERR, f"latentwire: the log cannot be written: {error.strerror}\n".encode())
            is_failing = bool(data)


class TextFormatter(DefaultFormatter):
    """Formats a record as uvicorn does, but without the query of a request, as some clients send keys in it."""

    def __init__(self) -> None:
        super().__init__("%(levelprefix)s %(message)s")
        self._access = AccessFormatter('%(levelprefix)s %(client_addr)s - "%(request_line)s" %(status_code)s')

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, or the lines with a traceback, without the last line break."""
        if record.name == "uvicorn.access" and isinstance(record.args, tuple):
            client, method, path, *rest = record.args
            record.args = (client, method, str(path).partition("?")[0], *rest)
            return self._access.format(record)
        return super().format(record)


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON; an attribute `fields` of the record adds fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without a line break."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (request := current_record()) is not None:
            line["request_id"] = request.request_id
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def log_config(log_format: LogFormat) -> dict[str, Any]:
    """Return the configuration for `logging.config.dictConfig`."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": TextFormatter if log_format == "text" else JsonFormatter}},
        "handlers": {"stdout": {"()": BackgroundHandler, "formatter": "line"}},
        "root": {"handlers": ["stdout"], "level": "WARNING"},
        "loggers": {
            "service": {"level": "INFO"},
            "uvicorn": {"level": "INFO"},
        },
    }
