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
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from localaws.algorithms.container import Folder
from localaws.processes import end, spawn
from localaws.sagemaker import images
from localaws.sagemaker.records import Kind, Record, Records, page, pick
from localaws.sagemaker.storage import Storage, StorageError
from localaws.wire import Action, AwsError

POLL_S = 0.1
GRACE_S = 10.0
DEFAULT_MAX_RUNTIME_S = 86_400
LOG_TAIL_CHARS = 600

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

METRICS = re.compile(r"#011(train|validation)-([^:#]+):([^\s#]+)")
"""As the built-in XGBoost's metric definitions find them in a log line ``[7]#011train-auc:0.9#011validation-auc:0.8``."""

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

    def __init__(self, records: Records, storage: Storage, folder: Path) -> None:
        self._records = records
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
        }

    def recover(self) -> None:
        """Fail the jobs that were running when the service last ended."""
        for job in self._records.all(Kind.TRAINING_JOB):
            if job["TrainingJobStatus"] in {"InProgress", "Stopping"}:
                self._finish(
                    job["TrainingJobName"], "Failed", reason="InternalServerError: the service ended during the job"
                )

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
        _check_channels(params.get("InputDataConfig", []))
        now = datetime.now(UTC)
        record = {
            **pick(params, *DESCRIBED),
            "StoppingCondition": params.get("StoppingCondition", {"MaxRuntimeInSeconds": DEFAULT_MAX_RUNTIME_S}),
            "TrainingJobArn": arn,
            "TrainingJobStatus": "InProgress",
            "CreationTime": now,
            "SecondaryStatusTransitions": [],
        }
        self._records.put(Kind.TRAINING_JOB, name, record)
        self._enter(name, "Starting")
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
        status = self._found(name)["TrainingJobStatus"]
        if status not in {"InProgress", "Stopping"}:
            raise AwsError(
                "ValidationException", f"The request was rejected because the training job is in status {status}."
            )
        self._records.update(Kind.TRAINING_JOB, name, TrainingJobStatus="Stopping")
        self._enter(name, "Stopping")
        self._runs[name].stop.set()
        return {}

    def _found(self, name: str) -> Record:
        job = self._records.find(Kind.TRAINING_JOB, name)
        if job is None:
            raise AwsError("ValidationException", "Requested resource not found.")
        return job

    async def _run(self, run: _Run) -> None:
        folder = Folder(self._folder / run.name)
        try:
            results = await self._stages(run, folder)
        except _JobStoppedError as stopped:
            self._finish(run.name, "Stopped", secondary=stopped.status)
        except _JobFailedError as failure:
            self._finish(run.name, "Failed", reason=str(failure))
        except Exception:  # noqa: BLE001 - a bug in one job must not end the others
            _log.exception("training job %s failed by a bug", run.name)
            self._finish(run.name, "Failed", reason="InternalServerError: see the log of the SageMaker service")
        else:
            self._finish(run.name, "Completed", **results)
        del self._runs[run.name]
        await asyncio.to_thread(shutil.rmtree, folder.base / "input" / "data", ignore_errors=True)

    async def _stages(self, run: _Run, folder: Folder) -> Record:
        """Run a job and return what DescribeTrainingJob shows of its results."""
        job = self._found(run.name)
        shutil.rmtree(folder.base, ignore_errors=True)
        _write_config(job, folder)
        self._enter(run.name, "Downloading")
        for channel in job.get("InputDataConfig", []):
            uri = channel["DataSource"]["S3DataSource"]["S3Uri"]
            try:
                await asyncio.to_thread(self._storage.download_prefix, uri, folder.data(channel["ChannelName"]))
            except StorageError as error:
                raise _JobFailedError(f"ClientError: Data download failed: {error}") from error
            if run.stop.is_set():
                raise _JobStoppedError("Stopped")
        self._enter(run.name, "Training")
        self._records.update(Kind.TRAINING_JOB, run.name, TrainingStartTime=datetime.now(UTC))
        await self._train(run, job, folder)
        self._enter(run.name, "Uploading")
        target = f"{job['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{run.name}/output/model.tar.gz"
        try:
            await asyncio.to_thread(self._storage.upload_model, folder.model, target)
        except StorageError as error:
            raise _JobFailedError(f"ClientError: Artifact upload failed: {error}") from error
        log = self._log_path(run.name).read_text(errors="replace")
        metrics = final_metrics(log, now=datetime.now(UTC))
        return {"ModelArtifacts": {"S3ModelArtifacts": target}, "FinalMetricDataList": metrics}

    async def _train(self, run: _Run, job: Record, folder: Folder) -> None:
        log_path = self._log_path(run.name)
        process = run.process = spawn(
            images.command(job["AlgorithmSpecification"]["TrainingImage"], "train"),
            env=images.environment(folder.base, job.get("Environment", {})),
            log_path=log_path,
        )
        deadline = time.monotonic() + job["StoppingCondition"].get("MaxRuntimeInSeconds", DEFAULT_MAX_RUNTIME_S)
        while process.poll() is None:
            if run.stop.is_set() or time.monotonic() > deadline:
                await asyncio.to_thread(end, process, grace_s=GRACE_S)
                raise _JobStoppedError("Stopped" if run.stop.is_set() else "MaxRuntimeExceeded")
            await asyncio.sleep(POLL_S)
        if folder.failure.exists():
            raise _JobFailedError(f"{folder.failure.read_text()}, exit code: {process.returncode}")
        if process.returncode:
            tail = log_path.read_text(errors="replace")[-LOG_TAIL_CHARS:]
            raise _JobFailedError(
                f"AlgorithmError: exit code {process.returncode}; the log {log_path} ends with: {tail}"
            )

    def _log_path(self, name: str) -> Path:
        return self._folder / name / "train.log"

    def _enter(self, name: str, secondary: str) -> None:
        """Note that a job is in a new secondary status."""
        now = datetime.now(UTC)
        transitions = [dict(item) for item in self._found(name)["SecondaryStatusTransitions"]]
        if transitions:
            transitions[-1].setdefault("EndTime", now)
        transitions.append({"Status": secondary, "StartTime": now, "StatusMessage": MESSAGES[secondary]})
        self._records.update(
            Kind.TRAINING_JOB,
            name,
            SecondaryStatus=secondary,
            SecondaryStatusTransitions=transitions,
            LastModifiedTime=now,
        )

    def _finish(
        self, name: str, status: str, *, secondary: str | None = None, reason: str | None = None, **results: Any
    ) -> None:
        self._enter(name, secondary or status)
        now = datetime.now(UTC)
        start = self._found(name).get("TrainingStartTime")
        changes: Record = {"TrainingJobStatus": status, "TrainingEndTime": now, **results}
        if start is not None:
            duration_s = math.ceil((now - start).total_seconds())
            changes |= {"TrainingTimeInSeconds": duration_s, "BillableTimeInSeconds": duration_s}
        if reason is not None:
            changes["FailureReason"] = reason[:1024]
            _log.warning("training job %s failed: %s", name, reason)
        self._records.update(Kind.TRAINING_JOB, name, **changes)


def final_metrics(log: str, *, now: datetime) -> list[Record]:
    """Return the last value of every metric in a training log, as ``FinalMetricDataList``."""
    values: dict[str, float] = {}
    for channel, metric, text in METRICS.findall(log):
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
    (folder.config / "hyperparameters.json").write_text(json.dumps(job.get("HyperParameters", {})))
    (folder.config / "inputdataconfig.json").write_text(json.dumps(channels))
