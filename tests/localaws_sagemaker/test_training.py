"""Training jobs train: through CreateTrainingJob, S3 and the container contract to model.tar.gz."""

import io
import tarfile
from typing import Any

import numpy as np
import pytest
import xgboost as xgb
from botocore.exceptions import ClientError

from tests.localaws_sagemaker.cloud import BUCKET, FOREST, XGBOOST, Cloud, blobs


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
    rounds = [line for line in log if "#011validation-aucpr:" in line]
    assert rounds[0].startswith("[0]#011train-logloss:")
    assert booster.num_boosted_rounds() == len(rounds) - 5
    assert booster.best_iteration == booster.num_boosted_rounds() - 1


def test_forest_job_completes(cloud: Cloud, forest_job: dict[str, Any]) -> None:
    assert forest_job["TrainingJobStatus"] == "Completed", forest_job.get("FailureReason")
    assert list(files_of(cloud, forest_job["ModelArtifacts"]["S3ModelArtifacts"])) == ["random_cut_forest.npz"]


def test_a_weight_counts_as_so_many_rows(cloud: Cloud) -> None:
    """The second column is the weight: weight 2 on a row gives the model of the row written twice."""
    table = blobs(300, seed=9)
    doubled = cloud.put_csv("w/doubled/a.csv", np.concatenate([table, table]))
    weighted = cloud.put_csv("w/weighted/a.csv", np.insert(table, 1, 2.0, axis=1))
    settings = {"num_round": "3", "objective": "binary:logistic", "tree_method": "exact"}
    job = cloud.train("doubled", XGBOOST, settings, {"train": doubled})
    other = cloud.train("weighted", XGBOOST, {**settings, "csv_weights": "1"}, {"train": weighted})
    assert [job["TrainingJobStatus"], other["TrainingJobStatus"]] == ["Completed", "Completed"]
    first, second = (
        files_of(cloud, f"s3://{BUCKET}/jobs/{name}/output/model.tar.gz") for name in ("doubled", "weighted")
    )
    rows = table[:, 1:]
    scores = [
        xgb.Booster(model_file=bytearray(files["xgboost-model"])).inplace_predict(rows) for files in (first, second)
    ]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-5)


def test_the_failure_reason_is_the_containers_own(cloud: Cloud) -> None:
    train = cloud.put_csv("wrong/a.csv", blobs(100, seed=5))
    job = cloud.train("wrong", XGBOOST, {"depth": "3", "eta": "2"}, {"train": train})
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: Hyperparameters: depth is not known")
    assert "eta='2' is not valid" in job["FailureReason"]
    assert job["FailureReason"].endswith("num_round is required, exit code: 1")


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
    assert "ModelArtifacts" not in job
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
