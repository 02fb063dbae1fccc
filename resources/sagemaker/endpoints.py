"""Endpoints: one for each model version, deployed, asked, listed and deleted.

Belongs here: the life of an endpoint, and rows through it. Does not: which endpoint serves (the manifest says so).
"""

import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import Field

from fraudit_dagster.records import Algorithm
from resources.aws import client, translated
from resources.sagemaker.common import (
    SHORT_NAMES,
    EndpointError,
    SageMakerClientResource,
    SageMakerError,
    pauses,
)

if TYPE_CHECKING:
    import numpy as np
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient

BODY_LIMIT_BYTES = 5_000_000
"""Of one InvokeEndpoint; SageMaker takes 6 MB."""

INVOKE_TIMEOUT_S = 65.0
"""Longest wait for scores: SageMaker gives a model 60 s to answer."""

PAGE_SIZE = 100
"""Endpoints in one answer of ListEndpoints, the most that SageMaker gives."""

INTERRUPTED_TIMEOUT_S = 30.0
"""Longest wait for a deletion where a run was interrupted: whoever interrupts does not wait for long."""


@dataclass(frozen=True, slots=True)
class EndpointSummary:
    """An endpoint as a list shows it; ``status`` as SageMaker says it: Creating, InService, Deleting, Failed, ..."""

    name: str
    algorithm: Algorithm
    version: str
    status: str
    created_at: datetime


class Endpoints(SageMakerClientResource):
    """Real-time inference in SageMaker."""

    serving_instance_type: str = Field(default="ml.t2.medium", description="Instance behind an endpoint.")
    endpoint_timeout_s: float = Field(
        default=900.0, gt=0, description="Longest wait for an endpoint to get healthy, in seconds."
    )
    delete_timeout_s: float = Field(
        default=600.0,
        gt=0,
        description="Longest wait for an endpoint that is being created to become one that can be deleted, in seconds.",
    )

    @cached_property
    def _runtime(self) -> "SageMakerRuntimeClient":
        runtime: SageMakerRuntimeClient = client("sagemaker-runtime", region=self.region, timeout_s=INVOKE_TIMEOUT_S)
        return runtime

    def endpoints(self) -> list[EndpointSummary]:
        """Return every endpoint of a model version of this solution, the newest first; others of a like name are left out.

        Raises:
            SageMakerError: SageMaker could not be reached.
        """
        ours = {f"{self._name(algorithm)}-": algorithm for algorithm in SHORT_NAMES}
        pages = self._client.get_paginator("list_endpoints").paginate(
            NameContains=self.solution_prefix,
            SortBy="CreationTime",
            SortOrder="Descending",
            PaginationConfig={"PageSize": PAGE_SIZE},
        )
        with translated(SageMakerError, f"list the endpoints of {self.solution_prefix}"):
            found = [item for page in pages for item in page["Endpoints"]]
        return [
            EndpointSummary(item["EndpointName"], algorithm, version, item["EndpointStatus"], item["CreationTime"])
            for item in found
            for start, algorithm in ours.items()
            if item["EndpointName"].startswith(start)
            and re.fullmatch("[0-9]+", version := item["EndpointName"].removeprefix(start))
        ]

    def deploy(self, *, algorithm: Algorithm, version: str, image: str, artifact_uri: str) -> str:
        """Serve one model version at an endpoint of its own, wait until it is healthy, and return the endpoint's name.

        An endpoint of that name that is healthy is left as it is, one that is being created is waited for, one that failed is
        replaced, and one that was deleted is made again.
        Where the run is interrupted, an endpoint that this call created is deleted. SageMaker refuses that as long as it is being
        created: after 30 s it is left to the clean-up of endpoints that no manifest names.

        Raises:
            EndpointError: It failed, or was not healthy in time; it has been deleted, or the message says why it could not be.
            SageMakerError: SageMaker refused, or could not be reached.
        """
        name = f"{self._name(algorithm)}-{version}"
        self._make_room(name)
        created = False
        try:
            created = self._create(name, image=image, artifact_uri=artifact_uri)
            self._wait_for_endpoint(name)
        except EndpointError as error:
            try:
                self.retire(name)
            except SageMakerError as obstacle:
                raise EndpointError(f"{error}; it is still there: {obstacle}", code=error.code) from obstacle
            raise
        except SageMakerError:
            raise
        except BaseException:
            # The run was interrupted (DagsterExecutionInterruptedError is no Exception): an endpoint nobody waits for costs money.
            if created:
                with suppress(SageMakerError):
                    self.retire(name, timeout_s=INTERRUPTED_TIMEOUT_S)
            raise
        return name

    def retire(self, name: str, *, timeout_s: float | None = None) -> None:
        """Delete an endpoint as `delete_endpoint` does, waiting as long as it is being created, since SageMaker refuses till then.

        Args:
            name: Of the endpoint.
            timeout_s: Longest wait; none: ``delete_timeout_s``.

        Raises:
            SageMakerError: It was still being created after that (code ``Timeout``), or SageMaker could not be reached.
        """
        longest_s = self.delete_timeout_s if timeout_s is None else timeout_s
        for _ in pauses(longest_s):
            try:
                return self.delete_endpoint(name)
            except SageMakerError as error:
                if "in-progress" not in str(error):
                    raise
        raise SageMakerError(f"cannot delete endpoint {name}: in progress after {longest_s:.0f} s", code="Timeout")

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
        for body, count in csv_bodies(rows):
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

    def _create(self, name: str, *, image: str, artifact_uri: str) -> bool:
        """Create model, configuration and endpoint as far as they are not there, and say whether the endpoint is new."""
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
        created = False
        for create, arguments in steps:
            created = True
            try:
                with translated(SageMakerError, f"deploy endpoint {name}"):
                    create(**arguments)
            except SageMakerError as error:
                if "already exist" not in str(error):  # a retry after a half-done deployment goes on from there
                    raise
                created = False
        return created

    def _make_room(self, name: str) -> None:
        """Wait for an endpoint of this name that is being deleted, and delete one that failed in an earlier try."""
        for _ in pauses(self.delete_timeout_s):
            try:
                status = self._describe(name)["EndpointStatus"]
            except SageMakerError as error:
                if "ould not find" in str(error):
                    return
                raise
            if status in {"Failed", "OutOfService"}:
                self.retire(name)
            elif status != "Deleting":
                return
        raise EndpointError(
            f"cannot deploy endpoint {name}: an earlier one was not gone after {self.delete_timeout_s:.0f} s",
            code="Timeout",
        )

    def _wait_for_endpoint(self, name: str) -> None:
        for _ in pauses(self.endpoint_timeout_s):
            endpoint = self._describe(name)
            if endpoint["EndpointStatus"] == "InService":
                return
            if endpoint["EndpointStatus"] in {"Failed", "OutOfService"}:
                reason = endpoint.get("FailureReason", "no reason given")
                raise EndpointError(f"endpoint {name} failed: {reason}", code=endpoint["EndpointStatus"])
        raise EndpointError(f"endpoint {name} was not healthy after {self.endpoint_timeout_s:.0f} s", code="Timeout")

    def _describe(self, name: str) -> Any:
        with translated(SageMakerError, f"describe endpoint {name}"):
            return self._client.describe_endpoint(EndpointName=name)


def csv_bodies(rows: "np.ndarray") -> Iterator[tuple[bytes, int]]:
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
