"""Endpoints serve what was trained, and fail alone: through boto3, as on AWS."""

import io
import json
import tarfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import psutil
import pytest
import xgboost as xgb
from botocore.exceptions import ClientError

from tests.localaws_sagemaker.cloud import BUCKET, FOREST, ROLE, XGBOOST, Cloud, blobs, wait_until

CLIENTS = 32


@pytest.fixture(scope="module")
def rows_and_scores(cloud: Cloud, xgboost_job: dict[str, Any]) -> tuple[list[str], list[float]]:
    """Return a row for each of many clients and what the library says to it."""
    key = xgboost_job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix(f"s3://{BUCKET}/")
    with tarfile.open(fileobj=io.BytesIO(cloud.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())) as content:
        booster = xgb.Booster(model_file=bytearray(content.extractfile("xgboost-model").read()))  # type: ignore[union-attr]
    rows = np.random.default_rng(8).normal(scale=2, size=(CLIENTS, 5)).astype(np.float32)
    bodies = [",".join(map(repr, row)) for row in rows.astype(float).tolist()]
    return bodies, booster.predict(xgb.DMatrix(rows)).astype(float).tolist()


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


@pytest.mark.parametrize("size", [6 * 1024 * 1024 + 1, 7 * 1024 * 1024, 40 * 1024 * 1024])
def test_a_larger_one_is_refused(cloud: Cloud, xgboost_endpoint: str, size: int) -> None:
    error = refused(cloud, xgboost_endpoint, b"1" * size)
    assert error["Error"]["Code"] == "ValidationError"
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert "less than or equal to 6291456" in error["Error"]["Message"]
    assert cloud.invoke(xgboost_endpoint, "1,2,3,4,5")


def test_an_empty_one_has_an_empty_answer(cloud: Cloud, xgboost_endpoint: str) -> None:
    assert cloud.invoke(xgboost_endpoint, "") == b""


def test_each_of_many_clients_gets_its_own_answer(
    cloud: Cloud, xgboost_endpoint: str, rows_and_scores: tuple[list[str], list[float]]
) -> None:
    bodies, scores = rows_and_scores

    def ask(client: int) -> list[float]:
        answers = [json.loads(cloud.invoke(xgboost_endpoint, bodies[client])) for _ in range(3)]
        return [answer["predictions"][0]["score"] for answer in answers]

    with ThreadPoolExecutor(CLIENTS) as pool:
        assert list(pool.map(ask, range(CLIENTS))) == [[score] * 3 for score in scores]


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
    assert "See /aws/sagemaker/Endpoints/xgb in account 123456789012" in error["Error"]["Message"]
    log = (cloud.state / "endpoints" / "xgb" / "serve.log").read_text()
    assert f"refused a request of {len(body)} bytes with {status}: " in log


def test_the_log_tells_what_is_served(cloud: Cloud, xgboost_endpoint: str, forest_endpoint: str) -> None:
    classifier, forest = (
        (cloud.state / "endpoints" / name / "serve.log").read_text() for name in (xgboost_endpoint, forest_endpoint)
    )
    assert "boosting rounds, 5 features, one row scored by compiled trees" in classifier
    assert "model loaded: 50 trees, 5 features" in forest


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
    assert "/aws/sagemaker/Endpoints/broken" in endpoint["FailureReason"]
    assert str(cloud.state) not in endpoint["FailureReason"]
    assert "not in service: Failed" in refused(cloud, "broken", "1")["Error"]["Message"]
    cloud.invoke(xgboost_endpoint, "1,2,3,4,5")


def test_an_archive_that_reaches_out_of_its_folder_is_refused(cloud: Cloud) -> None:
    model = cloud.put_model("escape/model.tar.gz", {"../../escaped": b"x"})
    endpoint = cloud.deploy("escape", FOREST, model)
    assert endpoint["EndpointStatus"] == "Failed"
    assert "is not a model.tar.gz that can be used" in endpoint["FailureReason"]
    assert not list(cloud.state.rglob("escaped"))


def test_clients_of_a_process_that_dies_get_an_answer_or_an_error_until_it_is_back(
    cloud: Cloud, xgboost_endpoint: str, rows_and_scores: tuple[list[str], list[float]]
) -> None:
    bodies, scores = rows_and_scores
    process = cloud.process_of("endpoints", xgboost_endpoint)

    def ask(client: int) -> list[str]:
        """Ask until there was an error and an answer after it."""
        seen: list[str] = []
        while not (seen and seen[-1] == "answer" and "ModelError 503" in seen):
            try:
                answer = json.loads(cloud.invoke(xgboost_endpoint, bodies[client]))["predictions"][0]["score"]
                seen.append("answer" if answer == scores[client] else f"{answer} is another's")
            except ClientError as error:
                seen.append(f"{error.response['Error']['Code']} {error.response.get('OriginalStatusCode')}")
            if len(seen) == 20 and client == 0:
                process.kill()
        return seen

    with ThreadPoolExecutor(16) as pool:
        seen = {outcome for outcomes in pool.map(ask, range(16)) for outcome in outcomes}
    assert seen == {"answer", "ModelError 503"}
    assert cloud.process_of("endpoints", xgboost_endpoint).pid != process.pid


def test_a_process_that_dies_is_started_again(cloud: Cloud, xgboost_endpoint: str, forest_endpoint: str) -> None:
    cloud.process_of("endpoints", forest_endpoint).kill()
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
    pid = cloud.process_of("endpoints", "short").pid
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


def test_an_endpoint_in_creation_is_not_deleted(cloud: Cloud, xgboost_endpoint: str) -> None:
    cloud.sagemaker.create_endpoint(EndpointName="early", EndpointConfigName=xgboost_endpoint)
    with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
        cloud.sagemaker.delete_endpoint(EndpointName="early")
    assert "not in service: Creating" in refused(cloud, "early", "1,2,3,4,5")["Error"]["Message"]
    assert cloud.settled("early")["EndpointStatus"] == "InService"
    cloud.sagemaker.delete_endpoint(EndpointName="early")


def test_of_many_that_create_one_model_one_does(cloud: Cloud, xgboost_job: dict[str, Any]) -> None:
    container = {"Image": XGBOOST, "ModelDataUrl": xgboost_job["ModelArtifacts"]["S3ModelArtifacts"]}

    def create(_: int) -> str:
        try:
            cloud.sagemaker.create_model(ModelName="contested", PrimaryContainer=container, ExecutionRoleArn=ROLE)
        except ClientError as error:
            return str(error.response["Error"]["Message"])
        return "created"

    with ThreadPoolExecutor(8) as pool:
        outcomes = sorted(pool.map(create, range(8)))
    taken = 'Cannot create already existing model "arn:aws:sagemaker:eu-west-1:123456789012:model/contested".'
    assert outcomes == [taken] * 7 + ["created"]


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
