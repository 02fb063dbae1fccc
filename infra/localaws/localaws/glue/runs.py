"""What a run is: its record, its place among attempts and restarts, and when it is over time.

Belongs here: rules of one run. Does not: its process's start (``launch``), or which run starts when (``service``).
"""

import math
import re
import secrets
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from localaws.glue.jobs import MAX_TIMEOUT_MINUTES, is_streaming, of_run

ACTIVE = frozenset({"STARTING", "RUNNING", "STOPPING"})
WAITING = "WAITING"
LOG_GROUP = "/aws-glue/jobs"

RESTART_AFTER = timedelta(days=7)
FORCED_RESTART_AFTER = timedelta(days=14)
WINDOW = timedelta(hours=3)
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass
class Run:
    """A job run: what the API shows of it, and its process while it has one.

    ``outcome`` is the state that it will end in, where that was decided before its process has ended: STOPPED, TIMEOUT, EXPIRED.
    ``kill_at_s`` is a time of the monotonic clock, in seconds.
    """

    record: dict[str, Any]
    process: subprocess.Popen[bytes] | None = None
    running_since: datetime | None = None
    restart_at: datetime | None = None
    outcome: str | None = None
    kill_at_s: float = math.inf

    @property
    def run_id(self) -> str:
        """The run's id."""
        return str(self.record["Id"])

    @property
    def job_name(self) -> str:
        """The name of its job."""
        return str(self.record["JobName"])

    @property
    def state(self) -> str:
        """Its state."""
        return str(self.record["JobRunState"])

    @property
    def is_active(self) -> bool:
        """Whether it has a place among its job's concurrent runs."""
        return self.state in ACTIVE

    @property
    def has_ended(self) -> bool:
        """Whether it will not change any more."""
        return not self.is_active and self.state != WAITING

    def begin(self, job: Mapping[str, Any], now: datetime) -> None:
        """Note that the process has started."""
        self.running_since = now
        if is_streaming(job) and self.record.get("Timeout", math.inf) >= MAX_TIMEOUT_MINUTES:
            self.restart_at = restart_time(now, self.record.get("MaintenanceWindow"))

    def is_over_time(self, now: datetime) -> bool:
        """Say whether it has run for longer than its timeout."""
        minutes = self.record.get("Timeout")
        return (
            minutes is not None
            and self.restart_at is None
            and self.running_since is not None
            and now - self.running_since >= timedelta(minutes=minutes)
        )

    def is_to_restart(self, now: datetime) -> bool:
        """Say whether a streaming run is due for its restart."""
        return self.restart_at is not None and now >= self.restart_at

    def must_restart(self, now: datetime) -> bool:
        """Say whether a streaming run that did not end when it was asked is not waited for any longer."""
        return (
            self.restart_at is not None
            and self.running_since is not None
            and now - self.running_since >= FORCED_RESTART_AFTER
        )

    def execution_s(self, now: datetime) -> int:
        """Return how long it has run, in seconds."""
        return 0 if self.running_since is None else max(0, int((now - self.running_since).total_seconds()))

    def describe(self, now: datetime) -> dict[str, Any]:
        """Return the run as the API shows it, with its time so far."""
        return {"ExecutionTime": self.execution_s(now), **self.record}


def requested(
    job: Mapping[str, Any], request: Mapping[str, Any], *, now: datetime, previous: Run | None = None
) -> dict[str, Any]:
    """Return the record of a run that was asked for; ``previous`` is the run that it tries again."""
    record = {
        "Id": f"jr_{secrets.token_hex(32)}",
        "Attempt": 0,
        "JobName": job["Name"],
        "StartedOn": now,
        "LastModifiedOn": now,
        "JobRunState": "STARTING",
        "Arguments": request.get("Arguments", {}),
        "PredecessorRuns": [],
        "LogGroupName": LOG_GROUP,
        **of_run(job, request),
    }
    if previous is not None:
        record |= {
            "PreviousRunId": previous.run_id,
            "Arguments": {**previous.record["Arguments"], **record["Arguments"]},
        }
    return record


def following(run: Run, *, now: datetime) -> dict[str, Any]:
    """Return the record of the run that follows a FAILED one (the next attempt) or an EXPIRED one (the next restart)."""
    attempt, run_id = int(run.record["Attempt"]), run.run_id
    if run.state == "EXPIRED":
        base, _, count = run_id.partition("_restart_")
        next_id = f"{base}_restart_{int(count or 0) + 1}"
    else:
        attempt += 1
        next_id = f"{re.sub(r'(_attempt_[0-9]+)?(_restart_[0-9]+)?$', '', run_id)}_attempt_{attempt}"
    left_out = {"ErrorMessage", "CompletedOn", "ExecutionTime", "StateDetail"}
    return {
        **{key: value for key, value in run.record.items() if key not in left_out},
        "Id": next_id,
        "Attempt": attempt,
        "PreviousRunId": run.run_id,
        "StartedOn": now,
        "LastModifiedOn": now,
        "JobRunState": "STARTING",
    }


def restart_time(started: datetime, window: str | None) -> datetime:
    """Return when a streaming run is restarted: after seven days, in its maintenance window (``Sun:10``, GMT) where it has one.

    A window lasts three hours; one that is open after seven days is taken.
    """
    earliest = started + RESTART_AFTER
    if window is None:
        return earliest
    day, _, hour = window.partition(":")
    midnight = earliest.replace(hour=0, minute=0, second=0, microsecond=0)
    days = (_DAYS.index(day) - earliest.weekday()) % 7
    opening = midnight + timedelta(days=days, hours=int(hour))
    if opening - timedelta(days=7) + WINDOW > earliest:
        opening -= timedelta(days=7)
    if opening + WINDOW <= earliest:
        opening += timedelta(days=7)
    return max(opening, earliest)
