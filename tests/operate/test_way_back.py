"""Kinesis is down while transactions are scored: their events lie in S3, and one command brings them back, byte for byte."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from fraudit_dagster.cli.world import api_environment
from fraudit_dagster.settings import load_settings
from tests.api.conftest import MANIFEST, METADATA, start_server
from tests.api.stand_ins import SageMakerRuntime, serving
from tests.conftest import free_port
from tests.operate.conftest import Deployment, said
from tests.operate.test_replay_command import Bucket


@pytest.fixture
def api(deployment: Deployment, boto: Callable[[str], Any], tmp_path: Path) -> Iterator[httpx.Client]:
    """The API of a deployment, but for Kinesis, at whose place nothing listens."""
    boto("s3").put_object(Bucket=deployment.bucket, Key="serving/manifest.json", Body=json.dumps(MANIFEST))
    with ExitStack() as stack:
        environment = {
            **os.environ,
            **api_environment(load_settings()),
            "model_bucket": deployment.bucket,
            "AWS_ENDPOINT_URL_KINESIS": f"http://127.0.0.1:{free_port()}",
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": stack.enter_context(serving(SageMakerRuntime())),
        }
        url, _ = start_server(stack, environment, tmp_path / "log")
        key = said("keys", "create", "--label", "way back")
        yield stack.enter_context(httpx.Client(base_url=url, headers={"x-api-key": key}, timeout=30))


def test_what_kinesis_missed_is_on_the_stream_once(
    api: httpx.Client, deployment: Deployment, boto: Callable[[str], Any]
) -> None:
    bucket = Bucket(deployment, boto)
    transaction = {"metadata": METADATA, "data": {"Time": 0, "V1": 0.05, "V2": 1.0, "Amount": 149.62}}
    scored = api.post("/predict", json=transaction).json()
    label = {"transaction_id": scored["transaction_id"], "label": 1, "source": "chargeback"}
    told = api.post("/feedback", json=label).json()
    assert (scored["degraded"], told["degraded"]) == (["events"], ["events"])

    letters = {key: boto("s3").get_object(Bucket=bucket.name, Key=key)["Body"].read() for key in bucket.letters()}
    assert len(letters) == 2
    assert said("replay", "dead-letters")
    assert [data for _, data in bucket.records()] == sorted(letters.values(), key=partition_key)
    assert [key for key, _ in bucket.records()] == sorted(map(partition_key, letters.values()))
    assert bucket.letters() == set()
    said("replay", "dead-letters")
    assert len(bucket.records()) == 2


def partition_key(data: bytes) -> str:
    """What contracts say of an event: the user of a prediction, the transaction of a label."""
    event = json.loads(data)
    return str(event["user_id"] if event["type"] == "prediction" else event["transaction_id"])
