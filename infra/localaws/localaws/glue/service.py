"""The actions of Glue, and the life of a run.

Belongs here: what the API answers, which run starts when, and what a run ends in. Does not: the rules of one job or run (``jobs``,
``runs``), its launch (``launch``), what is kept (``records``).
"""

import asyncio
import logging
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from localaws import processes
from localaws.glue import jobs, launch, records, runs
from localaws.glue.environments import Environments
from localaws.glue.runs import WAITING, Run
from localaws.glue.source import LaunchError
from localaws.wire import ACCOUNT_ID, Action, AsgiApp, AwsError, json_app

STOP_GRACE_S = 20.0
POLL_S = 0.1
PAGE_SIZE = 200
MAX_TAGS = 50
TIMEOUT_MESSAGE = "Job run timed out"

_log = logging.getLogger(__name__)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Glue:
    """The jobs of one account and region, and their runs.

    Args:
        folder: Where definitions, runs and logs are kept.
        region: The region in the jobs' ARNs.
        clock: Returns the time, with its zone.
        stop_grace_s: How long a script may go on after SIGTERM, in seconds.
    """

    def __init__(
        self,
        folder: Path,
        *,
        region: str,
        clock: Callable[[], datetime] = _utc_now,
        stop_grace_s: float = STOP_GRACE_S,
    ) -> None:
        self._region = region
        self._clock = clock
        self._stop_grace_s = stop_grace_s
        self._records = records.Records(folder)
        self._environments = Environments(folder / "venvs", self._records.runs_folder)
        self._known = records.Known({}, {}, {})
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closing = False

    def actions(self) -> dict[str, Action]:
        """Return the handlers by action."""
        return {
            "CreateJob": self.create_job,
            "UpdateJob": self.update_job,
            "GetJob": self.get_job,
            "GetJobs": self.get_jobs,
            "DeleteJob": self.delete_job,
            "StartJobRun": self.start_job_run,
            "GetJobRun": self.get_job_run,
            "GetJobRuns": self.get_job_runs,
            "BatchStopJobRun": self.batch_stop_job_run,
            "TagResource": self.tag_resource,
            "UntagResource": self.untag_resource,
            "GetTags": self.get_tags,
        }

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Bring back what is known; in the end, stop all runs but those that wait, which go on waiting at the next start."""
        for run in await asyncio.to_thread(self._load):
            self._end(run, "FAILED", "the local Glue was killed while the run was active")
        for name in list(self._known.jobs):
            self._start_waiting(name)
        yield
        self._is_closing = True
        for run in self._known.runs.values():
            if run.is_active:
                self._stop(run)
        await asyncio.gather(*self._tasks)

    def create_job(self, params: dict[str, Any]) -> dict[str, Any]:
        """Define a job."""
        name = params["Name"]
        if name in self._known.jobs:
            raise AwsError("AlreadyExistsException", f"Job with name: {name} already exists.")
        now = self._clock()
        definition = {key: value for key, value in params.items() if key != "Tags"}
        job = jobs.defined(name, definition, created_at=now, now=now)
        self._commit(
            jobs={**self._known.jobs, name: job}, tags={**self._known.tags, name: dict(params.get("Tags", {}))}
        )
        return {"Name": name}

    def update_job(self, params: dict[str, Any]) -> dict[str, Any]:
        """Replace a job's definition; runs that have started keep the old one."""
        name = params["JobName"]
        created_at = self._job(name)["CreatedOn"]
        job = jobs.defined(name, params["JobUpdate"], created_at=created_at, now=self._clock())
        self._commit(jobs={**self._known.jobs, name: job})
        self._start_waiting(name)
        return {"JobName": name}

    def get_job(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return a job's definition."""
        return {"Job": self._job(params["JobName"])}

    def get_jobs(self, params: dict[str, Any]) -> dict[str, Any]:
        """List the jobs by name, page by page."""
        listed, token = _page([job for _, job in sorted(self._known.jobs.items())], params)
        return {"Jobs": listed, "NextToken": token}

    def delete_job(self, params: dict[str, Any]) -> dict[str, Any]:
        """Forget a job; that it is not there is no error. Its runs go on, those that wait end in ERROR."""
        name = params["JobName"]
        if name in self._known.jobs:
            self._commit(jobs=_without(self._known.jobs, name), tags=_without(self._known.tags, name))
            for run in list(self._known.runs.values()):
                if run.job_name == name and run.state == WAITING:
                    self._set(run, "ERROR", f"Job {name} was deleted before the run could start")
        return {"JobName": name}

    def start_job_run(self, params: dict[str, Any]) -> dict[str, Any]:
        """Start a run of a job, or have it wait for its turn."""
        job = self._job(params["JobName"])
        jobs.check_request(params)
        previous = None
        if "JobRunId" in params:
            previous = self._run(job["Name"], params["JobRunId"])
            if not previous.has_ended:
                raise AwsError("InvalidInputException", f"Job run {previous.run_id} has not ended: {previous.state}")
        run = Run(runs.requested(job, params, now=self._clock(), previous=previous))
        if not self._has_room(job):
            limit = job["ExecutionProperty"]["MaxConcurrentRuns"]
            reason = f"Concurrent runs exceeded for {job['Name']}: at most {limit}"
            if not run.record.get("JobRunQueuingEnabled"):
                raise AwsError("ConcurrentRunsExceededException", reason)
            run.record |= {"JobRunState": WAITING, "StateDetail": reason}
        self._commit(known_runs={**self._known.runs, run.run_id: run})
        if run.state != WAITING:
            self._start(run, job)
        return {"JobRunId": run.run_id}

    def get_job_run(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return a run's state."""
        return {"JobRun": self._run(params["JobName"], params["RunId"]).describe(self._clock())}

    def get_job_runs(self, params: dict[str, Any]) -> dict[str, Any]:
        """List a job's runs, newest first, page by page."""
        name = self._job(params["JobName"])["Name"]
        newest_first = [run for run in reversed(self._known.runs.values()) if run.job_name == name]
        listed, token = _page(newest_first, params)
        return {"JobRuns": [run.describe(self._clock()) for run in listed], "NextToken": token}

    def batch_stop_job_run(self, params: dict[str, Any]) -> dict[str, Any]:
        """Begin to stop runs; each has some 20 s to end at a border of its own choice."""
        name = params["JobName"]
        stopping, errors = [], []
        for run_id in params["JobRunIds"]:
            try:
                self._stop(self._unended_run(name, run_id))
            except AwsError as error:
                detail = {"ErrorCode": error.code, "ErrorMessage": error.message}
                errors.append({"JobName": name, "JobRunId": run_id, "ErrorDetail": detail})
            else:
                stopping.append({"JobName": name, "JobRunId": run_id})
        return {"SuccessfulSubmissions": stopping, "Errors": errors}

    def tag_resource(self, params: dict[str, Any]) -> dict[str, Any]:
        """Add tags to a job, or give those that are there another value."""
        name = self._job_of(params["ResourceArn"])
        tags = {**self._known.tags.get(name, {}), **params["TagsToAdd"]}
        if len(tags) > MAX_TAGS:
            raise AwsError("InvalidInputException", f"Job {name} would have {len(tags)} tags, at most {MAX_TAGS}.")
        self._commit(tags={**self._known.tags, name: tags})
        return {}

    def untag_resource(self, params: dict[str, Any]) -> dict[str, Any]:
        """Remove tags of a job; a key that is not there is no error."""
        name = self._job_of(params["ResourceArn"])
        tags = _without(self._known.tags.get(name, {}), *params["TagsToRemove"])
        self._commit(tags={**self._known.tags, name: tags})
        return {}

    def get_tags(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return a job's tags."""
        return {"Tags": self._known.tags.get(self._job_of(params["ResourceArn"]), {})}

    def _job(self, name: str) -> dict[str, Any]:
        if name not in self._known.jobs:
            raise AwsError("EntityNotFoundException", f"Job {name} not found.")
        return self._known.jobs[name]

    def _job_of(self, arn: str) -> str:
        name = arn.removeprefix(f"arn:aws:glue:{self._region}:{ACCOUNT_ID}:job/")
        if name not in self._known.jobs:
            raise AwsError("EntityNotFoundException", f"Resource {arn} not found: it is no job of this region.")
        return name

    def _run(self, job_name: str, run_id: str) -> Run:
        run = self._known.runs.get(run_id)
        if run is None or run.job_name != job_name:
            raise AwsError("EntityNotFoundException", f"Job run {run_id} of job {job_name} not found.")
        return run

    def _unended_run(self, job_name: str, run_id: str) -> Run:
        run = self._run(job_name, run_id)
        if run.has_ended:
            raise AwsError("InvalidInputException", f"Job run {run_id} is not running: {run.state}")
        return run

    def _has_room(self, job: Mapping[str, Any]) -> bool:
        """Say whether a run of a job may start now: fewer are active than may be, and none waits."""
        states = [run.state for run in self._known.runs.values() if run.job_name == job["Name"]]
        active = sum(state in runs.ACTIVE for state in states)
        return active < job["ExecutionProperty"]["MaxConcurrentRuns"] and WAITING not in states

    def _start_waiting(self, name: str) -> None:
        """Start the runs of a job that wait, in their order, as far as there is room."""
        job = self._known.jobs.get(name)
        if job is None or self._is_closing:
            return
        of_job = [run for run in self._known.runs.values() if run.job_name == name]
        room = job["ExecutionProperty"]["MaxConcurrentRuns"] - sum(run.is_active for run in of_job)
        for run in [run for run in of_job if run.state == WAITING][: max(0, room)]:
            del run.record["StateDetail"]
            self._set(run, "STARTING")
            self._start(run, job)

    def _start(self, run: Run, job: Mapping[str, Any]) -> None:
        task = asyncio.create_task(self._execute(run, job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _execute(self, run: Run, job: Mapping[str, Any]) -> None:
        """Take a run from STARTING to its end."""
        folder = self._records.folder(run.run_id)
        try:
            launched = await asyncio.to_thread(launch.prepare, run, job, folder, self._environments)
            if run.outcome is None:  # it may have been stopped meanwhile
                run.process = launched.start()
        except (LaunchError, OSError) as error:
            self._end(run, "FAILED", f"LAUNCH ERROR | {error}")
        else:
            if run.process is None:
                self._end(run, "STOPPED")
            else:
                run.begin(job, self._clock())
                self._set(run, "RUNNING")
                code = await self._watch(run, run.process)
                self._end(run, *self._ending(run, code))
        await asyncio.to_thread(self._prune, self._records.old_folders(self._known.runs))

    async def _watch(self, run: Run, process: subprocess.Popen[bytes]) -> int:
        """Wait for a run's process, ending it when its time has come; then end what it left behind."""
        while (code := process.poll()) is None:
            now = self._clock()
            if run.outcome is None and run.is_over_time(now):
                run.outcome = "TIMEOUT"
                self._terminate(run)
            elif run.outcome is None and run.is_to_restart(now):
                run.outcome = "EXPIRED"
                process.terminate()
            if time.monotonic() > run.kill_at_s or run.must_restart(now):
                process.kill()
            await asyncio.sleep(POLL_S)
        try:
            await asyncio.to_thread(launch.end_remains, process, run.run_id)
        except TimeoutError as error:
            _log.error("run %s has ended, but not all that it started: %s", run.run_id, error)
        run.process = None
        return code

    def _ending(self, run: Run, code: int) -> tuple[str, str | None]:
        """Return the state that a run ends in, and its message."""
        if run.outcome is not None:
            return run.outcome, TIMEOUT_MESSAGE if run.outcome == "TIMEOUT" else None
        if code == 0:
            return "SUCCEEDED", None
        return "FAILED", launch.error_of(self._records.folder(run.run_id), code)

    def _end(self, run: Run, state: str, error: str | None = None) -> None:
        """End a run, and start what follows it: its next attempt or restart, else the run that waits longest."""
        self._set(run, state, error)
        job = self._known.jobs.get(run.job_name)
        if job is None or self._is_closing:
            return
        if state == "EXPIRED" or (state == "FAILED" and run.record["Attempt"] < job["MaxRetries"]):
            successor = Run(runs.following(run, now=self._clock()))
            self._known.runs[successor.run_id] = successor
            self._set(successor, "STARTING")
            self._start(successor, job)
        self._start_waiting(run.job_name)

    def _stop(self, run: Run) -> None:
        """Begin to stop a run; only its script is told, so that it can end while its Spark still lives."""
        if run.state == WAITING:
            self._set(run, "STOPPED")
        elif run.state != "STOPPING":
            run.outcome = "STOPPED"
            self._set(run, "STOPPING")
            self._terminate(run)

    def _terminate(self, run: Run) -> None:
        run.kill_at_s = time.monotonic() + self._stop_grace_s
        if run.process is not None:
            run.process.terminate()

    def _set(self, run: Run, state: str, error: str | None = None) -> None:
        """Change a run's state; where that cannot be written, it is known until the next change can."""
        now = self._clock()
        run.record |= {"JobRunState": state, "LastModifiedOn": now}
        if run.has_ended:
            run.record |= {"CompletedOn": now, "ExecutionTime": run.execution_s(now)}
        if error is not None:
            run.record["ErrorMessage"] = error
        _log.info("job %s run %s: %s %s", run.job_name, run.run_id, state, error or "")
        try:
            self._records.save(self._known)
        except OSError as failure:
            _log.error("cannot keep that run %s is %s: %s", run.run_id, state, failure)

    def _commit(
        self,
        *,
        jobs: dict[str, dict[str, Any]] | None = None,
        tags: dict[str, dict[str, str]] | None = None,
        known_runs: dict[str, Run] | None = None,
    ) -> None:
        """Keep what a caller asked for, or leave all as it was where it cannot be written."""
        known = records.Known(
            self._known.jobs if jobs is None else jobs,
            self._known.tags if tags is None else tags,
            self._known.runs if known_runs is None else records.history(known_runs, self._clock()),
        )
        try:
            self._records.save(known)
        except OSError as error:
            _log.error("cannot write: %s", error)
            raise AwsError(
                "InternalServiceException", f"Glue's folder cannot be written, nothing was changed: {error}", status=500
            ) from error
        self._known = known

    def _load(self) -> list[Run]:
        """Read what is kept, and end what an earlier service left behind.

        Returns:
            The runs that were active when it died; none of their processes lives.
        """
        self._known = self._records.load()
        self._prune(self._records.old_folders(self._known.runs))
        left = [run for run in self._known.runs.values() if run.is_active]
        for run in left:
            processes.kill_marked(launch.RUN_MARK, run.run_id)
        return left

    def _prune(self, old_folders: list[Path]) -> None:
        for folder in old_folders:
            shutil.rmtree(folder, ignore_errors=True)
        self._environments.prune()


def _without(items: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in items.items() if key not in keys}


def _page(items: list[Any], params: Mapping[str, Any]) -> tuple[list[Any], str | None]:
    token = params.get("NextToken", "0")
    if not (token.isascii() and token.isdecimal()):
        raise AwsError("InvalidInputException", f"NextToken {token!r} is not one of this service's.")
    start, size = int(token), params.get("MaxResults", PAGE_SIZE)
    end = start + size
    return items[start:end], str(end) if end < len(items) else None


def make_app(*, state: Path, region: str) -> AsgiApp:
    """Return Glue as an ASGI app.

    Args:
        state: The folder of all local services; Glue's is ``glue`` below it.
        region: The region in the jobs' ARNs.
    """
    glue = Glue(state / "glue", region=region)
    return json_app("glue", glue.actions(), lifespan=glue.lifespan)
