"""Metrics as log lines in CloudWatch's embedded metric format, so that a metric costs no call and is lost no sooner than its log.

The format: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import json
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

NAMESPACE = "fraudit"


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
