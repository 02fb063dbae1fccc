"""Amazon SageMaker: training jobs, the model registry, endpoints.

Belongs here: calls to SageMaker, waiting for them, and their errors. Does not: which model is good enough
(``fraudit_dagster/evaluation.py``) or which one serves (``assets/serving.py``).
"""

import io
import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from fraudit_dagster.records import Algorithm
from resources.aws import AwsError, client, translated

if TYPE_CHECKING:
    import numpy as np
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient

BODY_LIMIT_BYTES = 5_000_000
"""Of one InvokeEndpoint; SageMaker takes 6 MB."""

DELETE_TIMEOUT_S = 600.0
"""Longest wait for an endpoint that is still being created to become one that can be deleted."""

IMAGES: Mapping[Algorithm, tuple[str, str]] = {
    "xgboost": ("xgboost", "3.0-5"),
    "random_cut_forest": ("randomcutforest", "1"),
}
"""Framework and version of the built-in containers, as ``sagemaker.core.image_uris`` names them."""

SHORT_NAMES: Mapping[Algorithm, str] = {"xgboost": "xgb", "random_cut_forest": "rcf"}


class SageMakerError(AwsError):
    """SageMaker refused a request or could not be reached; the message names the job, model or endpoint."""


class TrainingError(SageMakerError):
    """A training job failed, was stopped, or did not end in time; the message carries SageMaker's own reason."""


class EndpointError(SageMakerError):
    """An endpoint did not become healthy, or did not answer a request as its container should."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a completed training job left: its artefact and its final metrics by name."""

    artifact_uri: str
    metrics: dict[str, float]


class SageMaker(dg.ConfigurableResource):
    """Training, registry and real-time inference in Amazon SageMaker."""

    region: str = Field(description="AWS region.")
    role_arn: str = Field(description="Role that training jobs and models assume.")
    solution_prefix: str = Field(description="Starts the name of every job, model, endpoint and package group.")
    training_instance_type: str = Field(default="ml.m5.xlarge", description="Instance of a training job.")
    serving_instance_type: str = Field(default="ml.t2.medium", description="Instance behind an endpoint.")
    max_runtime_s: int = Field(
        default=3600, gt=0, description="Longest training job, in seconds; SageMaker ends it then."
    )
    endpoint_timeout_s: float = Field(
        default=900.0, gt=0, description="Longest wait for an endpoint to get healthy, in seconds."
    )

    @cached_property
    def _client(self) -> "SageMakerClient":
        sagemaker: SageMakerClient = client("sagemaker", region=self.region)
        return sagemaker

    @cached_property
    def _runtime(self) -> "SageMakerRuntimeClient":
        # A model has 60 s to answer; a lost answer is asked for again.
        runtime: SageMakerRuntimeClient = client("sagemaker-runtime", region=self.region, timeout_s=65.0)
        return runtime

    def image(self, algorithm: Algorithm) -> str:
        """Return the URI of the built-in container in this region."""
        from sagemaker.core import image_uris  # 2-9 s and 200 MB: only where a model is trained

        framework, version = IMAGES[algorithm]
        return str(image_uris.retrieve(framework, self.region, version=version))

    def train(
        self,
        *,
        name: str,
        image: str,
        hyperparameters: Mapping[str, str],
        channels: Mapping[str, Mapping[str, str]],
        output_uri: str,
        on_status: Callable[[str], object],
    ) -> TrainingResult:
        """Run a training job to its end; where a job of this name exists already, wait for that one.

        Args:
            name: Of the job; the same name in a retry finds the job that runs.
            image: URI of the training container.
            hyperparameters: As the container wants them, all text.
            channels: By channel: ``uri`` (S3 prefix), ``content_type`` and ``distribution``.
            output_uri: S3 prefix; the artefact is ``<output_uri>/<name>/output/model.tar.gz``.
            on_status: Called with each new secondary status (Starting, Downloading, Training, Uploading).

        Raises:
            TrainingError: The job failed or was stopped.
            SageMakerError: SageMaker refused the job or could not be reached.
        """
        try:
            with translated(SageMakerError, f"create training job {name}"):
                self._client.create_training_job(
                    TrainingJobName=name,
                    AlgorithmSpecification={"TrainingImage": image, "TrainingInputMode": "File"},
                    RoleArn=self.role_arn,
                    HyperParameters=dict(hyperparameters),
                    InputDataConfig=[_channel(key, value) for key, value in channels.items()],
                    OutputDataConfig={"S3OutputPath": output_uri},
                    ResourceConfig=self._training_instances(),
                    StoppingCondition={"MaxRuntimeInSeconds": self.max_runtime_s},
                )
        except SageMakerError as error:
            if error.code != "ResourceInUse":
                raise
        try:
            return self._wait_for_training(name, on_status=on_status)
        except (TrainingError, SageMakerError):
            raise
        except BaseException:
            # The run was interrupted (DagsterExecutionInterruptedError is no Exception): a job nobody waits for costs money.
            with suppress(SageMakerError), translated(SageMakerError, f"stop training job {name}"):
                self._client.stop_training_job(TrainingJobName=name)
            raise

    def _training_instances(self) -> Any:
        return {"InstanceType": self.training_instance_type, "InstanceCount": 1, "VolumeSizeInGB": 30}

    def _wait_for_training(self, name: str, *, on_status: Callable[[str], object]) -> TrainingResult:
        seen = ""
        for _ in _pauses(self.max_runtime_s + 900.0):
            with translated(SageMakerError, f"describe training job {name}"):
                job = self._client.describe_training_job(TrainingJobName=name)
            status = job["TrainingJobStatus"]
            if job["SecondaryStatus"] != seen:
                seen = job["SecondaryStatus"]
                on_status(seen)
            if status == "Completed":
                metrics = {str(item["MetricName"]): float(item["Value"]) for item in job.get("FinalMetricDataList", [])}
                return TrainingResult(artifact_uri=job["ModelArtifacts"]["S3ModelArtifacts"], metrics=metrics)
            if status in {"Failed", "Stopped"}:
                reason = job.get("FailureReason") or job["SecondaryStatus"]
                raise TrainingError(f"training job {name} ended as {status}: {reason}", code=status)
        raise TrainingError(f"training job {name} did not end in {self.max_runtime_s} s", code="Timeout")

    def register(
        self, *, algorithm: Algorithm, image: str, artifact_uri: str, token: str, properties: Mapping[str, str]
    ) -> tuple[str, str]:
        """Put a model into its package group, waiting for approval, and return its ARN and version.

        The same ``token``, of any length, gives the same version again, so that a retry registers nothing twice.
        """
        group = f"{self.solution_prefix}-{SHORT_NAMES[algorithm]}"
        try:
            with translated(SageMakerError, f"create model package group {group}"):
                self._client.create_model_package_group(ModelPackageGroupName=group)
        except SageMakerError as error:
            if "already exists" not in str(error):
                raise
        with translated(SageMakerError, f"register {artifact_uri} in {group}"):
            arn = self._client.create_model_package(
                ModelPackageGroupName=group,
                InferenceSpecification={
                    "Containers": [{"Image": image, "ModelDataUrl": artifact_uri}],
                    "SupportedContentTypes": ["text/csv"],
                    "SupportedResponseMIMETypes": ["application/json"],
                },
                ModelApprovalStatus="PendingManualApproval",
                CustomerMetadataProperties=dict(properties),
                ClientToken=str(uuid.uuid5(uuid.NAMESPACE_URL, token)),  # SageMaker takes at most 36 characters
            )["ModelPackageArn"]
        return arn, arn.rsplit("/", 1)[1]

    def approval(self, package_arn: str) -> str:
        """Return the approval status of a model package: Approved, Rejected or PendingManualApproval."""
        with translated(SageMakerError, f"describe model package {package_arn}"):
            return str(self._client.describe_model_package(ModelPackageName=package_arn)["ModelApprovalStatus"])

    def set_approval(self, package_arn: str, *, status: str, reason: str, properties: Mapping[str, str]) -> None:
        """Approve or reject a model package, with the reason and what was measured."""
        with translated(SageMakerError, f"update model package {package_arn}"):
            self._client.update_model_package(
                ModelPackageArn=package_arn,
                ModelApprovalStatus=status,  # type: ignore[arg-type]
                ApprovalDescription=reason[:1024],
                CustomerMetadataProperties=dict(properties),
            )

    def deploy(self, *, algorithm: Algorithm, version: str, image: str, artifact_uri: str) -> str:
        """Serve one model version at an endpoint of its own, wait until it is healthy, and return the endpoint's name.

        An endpoint of that name that is already healthy is left as it is.

        Raises:
            EndpointError: It failed, or was not healthy in time; it has been deleted, or the message says why it could not be.
        """
        name = f"{self.solution_prefix}-{SHORT_NAMES[algorithm]}-{version}"
        variant = {
            "VariantName": "AllTraffic",
            "ModelName": name,
            "InstanceType": self.serving_instance_type,
            "InitialInstanceCount": 1,
        }
        container = {"Image": image, "ModelDataUrl": artifact_uri}
        steps: list[tuple[Callable[..., Any], dict[str, Any]]] = [
            (
                self._client.create_model,
                {"ModelName": name, "PrimaryContainer": container, "ExecutionRoleArn": self.role_arn},
            ),
            (self._client.create_endpoint_config, {"EndpointConfigName": name, "ProductionVariants": [variant]}),
            (self._client.create_endpoint, {"EndpointName": name, "EndpointConfigName": name}),
        ]
        for create, arguments in steps:
            try:
                with translated(SageMakerError, f"deploy endpoint {name}"):
                    create(**arguments)
            except SageMakerError as error:
                if "already exist" not in str(error):  # a retry after a half-done deployment goes on from there
                    raise
        try:
            self._wait_for_endpoint(name)
        except EndpointError as error:
            try:
                self._delete_once_created(name)
            except SageMakerError as obstacle:
                raise EndpointError(f"{error}; it is still there: {obstacle}", code=error.code) from obstacle
            raise
        return name

    def _delete_once_created(self, name: str) -> None:
        """Delete an endpoint; SageMaker refuses that as long as it is being created."""
        for _ in _pauses(DELETE_TIMEOUT_S):
            try:
                return self.delete_endpoint(name)
            except SageMakerError as error:
                if "in-progress" not in str(error):
                    raise
        raise SageMakerError(
            f"cannot delete endpoint {name}: in progress after {DELETE_TIMEOUT_S:.0f} s", code="Timeout"
        )

    def _wait_for_endpoint(self, name: str) -> None:
        for _ in _pauses(self.endpoint_timeout_s):
            with translated(SageMakerError, f"describe endpoint {name}"):
                endpoint = self._client.describe_endpoint(EndpointName=name)
            if endpoint["EndpointStatus"] == "InService":
                return
            if endpoint["EndpointStatus"] in {"Failed", "OutOfService"}:
                reason = endpoint.get("FailureReason", "no reason given")
                raise EndpointError(f"endpoint {name} failed: {reason}", code=endpoint["EndpointStatus"])
        raise EndpointError(f"endpoint {name} was not healthy after {self.endpoint_timeout_s:.0f} s", code="Timeout")

    def delete_endpoint(self, name: str) -> None:
        """Delete an endpoint with its configuration and model; what is already gone is no error."""
        for delete, argument in (
            (self._client.delete_endpoint, "EndpointName"),
            (self._client.delete_endpoint_config, "EndpointConfigName"),
            (self._client.delete_model, "ModelName"),
        ):
            try:
                with translated(SageMakerError, f"delete endpoint {name}"):
                    delete(**{argument: name})
            except SageMakerError as error:
                if "ould not find" not in str(error):
                    raise

    def score(self, endpoint: str, rows: "np.ndarray") -> "np.ndarray":
        """Score rows through an endpoint, in as many requests as their size asks for.

        Args:
            endpoint: Name of an endpoint of either algorithm.
            rows: Shape (n, d): the model's features with their transforms applied.

        Returns:
            Shape (n,): probability of fraud, or anomaly score.

        Raises:
            EndpointError: The endpoint is not there, its model failed, or it answered with something else than n scores.
        """
        import numpy as np

        scores: list[float] = []
        for body, count in _bodies(rows):
            with translated(EndpointError, f"score {count} rows at endpoint {endpoint}"):
                answer = self._runtime.invoke_endpoint(
                    EndpointName=endpoint, ContentType="text/csv", Accept="application/json", Body=body
                )["Body"].read()
            try:
                document = json.loads(answer)
                part = [float(item["score"]) for item in document.get("predictions") or document["scores"]]
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise EndpointError(f"endpoint {endpoint} answered {answer[:80]!r}", code="BadAnswer") from error
            if len(part) != count:
                raise EndpointError(
                    f"endpoint {endpoint} answered {len(part)} scores for {count} rows", code="BadAnswer"
                )
            scores += part
        return np.asarray(scores, dtype=np.float64)


def _channel(name: str, channel: Mapping[str, str]) -> Any:
    source = {"S3DataType": "S3Prefix", "S3Uri": channel["uri"], "S3DataDistributionType": channel["distribution"]}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}, "ContentType": channel["content_type"]}


def _bodies(rows: "np.ndarray") -> Iterator[tuple[bytes, int]]:
    """Yield CSV bodies below the limit, each with its number of rows; a number never takes more than 25 characters."""
    import pyarrow as pa
    from pyarrow import csv

    step = max(1, BODY_LIMIT_BYTES // (26 * rows.shape[1]))
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        table = pa.table({str(index): column for index, column in enumerate(part.T)})
        sink = io.BytesIO()
        csv.write_csv(table, sink, csv.WriteOptions(include_header=False))
        yield sink.getvalue(), len(part)


def _pauses(total_s: float) -> Iterator[None]:
    """Yield at once, then after pauses that grow from 0.2 s to 10 s, until ``total_s`` have passed."""
    deadline = time.monotonic() + total_s
    pause_s = 0.2
    while time.monotonic() < deadline:
        yield
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.3, 10.0)
