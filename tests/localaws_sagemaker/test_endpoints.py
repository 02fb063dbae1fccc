"""Endpoints serve what was trained, and fail alone: through boto3, as on AWS."""

import json
import os
import signal
from typing import Any

import numpy as np
import psutil
import pytest
from botocore.exceptions import ClientError
from localaws.algorithms.container import BASE_VARIABLE

from tests.localaws_sagemaker.cloud import FOREST, ROLE, XGBOOST, Cloud, blobs, wait_until


def model_process(cloud: Cloud, name: str) -> int:
    """Return the pid of an endpoint's model process."""
    assert cloud.service.popen is not None
    base = str(cloud.state.resolve() / "endpoints" / name)
    children = psutil.Process(cloud.service.popen.pid).children()
    return next(int(child.pid) for child in children if child.environ().get(BASE_VARIABLE) == base)


def refused(cloud: Cloud, name: str, body: str | bytes, **headers: str) -> dict[str, Any]:
    """Return the error of an invocation."""
    with pytest.raises(ClientError) as error:
        cloud.invoke(name, body, **headers)
    return dict(error.value.response)


def test_the_classifier_answers_probabilities(cloud: Cloud, xgboost_endpoint: str) -> None:
    table = blobs(200, seed=7)
    body = "\n".join(",".join(map(str, row[1:])) for row in table.tolist())
    scores = np.array([item["score"] for item in json.loads(cloud.invoke(xgboost_endpoint, body))["predictions"]])
    assert scores[table[:, 0] == 1].mean() > 0.8
    assert scores[table[:, 0] == 0].mean() < 0.1


def test_the_forest_answers_anomaly_scores(cloud: Cloud, forest_endpoint: str) -> None:
    ordinary, odd = json.loads(cloud.invoke(forest_endpoint, "0,0,0,0,0\n9,9,9,9,9"))["scores"]
    assert ordinary["score"] < odd["score"]


def test_the_reply_names_variant_and_content_type(cloud: Cloud, xgboost_endpoint: str) -> None:
    reply = cloud.runtime.invoke_endpoint(EndpointName=xgboost_endpoint, ContentType="text/csv", Body="1,2,3,4,5")
    assert reply["InvokedProductionVariant"] == "AllTraffic"
    assert reply["ContentType"] == "text/csv"
    assert 0 <= float(reply["Body"].read()) <= 1


def test_a_bulk_request_of_almost_6_mb_is_answered(cloud: Cloud, xgboost_endpoint: str) -> None:
    row = ",".join(["0.12345678901234567890"] * 5) + "\n"
    rows = 6 * 1024 * 1024 // len(row)
    assert len(json.loads(cloud.invoke(xgboost_endpoint, row * rows))["predictions"]) == rows


def test_a_larger_one_is_refused(cloud: Cloud, xgboost_endpoint: str) -> None:
    assert refused(cloud, xgboost_endpoint, b"1" * (6 * 1024 * 1024 + 1))["Error"]["Code"] == "ValidationError"


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        pytest.param("words", {}, 415, id="no numbers"),
        pytest.param("1,2", {}, 400, id="too few fields"),
        pytest.param("1,2,3,4,5", {"Accept": "image/png"}, 406, id="accept"),
        pytest.param("1,2,3,4,5", {"ContentType": "application/json"}, 415, id="content type"),
    ],
)
def test_what_the_model_refuses_is_a_model_error(
    cloud: Cloud, xgboost_endpoint: str, body: str, headers: dict[str, str], status: int
) -> None:
    error = refused(cloud, xgboost_endpoint, body, **headers)
    assert error["Error"]["Code"] == "ModelError"
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert error["OriginalStatusCode"] == status
    assert f"Received client error ({status}) from primary with message" in error["Error"]["Message"]
    assert error["OriginalMessage"] in error["Error"]["Message"]
    assert "/aws/sagemaker/Endpoints/xgb" in error["LogStreamArn"]


def test_an_endpoint_that_is_not_there(cloud: Cloud) -> None:
    error = refused(cloud, "nobody", "1")
    assert error["Error"] == {
        "Code": "ValidationError",
        "Message": "Endpoint nobody of account 123456789012 not found.",
    }
    with pytest.raises(ClientError, match=r"ValidationException.*Could not find endpoint"):
        cloud.sagemaker.describe_endpoint(EndpointName="nobody")


def test_a_broken_model_fails_its_own_endpoint_only(cloud: Cloud, xgboost_endpoint: str) -> None:
    model = cloud.put_model("broken/model.tar.gz", {"xgboost-model": b"\x80\x04a pickle"})
    endpoint = cloud.deploy("broken", XGBOOST, model)
    assert endpoint["EndpointStatus"] == "Failed"
    assert "did not pass the ping health check" in endpoint["FailureReason"]
    assert "pickles are never loaded" in endpoint["FailureReason"]
    assert "not in service: Failed" in refused(cloud, "broken", "1")["Error"]["Message"]
    cloud.invoke(xgboost_endpoint, "1,2,3,4,5")


def test_an_archive_that_reaches_out_of_its_folder_is_refused(cloud: Cloud) -> None:
    model = cloud.put_model("escape/model.tar.gz", {"../../escaped": b"x"})
    endpoint = cloud.deploy("escape", FOREST, model)
    assert endpoint["EndpointStatus"] == "Failed"
    assert "is not a model.tar.gz that can be used" in endpoint["FailureReason"]
    assert not list(cloud.state.rglob("escaped"))


def test_a_process_that_dies_is_started_again(cloud: Cloud, xgboost_endpoint: str, forest_endpoint: str) -> None:
    os.kill(model_process(cloud, forest_endpoint), signal.SIGKILL)
    error = refused(cloud, forest_endpoint, "0,0,0,0,0")
    assert (error["Error"]["Code"], error["OriginalStatusCode"]) == ("ModelError", 503)
    cloud.invoke(xgboost_endpoint, "1,2,3,4,5")

    def back() -> bool:
        try:
            return bool(cloud.invoke(forest_endpoint, "0,0,0,0,0"))
        except ClientError:
            return False

    wait_until(back, what="the forest's process")


def test_a_deleted_endpoint_leaves_no_process_and_its_name_free(cloud: Cloud, xgboost_job: dict[str, Any]) -> None:
    cloud.deploy("short", XGBOOST, xgboost_job["ModelArtifacts"]["S3ModelArtifacts"])
    pid = model_process(cloud, "short")
    with pytest.raises(ClientError, match="Cannot create already existing endpoint"):
        cloud.sagemaker.create_endpoint(EndpointName="short", EndpointConfigName="short")
    cloud.sagemaker.delete_endpoint(EndpointName="short")
    cloud.sagemaker.delete_endpoint_config(EndpointConfigName="short")
    cloud.sagemaker.delete_model(ModelName="short")

    def gone() -> bool:
        return "short" not in {item["EndpointName"] for item in cloud.sagemaker.list_endpoints()["Endpoints"]}

    wait_until(gone, what="end of the endpoint")
    assert not psutil.pid_exists(pid)
    with pytest.raises(ClientError, match="Could not find endpoint configuration"):
        cloud.sagemaker.describe_endpoint_config(EndpointConfigName="short")
    with pytest.raises(ClientError, match="Could not find model"):
        cloud.sagemaker.describe_model(ModelName="short")


def test_what_cannot_be_served_is_refused_at_once(cloud: Cloud, xgboost_job: dict[str, Any]) -> None:
    with pytest.raises(ClientError, match=r"Could not find model data at s3://models/nothing\."):
        cloud.sagemaker.create_model(
            ModelName="none",
            PrimaryContainer={"Image": XGBOOST, "ModelDataUrl": "s3://models/nothing"},
            ExecutionRoleArn=ROLE,
        )
    container = {
        "Image": "1.dkr.ecr.eu-west-1.amazonaws.com/ntm:1",
        "ModelDataUrl": xgboost_job["ModelArtifacts"]["S3ModelArtifacts"],
    }
    with pytest.raises(ClientError, match="does not exist here"):
        cloud.sagemaker.create_model(ModelName="none", PrimaryContainer=container, ExecutionRoleArn=ROLE)
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": "none",
        "InstanceType": "ml.t2.medium",
        "InitialInstanceCount": 1,
    }
    with pytest.raises(ClientError, match="Could not find model"):
        cloud.sagemaker.create_endpoint_config(EndpointConfigName="none", ProductionVariants=[variant])
