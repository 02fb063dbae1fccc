"""Metric data: what was measured, summed up by minute, and statistics of it.

Belongs here: adding measurements and asking for statistics. Does not: the API's requests (``service``), or how data outlives the process
(``journal``).

As on AWS, data is kept by the minute, and by the second besides where it was sent with a storage resolution of 1. Sums, extremes and
counts are exact; a percentile is that of the values rounded to three significant digits, so it is off by 0.5 % at most.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

MINUTE_S = 60
HIGH_RESOLUTION_S = 1
KEPT_S = {MINUTE_S: 86_400, HIGH_RESOLUTION_S: 10_800}
"""How long data of a resolution is kept; AWS keeps the minutes for 15 days."""
SIGNIFICANT_DIGITS = 3
NO_UNIT = "None"

STATISTICS = ("SampleCount", "Sum", "Average", "Minimum", "Maximum")


class Metric(NamedTuple):
    """A metric's identity; ``dimensions`` are pairs of name and value in the order of their names."""

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Summary:
    """What is kept of the measurements of one stretch of time.

    Attributes:
        histogram: Count by value, rounded; it holds fewer than ``count`` where a caller sent sums without the single values.
    """

    count: float = 0.0
    total: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    histogram: dict[float, float] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Iterable[float], counts: Iterable[float]) -> Self:
        """Return the summary of values, each met so often."""
        summary = cls()
        for value, count in zip(values, counts, strict=True):
            summary.count += count
            summary.total += value * count
            summary.low = min(summary.low, value)
            summary.high = max(summary.high, value)
            rounded = _rounded(value)
            summary.histogram[rounded] = summary.histogram.get(rounded, 0.0) + count
        return summary

    def merge(self, other: "Summary") -> None:
        """Add what another one holds."""
        self.count += other.count
        self.total += other.total
        self.low = min(self.low, other.low)
        self.high = max(self.high, other.high)
        for value, count in other.histogram.items():
            self.histogram[value] = self.histogram.get(value, 0.0) + count

    def statistic(self, name: str) -> float | None:
        """Return ``SampleCount``, ``Sum``, ``Average``, ``Minimum``, ``Maximum`` or a percentile such as ``p99.9``.

        Returns:
            None for a percentile where not all single values are known.
        """
        match name:
            case "SampleCount":
                return self.count
            case "Sum":
                return self.total
            case "Average":
                return self.total / self.count
            case "Minimum":
                return self.low
            case "Maximum":
                return self.high
        return self._percentile(float(name.removeprefix("p")))

    def _percentile(self, percent: float) -> float | None:
        """Return the smallest value that is no less than ``percent`` of all."""
        if sum(self.histogram.values()) < self.count:
            return None
        wanted, seen = self.count * percent / 100, 0.0
        for value in sorted(self.histogram):
            seen += self.histogram[value]
            if seen >= wanted:
                return min(max(value, self.low), self.high)
        return self.high


class Measurement(NamedTuple):
    """What was measured of a metric in one minute or second.

    Attributes:
        start_s: Begin of the minute or second, seconds since the epoch.
        resolution_s: 60, or 1.
    """

    metric: Metric
    unit: str
    start_s: int
    resolution_s: int
    summary: Summary

    def to_json(self) -> list[Any]:
        """Return the measurement as JSON can hold it."""
        summary = self.summary
        return [
            [*self.metric[:2], list(map(list, self.metric.dimensions))],
            self.unit,
            self.start_s,
            self.resolution_s,
            [summary.count, summary.total, summary.low, summary.high],
            [list(item) for item in summary.histogram.items()],
        ]

    @classmethod
    def from_json(cls, content: Sequence[Any]) -> Self:
        """Return the measurement of ``to_json``.

        Raises:
            ValueError, TypeError: It is none.
        """
        (namespace, name, dimensions), unit, start_s, resolution_s, numbers, histogram = content
        metric = Metric(namespace, name, tuple((key, value) for key, value in dimensions))
        count, total, low, high = numbers
        return cls(metric, unit, start_s, resolution_s, Summary(count, total, low, high, dict(histogram)))


class Point(NamedTuple):
    """The summary of one period, which begins at ``start_s``."""

    start_s: int
    summary: Summary
    unit: str


class MetricStore:
    """All measurements of the last day."""

    def __init__(self) -> None:
        # By metric and unit, by resolution, by the start of the minute or second.
        self._data: dict[tuple[Metric, str], dict[int, dict[int, Summary]]] = {}

    def add(self, measurements: Iterable[Measurement]) -> None:
        """Add measurements; those of one second count for its minute too."""
        for metric, unit, start_s, resolution_s, summary in measurements:
            by_resolution = self._data.setdefault((metric, unit), {MINUTE_S: {}, HIGH_RESOLUTION_S: {}})
            by_resolution[MINUTE_S].setdefault(start_s // MINUTE_S * MINUTE_S, Summary()).merge(summary)
            if resolution_s == HIGH_RESOLUTION_S:
                by_resolution[HIGH_RESOLUTION_S].setdefault(start_s, Summary()).merge(summary)

    def points(self, metric: Metric, *, unit: str | None, period_s: int, start_s: float, end_s: float) -> list[Point]:
        """Return the periods from ``start_s`` up to ``end_s`` that hold data, in the order of time.

        Args:
            metric: Whose data.
            unit: Only data of this unit; None: of all.
            period_s: Length of a period; those below a minute see only what was stored by the second.
            start_s: The first period is the one in which this lies.
            end_s: The last period begins before this.
        """
        resolution_s = MINUTE_S if period_s >= MINUTE_S else HIGH_RESOLUTION_S
        first_s = math.floor(start_s / period_s) * period_s
        found: dict[int, Point] = {}
        for (known, known_unit), by_resolution in self._data.items():
            if known != metric or unit not in {None, known_unit}:
                continue
            for moment_s, summary in _between(by_resolution[resolution_s], first_s, end_s, resolution_s):
                begin_s = moment_s // period_s * period_s
                found.setdefault(begin_s, Point(begin_s, Summary(), known_unit)).summary.merge(summary)
        return [found[begin_s] for begin_s in sorted(found)]

    def metrics(self) -> list[Metric]:
        """Return every metric that has data, in the order of their names."""
        return sorted({metric for metric, _ in self._data})

    def measurements(self) -> Iterator[Measurement]:
        """Return all that is kept."""
        for (metric, unit), by_resolution in self._data.items():
            seconds = by_resolution[HIGH_RESOLUTION_S]
            covered: dict[int, Summary] = {}
            for start_s, summary in seconds.items():
                covered.setdefault(start_s // MINUTE_S * MINUTE_S, Summary()).merge(summary)
                yield Measurement(metric, unit, start_s, HIGH_RESOLUTION_S, summary)
            for start_s, summary in by_resolution[MINUTE_S].items():
                rest = _without(summary, covered.get(start_s, Summary()))
                if rest.count:
                    yield Measurement(metric, unit, start_s, MINUTE_S, rest)

    def forget(self, now_s: float) -> None:
        """Drop what is too old to be kept."""
        for key, by_resolution in list(self._data.items()):
            for resolution_s, kept_s in KEPT_S.items():
                summaries = by_resolution[resolution_s]
                for start_s in [moment_s for moment_s in summaries if moment_s < now_s - kept_s]:
                    del summaries[start_s]
            if not any(by_resolution.values()):
                del self._data[key]


def _rounded(value: float) -> float:
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")


def _between(summaries: dict[int, Summary], first_s: int, end_s: float, step_s: int) -> Iterator[tuple[int, Summary]]:
    """Return what begins in [first_s, end_s), by looking at whichever are fewer: the moments or the summaries."""
    if (end_s - first_s) / step_s < len(summaries):
        moments = range(first_s, math.ceil(end_s), step_s)
        return ((moment_s, summaries[moment_s]) for moment_s in moments if moment_s in summaries)
    return ((moment_s, summary) for moment_s, summary in summaries.items() if first_s <= moment_s < end_s)


def _without(whole: Summary, part: Summary) -> Summary:
    """Return what of a minute did not come by the second; its extremes are those of the whole, which loses nothing when merged."""
    histogram = {
        value: count - part.histogram.get(value, 0.0)
        for value, count in whole.histogram.items()
        if count > part.histogram.get(value, 0.0)
    }
    return Summary(whole.count - part.count, whole.total - part.total, whole.low, whole.high, histogram)
