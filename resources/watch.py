"""What the monitors look at: one reading of each part that runs outside Dagster, a few seconds at most, a dead one included.

Belongs here: which calls a reading takes, and that a part which does not answer is a bad signal and no exception. Does not: the verdict
(``fraudit_dagster/monitoring.py``), what follows from it (``jobs/monitors.py``).
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg
from pydantic import Field

from fraudit_dagster import monitoring
from fraudit_dagster.monitoring import Finding, Run, Signal, Wish
from resources.alerts import Alerts
from resources.aws import AwsError
from resources.cloudwatch import CloudWatch, CloudWatchError, Metric
from resources.kinesis import Kinesis, KinesisError
from resources.prediction_api import PredictionApi, PredictionApiError
from resources.stream_job import StreamJob, WishError
from resources.warehouse import Warehouse, WarehouseError

SLOW_MINUTES, ERROR_MINUTES, DEAD_LETTER_MINUTES, AGE_MINUTES, TRAFFIC_MINUTES = 3, 5, 15, 3, 60
"""How far each reading of a metric looks back."""
FAILURES = ("internal_error", "models_unavailable", "no_manifest", "feedback_lost")
"""Codes of requests that the API did not answer for reasons of its own."""
DECISIONS = tuple(Metric("Decisions", "Sum", {"decision": decision}) for decision in ("approve", "review", "block"))

STORED = """
    SELECT (SELECT max(stored_at) FROM fraud.stream_batches) AS newest,
           coalesce(sum(records), 0) AS records, coalesce(sum(quarantined), 0) AS quarantined
    FROM fraud.stream_batches
    WHERE stored_at >= %(since)s
"""
"""By the ledger, which has a line for each transaction of the stream, also where all its events were duplicates."""


@dataclass(frozen=True, slots=True)
class JobFinding(Finding):
    """How the stream job was found: its newest run, what is wished, and whether it is dead and could be started."""

    run: Run | None = None
    wish: Wish | None = None
    is_dead: bool = False


class Watch(dg.ConfigurableResource):
    """Readings of the API, the stream, its job and the table, and their limits."""

    prediction_api: dg.ResourceDependency[PredictionApi]
    kinesis: dg.ResourceDependency[Kinesis]
    stream_job: dg.ResourceDependency[StreamJob]
    warehouse: dg.ResourceDependency[Warehouse]
    cloudwatch: dg.ResourceDependency[CloudWatch]
    alerts: dg.ResourceDependency[Alerts]
    max_latency_ms: float = Field(description="Of predictions, 95th percentile of a minute.")
    max_error_share: float = Field(description="Of requests that the API fails to answer, 0 to 1.")
    max_iterator_age_s: float = Field(description="Of the oldest event when it is stored, in seconds.")
    max_store_delay_s: float = Field(description="From a prediction to something stored, in seconds.")
    max_quarantine_share: float = Field(description="Of an hour's events, 0 to 1.")

    def api(self) -> Finding:
        """Look at the prediction API."""
        started_s = time.perf_counter()
        try:
            health = self.prediction_api.health()
        except PredictionApiError as error:
            return Finding([Signal("answers", monitoring.Verdict.BAD, str(error)), *self._api_traffic(None)], "unknown")
        health_ms = (time.perf_counter() - started_s) * 1000
        answers = monitoring.answers(health.status, health.manifest_version)
        return Finding([answers, *self._api_traffic(health_ms)], health.manifest_version or "none")

    def _api_traffic(self, health_ms: float | None) -> list[Signal]:
        wanted = [
            Metric("PredictLatency", "p95"),
            Metric("PredictLatency", "SampleCount"),
            *DECISIONS,
            *(Metric("Errors", "Sum", {"code": code}) for code in FAILURES),
        ]
        now = _now()
        try:
            p95, counts, *rest = self.cloudwatch.minutes(wanted, last=ERROR_MINUTES, now=now)
        except CloudWatchError as error:
            return [monitoring.unreadable("latency", error), monitoring.unreadable("errors", error)]
        answered, failed = rest[: len(DECISIONS)], rest[len(DECISIONS) :]
        recent = now - timedelta(minutes=SLOW_MINUTES)
        slow = [p95[at] for at, count in counts.items() if at >= recent and count >= monitoring.FEWEST and at in p95]
        return [
            monitoring.latency(slow, health_ms=health_ms, limit_ms=self.max_latency_ms),
            monitoring.errors(failed=_total(failed), answered=_total(answered), limit=self.max_error_share),
        ]

    def stream(self) -> Finding:
        """Look at the Kinesis stream."""
        wanted = [Metric("IteratorAgeMs", "Minimum"), Metric("DeadLetters", "Sum")]
        now = _now()
        try:
            summary = self.kinesis.summary()
            active = monitoring.active(summary)
        except KinesisError as error:
            active = monitoring.unreadable("active", error)
        try:
            ages, letters = self.cloudwatch.minutes(wanted, last=DEAD_LETTER_MINUTES, now=now)
        except CloudWatchError as error:
            metrics = [monitoring.unreadable(name, error) for name in ("iterator_age", "dead_letters")]
        else:
            recent = [age for at, age in ages.items() if at >= now - timedelta(minutes=AGE_MINUTES)]
            metrics = [
                monitoring.iterator_age(recent[-1] if recent else None, limit_s=self.max_iterator_age_s),
                monitoring.dead_letters(_total([letters]), minutes=DEAD_LETTER_MINUTES),
            ]
        return Finding([active, *metrics], self.kinesis.stream_name)

    def job(self) -> JobFinding:
        """Look at the stream job."""
        now = _now()
        try:
            wish, run = self.stream_job.wish(), self.stream_job.newest_run()
        except (AwsError, WishError) as error:
            return JobFinding([monitoring.unreadable(name, error) for name in ("running", "reports")], "unknown")
        silence = int(monitoring.SILENCE.total_seconds() // 60)
        try:
            (beats,) = self.cloudwatch.minutes(
                [Metric("Heartbeat", "Sum", {"component": "stream"})], last=silence, now=now
            )
            reports = monitoring.reports(run, _total([beats]), now=now)
        except CloudWatchError as error:
            reports = monitoring.unreadable("reports", error)
        return JobFinding(
            [monitoring.running(run, wish, now=now), reports],
            run.id if run and run.state == monitoring.RUNNING else "stopped",
            run=run,
            wish=wish,
            is_dead=monitoring.is_dead(run, wish, now=now),
        )

    def table(self) -> Finding:
        """Look at the table of predictions."""
        now = _now()
        try:
            (row,) = self.warehouse.query(STORED, {"since": now - timedelta(hours=1)})
        except (WarehouseError, AwsError) as error:
            return Finding([monitoring.unreadable(name, error) for name in ("fresh", "quarantine")], "unknown")
        try:
            minutes = self.cloudwatch.minutes(DECISIONS, last=TRAFFIC_MINUTES, now=now)
            traffic = sorted({at for by_minute in minutes for at, count in by_minute.items() if count})
            fresh = monitoring.fresh(row["newest"], traffic, limit_s=self.max_store_delay_s, now=now)
        except CloudWatchError as error:
            fresh = monitoring.unreadable("fresh", error)
        quarantine = monitoring.quarantine(
            quarantined=int(row["quarantined"]), records=int(row["records"]), limit=self.max_quarantine_share
        )
        return Finding([fresh, quarantine], "stored")


def _total(series: Iterable[dict[datetime, float]]) -> float:
    return sum(sum(by_minute.values()) for by_minute in series)


def _now() -> datetime:
    return datetime.now(UTC)
