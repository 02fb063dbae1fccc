"""Metrics as log lines in CloudWatch's embedded metric format, so that a metric costs no call and is lost no sooner than its log.

The format: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum

NAMESPACE = "fraudit"
COMPONENT = "stream"

_lines = logging.getLogger("fraudit_stream.embedded_metrics")


class Unit(StrEnum):
    """CloudWatch's name of a unit."""

    COUNT = "Count"
    MILLISECONDS = "Milliseconds"


def embedded_metric(values: Mapping[str, tuple[float, Unit]], *, dimensions: Mapping[str, str], at: datetime) -> str:
    """Return one log line that carries the metrics.

    Args:
        values: Value and unit by metric name.
        dimensions: Value by dimension name; one set of dimensions for all metrics of the line.
        at: The time of the measurement.
    """
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": [list(dimensions)],
        "Metrics": [{"Name": name, "Unit": unit} for name, (_, unit) in values.items()],
    }
    return json.dumps(
        {
            "_aws": {"Timestamp": int(at.timestamp() * 1000), "CloudWatchMetrics": [directive]},
            **dimensions,
            **{name: value for name, (value, _) in values.items()},
        }
    )


class Reporter:
    """Says how the stream is doing, on stdout, bare, as CloudWatch reads it.

    Each report holds a heartbeat: none comes where no batch ends, neither one with records nor one that found none.
    """

    def __init__(self, *, stage: str) -> None:
        self._stage = stage
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(message)s"))
        _lines.handlers[:] = [handler]
        _lines.propagate = False

    def batch(self, *, rows: int, duration_ms: float, iterator_age_ms: int, quarantined: Mapping[str, int]) -> None:
        """Report a batch that is stored.

        Args:
            rows: Its records.
            duration_ms: From its records on the driver's way to the commit.
            iterator_age_ms: Age of its oldest record when it was stored.
            quarantined: Records by reason.
        """
        self._write(
            {
                "BatchRows": (rows, Unit.COUNT),
                "BatchDurationMs": (round(duration_ms, 1), Unit.MILLISECONDS),
                "IteratorAgeMs": (iterator_age_ms, Unit.MILLISECONDS),
            }
        )
        for reason, count in quarantined.items():
            self._write({"Quarantined": (count, Unit.COUNT)}, reason=reason)
        self._beat()

    def idle(self) -> None:
        """Report that Kinesis was read and had nothing."""
        self._write({"IteratorAgeMs": (0, Unit.MILLISECONDS)})
        self._beat()

    def _beat(self) -> None:
        self._write({"Heartbeat": (1, Unit.COUNT)}, component=COMPONENT)

    def _write(self, values: Mapping[str, tuple[float, Unit]], **dimensions: str) -> None:
        dimensions = {"stage": self._stage, **dimensions}
        _lines.info(embedded_metric(values, dimensions=dimensions, at=datetime.now(UTC)))
