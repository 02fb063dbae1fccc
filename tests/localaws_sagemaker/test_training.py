"""Training jobs train: through CreateTrainingJob, S3 and the container contract to model.tar.gz."""

import asyncio
import io
import tarfile
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import xgboost as xgb
from botocore.exceptions import ClientError
from localaws.sagemaker.records import Records
from localaws.sagemaker.storage import CancelledDownloadError, Storage
from localaws.sagemaker.tags import Tags
from localaws.sagemaker.training import TrainingJobs

from tests.localaws_sagemaker.cloud import BUCKET, ENDLESS, FOREST, ROLE, XGBOOST, Cloud, blobs, wait_until


def files_of(cloud: Cloud, uri: str) -> dict[str, bytes]:
    body = cloud.s3.get_object(Bucket=BUCKET, Key=uri.removeprefix(f"s3://{BUCKET}/"))["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as content:
        return {name: content.extractfile(name).read() for name in content.getnames()}  # type: ignore[union-attr]


def test_xgboost_job_completes_as_on_aws(xgboost_job: dict[str, Any]) -> None:
    assert xgboost_job["TrainingJobStatus"] == "Completed", xgboost_job.get("FailureReason")
    assert xgboost_job["ModelArtifacts"]["S3ModelArtifacts"] == f"s3://{BUCKET}/jobs/xgb/output/model.tar.gz"
    statuses = [transition["Status"] for transition in xgboost_job["SecondaryStatusTransitions"]]
    assert statuses == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    for earlier, later in pairwise(xgboost_job["SecondaryStatusTransitions"]):
        assert earlier["StartTime"] <= earlier["EndTime"] == later["StartTime"]
    starts = {item["Status"]: item["StartTime"] for item in xgboost_job["SecondaryStatusTransitions"]}
    assert starts["Starting"] <= xgboost_job["TrainingStartTime"] <= starts["Training"]
    assert xgboost_job["TrainingEndTime"] == starts["Completed"]


def test_the_log_tells_line_by_line_what_was_trained(cloud: Cloud, xgboost_job: dict[str, Any]) -> None:
    log = (cloud.state / "jobs" / xgboost_job["TrainingJobName"] / "train.log").read_text().splitlines()
    assert log[0].startswith('hyperparameters: {"')
    assert log[1].startswith('channels: {"train": {"ContentType": "text/csv')
    assert "train channel: 2000 rows, 5 features" in log
    assert "validation channel: 500 rows, 5 features" in log
    assert any(line.startswith("[0]#011train-logloss:") for line in log)
    assert log[-1].startswith("model saved: ")


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


def test_a_forest_job_tells_f1_on_its_test_channel(cloud: Cloud) -> None:
    """F1 is the one metric that AWS documents for the forest; the others are in the log. Two instances train as one."""
    train = cloud.put_csv("rcf-test/train/a.csv", blobs(500, seed=4)[:, 1:])
    cloud.put_csv("rcf-test/train/b.csv", blobs(500, seed=5)[:, 1:])
    table = blobs(300, seed=6).clip(-2, 2)
    table[:, 0] = 0
    table[:4] = [1, 40, 40, 40, 40, 40]
    test = cloud.put_csv("rcf-test/test/a.csv", table)
    resources = {"InstanceType": "ml.m5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 10}
    channels = {"train": train, "test": test}
    job = cloud.train("rcf-test", FOREST, {"feature_dim": "5", "num_trees": "50"}, channels, ResourceConfig=resources)
    assert job["TrainingJobStatus"] == "Completed", job
    assert [(item["MetricName"], item["Value"]) for item in job["FinalMetricDataList"]] == [("test:f1", 1.0)]
    log = (cloud.state / "jobs" / "rcf-test" / "train.log").read_text()
    assert "train channel: 1000 rows" in log
    assert "test positive precision: 1.000000, recall: 1.000000, f1: 1.000000" in log
    assert "the job asks for 2 instances; all of it is trained on this one" in log


def test_a_job_whose_process_is_killed_fails_with_the_end_of_its_log(cloud: Cloud) -> None:
    train = cloud.put_csv("killed/train/a.csv", blobs(2000, seed=6))
    cloud.create("killed", XGBOOST, ENDLESS, {"train": train})
    process = cloud.process_of("jobs", "killed")
    log = cloud.state / "jobs" / "killed" / "train.log"
    wait_until(lambda: "[3]#011train-rmse" in log.read_text(), what="a few rounds")
    process.kill()
    job = cloud.ended("killed")
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith(
        "AlgorithmError: exit code: -9. The log /aws/sagemaker/TrainingJobs, killed/algo-1, ends with:"
    )
    assert "#011train-rmse" in job["FailureReason"]
    assert str(cloud.state) not in job["FailureReason"]


def test_the_name_and_the_log_of_a_deleted_job_are_free_again(cloud: Cloud) -> None:
    train = cloud.put_csv("again/train/a.csv", blobs(2000, seed=6))
    cloud.create("again", XGBOOST, ENDLESS, {"train": train})
    with pytest.raises(ClientError, match="is in status InProgress") as error:
        cloud.sagemaker.delete_training_job(TrainingJobName="again")
    assert error.value.response["Error"]["Code"] == "ResourceInUse"
    cloud.sagemaker.stop_training_job(TrainingJobName="again")
    cloud.ended("again")
    cloud.sagemaker.delete_training_job(TrainingJobName="again")
    with pytest.raises(ClientError, match="not found"):
        cloud.sagemaker.describe_training_job(TrainingJobName="again")
    assert not (cloud.state / "jobs" / "again").exists()
    assert cloud.train("again", XGBOOST, {"num_round": "2"}, {"train": train})["TrainingJobStatus"] == "Completed"
    assert '"num_round": "2"' in (cloud.state / "jobs" / "again" / "train.log").read_text().splitlines()[0]


class EndlessStorage(Storage):
    """An S3 whose objects have no end."""

    def download_prefix(self, uri: str, folder: Path, *, cancelled: threading.Event) -> int:
        folder.mkdir(parents=True)
        assert cancelled.wait(60)
        raise CancelledDownloadError(uri)


def test_a_download_ends_when_asked_or_when_the_time_is_over(tmp_path: Path) -> None:
    records = Records(tmp_path / "records", region="eu-west-1")
    request = {
        "AlgorithmSpecification": {"TrainingImage": XGBOOST, "TrainingInputMode": "File"},
        "RoleArn": ROLE,
        "InputDataConfig": [
            {"ChannelName": "train", "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://a/b"}}}
        ],
        "OutputDataConfig": {"S3OutputPath": "s3://a/c"},
        "StoppingCondition": {"MaxRuntimeInSeconds": 1},
    }

    async def reached(jobs: TrainingJobs, name: str, *statuses: str) -> tuple[str, str]:
        while (job := jobs.describe({"TrainingJobName": name}))["SecondaryStatus"] not in statuses:  # noqa: ASYNC110 - a record has no event
            await asyncio.sleep(0.01)
        return job["TrainingJobStatus"], job["SecondaryStatus"]

    async def run() -> None:
        jobs = TrainingJobs(records, Tags(records), EndlessStorage(region="eu-west-1"), tmp_path / "jobs")
        jobs.create({"TrainingJobName": "late", **request})
        assert await reached(jobs, "late", "Training", "MaxRuntimeExceeded") == ("Stopped", "MaxRuntimeExceeded")
        jobs.create({"TrainingJobName": "stopped", **request, "StoppingCondition": {"MaxRuntimeInSeconds": 600}})
        await reached(jobs, "stopped", "Downloading")
        jobs.stop({"TrainingJobName": "stopped"})
        assert jobs.stop({"TrainingJobName": "stopped"}) == {}
        assert await reached(jobs, "stopped", "Training", "Stopped") == ("Stopped", "Stopped")
        transitions = jobs.describe({"TrainingJobName": "stopped"})["SecondaryStatusTransitions"]
        assert [item["Status"] for item in transitions] == ["Starting", "Downloading", "Stopping", "Stopped"]
        await jobs.close()

    asyncio.run(asyncio.wait_for(run(), 60))
    assert not list(tmp_path.glob("jobs/*/input/data"))


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        pytest.param({"S3DataType": "ManifestFile", "S3Uri": "s3://a/b"}, "only S3DataType S3Prefix", id="manifest"),
        pytest.param({"S3DataType": "S3Prefix", "S3Uri": "a/b"}, "S3Uri", id="no uri"),
    ],
)
def test_a_channel_is_a_prefix_in_s3(cloud: Cloud, source: dict[str, str], problem: str) -> None:
    channel = {"ChannelName": "train", "ContentType": "text/csv", "DataSource": {"S3DataSource": source}}
    with pytest.raises(ClientError, match=problem) as error:
        cloud.create("no-prefix", XGBOOST, {"num_round": "1"}, {}, InputDataConfig=[channel])
    assert error.value.response["Error"]["Code"] == "ValidationException"


def test_a_channel_is_there_once(cloud: Cloud) -> None:
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://models/any"}}
    channel = {"ChannelName": "train", "ContentType": "text/csv", "DataSource": source}
    with pytest.raises(ClientError, match="channel names must be unique"):
        cloud.create("twice", XGBOOST, {"num_round": "1"}, {}, InputDataConfig=[channel, channel])


def test_the_failure_reason_is_the_containers_own(cloud: Cloud) -> None:
    train = cloud.put_csv("wrong/a.csv", blobs(100, seed=5))
    job = cloud.train("wrong", XGBOOST, {"depth": "3", "eta": "2"}, {"train": train})
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: Hyperparameters: depth is not known")
    assert "eta='2' is not valid" in job["FailureReason"]
    assert "num_round is required" in job["FailureReason"]
    assert job["FailureReason"].endswith(", exit code: 1")


def test_empty_files_are_no_data(cloud: Cloud) -> None:
    cloud.s3.put_object(Bucket=BUCKET, Key="hollow/train/a.csv", Body=b"")
    job = cloud.train("hollow", XGBOOST, {"num_round": "1"}, {"train": f"s3://{BUCKET}/hollow/train/"})
    assert job["FailureReason"] == "ClientError: No data in the train channel, exit code: 1"


def test_no_data_fails_the_job(cloud: Cloud) -> None:
    job = cloud.train("no-data", XGBOOST, {"num_round": "1"}, {"train": f"s3://{BUCKET}/nothing-here/"})
    assert job["TrainingJobStatus"] == "Failed"
    assert f"there is no object under the prefix s3://{BUCKET}/nothing-here/" in job["FailureReason"]


def test_a_running_job_stops_when_asked_or_when_its_time_is_over(cloud: Cloud) -> None:
    train = cloud.put_csv("long/train/a.csv", blobs(2000, seed=6))
    late = cloud.train("late", XGBOOST, ENDLESS, {"train": train}, StoppingCondition={"MaxRuntimeInSeconds": 1})
    assert (late["TrainingJobStatus"], late["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")

    cloud.create("stopped", XGBOOST, ENDLESS, {"train": train})
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
