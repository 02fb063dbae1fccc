"""A real moto server as S3 and a real SageMaker service, each a process on 127.0.0.1."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.conftest import free_port
from tests.localaws_sagemaker.cloud import BUCKET, FOREST, LOCALAWS, XGBOOST, Cloud, Process, blobs


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("sagemaker")
    s3_url, url = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    env = {
        **os.environ,
        "PYTHONPATH": str(LOCALAWS),
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_ENDPOINT_URL": s3_url,
    }
    moto = Process(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", s3_url.rpartition(":")[2]],
        env,
        folder / "moto.log",
    )
    state = folder / "state"
    port = url.rpartition(":")[2]
    command = [sys.executable, "-m", "localaws.sagemaker", "--port", port, "--state", str(state)]
    service = Process(command, env, folder / "service.log")

    def client(name: str, endpoint: str) -> Any:
        config = Config(
            retries={"max_attempts": 0}, read_timeout=60, max_pool_connections=100, s3={"addressing_style": "path"}
        )
        return boto3.client(  # type: ignore[call-overload]  # its overloads want a literal name
            name,
            endpoint_url=endpoint,
            region_name="eu-west-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",
            config=config,
        )

    try:
        moto.start(f"{s3_url}/moto-api/")
        service.start(f"{url}/_health")
        s3 = client("s3", s3_url)
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        yield Cloud(s3, client("sagemaker", url), client("sagemaker-runtime", url), service, url, state / "sagemaker")
    finally:
        service.stop()
        moto.stop()


@pytest.fixture(scope="session")
def xgboost_job(cloud: Cloud) -> dict[str, Any]:
    """Return a completed XGBoost job: two files in the train channel, a validation channel, early stopping."""
    cloud.put_csv("xgb/train/part-0.csv", blobs(1000, seed=1))
    train = cloud.put_csv("xgb/train/part-1.csv", blobs(1000, seed=2))
    cloud.s3.put_object(Bucket=BUCKET, Key="xgb/train/_SUCCESS", Body=b"")
    validation = cloud.put_csv("xgb/validation/part-0.csv", blobs(500, seed=3))
    hyperparameters = {
        "num_round": "200",
        "early_stopping_rounds": "5",
        "objective": "binary:logistic",
        "eval_metric": "logloss,aucpr",
        "max_depth": "3",
        "eta": "0.5",
    }
    return cloud.train("xgb", XGBOOST, hyperparameters, {"train": train, "validation": validation})


@pytest.fixture(scope="session")
def forest_job(cloud: Cloud) -> dict[str, Any]:
    """Return a completed Random Cut Forest job."""
    train = cloud.put_csv("rcf/train/part-0.csv", blobs(2000, seed=4)[:, 1:])
    hyperparameters = {"feature_dim": "5", "num_trees": "50", "num_samples_per_tree": "128"}
    return cloud.train("rcf", FOREST, hyperparameters, {"train": train})


@pytest.fixture(scope="session")
def xgboost_endpoint(cloud: Cloud, xgboost_job: dict[str, Any]) -> str:
    """Return the name of an endpoint in service with the XGBoost model."""
    endpoint = cloud.deploy("xgb", XGBOOST, xgboost_job["ModelArtifacts"]["S3ModelArtifacts"])
    assert endpoint["EndpointStatus"] == "InService", endpoint
    return "xgb"


@pytest.fixture(scope="session")
def forest_endpoint(cloud: Cloud, forest_job: dict[str, Any]) -> str:
    """Return the name of an endpoint in service with the forest, configured as serverless."""
    model = forest_job["ModelArtifacts"]["S3ModelArtifacts"]
    endpoint = cloud.deploy("rcf", FOREST, model, ServerlessConfig={"MemorySizeInMB": 2048, "MaxConcurrency": 5})
    assert endpoint["EndpointStatus"] == "InService", endpoint
    return "rcf"
