"""CloudWatch's embedded metric format: measurements inside of log lines.

Belongs here: reading one line. Does not: where lines come from (``logs``), or what becomes of a measurement (``metrics``).
Format: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from localaws.cloudwatch.metrics import HIGH_RESOLUTION_S, MINUTE_S, NO_UNIT, Measurement, Metric, Summary

MARK = b'"_aws"'


class EmbeddedMetricError(ValueError):
    """A line says that it holds metrics, and does not; the message says what is wrong with it."""


def read_line(line: bytes) -> list[Measurement]:
    """Return the measurements in a log line; none for a line without any.

    Raises:
        EmbeddedMetricError: The line has ``_aws`` and is not as the format wants.
    """
    if MARK not in line:
        return []
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        return []  # a sentence that quotes the word
    if not isinstance(document, dict) or "_aws" not in document:
        return []
    try:
        envelope = document["_aws"]
        moment_s = envelope["Timestamp"] / 1000
        return [
            measurement
            for directive in envelope["CloudWatchMetrics"]
            for measurement in _read_directive(directive, document, moment_s)
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise EmbeddedMetricError(f"not the embedded metric format: {error!r}") from error


def _read_directive(directive: dict[str, Any], document: dict[str, Any], moment_s: float) -> Iterator[Measurement]:
    for dimension_names in directive["Dimensions"]:
        dimensions = tuple(sorted((str(name), str(document[name])) for name in dimension_names))
        for definition in directive["Metrics"]:
            found = document[definition["Name"]]
            values = [float(value) for value in (found if isinstance(found, list) else [found])]
            if not values or not all(map(math.isfinite, values)):
                raise ValueError(f"{definition['Name']} is {found!r}")
            resolution_s = HIGH_RESOLUTION_S if definition.get("StorageResolution") == 1 else MINUTE_S
            yield Measurement(
                Metric(directive["Namespace"], definition["Name"], dimensions),
                definition.get("Unit", NO_UNIT),
                math.floor(moment_s / resolution_s) * resolution_s,
                resolution_s,
                Summary.of(values, [1.0] * len(values)),
            )


def summed(measurements: Iterable[Measurement]) -> list[Measurement]:
    """Return measurements with those of one metric, unit and stretch of time put together."""
    found: dict[tuple[Metric, str, int, int], Summary] = {}
    for metric, unit, start_s, resolution_s, summary in measurements:
        found.setdefault((metric, unit, start_s, resolution_s), Summary()).merge(summary)
    return [Measurement(*key, summary) for key, summary in found.items()]
