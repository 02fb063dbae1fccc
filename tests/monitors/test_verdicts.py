"""Readings become signals: what is well, what is not, and what cannot be said yet."""

from datetime import UTC, datetime, timedelta

import pytest

from fraudit_dagster import monitoring
from fraudit_dagster.monitoring import Finding, Run, Signal, Verdict, Wish, is_dead, running

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
LONG_AGO = NOW - timedelta(hours=2)
GOOD, BAD, UNKNOWN = Verdict.GOOD, Verdict.BAD, Verdict.UNKNOWN


def run(state: str, *, age: timedelta = timedelta(hours=1), error: str = "") -> Run:
    return Run("jr_1", state, NOW - age, error)


TO_RUN, TO_REST = Wish(state="running", since=LONG_AGO), Wish(state="stopped", since=LONG_AGO)
JUST_NOW = NOW - timedelta(seconds=5)


@pytest.mark.parametrize(
    ("newest", "wish", "verdict"),
    [
        (run("RUNNING"), TO_RUN, GOOD),
        (run("STARTING", age=timedelta(minutes=1)), TO_RUN, UNKNOWN),
        (run("WAITING", age=timedelta(minutes=6)), TO_RUN, BAD),
        (run("STOPPING"), TO_RUN, UNKNOWN),
        (run("FAILED"), TO_RUN, BAD),
        (run("STOPPED"), TO_RUN, BAD),
        (run("SUCCEEDED"), TO_RUN, BAD),
        (None, TO_RUN, BAD),
        (run("FAILED"), Wish(state="running", since=JUST_NOW), UNKNOWN),
        (run("STOPPED"), TO_REST, GOOD),
        (run("FAILED"), TO_REST, GOOD),
        (run("RUNNING"), TO_REST, BAD),
        (run("STOPPING"), TO_REST, UNKNOWN),
        (run("RUNNING"), Wish(state="stopped", since=JUST_NOW), UNKNOWN),
        (None, None, GOOD),
        (run("FAILED"), None, GOOD),
    ],
)
def test_a_run_is_judged_against_what_is_wished(newest: Run | None, wish: Wish | None, verdict: Verdict) -> None:
    assert running(newest, wish, now=NOW).verdict is verdict


def test_a_dead_run_is_told_at_once_and_with_its_reason() -> None:
    signal = running(run("FAILED", error="no such secret"), TO_RUN, now=NOW)
    assert signal.bad_ticks == 1
    assert signal.says == "the job is to run, and is FAILED: no such secret"
    assert signal.facts["run_id"] == "jr_1"


def test_a_job_stopped_by_hand_is_said_to_be() -> None:
    assert "stopped on purpose since 2026-11-25 10:00:00" in running(run("STOPPED"), TO_REST, now=NOW).says


@pytest.mark.parametrize(
    ("newest", "wish", "dead"),
    [
        (run("FAILED"), TO_RUN, True),
        (run("STOPPED"), TO_RUN, True),
        (None, TO_RUN, True),
        (run("RUNNING"), TO_RUN, False),
        (run("STARTING"), TO_RUN, False),
        (run("STOPPING"), TO_RUN, False),
        (run("FAILED"), TO_REST, False),
        (run("FAILED"), None, False),
        (run("FAILED"), Wish(state="running", since=JUST_NOW), False),
    ],
)
def test_only_what_is_to_run_and_does_not_is_dead(newest: Run | None, wish: Wish | None, dead: bool) -> None:
    assert is_dead(newest, wish, now=NOW) is dead


@pytest.mark.parametrize(
    ("newest", "heartbeats", "verdict"),
    [
        (run("RUNNING"), 0, BAD),
        (run("RUNNING"), 3, GOOD),
        (run("RUNNING", age=timedelta(minutes=2)), 0, GOOD),
        (run("FAILED"), 0, GOOD),
        (None, 0, GOOD),
    ],
)
def test_a_run_that_says_nothing_hangs_unless_it_is_young(
    newest: Run | None, heartbeats: int, verdict: Verdict
) -> None:
    assert monitoring.reports(newest, heartbeats, now=NOW).verdict is verdict


@pytest.mark.parametrize(("status", "verdict"), [("ok", GOOD), ("degraded", BAD), ("down", BAD)])
def test_the_api_is_taken_at_its_word(status: str, verdict: Verdict) -> None:
    assert monitoring.answers(status, "v1").verdict is verdict


def test_an_api_without_a_manifest_says_so() -> None:
    assert monitoring.answers("down", None).says == "the API says that it is down: it serves no manifest"


@pytest.mark.parametrize(
    ("p95_ms", "health_ms", "verdict"),
    [
        ([900.0, 950.0], 2.0, BAD),
        ([900.0, 100.0], 2.0, GOOD),
        ([100.0], 900.0, GOOD),
        ([100.0], None, GOOD),
        ([], 900.0, BAD),
        ([], 2.0, GOOD),
        ([], None, UNKNOWN),
    ],
)
def test_latency_is_that_of_predictions_where_there_are_any(
    p95_ms: list[float], health_ms: float | None, verdict: Verdict
) -> None:
    signal = monitoring.latency(p95_ms, health_ms=health_ms, limit_ms=500)
    assert signal.verdict is verdict
    assert signal.facts["limit_ms"] == 500


@pytest.mark.parametrize(
    ("failed", "answered", "verdict"),
    [(0, 0, GOOD), (0, 100, GOOD), (5, 95, GOOD), (6, 94, BAD), (30, 0, BAD), (19, 0, GOOD)],
)
def test_few_requests_have_no_share_of_errors(failed: int, answered: int, verdict: Verdict) -> None:
    assert monitoring.errors(failed=failed, answered=answered, limit=0.05).verdict is verdict


@pytest.mark.parametrize(("status", "verdict"), [("ACTIVE", GOOD), ("UPDATING", GOOD), ("CREATING", BAD)])
def test_a_stream_that_is_being_split_takes_records(status: str, verdict: Verdict) -> None:
    assert monitoring.active({"status": status, "open_shards": 4, "retention_h": 24}).verdict is verdict


@pytest.mark.parametrize(("lowest_ms", "verdict"), [(None, GOOD), (0.0, GOOD), (120_000.0, GOOD), (121_000.0, BAD)])
def test_a_reader_may_be_behind_by_the_limit(lowest_ms: float | None, verdict: Verdict) -> None:
    assert monitoring.iterator_age(lowest_ms, limit_s=120).verdict is verdict


def test_one_dead_letter_is_too_many_and_the_way_back_is_said() -> None:
    assert monitoring.dead_letters(0, minutes=15).verdict is GOOD
    signal = monitoring.dead_letters(1, minutes=15)
    assert signal.verdict is BAD
    assert "fraudit replay dead-letters" in signal.says


def minutes_ago(*ago: float) -> list[datetime]:
    return [NOW - timedelta(minutes=minutes) for minutes in ago]


@pytest.mark.parametrize(
    ("newest", "traffic", "verdict"),
    [
        (None, [], GOOD),
        (NOW - timedelta(days=3), [], GOOD),
        (None, minutes_ago(10), BAD),
        (NOW - timedelta(minutes=11), minutes_ago(20, 10), BAD),
        (NOW - timedelta(minutes=9.9), minutes_ago(20, 10), GOOD),
        (NOW - timedelta(minutes=9.9), minutes_ago(10, 2), GOOD),
        (NOW - timedelta(minutes=9.9), minutes_ago(10, 3), BAD),
    ],
)
def test_no_traffic_is_well_and_traffic_without_rows_is_not(
    newest: datetime | None, traffic: list[datetime], verdict: Verdict
) -> None:
    assert monitoring.fresh(newest, traffic, limit_s=120, now=NOW).verdict is verdict


@pytest.mark.parametrize(
    ("quarantined", "records", "verdict"), [(0, 0, GOOD), (1, 19, GOOD), (1, 20, GOOD), (2, 20, BAD)]
)
def test_few_events_have_no_share_of_quarantine(quarantined: int, records: int, verdict: Verdict) -> None:
    assert monitoring.quarantine(quarantined=quarantined, records=records, limit=0.05).verdict is verdict


def test_what_cannot_be_read_is_not_well() -> None:
    signal = monitoring.unreadable("fresh", RuntimeError("no route"))
    assert (signal.verdict, signal.says) == (BAD, "cannot be told: no route")


@pytest.mark.parametrize(
    ("verdicts", "healthy"), [([GOOD, GOOD], True), ([GOOD, UNKNOWN], False), ([BAD, GOOD], False)]
)
def test_healthy_is_where_every_signal_is_good(verdicts: list[Verdict], healthy: bool) -> None:
    assert Finding([Signal("s", verdict, "") for verdict in verdicts], "1").is_healthy is healthy
