"""Training jobs: each a child process in a folder of its own.

Belongs here: the life of a job, from CreateTrainingJob to its last status. Does not: what is trained.
"""

import asyncio
import json
import logging
import math
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from localaws.algorithms.container import Folder
from localaws.processes import end, spawn
from localaws.sagemaker import images
from localaws.sagemaker.records import Kind, Record, Records, page, pick, utc_now
from localaws.sagemaker.storage import CancelledDownloadError, Storage, StorageError
from localaws.sagemaker.tags import Tags
from localaws.wire import Action, AwsError

POLL_S = 0.1
GRACE_S = 10.0
DEFAULT_MAX_RUNTIME_S = 86_400
LOG_TAIL_CHARS = 600
LOG_GROUP = "/aws/sagemaker/TrainingJobs"

DESCRIBED = (
    *("TrainingJobName", "HyperParameters", "AlgorithmSpecification", "RoleArn", "InputDataConfig", "OutputDataConfig"),
    *("ResourceConfig", "StoppingCondition", "Environment", "ExperimentConfig", "RetryStrategy", "VpcConfig"),
    *("EnableNetworkIsolation", "EnableInterContainerTrafficEncryption", "EnableManagedSpotTraining"),
)
"""Members of the request that DescribeTrainingJob shows again."""

MESSAGES = {
    "Starting": "Starting the training job",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Uploading": "Uploading generated training model",
    "Stopping": "Stopping the training job",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
}

METRICS = (
    re.compile(r"#011(train|validation)-([^:#]+):([^\s#]+)"),
    re.compile(r"#quality_metric: host=\S+, (train|test) (\S+) <score>=(\S+)"),
)
"""As the built-in algorithms' metric definitions find them in a log line: ``[7]#011train-auc:0.9#011validation-auc:0.8`` of
XGBoost, ``#quality_metric: host=algo-1, test f1 <score>=0.5`` of Random Cut Forest."""

_log = logging.getLogger(__name__)


class _JobFailedError(Exception):
    """The job fails for the reason in the message."""


class _JobStoppedError(Exception):
    """The job was stopped.

    Args:
        status: Its last secondary status.
    """

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


@dataclass(slots=True)
class _Run:
    """A job that is not over yet."""

    name: str
    task: asyncio.Task[None] | None = None
    process: subprocess.Popen[bytes] | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)


class TrainingJobs:
    """All training jobs, running and past."""

    def __init__(self, records: Records, tags: Tags, storage: Storage, folder: Path) -> None:
        self._records = records
        self._tags = tags
        self._storage = storage
        self._folder = folder
        self._runs: dict[str, _Run] = {}

    def actions(self) -> dict[str, Action]:
        """Return the handlers by the name of their action."""
        return {
            "CreateTrainingJob": self.create,
            "DescribeTrainingJob": self.describe,
            "ListTrainingJobs": self.list,
            "StopTrainingJob": self.stop,
            "DeleteTrainingJob": self.delete,
        }

    def recover(self) -> None:
        """Fail the jobs that were running when the service last ended, and remove what they had downloaded and packed."""
        for job in self._records.all(Kind.TRAINING_JOB):
            name, status = job["TrainingJobName"], job["TrainingJobStatus"]
            if status in {"InProgress", "Stopping"}:
                self._finish(name, "Failed", reason="InternalServerError: the service ended during the job")
                shutil.rmtree(Folder(self._folder / name).base / "input" / "data", ignore_errors=True)
                (self._folder / name / "model.tar.gz").unlink(missing_ok=True)
            elif status == "Deleting":
                shutil.rmtree(self._folder / name, ignore_errors=True)
                self._forget(name)

    async def close(self) -> None:
        """End all running jobs and their processes."""
        runs = list(self._runs.values())
        for run in runs:
            if run.task is not None:
                run.task.cancel()
        await asyncio.gather(*(run.task for run in runs if run.task is not None), return_exceptions=True)
        await asyncio.gather(
            *(asyncio.to_thread(end, run.process, grace_s=1) for run in runs if run.process is not None)
        )

    def create(self, params: Record) -> Record:
        """Start a job."""
        name = params["TrainingJobName"]
        arn = self._records.arn(Kind.TRAINING_JOB, name)
        if self._records.find(Kind.TRAINING_JOB, name) is not None:
            raise AwsError(
                "ResourceInUse",
                "Training job names must be unique within an AWS account and region, "
                f"and a training job with this name already exists ({arn})",
            )
        image = params.get("AlgorithmSpecification", {}).get("TrainingImage")
        if image is None:
            raise AwsError("ValidationException", "AlgorithmSpecification.TrainingImage is required here")
        images.program(image)
        output = f"{params['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{name}/output"
        _check_channels(params.get("InputDataConfig", []))
        record = {
            **pick(params, *DESCRIBED),
            "StoppingCondition": params.get("StoppingCondition", {"MaxRuntimeInSeconds": DEFAULT_MAX_RUNTIME_S}),
            "TrainingJobArn": arn,
            "ModelArtifacts": {"S3ModelArtifacts": f"{output}/model.tar.gz"},
            "TrainingJobStatus": "InProgress",
            "CreationTime": utc_now(),
            **_entered([], "Starting"),
        }
        self._tags.create(arn, params.get("Tags", []))
        self._records.put(Kind.TRAINING_JOB, name, record)
        run = self._runs[name] = _Run(name)
        run.task = asyncio.create_task(self._run(run))
        return {"TrainingJobArn": arn}

    def describe(self, params: Record) -> Record:
        """Describe a job."""
        return self._found(params["TrainingJobName"])

    def list(self, params: Record) -> Record:
        """List jobs."""
        jobs, token = page(
            self._records.all(Kind.TRAINING_JOB),
            params,
            name="TrainingJobName",
            status="TrainingJobStatus",
            order="Ascending",
        )
        members = (
            *("TrainingJobName", "TrainingJobArn", "CreationTime", "TrainingEndTime", "LastModifiedTime"),
            *("TrainingJobStatus", "SecondaryStatus"),
        )
        return {"TrainingJobSummaries": [pick(job, *members) for job in jobs], "NextToken": token}

    def stop(self, params: Record) -> Record:
        """Ask a running job to stop."""
        name = params["TrainingJobName"]
        job = self._found(name)
        status = job["TrainingJobStatus"]
        if status == "Stopping":
            return {}
        if status != "InProgress":
            raise AwsError(
                "ValidationException", f"The request was rejected because the training job is in status {status}."
            )
        entered = _entered(job["SecondaryStatusTransitions"], "Stopping")
        self._records.update(Kind.TRAINING_JOB, name, TrainingJobStatus="Stopping", **entered)
        self._runs[name].stop.set()
        return {}

    async def delete(self, params: Record) -> Record:
        """Forget a job that is over, with its log; its name is free again."""
        name = params["TrainingJobName"]
        job = self._records.find(Kind.TRAINING_JOB, name)
        if job is None:
            raise AwsError("ResourceNotFound", "Requested resource not found.")
        if job["TrainingJobStatus"] not in {"Completed", "Failed", "Stopped"}:
            raise AwsError("ResourceInUse", f"The training job {name} is in status {job['TrainingJobStatus']}.")
        self._records.update(Kind.TRAINING_JOB, name, TrainingJobStatus="Deleting")
        await asyncio.to_thread(shutil.rmtree, self._folder / name, ignore_errors=True)
        self._forget(name)
        return {}

    def _forget(self, name: str) -> None:
        self._records.remove(Kind.TRAINING_JOB, name)
        self._tags.forget(self._records.arn(Kind.TRAINING_JOB, name))

    def _found(self, name: str) -> Record:
        job = self._records.find(Kind.TRAINING_JOB, name)
        if job is None:
            raise AwsError("ValidationException", "Requested resource not found.")
        return job

    async def _run(self, run: _Run) -> None:
        folder = Folder(self._folder / run.name)
        outcome = await self._outcome(run, folder)
        await asyncio.to_thread(shutil.rmtree, folder.base / "input" / "data", ignore_errors=True)
        del self._runs[run.name]
        self._finish(run.name, **outcome)

    async def _outcome(self, run: _Run, folder: Folder) -> dict[str, Any]:
        """Run a job and return how it ended, as `_finish` takes it."""
        try:
            return {"status": "Completed", **await self._stages(run, folder)}
        except _JobStoppedError as stopped:
            return {"status": "Stopped", "secondary": stopped.status}
        except _JobFailedError as failure:
            return {"status": "Failed", "reason": str(failure)}
        except OSError as error:
            return {"status": "Failed", "reason": f"InternalServerError: {error}"}
        except Exception:  # noqa: BLE001 - a bug in one job must not end the others
            _log.exception("training job %s failed by a bug", run.name)
            return {"status": "Failed", "reason": "InternalServerError: see the log of the SageMaker service"}

    async def _stages(self, run: _Run, folder: Folder) -> Record:
        """Run a job and return what DescribeTrainingJob shows of its results."""
        job = self._found(run.name)
        await asyncio.to_thread(shutil.rmtree, folder.base, ignore_errors=True)
        _write_config(job, folder)
        self._enter(run, "Downloading", TrainingStartTime=utc_now())
        deadline = time.monotonic() + job["StoppingCondition"].get("MaxRuntimeInSeconds", DEFAULT_MAX_RUNTIME_S)
        await self._download(run, job, folder, deadline=deadline)
        self._enter(run, "Training")
        await self._train(run, job, folder, deadline=deadline)
        self._enter(run, "Uploading")
        try:
            await asyncio.to_thread(self._storage.upload_model, folder.model, job["ModelArtifacts"]["S3ModelArtifacts"])
        except StorageError as error:
            raise _JobFailedError(f"ClientError: Artifact upload failed: {error}") from error
        log = self._log_path(run.name).read_text(errors="replace")
        return {"FinalMetricDataList": final_metrics(log, now=utc_now())}

    async def _download(self, run: _Run, job: Record, folder: Folder, *, deadline: float) -> None:
        cancelled = threading.Event()

        def download() -> None:
            for channel in job.get("InputDataConfig", []):
                uri = channel["DataSource"]["S3DataSource"]["S3Uri"]
                self._storage.download_prefix(uri, folder.data(channel["ChannelName"]), cancelled=cancelled)

        downloading = asyncio.create_task(asyncio.to_thread(download))
        stopping = asyncio.create_task(run.stop.wait())
        try:
            await asyncio.wait(
                {downloading, stopping}, timeout=deadline - time.monotonic(), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            stopping.cancel()
            if not downloading.done():
                cancelled.set()
        if cancelled.is_set():
            with suppress(CancelledDownloadError, StorageError):
                await downloading
            raise _JobStoppedError("Stopped" if run.stop.is_set() else "MaxRuntimeExceeded")
        try:
            await downloading
        except StorageError as error:
            raise _JobFailedError(f"ClientError: Data download failed: {error}") from error

    async def _train(self, run: _Run, job: Record, folder: Folder, *, deadline: float) -> None:
        log_path = self._log_path(run.name)
        process = run.process = spawn(
            images.command(job["AlgorithmSpecification"]["TrainingImage"], "train"),
            env=images.environment(folder.base, job.get("Environment", {})),
            log_path=log_path,
        )
        while process.poll() is None:
            if run.stop.is_set() or time.monotonic() > deadline:
                await asyncio.to_thread(end, process, grace_s=GRACE_S)
                raise _JobStoppedError("Stopped" if run.stop.is_set() else "MaxRuntimeExceeded")
            await asyncio.sleep(POLL_S)
        if folder.failure.exists():
            raise _JobFailedError(f"{folder.failure.read_text()}, exit code: {process.returncode}")
        if process.returncode:
            tail = log_path.read_text(errors="replace").strip()[-LOG_TAIL_CHARS:]
            raise _JobFailedError(
                f"AlgorithmError: exit code: {process.returncode}. The log {LOG_GROUP}, {run.name}/algo-1, ends with: {tail}"
            )

    def _log_path(self, name: str) -> Path:
        return self._folder / name / "train.log"

    def _enter(self, run: _Run, secondary: str, **changes: Any) -> None:
        """Note that a job is in a new stage.

        Raises:
            _JobStoppedError: It was asked to stop meanwhile.
        """
        if run.stop.is_set():
            raise _JobStoppedError("Stopped")
        entered = _entered(self._found(run.name)["SecondaryStatusTransitions"], secondary)
        self._records.note(Kind.TRAINING_JOB, run.name, **entered, **changes)

    def _finish(
        self, name: str, status: str, *, secondary: str | None = None, reason: str | None = None, **results: Any
    ) -> None:
        job, now = self._found(name), utc_now()
        entered = _entered(job["SecondaryStatusTransitions"], secondary or status)
        changes: Record = {"TrainingJobStatus": status, "TrainingEndTime": now, **entered, **results}
        start = job.get("TrainingStartTime")
        if start is not None:
            duration_s = math.ceil((now - start).total_seconds())
            changes |= {"TrainingTimeInSeconds": duration_s, "BillableTimeInSeconds": duration_s}
        if reason is not None:
            changes["FailureReason"] = reason[:1024]
            _log.warning("training job %s failed: %s", name, reason)
        self._records.note(Kind.TRAINING_JOB, name, **changes)


def _entered(transitions: list[Record], secondary: str) -> Record:
    """Return the members of a record that change when its job comes into a new secondary status."""
    now = utc_now()
    earlier = [dict(item) for item in transitions]
    if earlier:
        earlier[-1].setdefault("EndTime", now)
    entered: Record = {"Status": secondary, "StartTime": now, "StatusMessage": MESSAGES[secondary]}
    if secondary in {"Completed", "Failed", "Stopped", "MaxRuntimeExceeded"}:
        entered["EndTime"] = now
    return {
        "SecondaryStatus": secondary,
        "SecondaryStatusTransitions": [*earlier, entered],
        "LastModifiedTime": now,
    }


def final_metrics(log: str, *, now: datetime) -> list[Record]:
    """Return the last value of every metric in a training log, as ``FinalMetricDataList``."""
    values: dict[str, float] = {}
    for channel, metric, text in (found for pattern in METRICS for found in pattern.findall(log)):
        value = float(text)
        if math.isfinite(value):
            values[f"{channel}:{metric}"] = value
    return [{"MetricName": name, "Value": value, "Timestamp": now} for name, value in values.items()]


def _check_channels(channels: list[Mapping[str, Any]]) -> None:
    names = [channel["ChannelName"] for channel in channels]
    if len(set(names)) != len(names):
        raise AwsError("ValidationException", f"InputDataConfig: channel names must be unique, they are {names}")
    for channel in channels:
        source = channel["DataSource"].get("S3DataSource", {})
        if source.get("S3DataType") != "S3Prefix":
            raise AwsError(
                "ValidationException", f"channel {channel['ChannelName']}: only S3DataType S3Prefix exists here"
            )
        if (
            channel.get("InputMode", "File") not in {"File", "FastFile"}
            or channel.get("CompressionType", "None") != "None"
        ):
            raise AwsError(
                "ValidationException", f"channel {channel['ChannelName']}: only uncompressed File input exists here"
            )


def _write_config(job: Record, folder: Folder) -> None:
    folder.config.mkdir(parents=True)
    channels = {
        channel["ChannelName"]: {
            **pick(channel, "ContentType"),
            "TrainingInputMode": "File",
            "S3DistributionType": channel["DataSource"]["S3DataSource"].get(
                "S3DataDistributionType", "FullyReplicated"
            ),
            "RecordWrapperType": "None",
        }
        for channel in job.get("InputDataConfig", [])
    }
    count = job.get("ResourceConfig", {}).get("InstanceCount", 1)
    resources = {"current_host": "algo-1", "hosts": [f"algo-{number}" for number in range(1, count + 1)]}
    (folder.config / "resourceconfig.json").write_text(json.dumps(resources))
    (folder.config / "hyperparameters.json").write_text(json.dumps(job.get("HyperParameters", {})))
    (folder.config / "inputdataconfig.json").write_text(json.dumps(channels))
