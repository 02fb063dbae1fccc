"""What both notebooks need around SageMaker's SDK: the settings, the parts that the graph has made, an endpoint for one cell.

Belongs here: what is the same in both. Does not: training, which is to be read in the notebook; anything that serves. On the notebook
instance this file lies beside the notebooks, so nothing here imports Dagster or the resources of the graph.
"""

import io
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fraudit_dagster.contract import Contract, load_contract
from fraudit_dagster.settings import Settings, load_settings
from fraudit_dagster.tables import row_weights

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SETTINGS_FILE = Path("settings.env")
"""Beside the notebooks on the instance, written by ``fraudit deploy notebooks``; variables of the process win over it."""
ROWS_PER_REQUEST = 5_000
"""Of at most 33 features of 25 characters: below the 6 MB that SageMaker takes."""
POLL_S = 2
LONGEST_DEPLOYMENT_S = 900
NO_TELEMETRY = {"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}}}
"""The SDK reports each call, and the text of each error, to AWS unless it is told not to."""


class WorkbenchError(RuntimeError):
    """There is nothing to work with, or an endpoint answered with something else than scores; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A part's rows with the scores that they got; arrays of shape (rows,)."""

    label: "np.ndarray"
    amount: "np.ndarray"
    weight: "np.ndarray"
    score: "np.ndarray"

    @property
    def rows(self) -> str:
        """How many there are, for the title of a picture."""
        return f"{self.label.size:,} rows"


@dataclass(frozen=True)
class Workbench:
    """A deployment as a notebook sees it.

    Attributes:
        settings: Of the deployment.
        contract: Of its table.
        model: Short name of the model, as in ``xgb``.
        boto: Session of the calls that the SDK makes.
    """

    settings: Settings
    contract: Contract
    model: str
    boto: Any

    @classmethod
    def open(cls, model: str) -> "Workbench":
        """Return the deployment that the environment, or ``settings.env`` beside the notebook, names."""
        import boto3

        settings = load_settings(env_file=SETTINGS_FILE)
        # The SDK asks IAM whether the training role may train; a notebook may not ask IAM anything, and SageMaker says it anyway.
        os.environ["SAGEMAKER_VALIDATE_ROLE"] = "false"
        os.environ.setdefault("AWS_DEFAULT_REGION", settings.aws_region)
        return cls(settings, load_contract(settings.contract), model, boto3.Session(region_name=settings.aws_region))

    @property
    def name(self) -> str:
        """Of the endpoint, and what the names of training jobs start with.

        ``<solution prefix>-notebook-<model>``: the graph's own are ``<solution prefix>-<model>-<version>``, so that no notebook can
        touch one that serves, and the role of the notebook may touch none but these.
        """
        return f"{self.settings.solution_prefix}-notebook-{self.model}"

    @property
    def session(self) -> Any:
        """The SDK's session, which wants a bucket of its own to be named, or it makes one."""
        from sagemaker.core.helper.session_helper import Session

        return Session(boto_session=self.boto, default_bucket=self.settings.model_bucket, sagemaker_config=NO_TELEMETRY)

    def newest_parts(self) -> str:
        """Return the S3 prefix of the newest division of the table into train, validation and test by this contract.

        Raises:
            WorkbenchError: There is none yet.
        """
        start = f"split/{self.contract.name}/"
        pages = (
            self.boto.client("s3")
            .get_paginator("list_objects_v2")
            .paginate(Bucket=self.settings.data_bucket, Prefix=start)
        )
        ours = f"-{self.contract.sha256[:12]}/train/profile.json"  # written when everything else of a division is there
        found = [item for page in pages for item in page.get("Contents", []) if item["Key"].endswith(ours)]
        if not found:
            raise WorkbenchError(
                f"s3://{self.settings.data_bucket}/{start} holds no table divided by this contract: "
                "materialize dataset/train, dataset/validation and dataset/test in Dagster first"
            )
        newest = max(found, key=lambda item: item["LastModified"])
        return f"s3://{self.settings.data_bucket}/{newest['Key'].removesuffix('/train/profile.json')}"

    def read_part(self, parts: str, part: str) -> "pd.DataFrame":
        """Return the table of a part: ``train``, ``validation`` or ``test``."""
        import pandas as pd

        bucket, _, prefix = f"{parts}/{part}/table/".removeprefix("s3://").partition("/")
        s3 = self.boto.client("s3")
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
        files = (io.BytesIO(s3.get_object(Bucket=bucket, Key=key)["Body"].read()) for key in keys)
        return pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)

    def judged(self, table: "pd.DataFrame", score: "np.ndarray") -> Judged:
        """Return what metrics and pictures are made from."""
        return Judged(
            label=table[self.contract.label].to_numpy(dtype="int8"),
            amount=table[self.contract.amount].to_numpy(dtype="float64"),
            weight=row_weights(table, self.contract),
            score=score,
        )

    @contextmanager
    def deployed(self, image: str, artifact_uri: str, *, instance_type: str = "ml.t2.medium") -> Iterator[Any]:
        """Serve a model at an endpoint as long as the block lasts.

        "Run all" stops at the first cell that fails, so a cell at the end that deletes is not reached when it is needed most. What
        asks the endpoint therefore stands inside the block, in one cell: however it is left, by an error or by "interrupt", the
        endpoint goes. One that a killed kernel left behind has the same name, and goes when the cell is run again.
        """
        from sagemaker.core.resources import Endpoint, EndpointConfig, Model
        from sagemaker.core.shapes import ContainerDefinition, ProductionVariant

        self.remove()
        try:
            Model.create(
                model_name=self.name,
                primary_container=ContainerDefinition(image=image, model_data_url=artifact_uri),
                execution_role_arn=self.settings.sagemaker_role_arn,
                session=self.boto,
            )
            variant = ProductionVariant(
                variant_name="AllTraffic", model_name=self.name, instance_type=instance_type, initial_instance_count=1
            )
            EndpointConfig.create(endpoint_config_name=self.name, production_variants=[variant], session=self.boto)
            endpoint = Endpoint.create(endpoint_name=self.name, endpoint_config_name=self.name, session=self.boto)
            endpoint.wait_for_status("InService", poll=POLL_S, timeout=LONGEST_DEPLOYMENT_S)
            yield endpoint
        finally:
            self.remove()

    def remove(self) -> None:
        """Delete endpoint, configuration and model; what is not there is no error.

        SageMaker refuses to delete an endpoint that is being created: it is asked again until it can. By boto3, whose errors say
        which of the two it was.
        """
        client = self.boto.client("sagemaker")
        for delete, argument in (
            (client.delete_endpoint, "EndpointName"),
            (client.delete_endpoint_config, "EndpointConfigName"),
            (client.delete_model, "ModelName"),
        ):
            deadline = time.monotonic() + LONGEST_DEPLOYMENT_S
            while True:
                try:
                    delete(**{argument: self.name})
                except client.exceptions.ClientError as error:
                    if "ould not find" in str(error):
                        break
                    if "in-progress" not in str(error) or time.monotonic() > deadline:
                        raise
                    time.sleep(POLL_S)
                else:
                    break


def score(endpoint: Any, rows: "np.ndarray") -> "np.ndarray":
    """Score rows through an endpoint.

    Args:
        endpoint: As ``Workbench.deployed`` gives it.
        rows: Shape (n, features), transforms applied: ``contract.models.<model>.apply(table)``.

    Returns:
        Shape (n,): the model's probability, or anomaly score.

    Raises:
        WorkbenchError: It answered with something else than n scores.
    """
    import numpy as np

    scores: list[float] = []
    for start in range(0, len(rows), ROWS_PER_REQUEST):
        part = rows[start : start + ROWS_PER_REQUEST]
        body = "\n".join(",".join(map(repr, row)) for row in part.tolist())
        answer = endpoint.invoke(body=body, content_type="text/csv", accept="application/json").body.read()
        document = json.loads(answer)
        scores += [float(item["score"]) for item in document.get("predictions") or document.get("scores", [])]
        if len(scores) != start + len(part):
            raise WorkbenchError(f"{endpoint.endpoint_name} answered {answer[:80]!r} to {len(part)} rows")
    return np.asarray(scores, dtype=np.float64)


@contextmanager
def stopped_when_left(trainer: Any) -> Iterator[None]:
    """Stop the training job of a trainer where the block is left before the job has ended: what nobody waits for costs money."""
    try:
        yield
    except BaseException:
        from botocore.exceptions import ClientError

        # The SDK has no public name for the job that it waits for; there is none where the job was refused.
        job = getattr(trainer, "_latest_training_job", None)
        if job is not None:
            with suppress(ClientError):  # it has ended
                job.stop()
        raise
