"""What is well and what is not, of the parts that run outside Dagster: readings become signals.

Belongs here: the verdict on each reading. Does not: taking readings (``resources/watch.py``), whom a verdict reaches and when
(``incidents.py``), what is done about it (``repairs.py``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

FEWEST = 20
"""Requests or events of which a share or a percentile says something."""
STARTING = timedelta(minutes=5)
"""A run that takes longer to start is stuck."""
SETTLING = timedelta(seconds=20)
"""After somebody wished something, what is found may still be of before."""
SILENCE = timedelta(minutes=3)
"""A run this old has reported, or hangs."""
ACTIVE_STATUS = frozenset({"ACTIVE", "UPDATING"})
"""Of a Kinesis stream that takes records; UPDATING: its shards are being split or merged."""
RUNNING = "RUNNING"
STARTING_STATES = frozenset({"STARTING", "WAITING"})
STOPPING = "STOPPING"


class Verdict(StrEnum):
    """What a reading says; ``UNKNOWN``: nothing yet, neither way."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Signal:
    """One thing that is watched, as it was found.

    Attributes:
        name: Of the asset check that shows it.
        verdict: Whether it is well.
        says: In words, for people.
        facts: The reading and its limit, by name; units are in the names.
        bad_ticks: Bad ticks in a row that make it an incident.
    """

    name: str
    verdict: Verdict
    says: str
    facts: Mapping[str, float | str] = field(default_factory=dict)
    bad_ticks: int = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """How a component was found.

    Attributes:
        signals: All that is watched of it.
        version: What it is that is well: constant while that is the same.
    """

    signals: Sequence[Signal]
    version: str

    @property
    def is_healthy(self) -> bool:
        """Whether every signal is good."""
        return all(signal.verdict is Verdict.GOOD for signal in self.signals)


class Wish(BaseModel):
    """What the operator wants of the stream job.

    Attributes:
        state: ``running`` or ``stopped``.
        since: When it was wished.
    """

    model_config = ConfigDict(frozen=True)

    state: Literal["running", "stopped"]
    since: AwareDatetime


@dataclass(frozen=True, slots=True)
class Run:
    """A run of the stream job: its id, its state and reason in Glue's words, and when it was started."""

    id: str
    state: str
    started_at: datetime
    error: str = ""

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> "Run":
        """Return what Glue's answer says of a run."""
        return cls(
            str(answer["Id"]), str(answer["JobRunState"]), answer["StartedOn"], str(answer.get("ErrorMessage", ""))
        )


def unreadable(name: str, error: Exception) -> Signal:
    """Return the signal of a reading that could not be taken, which is not a good one."""
    return Signal(name, Verdict.BAD, f"cannot be told: {error}")


def answers(status: str, manifest_version: str | None) -> Signal:
    """Judge what the API says of itself."""
    facts = {"status": status, "manifest_version": manifest_version or "none"}
    says = f"the API says that it is {status}" + ("" if manifest_version else ": it serves no manifest")
    return Signal("answers", _verdict(good=status == "ok"), says, facts)


def latency(p95_ms: Sequence[float], *, health_ms: float | None, limit_ms: float) -> Signal:
    """Judge how long the API takes.

    Args:
        p95_ms: 95th percentile of each of the last minutes with predictions; empty: there were none.
        health_ms: What the call of ``/health`` took, which counts where there are no predictions; None: it failed.
        limit_ms: Longest that is well. Of several minutes the quickest counts: only lasting slowness is not well.
    """
    facts: dict[str, float | str] = {"limit_ms": limit_ms}
    found_ms, what = health_ms, "no predictions; /health took"
    if p95_ms:
        found_ms, what = min(p95_ms), "of 100 predictions 95 took at most"
    if found_ms is None:
        return Signal("latency", Verdict.UNKNOWN, "nothing was answered", facts)
    facts["found_ms"] = round(found_ms, 1)
    return Signal("latency", _verdict(good=found_ms <= limit_ms), f"{what} {found_ms:.0f} ms", facts)


def errors(*, failed: float, answered: float, limit: float) -> Signal:
    """Judge the share of requests that the API failed to answer for reasons of its own, 0 to 1."""
    share = failed / (failed + answered) if failed else 0.0
    facts = {"failed": failed, "answered": answered, "share": round(share, 4), "limit": limit}
    is_good = share <= limit or failed + answered < FEWEST
    return Signal("errors", _verdict(good=is_good), f"{failed:.0f} of {failed + answered:.0f} requests failed", facts)


def active(summary: Mapping[str, str | int]) -> Signal:
    """Judge the state of the Kinesis stream."""
    says = f"the stream is {summary['status']}, with {summary['open_shards']} open shards"
    return Signal("active", _verdict(good=summary["status"] in ACTIVE_STATUS), says, dict(summary))


def iterator_age(lowest_ms: float | None, *, limit_s: float) -> Signal:
    """Judge how far the reader of the stream is behind.

    Args:
        lowest_ms: The lowest age that the job reported in the newest minute: one that has caught up is no longer behind. None: it has
            reported none of late, which is a matter of the job (``reports``).
        limit_s: Highest that is well.
    """
    if lowest_ms is None:
        return Signal("iterator_age", Verdict.GOOD, "the job has reported none of late", {"limit_s": limit_s})
    age_s = lowest_ms / 1000
    facts = {"age_s": round(age_s, 1), "limit_s": limit_s}
    says = f"in the last minute the oldest event was {age_s:.0f} s old or more when it was stored"
    return Signal("iterator_age", _verdict(good=age_s <= limit_s), says, facts)


def dead_letters(count: float, *, minutes: int) -> Signal:
    """Judge the events that Kinesis did not take, of the last ``minutes``; one is too many."""
    says = f"{count:.0f} events of the last {minutes} minutes are dead letters in S3"
    says += ": `fraudit replay dead-letters` puts them back" if count else ""
    return Signal("dead_letters", _verdict(good=count == 0), says, {"count": count, "minutes": minutes, "limit": 0})


def running(run: Run | None, wish: Wish | None, *, now: datetime) -> Signal:
    """Judge the newest run of the job against what is wished. A job that nobody has asked for is not missed."""
    state = run.state if run else "never started"
    facts = {
        "state": state,
        "wished": wish.state if wish else "nothing yet",
        "run_id": run.id if run else "none",
        "error": run.error if run else "",
    }
    if wish is None or wish.state == "stopped":
        verdict, says = _stopped(run, wish, now=now)
        return Signal("running", verdict, says, facts)
    if is_dead(run, wish, now=now):
        reason = run.error if run and run.error else "no reason given"
        return Signal("running", Verdict.BAD, f"the job is to run, and is {state}: {reason}", facts, bad_ticks=1)
    if run is not None and run.state == RUNNING:
        return Signal("running", Verdict.GOOD, f"the job runs since {run.started_at:%Y-%m-%d %H:%M:%S}", facts)
    is_stuck = run is not None and run.state in STARTING_STATES and now - run.started_at > STARTING
    return Signal("running", Verdict.BAD if is_stuck else Verdict.UNKNOWN, f"the job is {state}, and is to run", facts)


def _stopped(run: Run | None, wish: Wish | None, *, now: datetime) -> tuple[Verdict, str]:
    """Return the verdict on a job that is not to run, and what it says."""
    why = (
        f"stopped on purpose since {wish.since:%Y-%m-%d %H:%M:%S}"
        if wish
        else "not asked for yet by `fraudit stream start`"
    )
    if run is None or run.state not in {RUNNING, STOPPING, *STARTING_STATES}:
        return Verdict.GOOD, f"the job is {why}"
    settles = run.state == STOPPING or (wish is not None and now - wish.since < SETTLING)
    return (Verdict.UNKNOWN if settles else Verdict.BAD), f"the job is {run.state}, and is {why}"


def is_dead(run: Run | None, wish: Wish | None, *, now: datetime) -> bool:
    """Whether the job is to run, does not, and nobody is just starting it."""
    if wish is None or wish.state == "stopped" or now - wish.since < SETTLING:
        return False
    return run is None or run.state not in {RUNNING, STOPPING, *STARTING_STATES}


def reports(run: Run | None, heartbeats: float, *, now: datetime) -> Signal:
    """Judge whether a job that runs gets on: it reports each batch, and each look at an empty stream."""
    facts = {"heartbeats": heartbeats, "minutes": SILENCE.total_seconds() / 60}
    if run is None or run.state != RUNNING or now - run.started_at < SILENCE:
        return Signal("reports", Verdict.GOOD, "the job has not run for long enough to be judged by its reports", facts)
    if heartbeats:
        return Signal("reports", Verdict.GOOD, "the job reports", facts)
    return Signal(
        "reports", Verdict.BAD, "the job runs and reports nothing: it waits for PostgreSQL or Kinesis, or hangs", facts
    )


def fresh(newest: datetime | None, traffic: Sequence[datetime], *, limit_s: float, now: datetime) -> Signal:
    """Judge whether what was scored has been stored.

    Args:
        newest: When something was stored last; None: never.
        traffic: Starts of the minutes in which transactions were scored.
        limit_s: Longest that storing may take.
        now: The time.
    """
    facts: dict[str, float | str] = {"newest": newest.isoformat() if newest else "none", "limit_s": limit_s}
    due = [minute for minute in traffic if minute + timedelta(minutes=1, seconds=limit_s) <= now]
    if not due:
        return Signal("fresh", Verdict.GOOD, "nothing was scored that should be stored by now", facts)
    facts["newest_traffic"] = max(due).isoformat()
    if newest is not None and newest >= max(due):
        return Signal("fresh", Verdict.GOOD, f"stored last at {newest:%H:%M:%S}", facts)
    stored = f"the last was at {newest:%Y-%m-%d %H:%M:%S}" if newest else "nothing ever was"
    says = f"transactions of {max(due):%H:%M} are not stored; {stored}"
    return Signal("fresh", Verdict.BAD, says, facts)


def quarantine(*, quarantined: int, records: int, limit: float) -> Signal:
    """Judge the share of the last hour's events that were none, 0 to 1."""
    share = quarantined / records if records else 0.0
    facts = {"quarantined": quarantined, "records": records, "share": round(share, 4), "limit": limit}
    is_good = share <= limit or records < FEWEST
    says = f"{quarantined} of {records} events of the last hour are quarantined"
    return Signal("quarantine", _verdict(good=is_good), says, facts)


def _verdict(*, good: bool) -> Verdict:
    return Verdict.GOOD if good else Verdict.BAD
