"""What the service knew and served lives on after it ended; no process outlives it."""

import threading
from typing import Any

import psutil
import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.localaws_sagemaker.cloud import ENDLESS, XGBOOST, Cloud, blobs, wait_until


def test_jobs_endpoints_and_packages_live_on(cloud: Cloud, xgboost_endpoint: str) -> None:
    cloud.sagemaker.create_model_package_group(ModelPackageGroupName="kept")
    before = cloud.sagemaker.describe_training_job(TrainingJobName="xgb")
    score = cloud.invoke(xgboost_endpoint, "1,2,3,4,5")
    children = cloud.children()
    assert children

    cloud.service.stop()
    assert not [child for child in children if child.is_running()]
    cloud.service.start(f"{cloud.url}/_health")

    after = cloud.sagemaker.describe_training_job(TrainingJobName="xgb")
    del before["ResponseMetadata"], after["ResponseMetadata"]
    assert after == before
    assert cloud.settled(xgboost_endpoint)["EndpointStatus"] == "InService"
    assert cloud.invoke(xgboost_endpoint, "1,2,3,4,5") == score
    cloud.sagemaker.describe_model_package_group(ModelPackageGroupName="kept")


def test_a_service_killed_under_load_comes_back_whole(
    cloud: Cloud, xgboost_job: dict[str, Any], xgboost_endpoint: str
) -> None:
    """Killed with a job in training and clients at its endpoint, and with the traces of a write that was cut short."""
    cloud.sagemaker.create_model_package_group(ModelPackageGroupName="survives")
    train = cloud.put_csv("cut-short/train/a.csv", blobs(2000, seed=6))
    cloud.create("cut-short", XGBOOST, ENDLESS, {"train": train})
    cloud.process_of("jobs", "cut-short")
    cloud.settled(xgboost_endpoint)
    score = cloud.invoke(xgboost_endpoint, "1,2,3,4,5")
    over = threading.Event()
    outcomes: set[bytes | str] = set()

    def ask() -> None:
        while not over.is_set():
            try:
                outcomes.add(cloud.invoke(xgboost_endpoint, "1,2,3,4,5"))
            except ClientError as error:
                outcomes.add(error.response["Error"]["Code"])
            except BotoCoreError:
                outcomes.add("gone")

    clients = [threading.Thread(target=ask) for _ in range(8)]
    for client in clients:
        client.start()
    wait_until(lambda: score in outcomes, what="an answer")
    children = cloud.children()
    assert cloud.service.popen is not None
    cloud.service.popen.kill()
    cloud.service.popen.wait(10)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    (cloud.state / "records" / "training-job" / "half.json").write_text('{"name": "half", "record": {"Traini')
    (cloud.state / "endpoints" / xgboost_endpoint / "model.draft").mkdir()
    (cloud.state / "endpoints" / "nobodys").mkdir()
    cloud.service.start(f"{cloud.url}/_health")

    assert cloud.settled(xgboost_endpoint)["EndpointStatus"] == "InService"
    assert cloud.invoke(xgboost_endpoint, "1,2,3,4,5") == score
    over.set()
    for client in clients:
        client.join()
    assert outcomes <= {score, "gone", "ValidationError", "ModelError"}
    cut = cloud.sagemaker.describe_training_job(TrainingJobName="cut-short")
    assert cut["TrainingJobStatus"] == "Failed"
    assert cut["FailureReason"] == "InternalServerError: the service ended during the job"
    assert not (cloud.state / "jobs" / "cut-short" / "input" / "data").exists()
    whole = cloud.sagemaker.describe_training_job(TrainingJobName=xgboost_job["TrainingJobName"])
    assert whole["TrainingJobStatus"] == "Completed"
    cloud.sagemaker.describe_model_package_group(ModelPackageGroupName="survives")
    assert (cloud.state / "records" / "training-job" / "half.broken").exists()
    assert "half.json is not a whole record" in cloud.service.log.read_text()
    assert not (cloud.state / "endpoints" / "nobodys").exists()
    assert not (cloud.state / "endpoints" / xgboost_endpoint / "model.draft").exists()
    for endpoint in cloud.sagemaker.list_endpoints()["Endpoints"]:
        cloud.settled(endpoint["EndpointName"])


def test_a_model_that_broke_meanwhile_fails_with_what_its_new_process_said(
    cloud: Cloud, xgboost_job: dict[str, Any]
) -> None:
    cloud.deploy("breaks", XGBOOST, xgboost_job["ModelArtifacts"]["S3ModelArtifacts"])
    cloud.service.stop()
    log = cloud.state / "endpoints" / "breaks" / "serve.log"
    assert "model loaded" in log.read_text()
    (cloud.state / "endpoints" / "breaks" / "model" / "xgboost-model").write_bytes(b"{")
    cloud.service.start(f"{cloud.url}/_health")
    endpoint = cloud.settled("breaks")
    assert endpoint["EndpointStatus"] == "Failed"
    assert endpoint["FailureReason"].partition("ends with: ")[2].startswith("xgboost-model cannot be loaded")
    assert "model loaded" in log.read_text()
    with pytest.raises(ClientError, match="not in service: Failed"):
        cloud.invoke("breaks", "1,2,3,4,5")
    cloud.sagemaker.delete_endpoint(EndpointName="breaks")
    for left in cloud.sagemaker.list_endpoints()["Endpoints"]:
        if left["EndpointName"] != "breaks":
            cloud.settled(left["EndpointName"])
