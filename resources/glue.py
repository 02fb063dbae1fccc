"""AWS Glue, as the graph needs it: one streaming job that is started, watched and stopped.

Belongs here: calls to the Glue API and their errors. Does not: what to do about a dead job.
"""

import time
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from resources.aws import AwsError, client, translated

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient

STOP_TIMEOUT_S = 120.0
POLL_S = 0.3
ENDED = frozenset({"STOPPED", "SUCCEEDED", "FAILED", "TIMEOUT", "ERROR", "EXPIRED"})


class GlueError(AwsError):
    """Glue refused or failed a request; the message names the job and says why."""


class Glue(dg.ConfigurableResource):
    """The streaming job in AWS Glue."""

    region: str = Field(description="AWS region.")
    job_name: str = Field(description="Name of the Glue job.", examples=["fraudit-streaming-job"])

    @cached_property
    def _client(self) -> "GlueClient":
        glue: GlueClient = client("glue", region=self.region)
        return glue

    def start(self, arguments: Mapping[str, str]) -> str:
        """Start a run, or return the id of the one that is under way; one that is being stopped is waited for first.

        Raises:
            GlueError: The job does not exist, a run does not stop, or Glue could not be reached.
        """
        run = self.latest_run()
        if run is not None and run["JobRunState"] == "STOPPING":
            run = self._wait_for_end(STOP_TIMEOUT_S)
        if run is not None and run["JobRunState"] not in ENDED:
            return str(run["Id"])
        with translated(GlueError, f"start Glue job {self.job_name!r}"):
            return str(self._client.start_job_run(JobName=self.job_name, Arguments=dict(arguments))["JobRunId"])

    def latest_run(self) -> dict[str, Any] | None:
        """Return the newest run of the job, or None where it never ran.

        Raises:
            GlueError: The job does not exist, or Glue could not be reached.
        """
        with translated(GlueError, f"list the runs of Glue job {self.job_name!r}"):
            runs = self._client.get_job_runs(JobName=self.job_name, MaxResults=1)["JobRuns"]
        return dict(runs[0]) if runs else None

    def stop(self, *, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Stop the run that is under way, if any, and wait until it has ended.

        Raises:
            GlueError: It had not ended after ``timeout_s``, or Glue could not be reached.
        """
        run = self.latest_run()
        if run is None or run["JobRunState"] in ENDED:
            return
        with translated(GlueError, f"stop run {run['Id']} of Glue job {self.job_name!r}"):
            self._client.batch_stop_job_run(JobName=self.job_name, JobRunIds=[str(run["Id"])])
        self._wait_for_end(timeout_s)

    def _wait_for_end(self, timeout_s: float) -> dict[str, Any] | None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            run = self.latest_run()
            if run is None or run["JobRunState"] in ENDED:
                return run
            time.sleep(POLL_S)
        raise GlueError(f"Glue job {self.job_name!r} had not stopped after {timeout_s:.0f} s", code="Timeout")
