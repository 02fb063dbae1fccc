"""What the calls of training, registry and endpoints share: settings, client, names, errors, pauses.

Belongs here: what two of them need. Does not: any call of SageMaker.
"""

import time
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from fraudit_dagster.records import Algorithm
from resources.aws import AwsError, client

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

SHORT_NAMES: Mapping[Algorithm, str] = {"xgboost": "xgb", "random_cut_forest": "rcf"}
"""Of the algorithms, in the names of jobs, package groups and endpoints."""


class SageMakerError(AwsError):
    """SageMaker refused a request or could not be reached; the message names the job, model or endpoint."""


class TrainingError(SageMakerError):
    """A training job failed, was stopped, or did not end in time; the message carries SageMaker's own reason."""


class EndpointError(SageMakerError):
    """An endpoint did not become healthy, or did not answer a request as its container should."""


class SageMakerClientResource(dg.ConfigurableResource):
    """Settings and client of every part of SageMaker."""

    region: str = Field(description="AWS region.")
    role_arn: str = Field(description="Role that training jobs and models assume.")
    solution_prefix: str = Field(description="Starts the name of every job, model, endpoint and package group.")

    @cached_property
    def _client(self) -> "SageMakerClient":
        sagemaker: SageMakerClient = client("sagemaker", region=self.region)
        return sagemaker

    def _name(self, algorithm: Algorithm) -> str:
        """Return the name of an algorithm's package group, which starts those of its endpoints."""
        return f"{self.solution_prefix}-{SHORT_NAMES[algorithm]}"


def pauses(total_s: float) -> Iterator[None]:
    """Yield at once, then after pauses that grow from 0.2 s to 10 s, until ``total_s`` have passed.

    After some seconds a pause is about a tenth of the time so far: no more of it is lost.
    """
    deadline = time.monotonic() + total_s
    pause_s = 0.2
    while time.monotonic() < deadline:
        yield
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.1, 10.0)
