"""The configuration of logging: uvicorn's own lines, or one JSON object per line."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from uvicorn.config import LOGGING_CONFIG

from service.observability.request_record import current_record
from service.settings import LogFormat


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
    # python-multipart warns about every malformed form, which the response already reports.
    quiet = {"python_multipart": {"level": "ERROR"}}
    if log_format == "text":
        return {**LOGGING_CONFIG, "loggers": {**LOGGING_CONFIG["loggers"], **quiet}}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonFormatter}},
        "handlers": {"stdout": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stdout"}},
        "root": {"handlers": ["stdout"], "level": "WARNING"},
        "loggers": {"service": {"level": "INFO"}, "uvicorn": {"level": "INFO"}, **quiet},
    }
