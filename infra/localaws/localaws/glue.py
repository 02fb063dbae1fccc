"""Glue jobs whose runs are real: the script from S3, in a Python process of its own, with its Spark.

Belongs here: job definitions, runs and their states, the process of a run. Does not: the wire (``wire``), or what a script does.

A run has a folder, ``STATE/glue/runs/<run id>``, with the script, its packages and its log ``output.log``. Definitions and runs are
kept in ``STATE/glue/glue.json``, so a service that was killed comes back with its history; its runs died with it and are FAILED.
"""

import argparse
import asyncio
import logging
import math
import os
import re
import secrets
import subprocess
import sys
import time
import zipfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from localaws import processes
from localaws.wire import Action, AsgiApp, AwsError, json_app, serve

RUN_MARK = "LOCALAWS_GLUE_RUN"
ACTIVE = frozenset({"STARTING", "RUNNING", "STOPPING"})
STOP_GRACE_S = 20.0
POLL_S = 0.1
S3_TIMEOUT_S = 30
S3_ATTEMPTS = 4
PAGE_SIZE = 200
LOG_TAIL_BYTES = 65_536
DEFAULT_TIMEOUT_MINUTES = 2880

_TIMES = ("CreatedOn", "LastModifiedOn", "StartedOn", "CompletedOn")
_OF_RUN = (
    "MaxCapacity",
    "WorkerType",
    "NumberOfWorkers",
    "GlueVersion",
    "Timeout",
    "ExecutionClass",
    "SecurityConfiguration",
)
_log = logging.getLogger(__name__)


class FetchError(RuntimeError):
    """A run's script or package could not be brought from S3."""


@dataclass
class Run:
    """A job run: what the API shows of it, and its process while it has one."""

    record: dict[str, Any]
    process: subprocess.Popen[bytes] | None = None
    kill_at_s: float = math.inf

    @property
    def run_id(self) -> str:
        """The run's id."""
        return str(self.record["Id"])

    @property
    def is_active(self) -> bool:
        """Whether it has not ended yet."""
        return self.record["JobRunState"] in ACTIVE

    def describe(self) -> dict[str, Any]:
        """Return the run as the API shows it, with its time so far."""
        end = self.record.get("CompletedOn") or datetime.now(UTC)
        return {**self.record, "ExecutionTime": int((end - self.record["StartedOn"]).total_seconds())}


class Glue:
    """The jobs of one account and region, and their runs.

    Args:
        folder: Where definitions, runs and logs are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._jobs: dict[str, dict[str, Any]] = {}
        self._runs: dict[str, Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()

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
        }

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Bring back what is known, and stop all runs in the end."""
        self._folder.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(self._load)
        yield
        for run in self._runs.values():
            if run.is_active:
                self._stop(run)
        await asyncio.gather(*self._tasks)

    def create_job(self, params: dict[str, Any]) -> dict[str, Any]:
        """Define a job."""
        name = params["Name"]
        if name in self._jobs:
            raise AwsError("AlreadyExistsException", f"Job with name: {name} already exists.")
        self._define(name, {key: value for key, value in params.items() if key != "Tags"}, datetime.now(UTC))
        return {"Name": name}

    def update_job(self, params: dict[str, Any]) -> dict[str, Any]:
        """Replace a job's definition; runs that have started keep the old one."""
        name = params["JobName"]
        self._define(name, {"Name": name, **params["JobUpdate"]}, self._job(name)["CreatedOn"])
        return {"JobName": name}

    def get_job(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return a job's definition."""
        return {"Job": self._job(params["JobName"])}

    def get_jobs(self, params: dict[str, Any]) -> dict[str, Any]:
        """List the jobs by name, page by page."""
        jobs, token = _page([self._jobs[name] for name in sorted(self._jobs)], params)
        return {"Jobs": jobs, "NextToken": token}

    def delete_job(self, params: dict[str, Any]) -> dict[str, Any]:
        """Forget a job; that it is not there is no error. Its runs go on."""
        self._jobs.pop(params["JobName"], None)
        self._save()
        return {"JobName": params["JobName"]}

    async def start_job_run(self, params: dict[str, Any]) -> dict[str, Any]:
        """Start a run of a job."""
        job = self._job(params["JobName"])
        limit = job["ExecutionProperty"]["MaxConcurrentRuns"]
        if sum(run.is_active and run.record["JobName"] == job["Name"] for run in self._runs.values()) >= limit:
            raise AwsError(
                "ConcurrentRunsExceededException", f"Concurrent runs exceeded for {job['Name']}: at most {limit}"
            )
        now = datetime.now(UTC)
        run = Run(
            {
                "Id": f"jr_{secrets.token_hex(32)}",
                "Attempt": 0,
                "JobName": job["Name"],
                "StartedOn": now,
                "LastModifiedOn": now,
                "JobRunState": "STARTING",
                "Arguments": params.get("Arguments", {}),
                "PredecessorRuns": [],
                "LogGroupName": "/aws-glue/jobs",
                **{key: value for key in _OF_RUN if (value := params.get(key, job.get(key))) is not None},
            }
        )
        self._runs[run.run_id] = run
        self._save()
        task = asyncio.create_task(self._execute(run, job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return {"JobRunId": run.run_id}

    def get_job_run(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return a run's state."""
        return {"JobRun": self._run(params["JobName"], params["RunId"]).describe()}

    def get_job_runs(self, params: dict[str, Any]) -> dict[str, Any]:
        """List a job's runs, newest first, page by page."""
        name = self._job(params["JobName"])["Name"]
        newest_first = [run for run in reversed(self._runs.values()) if run.record["JobName"] == name]
        runs, token = _page(newest_first, params)
        return {"JobRuns": [run.describe() for run in runs], "NextToken": token}

    def batch_stop_job_run(self, params: dict[str, Any]) -> dict[str, Any]:
        """Begin to stop runs; each has some 20 s to end at a border of its own choice."""
        name = params["JobName"]
        stopping, errors = [], []
        for run_id in params["JobRunIds"]:
            try:
                self._stop(self._active_run(name, run_id))
            except AwsError as error:
                detail = {"ErrorCode": error.code, "ErrorMessage": error.message}
                errors.append({"JobName": name, "JobRunId": run_id, "ErrorDetail": detail})
            else:
                stopping.append({"JobName": name, "JobRunId": run_id})
        return {"SuccessfulSubmissions": stopping, "Errors": errors}

    def _define(self, name: str, definition: dict[str, Any], created_at: datetime) -> None:
        if not definition.get("Role") or not definition.get("Command", {}).get("ScriptLocation"):
            raise AwsError("InvalidInputException", "Role and Command.ScriptLocation must be given.")
        if "MaxCapacity" in definition and {"WorkerType", "NumberOfWorkers"} & set(definition):
            raise AwsError(
                "InvalidInputException", "Please do not set Max Capacity if using Worker Type and Number of Workers."
            )
        self._jobs[name] = {
            "MaxRetries": 0,
            "Timeout": DEFAULT_TIMEOUT_MINUTES,
            **definition,
            "ExecutionProperty": {"MaxConcurrentRuns": 1, **definition.get("ExecutionProperty", {})},
            "CreatedOn": created_at,
            "LastModifiedOn": datetime.now(UTC),
        }
        self._save()

    def _job(self, name: str) -> dict[str, Any]:
        if name not in self._jobs:
            raise AwsError("EntityNotFoundException", f"Job {name} not found.")
        return self._jobs[name]

    def _run(self, job_name: str, run_id: str) -> Run:
        run = self._runs.get(run_id)
        if run is None or run.record["JobName"] != job_name:
            raise AwsError("EntityNotFoundException", f"Job run {run_id} of job {job_name} not found.")
        return run

    def _active_run(self, job_name: str, run_id: str) -> Run:
        run = self._run(job_name, run_id)
        if not run.is_active:
            raise AwsError("InvalidInputException", f"Job run {run_id} is not running: {run.record['JobRunState']}")
        return run

    async def _execute(self, run: Run, job: Mapping[str, Any]) -> None:
        """Take a run from STARTING to its end."""
        folder = self._folder / "runs" / run.run_id
        log_path = folder / "output.log"
        arguments = {**job.get("DefaultArguments", {}), **run.record["Arguments"]}
        try:
            script, packages = await asyncio.to_thread(_fetch, folder, job["Command"]["ScriptLocation"], arguments)
            if run.record["JobRunState"] == "STARTING":  # it may have been stopped meanwhile
                command: list[str | Path] = [sys.executable, script, *_script_arguments(run, arguments)]
                run.process = processes.spawn(
                    command, env=_run_environment(run, packages), cwd=folder, log_path=log_path
                )
                self._set(run, "RUNNING")
        except (FetchError, OSError) as error:
            self._set(run, "FAILED", f"LAUNCH ERROR | {error}")
            return
        if run.process is None:
            self._set(run, "STOPPED")
            return
        while (code := run.process.poll()) is None:
            if time.monotonic() > run.kill_at_s:
                run.process.kill()
            await asyncio.sleep(POLL_S)
        await asyncio.to_thread(_end_remains, run.process, run.run_id)
        run.process = None
        if run.record["JobRunState"] == "STOPPING":
            self._set(run, "STOPPED")
        elif code == 0:
            self._set(run, "SUCCEEDED")
        else:
            self._set(run, "FAILED", _error_of(log_path, code))

    def _stop(self, run: Run) -> None:
        """Begin to stop a run; only its script is told, so that it can end while its Spark still lives."""
        if run.record["JobRunState"] == "STOPPING":
            return
        self._set(run, "STOPPING")
        run.kill_at_s = time.monotonic() + STOP_GRACE_S
        if run.process is not None:
            run.process.terminate()

    def _set(self, run: Run, state: str, error: str | None = None) -> None:
        now = datetime.now(UTC)
        run.record |= {"JobRunState": state, "LastModifiedOn": now}
        if state not in ACTIVE:
            run.record["CompletedOn"] = now
        if error is not None:
            run.record["ErrorMessage"] = error
        _log.info("job %s run %s: %s %s", run.record["JobName"], run.run_id, state, error or "")
        self._save()

    def _save(self) -> None:
        content = {"jobs": self._jobs, "runs": [run.record for run in self._runs.values()]}
        fresh = self._folder / "glue.json.new"
        fresh.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
        fresh.replace(self._folder / "glue.json")

    def _load(self) -> None:
        path = self._folder / "glue.json"
        if not path.exists():
            return
        content = orjson.loads(path.read_bytes())
        self._jobs = {name: _with_times(job) for name, job in content["jobs"].items()}
        self._runs = {record["Id"]: Run(_with_times(record)) for record in content["runs"]}
        for run in self._runs.values():
            if run.is_active:
                processes.kill_marked(RUN_MARK, run.run_id)
                self._set(run, "FAILED", "the local Glue was killed while the run was active")


def _with_times(record: dict[str, Any]) -> dict[str, Any]:
    return {key: datetime.fromisoformat(value) if key in _TIMES else value for key, value in record.items()}


def _page(items: list[Any], params: Mapping[str, Any]) -> tuple[list[Any], str | None]:
    token = params.get("NextToken", "0")
    if not token.isdecimal():
        raise AwsError("InvalidInputException", f"NextToken {token!r} is not one of this service's.")
    start, size = int(token), params.get("MaxResults", PAGE_SIZE)
    following = start + size
    return items[start:following], str(following) if following < len(items) else None


def _script_arguments(run: Run, arguments: Mapping[str, str]) -> list[str]:
    """Return a script's arguments as Glue gives them: its own two, then ``--key value`` each."""
    pairs = {"--JOB_NAME": run.record["JobName"], "--JOB_RUN_ID": run.run_id, **arguments}
    return [part for key, value in pairs.items() for part in (key, value) if part]


def _run_environment(run: Run, packages: list[Path]) -> dict[str, str]:
    path = [*map(str, packages), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "PYTHONUNBUFFERED": "1",
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        RUN_MARK: run.run_id,
    }


def _fetch(folder: Path, script_uri: str, arguments: Mapping[str, str]) -> tuple[Path, list[Path]]:
    """Bring a run's script and packages from S3.

    Returns:
        The script, and what belongs on PYTHONPATH.

    Raises:
        FetchError: Something is not there, or is not what its name says.
    """
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=S3_TIMEOUT_S,
        read_timeout=S3_TIMEOUT_S,
        retries={"mode": "standard", "max_attempts": S3_ATTEMPTS},
    )
    download = partial(_download, boto3.session.Session().client("s3", config=config).download_file)
    script = download(script_uri, folder)
    uris = [uri.strip() for uri in arguments.get("--extra-py-files", "").split(",") if uri.strip()]
    return script, [_unpack(download(uri, folder / "packages")) for uri in uris]


def _download(download_file: Callable[[str, str, str], None], uri: str, folder: Path) -> Path:
    from botocore.exceptions import BotoCoreError, ClientError

    match = re.fullmatch(r"s3a?://([^/]+)/(.*[^/])", uri)
    if match is None:
        raise FetchError(f"{uri!r} is not the URI of an object in S3")
    target = folder / Path(match[2]).name
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        download_file(match[1], match[2], str(target))
    except (BotoCoreError, ClientError) as error:
        raise FetchError(f"cannot fetch {uri}: {error}") from error
    return target


def _unpack(package: Path) -> Path:
    """Return what to put on PYTHONPATH for a package: archives are unpacked, since code may open files beside its own."""
    match package.suffix:
        case ".py":
            return package.parent
        case ".whl" | ".zip":
            folder = package.parent / package.stem
            try:
                with zipfile.ZipFile(package) as archive:
                    archive.extractall(folder)
            except zipfile.BadZipFile as error:
                raise FetchError(f"{package.name} of --extra-py-files is no zip archive: {error}") from error
            return folder
    raise FetchError(f"{package.name} of --extra-py-files is neither .py, .zip nor .whl")


def _end_remains(process: subprocess.Popen[bytes], run_id: str) -> None:
    """End what a script left behind: its JVM, and workers that have left its process group."""
    processes.end(process, grace_s=0)
    processes.kill_marked(RUN_MARK, run_id)


def _error_of(log_path: Path, code: int) -> str:
    """Return the exception that ended a script: the line after its last traceback, else how it ended."""
    with log_path.open("rb") as log:
        log.seek(max(0, log_path.stat().st_size - LOG_TAIL_BYTES))
        lines = log.read().decode("utf-8", "replace").splitlines()
    is_traceback = False
    found = ""
    for line in lines:
        if line.startswith("Traceback (most recent call last)"):
            is_traceback = True
        elif is_traceback and re.match(r"[A-Za-z_][\w.]*(:|$)", line):
            found, is_traceback = line, False
    return found or (f"the script was ended by signal {-code}" if code < 0 else f"SystemExit: {code}")


def make_app(state_dir: Path) -> AsgiApp:
    """Return Glue as an ASGI app."""
    glue = Glue(state_dir / "glue")
    return json_app("glue", glue.actions(), lifespan=glue.lifespan)


def main() -> None:
    """Serve Glue on 127.0.0.1."""
    parser = argparse.ArgumentParser(prog="python -m localaws.glue", description=main.__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, required=True)
    options = parser.parse_args()
    serve(make_app(options.state.resolve()), options.port)


if __name__ == "__main__":
    main()
