"""Training jobs: started, waited for, found again by a retry, stopped with the run that waits.

Belongs here: the life of a training job, and which container trains. Does not: hyperparameters (``assets/training.py``).
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any

from pydantic import Field

from fraudit_dagster.records import Algorithm
from resources.aws import translated
from resources.sagemaker.common import SageMakerClientResource, SageMakerError, TrainingError, pauses

IMAGES: Mapping[Algorithm, tuple[str, str]] = {
    "xgboost": ("xgboost", "3.0-5"),
    "random_cut_forest": ("randomcutforest", "1"),
}
"""Framework and version of the built-in containers, as ``sagemaker.core.image_uris`` names them."""

ENDED_BADLY = frozenset({"Failed", "Stopped"})


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a completed training job left: its own name, its artefact, and its final metrics by name."""

    job: str
    artifact_uri: str
    metrics: dict[str, float]


class TrainingJobs(SageMakerClientResource):
    """Training in SageMaker."""

    training_instance_type: str = Field(default="ml.m5.xlarge", description="Instance of a training job.")
    max_runtime_s: int = Field(
        default=3600, gt=0, description="Longest training job, in seconds; SageMaker ends it then."
    )

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
        instance_count: int = 1,
    ) -> TrainingResult:
        """Run a training job to its end; a retry with the same name waits for the job that runs, or takes what it has left.

        A name is used once for ever. Where the job of this name had failed or been stopped before this call, the retry means
        "again": a new job is started, named ``<name>-2`` and so on, and a further retry finds that one.
        Where the run is interrupted, the job is stopped.

        Args:
            name: Of the first job.
            image: URI of the training container.
            hyperparameters: As the container wants them, all text.
            channels: By channel: ``uri`` (S3 prefix), ``content_type`` and ``distribution``.
            output_uri: S3 prefix; the artefact is ``<output_uri>/<job>/output/model.tar.gz``.
            on_status: Called with each new secondary status (Starting, Downloading, Training, Uploading).
            instance_count: Instances that train together.

        Raises:
            TrainingError: The job failed or was stopped.
            SageMakerError: SageMaker refused the job or could not be reached.
        """
        arguments: dict[str, Any] = {
            "AlgorithmSpecification": {"TrainingImage": image, "TrainingInputMode": "File"},
            "RoleArn": self.role_arn,
            "HyperParameters": dict(hyperparameters),
            "InputDataConfig": [_channel(key, value) for key, value in channels.items()],
            "OutputDataConfig": {"S3OutputPath": output_uri},
            "ResourceConfig": {
                "InstanceType": self.training_instance_type,
                "InstanceCount": instance_count,
                "VolumeSizeInGB": 30,
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": self.max_runtime_s},
        }
        job = name
        try:
            for number in count(1):
                job = name if number == 1 else f"{name}-{number}"
                if self._create_job(job, arguments) or self._describe_job(job)["TrainingJobStatus"] not in ENDED_BADLY:
                    break
            return self._wait_for_training(job, on_status=on_status)
        except SageMakerError:
            raise
        except BaseException:
            # The run was interrupted (DagsterExecutionInterruptedError is no Exception): a job nobody waits for costs money.
            with suppress(SageMakerError), translated(SageMakerError, f"stop training job {job}"):
                self._client.stop_training_job(TrainingJobName=job)
            raise

    def _create_job(self, job: str, arguments: Mapping[str, Any]) -> bool:
        """Create a job, and say whether there was none of its name."""
        try:
            with translated(SageMakerError, f"create training job {job}"):
                self._client.create_training_job(TrainingJobName=job, **arguments)
        except SageMakerError as error:
            if error.code != "ResourceInUse":
                raise
            return False
        return True

    def _describe_job(self, job: str) -> Any:
        with translated(SageMakerError, f"describe training job {job}"):
            return self._client.describe_training_job(TrainingJobName=job)

    def _wait_for_training(self, job: str, *, on_status: Callable[[str], object]) -> TrainingResult:
        seen = ""
        for _ in pauses(self.max_runtime_s + 900.0):
            described = self._describe_job(job)
            status = described["TrainingJobStatus"]
            if described["SecondaryStatus"] != seen:
                seen = described["SecondaryStatus"]
                on_status(seen)
            if status == "Completed":
                return TrainingResult(
                    job=job,
                    artifact_uri=described["ModelArtifacts"]["S3ModelArtifacts"],
                    metrics={
                        str(item["MetricName"]): float(item["Value"])
                        for item in described.get("FinalMetricDataList", [])
                    },
                )
            if status in ENDED_BADLY:
                reason = described.get("FailureReason") or described["SecondaryStatus"]
                raise TrainingError(f"training job {job} ended as {status}: {reason}", code=status)
        raise TrainingError(f"training job {job} did not end in {self.max_runtime_s} s", code="Timeout")


def _channel(name: str, channel: Mapping[str, str]) -> Any:
    source = {"S3DataType": "S3Prefix", "S3Uri": channel["uri"], "S3DataDistributionType": channel["distribution"]}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}, "ContentType": channel["content_type"]}
