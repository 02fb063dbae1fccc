"""Training jobs train: through CreateTrainingJob, S3 and the container contract to model.tar.gz."""

import io
import tarfile
from typing import Any

import pytest
import xgboost as xgb
from botocore.exceptions import ClientError

from tests.localaws_sagemaker.cloud import BUCKET, XGBOOST, Cloud, blobs


def files_of(cloud: Cloud, uri: str) -> dict[str, bytes]:
    body = cloud.s3.get_object(Bucket=BUCKET, Key=uri.removeprefix(f"s3://{BUCKET}/"))["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as content:
        return {name: content.extractfile(name).read() for name in content.getnames()}  # type: ignore[union-attr]


def test_xgboost_job_completes_as_on_aws(xgboost_job: dict[str, Any]) -> None:
    assert xgboost_job["TrainingJobStatus"] == "Completed", xgboost_job.get("FailureReason")
    assert xgboost_job["ModelArtifacts"]["S3ModelArtifacts"] == f"s3://{BUCKET}/jobs/xgb/output/model.tar.gz"
    statuses = [transition["Status"] for transition in xgboost_job["SecondaryStatusTransitions"]]
    assert statuses == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert xgboost_job["TrainingEndTime"] >= xgboost_job["TrainingStartTime"]


def test_final_metrics_are_those_of_the_log(xgboost_job: dict[str, Any]) -> None:
    metrics = {item["MetricName"]: item["Value"] for item in xgboost_job["FinalMetricDataList"]}
    assert set(metrics) == {"train:logloss", "train:aucpr", "validation:logloss", "validation:aucpr"}
    assert 0.9 < metrics["validation:aucpr"] <= 1


def test_xgboost_artefact_is_one_ubjson_file_with_the_best_iteration_only(
    cloud: Cloud, xgboost_job: dict[str, Any]
) -> None:
    files = files_of(cloud, xgboost_job["ModelArtifacts"]["S3ModelArtifacts"])
    assert list(files) == ["xgboost-model"]
    booster = xgb.Booster(model_file=bytearray(files["xgboost-model"]))
    log = (cloud.state / "jobs" / "xgb" / "train.log").read_text().splitlines()
    history = [float(line.rpartition(":")[2]) for line in log if "#011validation-aucpr:" in line]
    assert booster.num_boosted_rounds() == history.index(max(history)) + 1 < len(history)


def test_forest_job_completes(cloud: Cloud, forest_job: dict[str, Any]) -> None:
    assert forest_job["TrainingJobStatus"] == "Completed", forest_job.get("FailureReason")
    assert list(files_of(cloud, forest_job["ModelArtifacts"]["S3ModelArtifacts"])) == ["random_cut_forest.npz"]


def test_the_failure_reason_is_the_containers_own(cloud: Cloud) -> None:
    train = cloud.put_csv("wrong/a.csv", blobs(100, seed=5))
    job = cloud.train("wrong", XGBOOST, {"depth": "3", "eta": "2"}, {"train": train})
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: Hyperparameters: depth is not known")
    assert "eta='2' is not valid" in job["FailureReason"]
    assert "num_round is required" in job["FailureReason"]
    assert job["FailureReason"].endswith(", exit code: 1")


def test_no_data_fails_the_job(cloud: Cloud) -> None:
    job = cloud.train("no-data", XGBOOST, {"num_round": "1"}, {"train": f"s3://{BUCKET}/nothing-here/"})
    assert job["TrainingJobStatus"] == "Failed"
    assert f"there is no object under the prefix s3://{BUCKET}/nothing-here/" in job["FailureReason"]


def test_a_running_job_stops_when_asked_or_when_its_time_is_over(cloud: Cloud) -> None:
    train = cloud.put_csv("long/train/a.csv", blobs(2000, seed=6))
    endless = {"num_round": "1000000", "max_depth": "8"}
    late = cloud.train("late", XGBOOST, endless, {"train": train}, StoppingCondition={"MaxRuntimeInSeconds": 1})
    assert (late["TrainingJobStatus"], late["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")

    cloud.create("stopped", XGBOOST, endless, {"train": train})
    cloud.sagemaker.stop_training_job(TrainingJobName="stopped")
    job = cloud.ended("stopped")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert "Contents" not in cloud.s3.list_objects_v2(Bucket=BUCKET, Prefix="jobs/stopped/")
    with pytest.raises(ClientError, match="in status Stopped"):
        cloud.sagemaker.stop_training_job(TrainingJobName="stopped")


def test_names_are_unique(cloud: Cloud, xgboost_job: dict[str, Any]) -> None:
    with pytest.raises(ClientError) as error:
        cloud.train(xgboost_job["TrainingJobName"], XGBOOST, {"num_round": "1"}, {"train": f"s3://{BUCKET}/xgb/train/"})
    assert error.value.response["Error"]["Code"] == "ResourceInUse"


def test_an_unknown_job_is_not_found(cloud: Cloud) -> None:
    with pytest.raises(ClientError) as error:
        cloud.sagemaker.describe_training_job(TrainingJobName="nobody")
    assert error.value.response["Error"] == {"Code": "ValidationException", "Message": "Requested resource not found."}


def test_an_image_that_is_not_here_is_refused_with_those_that_are(cloud: Cloud) -> None:
    with pytest.raises(ClientError, match=r"linear-learner:1 does not exist here.*randomcutforest, sagemaker-xgboost"):
        cloud.train("linear", "1.dkr.ecr.eu-west-1.amazonaws.com/linear-learner:1", {}, {"train": "s3://models/any"})


def test_jobs_are_listed(cloud: Cloud, xgboost_job: dict[str, Any], forest_job: dict[str, Any]) -> None:
    found = cloud.sagemaker.list_training_jobs(StatusEquals="Completed", MaxResults=100)["TrainingJobSummaries"]
    assert {xgboost_job["TrainingJobName"], forest_job["TrainingJobName"]} <= {job["TrainingJobName"] for job in found}
