"""Log lines in JSON and metrics in CloudWatch's embedded metric format, both on standard output.

Belongs here: how a line is written. Does not: what is worth one. No line ever holds a feature's value or personal data:
callers log codes, counts, times and identifiers of ours.
"""

import json
import logging
import sys
import time
import traceback
from typing import Any, Literal

NAMESPACE = "fraudit"
LOGGER_NAME = "fraudit.api"
_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object per record: level, message, time, the ``extra`` fields, and the traceback of a bug."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        line: dict[str, Any] = {
            "level": record.levelname,
            "message": record.getMessage(),
            "timestamp_ms": round(record.created * 1000),
            **{name: value for name, value in vars(record).items() if name not in _STANDARD_FIELDS},
        }
        if record.exc_info:
            line["traceback"] = _frames(record.exc_info[1])
        return json.dumps(line, default=str)


def _frames(error: BaseException | None) -> str:
    """Return where an error was raised and its type, without its message: that could quote what a client sent."""
    lines: list[str] = []
    while error is not None:
        lines = [*traceback.format_tb(error.__traceback__), type(error).__name__, "\n", *lines]
        error = error.__cause__ or error.__context__
    return "".join(lines)


def configure_logging(*names: str) -> None:
    """Send the loggers of these names, and ours, to standard output as JSON, once."""
    for logger in map(logging.getLogger, (LOGGER_NAME, *names)):
        if logger.handlers:
            continue
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(JsonFormatter())
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False  # Lambda's root handler would write each line a second time


logger = logging.getLogger(LOGGER_NAME)


class Metrics:
    """Writes measurements as embedded metric lines, all with the dimension ``stage``.

    Format: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """

    def __init__(self, *, stage: str) -> None:
        self._stage = stage

    def count(self, name: str, number: int = 1, **dimensions: str) -> None:
        """Count so many ``name``."""
        self._write(name, number, "Count", dimensions)

    def duration(self, name: str, seconds: float, **dimensions: str) -> None:
        """Record a duration, in milliseconds."""
        self._write(name, round(seconds * 1000, 3), "Milliseconds", dimensions)

    def _write(
        self, name: str, value: float, unit: Literal["Count", "Milliseconds"], dimensions: dict[str, str]
    ) -> None:
        dimensions = {"stage": self._stage, **dimensions}
        directive = {
            "Namespace": NAMESPACE,
            "Dimensions": [list(dimensions)],
            "Metrics": [{"Name": name, "Unit": unit}],
        }
        envelope = {"Timestamp": round(time.time() * 1000), "CloudWatchMetrics": [directive]}
        # One write per line: lines of several threads must not mix.
        sys.stdout.write(json.dumps({"_aws": envelope, **dimensions, name: value}) + "\n")
        sys.stdout.flush()
