"""AWS Glue, as the graph needs it: one streaming job that is started, watched and stopped.

Belongs here: calls to the Glue API and their errors. Does not: what to do about a dead job.
"""

import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from resources.aws import BRIEF, AwsError, client, translated

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient

STOP_TIMEOUT_S = 120.0
POLL_S = 0.3
RUNS_SEEN = 50
ENDED = frozenset({"STOPPED", "SUCCEEDED", "FAILED", "TIMEOUT", "ERROR", "EXPIRED"})


class GlueError(AwsError):
    """Glue refused or failed a request; the message names the job and says why."""


class Glue(dg.ConfigurableResource):
    """The streaming job in AWS Glue."""

    region: str = Field(description="AWS region.")
    job_name: str = Field(description="Name of the Glue job.", examples=["fraudit-streaming-job"])
    brief: bool = Field(default=False, description=BRIEF)

    @cached_property
    def _client(self) -> "GlueClient":
        glue: GlueClient = client("glue", region=self.region, brief=self.brief)
        return glue

    def start(self, arguments: Mapping[str, str]) -> str:
        """Start a run, or return the id of the one that is under way, whatever its arguments; one that is being stopped is waited for.

        Of two that start at once, Glue takes one (``max_concurrent_runs`` is 1); the other is given the same run.

        Raises:
            GlueError: The job does not exist, its last run does not end, or Glue could not be reached.
        """
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        while True:
            runs = self._runs_under_way()
            if running := [run for run in runs if run["JobRunState"] != "STOPPING"]:
                return str(running[0]["Id"])
            if not runs:
                try:
                    with translated(GlueError, f"start Glue job {self.job_name!r}"):
                        return str(
                            self._client.start_job_run(JobName=self.job_name, Arguments=dict(arguments))["JobRunId"]
                        )
                except GlueError as error:
                    # Another start was faster, or Glue still counts a run that it no longer shows: the next look tells.
                    if error.code != "ConcurrentRunsExceededException" or time.monotonic() >= deadline_s:
                        raise
            elif time.monotonic() >= deadline_s:
                raise self._not_ended(runs, STOP_TIMEOUT_S)
            time.sleep(POLL_S)

    def default_arguments(self) -> dict[str, str]:
        """Return the arguments that the job gives to each run.

        Raises:
            GlueError: The job does not exist, or Glue could not be reached.
        """
        with translated(GlueError, f"look up Glue job {self.job_name!r}"):
            return dict(self._client.get_job(JobName=self.job_name)["Job"].get("DefaultArguments", {}))

    def latest_run(self) -> dict[str, Any] | None:
        """Return the newest run of the job, or None where it never ran.

        Raises:
            GlueError: The job does not exist, or Glue could not be reached.
        """
        runs = self._newest_runs(1)
        return runs[0] if runs else None

    def stop(self, *, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Stop what is under way, if anything, and wait until it has ended.

        Raises:
            GlueError: It had not ended after ``timeout_s``, Glue would not stop it, or could not be reached.
        """
        deadline_s = time.monotonic() + timeout_s
        asked = {str(run["Id"]) for run in self._runs_under_way()}
        if not asked:
            return
        with translated(GlueError, f"stop Glue job {self.job_name!r}"):
            answer = self._client.batch_stop_job_run(JobName=self.job_name, JobRunIds=sorted(asked))
        refused = {str(error["JobRunId"]): error["ErrorDetail"] for error in answer.get("Errors", [])}
        while runs := [run for run in self._runs_under_way() if run["Id"] in asked]:
            for run in runs:  # one that has ended, or was being stopped already, is refused too
                if run["Id"] in refused and run["JobRunState"] != "STOPPING":
                    why = refused[run["Id"]]
                    raise GlueError(
                        f"cannot stop run {run['Id']} of Glue job {self.job_name!r}: {why['ErrorMessage']}",
                        code=why["ErrorCode"],
                    )
            if time.monotonic() >= deadline_s:
                raise self._not_ended(runs, timeout_s)
            time.sleep(POLL_S)

    def restart(self, arguments: Mapping[str, str], *, timeout_s: float = STOP_TIMEOUT_S) -> str:
        """Stop what is under way and start a run: what new arguments or new code need. Return its id.

        Raises:
            GlueError: As for ``stop`` and ``start``.
        """
        self.stop(timeout_s=timeout_s)
        return self.start(arguments)

    def _runs_under_way(self) -> list[dict[str, Any]]:
        """Return the runs that have not ended, newest first: one at most, unless the job lets several run at once."""
        return [run for run in self._newest_runs(RUNS_SEEN) if run["JobRunState"] not in ENDED]

    def _newest_runs(self, count: int) -> list[dict[str, Any]]:
        with translated(GlueError, f"list the runs of Glue job {self.job_name!r}"):
            return [dict(run) for run in self._client.get_job_runs(JobName=self.job_name, MaxResults=count)["JobRuns"]]

    def _not_ended(self, runs: Sequence[Mapping[str, Any]], waited_s: float) -> GlueError:
        states = ", ".join(f"run {run['Id']} is {run['JobRunState']}" for run in runs)
        return GlueError(f"Glue job {self.job_name!r} had not stopped after {waited_s:.0f} s: {states}", code="Timeout")
