"""What became of traffic: counts by kind, and latencies in a histogram of fixed size.

Belongs here: counting answers and errors, percentiles, the report. Does not: sending anything (``resources/traffic.py``).
Nothing here grows with the number of requests.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ACCURACY = 0.01
SHOWN_TOGETHER = 5  # bins, in a picture
_SHORTEST_MS = 0.001
_LONGEST_MS = 3_600_000.0
_GROWTH = (1 + ACCURACY) ** 2  # a bin is told by the geometric mean of its borders, which are this factor apart


class Latencies:
    """Durations in bins of equal relative width: percentiles within 1 % from 1 us to 1 h, in 1,106 counts.

    The idea of the HDR histogram; its Python package would bring setuptools and pbr into the environment for these few lines.
    """

    def __init__(self) -> None:
        self._bins = [0] * (self._bin_of(_LONGEST_MS) + 1)
        self.max_ms = 0.0

    @staticmethod
    def _bin_of(latency_ms: float) -> int:
        return int(math.log(max(latency_ms, _SHORTEST_MS) / _SHORTEST_MS) / math.log(_GROWTH))

    def add(self, latency_ms: float) -> None:
        """Count one duration; longer ones than an hour count as the longest."""
        self._bins[min(self._bin_of(latency_ms), len(self._bins) - 1)] += 1
        self.max_ms = max(self.max_ms, latency_ms)

    def histogram(self) -> tuple[tuple[float, ...], tuple[int, ...]]:
        """Return limits of bins in ms and the counts in them, from the shortest duration to the longest; empty where there is none.

        A bin is a tenth wide, and there is one limit more than there are counts.
        """
        filled = [number for number, count in enumerate(self._bins) if count]
        if not filled:
            return (), ()
        starts = range(filled[0], filled[-1] + 1, SHOWN_TOGETHER)
        edges = tuple(_SHORTEST_MS * _GROWTH**number for number in (*starts, starts[-1] + SHOWN_TOGETHER))
        return edges, tuple(sum(self._bins[start : start + SHOWN_TOGETHER]) for start in starts)

    def percentile(self, share: float) -> float:
        """Return the shortest duration, in ms, that at least ``share`` (0 to 1) of all do not exceed; 0 where there is none."""
        wanted, seen = max(1, math.ceil(share * sum(self._bins))), 0
        for number, count in enumerate(self._bins):
            seen += count
            if seen >= wanted:
                return min(_SHORTEST_MS * float(_GROWTH ** (number + 0.5)), self.max_ms)
        return 0.0


@dataclass(frozen=True, slots=True)
class TrafficReport:
    """What became of all requests.

    Attributes:
        requests: Transactions that were sent; a retry counts with its first attempt.
        answered: Of these, answered with a decision.
        errors: The others, by error code.
        decisions: Answers by decision.
        degraded: Answers by the part that did not work.
        retries: Attempts after the first one.
        p50_ms: Median latency of the answered ones; 0 where none was.
        p95_ms: Latency that 5 % of the answered ones exceed.
        p99_ms: Latency that 1 % of the answered ones exceed.
        max_ms: Longest latency of the answered ones.
        latency_edges_ms: Limits of the bins of ``latency_counts``, one more than there are.
        latency_counts: Answered ones by latency.
        seconds: From the first request to the last answer.
        throughput: Requests per second.
        labels: Labels that the API accepted.
        labels_to_come: Labels of answered transactions that were not due by the end.
        label_errors: Labels that the API did not accept, by error code.
        messages: The first message of each error code.
        stopped_by: Why sending was given up, or None.
        interrupted: Whether an interrupt ended it.
    """

    requests: int
    answered: int
    errors: Mapping[str, int]
    decisions: Mapping[str, int]
    degraded: Mapping[str, int]
    retries: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    latency_edges_ms: tuple[float, ...]
    latency_counts: tuple[int, ...]
    seconds: float
    throughput: float
    labels: int
    labels_to_come: int
    label_errors: Mapping[str, int]
    messages: Mapping[str, str]
    stopped_by: str | None
    interrupted: bool

    @property
    def failed(self) -> int:
        """Transactions and labels that the API did not take."""
        return sum(self.errors.values()) + sum(self.label_errors.values())


@dataclass(slots=True)
class Tally:
    """Counts while traffic goes on; the fields are those of the report."""

    errors: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    degraded: Counter[str] = field(default_factory=Counter)
    latencies: Latencies = field(default_factory=Latencies)
    labels: int = 0
    labels_to_come: int = 0
    label_errors: Counter[str] = field(default_factory=Counter)
    messages: dict[str, str] = field(default_factory=dict)

    @property
    def answered(self) -> int:
        """Transactions that were answered."""
        return self.decisions.total()

    @property
    def requests(self) -> int:
        """Transactions that were answered or have failed."""
        return self.answered + self.errors.total()

    def count_answer(self, decision: str, degraded: Iterable[str], *, latency_ms: float) -> None:
        """Count an answer to a transaction."""
        self.decisions[decision] += 1
        self.degraded.update(degraded)
        self.latencies.add(latency_ms)

    def count_error(self, code: str, message: str) -> None:
        """Count a transaction that got no decision."""
        self.errors[code] += 1
        self.messages.setdefault(code, message)

    def count_label_error(self, code: str, message: str) -> None:
        """Count a label that the API did not accept."""
        self.label_errors[code] += 1
        self.messages.setdefault(code, message)

    def report(self, *, seconds: float, retries: int, stopped_by: str | None, interrupted: bool) -> TrafficReport:
        """Return what has become of all requests so far."""
        edges, counts = self.latencies.histogram()
        return TrafficReport(
            requests=self.requests,
            answered=self.answered,
            errors=dict(self.errors),
            decisions=dict(self.decisions),
            degraded=dict(self.degraded),
            retries=retries,
            p50_ms=self.latencies.percentile(0.50),
            p95_ms=self.latencies.percentile(0.95),
            p99_ms=self.latencies.percentile(0.99),
            max_ms=self.latencies.max_ms,
            latency_edges_ms=edges,
            latency_counts=counts,
            seconds=seconds,
            throughput=self.requests / seconds if seconds else 0.0,
            labels=self.labels,
            labels_to_come=self.labels_to_come,
            label_errors=dict(self.label_errors),
            messages=dict(self.messages),
            stopped_by=stopped_by,
            interrupted=interrupted,
        )
