"""Servers under test, their clients, and what the tests do with them again and again."""

import io
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from localaws.algorithms.container import BASE_VARIABLE

ROOT = Path(__file__).parents[2]
LOCALAWS = ROOT / "infra" / "localaws"
BUCKET = "models"
XGBOOST = "141502667606.dkr.ecr.eu-west-1.amazonaws.com/sagemaker-xgboost:3.0-5"
FOREST = "438346466558.dkr.ecr.eu-west-1.amazonaws.com/randomcutforest:1"
ROLE = "arn:aws:iam::123456789012:role/sagemaker"
START_TIMEOUT_S = 60
ENDLESS = {"num_round": "1000000", "max_depth": "8", "nthread": "1"}
"""A training that goes on until somebody ends it."""


def wait_until(happened: Callable[[], bool], *, what: str, timeout_s: float = START_TIMEOUT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s"
        time.sleep(0.1)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - only http://127.0.0.1
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


@dataclass
class Process:
    """A server under test."""

    command: list[str]
    env: dict[str, str]
    log: Path
    popen: subprocess.Popen[bytes] | None = None

    def start(self, url: str) -> None:
        """Start it and wait until it answers."""
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(self.command, env=self.env, stdout=log, stderr=log)
        try:
            wait_until(lambda: self.alive() and answers(url), what=f"{self.command}, log {self.log}")
        except AssertionError:
            self.stop()
            raise

    def alive(self) -> bool:
        """Say that it lives, or fail with its log."""
        assert self.popen is not None
        assert self.popen.poll() is None, self.log.read_text()
        return True

    def stop(self) -> None:
        """End it."""
        if self.popen is not None:
            self.popen.terminate()
            self.popen.wait(20)


@dataclass
class Cloud:
    """Clients of the services, and what tests do with them again and again."""

    s3: Any
    sagemaker: Any
    runtime: Any
    service: Process
    url: str
    state: Path

    def put_csv(self, key: str, table: np.ndarray) -> str:
        """Put a table and return the URI of its folder."""
        self.s3.put_object(Bucket=BUCKET, Key=key, Body="\n".join(",".join(map(str, row)) for row in table.tolist()))
        return f"s3://{BUCKET}/{key.rpartition('/')[0]}/"

    def put_model(self, key: str, files: dict[str, bytes]) -> str:
        """Put a model.tar.gz and return its URI."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:gz") as content:
            for name, data in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                content.addfile(member, io.BytesIO(data))
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=archive.getvalue())
        return f"s3://{BUCKET}/{key}"

    def children(self) -> list[psutil.Process]:
        """Return all processes that the service started."""
        assert self.service.popen is not None
        return psutil.Process(self.service.popen.pid).children(recursive=True)

    def process_of(self, kind: str, name: str) -> psutil.Process:
        """Return the process of an endpoint (kind ``endpoints``) or of a job (``jobs``) when it runs."""
        base = str(self.state.resolve() / kind / name)

        def found() -> list[psutil.Process]:
            return [child for child in self.children() if child.environ().get(BASE_VARIABLE) == base]

        wait_until(lambda: bool(found()), what=f"process of {kind} {name}")
        return found()[0]

    def train(
        self, name: str, image: str, hyperparameters: dict[str, str], channels: dict[str, str], **others: Any
    ) -> dict[str, Any]:
        """Create a job and return it when it is over."""
        self.create(name, image, hyperparameters, channels, **others)
        return self.ended(name)

    def create(
        self, name: str, image: str, hyperparameters: dict[str, str], channels: dict[str, str], **others: Any
    ) -> None:
        """Create a job."""
        unlabelled = {channel for channel in channels if image == FOREST and channel == "train"}
        request = {
            "TrainingJobName": name,
            "AlgorithmSpecification": {"TrainingImage": image, "TrainingInputMode": "File"},
            "RoleArn": ROLE,
            "HyperParameters": hyperparameters,
            "InputDataConfig": [
                {
                    "ChannelName": channel,
                    "ContentType": f"text/csv;label_size={0 if channel in unlabelled else 1}",
                    "DataSource": {
                        "S3DataSource": {
                            "S3DataType": "S3Prefix",
                            "S3Uri": uri,
                            "S3DataDistributionType": "ShardedByS3Key" if channel in unlabelled else "FullyReplicated",
                        }
                    },
                }
                for channel, uri in channels.items()
            ],
            "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/jobs"},
            "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 10},
            "StoppingCondition": {"MaxRuntimeInSeconds": 600},
        }
        self.sagemaker.create_training_job(**{**request, **others})

    def ended(self, name: str) -> dict[str, Any]:
        """Return a training job when it is over."""

        def over() -> bool:
            status = self.sagemaker.describe_training_job(TrainingJobName=name)["TrainingJobStatus"]
            return status not in {"InProgress", "Stopping"}

        wait_until(over, what=f"end of training job {name}", timeout_s=120)
        job: dict[str, Any] = self.sagemaker.describe_training_job(TrainingJobName=name)
        return job

    def deploy(self, name: str, image: str, model: str, **variant: Any) -> dict[str, Any]:
        """Create model, configuration and endpoint of one name, and wait for the endpoint's first settled status."""
        hardware = variant or {"InstanceType": "ml.t2.medium", "InitialInstanceCount": 1}
        container = {"Image": image, "ModelDataUrl": model}
        self.sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=name, ProductionVariants=[{"VariantName": "AllTraffic", "ModelName": name, **hardware}]
        )
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        return self.settled(name)

    def settled(self, name: str) -> dict[str, Any]:
        """Return an endpoint when it is created or failed."""

        def over() -> bool:
            return bool(self.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] != "Creating")

        wait_until(over, what=f"start of endpoint {name}", timeout_s=120)
        endpoint: dict[str, Any] = self.sagemaker.describe_endpoint(EndpointName=name)
        return endpoint

    def invoke(self, name: str, body: str | bytes, **headers: str) -> bytes:
        """Invoke an endpoint, csv to JSON."""
        headers = {"ContentType": "text/csv", "Accept": "application/json", **headers}
        answer: bytes = self.runtime.invoke_endpoint(EndpointName=name, Body=body, **headers)["Body"].read()
        return answer


def blobs(rows: int, *, seed: int, features: int = 5) -> np.ndarray:
    """Return (rows, 1 + features): a label that is 1 for one row in ten, and features that tell it."""
    generator = np.random.default_rng(seed)
    label = (np.arange(rows) % 10 == 0).astype(float)
    return np.column_stack([label, generator.normal(size=(rows, features)).round(4) + 2 * label[:, None]])
