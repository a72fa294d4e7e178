"""Log records -> lines: as uvicorn has them, or each as one JSON object."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from uvicorn.config import LOGGING_CONFIG

from service.observability.request_record import current_record
from service.settings import LogFormat


class JsonFormatter(logging.Formatter):
    """One line of JSON for each record; what its `fields` hold is put beside the rest."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
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
    """Return what `logging.config.dictConfig` takes."""
    # It warns of each form that is not well-formed, of which the answer tells.
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
