"""Training, registry and endpoints against SageMaker's API, with real models in real processes."""

import http.server
import io
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dagster as dg
import numpy as np
import pytest
from botocore.exceptions import ClientError

from resources.sagemaker import EndpointError, ModelPackage, SageMaker, SageMakerError, TrainingError, TrainingResult
from resources.sagemaker.endpoints import BODY_LIMIT_BYTES, csv_bodies
from resources.storage import Storage
from tests.conftest import unique
from tests.resources.conftest import REGION

ROLE = "arn:aws:iam::123456789012:role/fraudit"
XGBOOST = "141502667606.dkr.ecr.eu-west-1.amazonaws.com/sagemaker-xgboost:3.0-5"
FOREST = "438346466558.dkr.ecr.eu-west-1.amazonaws.com/randomcutforest:1"
FEATURES = 3
ENDLESS = {"num_round": "1000000", "nthread": "1"}

TRAINING = f"""
import sys
from resources.sagemaker import SageMaker
prefix, name, bucket = sys.argv[1:]
SageMaker(region={REGION!r}, role_arn={ROLE!r}, solution_prefix=prefix).train(
    name=name,
    image={XGBOOST!r},
    hyperparameters={{"objective": "binary:logistic", "num_round": "200"}},
    channels={{"train": {{
        "uri": f"s3://{{bucket}}/sagemaker/train", "content_type": "text/csv", "distribution": "FullyReplicated"
    }}}},
    output_uri=f"s3://{{bucket}}/training",
    on_status=lambda status: print(status, flush=True),
)
"""


def make(**changes: Any) -> SageMaker:
    return SageMaker(region=REGION, role_arn=ROLE, **{"solution_prefix": unique("fraud"), **changes})


@pytest.fixture
def sagemaker() -> SageMaker:
    return make()


@pytest.fixture(scope="module")
def train(storage: Storage) -> Callable[..., Any]:
    """Trains a small classifier, with what the test changes."""
    random = np.random.default_rng(0)
    label = random.random(400) < 0.3
    rows = np.column_stack([label, random.normal(size=(400, FEATURES)) + label[:, None]])
    channel = f"s3://{storage.data_bucket}/sagemaker/train"
    storage.write(f"{channel}/part-0.csv", "\n".join(",".join(map(str, row)) for row in rows).encode())

    def run(
        sagemaker: SageMaker,
        name: str,
        *,
        uri: str = channel,
        on_status: Callable[[str], object] = lambda _status: None,
        instance_count: int = 1,
        **hyperparameters: str,
    ) -> TrainingResult:
        return sagemaker.train(
            name=name,
            image=XGBOOST,
            hyperparameters={"objective": "binary:logistic", "num_round": "5", **hyperparameters},
            channels={"train": {"uri": uri, "content_type": "text/csv", "distribution": "FullyReplicated"}},
            output_uri=f"s3://{storage.model_bucket}/training",
            on_status=on_status,
            instance_count=instance_count,
        )

    return run


@pytest.fixture(scope="module")
def trained(train: Callable[..., Any]) -> TrainingResult:
    """What two instances trained."""
    result: TrainingResult = train(make(), unique("model"), instance_count=2)
    return result


@pytest.fixture(scope="module")
def artifact(trained: TrainingResult) -> str:
    return trained.artifact_uri


@pytest.fixture
def deploy(artifact: str) -> Callable[..., str]:
    def run(sagemaker: SageMaker, *, version: str = "1", artifact_uri: str = artifact) -> str:
        return sagemaker.deploy(algorithm="xgboost", version=version, image=XGBOOST, artifact_uri=artifact_uri)

    return run


@pytest.fixture(scope="module")
def served(artifact: str) -> tuple[SageMaker, str]:
    """A resource, and the name of a healthy endpoint of it."""
    sagemaker = make()
    return sagemaker, sagemaker.deploy(algorithm="xgboost", version="7", image=XGBOOST, artifact_uri=artifact)


@pytest.mark.parametrize(("algorithm", "image"), [("xgboost", XGBOOST), ("random_cut_forest", FOREST)])
def test_images_are_those_of_the_region(sagemaker: SageMaker, algorithm: Any, image: str) -> None:
    assert sagemaker.image(algorithm) == image


def test_a_job_leaves_an_artefact_and_metrics(
    sagemaker: SageMaker, train: Callable[..., Any], storage: Storage
) -> None:
    name = unique("job")
    statuses: list[str] = []
    result = train(sagemaker, name, eval_metric="auc", on_status=statuses.append)
    assert result.artifact_uri == f"s3://{storage.model_bucket}/training/{name}/output/model.tar.gz"
    assert storage.exists(result.artifact_uri)
    assert 0.5 < result.metrics["train:auc"] <= 1
    assert statuses[-1] == "Completed"
    assert len(statuses) == len(set(statuses)), "each status is told once"


def test_a_failed_job_carries_sagemakers_reason(sagemaker: SageMaker, train: Callable[..., Any]) -> None:
    name = unique("job")
    with pytest.raises(TrainingError, match=f"training job {name} ended as Failed: .*max_depth") as caught:
        train(sagemaker, name, max_depth="deep")
    assert caught.value.code == "Failed"


def test_data_that_are_not_there_fail_the_job(sagemaker: SageMaker, train: Callable[..., Any], prefix: str) -> None:
    with pytest.raises(TrainingError, match=f"Failed: .*{prefix}"):
        train(sagemaker, unique("job"), uri=prefix)


def test_a_job_that_is_too_long_is_stopped(train: Callable[..., Any]) -> None:
    with pytest.raises(TrainingError, match="ended as Stopped: MaxRuntimeExceeded"):
        train(make(max_runtime_s=1), unique("job"), **ENDLESS)


def test_a_retry_waits_for_the_job_that_runs(
    sagemaker: SageMaker, train: Callable[..., Any], boto: Callable[[str], Any]
) -> None:
    name = unique("job")
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: train(sagemaker, name), range(2))
    assert first == second == train(sagemaker, name)
    assert len(boto("sagemaker").list_training_jobs(NameContains=name)["TrainingJobSummaries"]) == 1


def test_a_retry_after_a_crash_finds_the_job(
    sagemaker: SageMaker, train: Callable[..., Any], boto: Callable[[str], Any], storage: Storage
) -> None:
    """The process that began the job is killed: it neither waits nor stops anything."""
    name = unique("job")
    with subprocess.Popen(
        [sys.executable, "-c", TRAINING, sagemaker.solution_prefix, name, storage.data_bucket],
        stdout=subprocess.PIPE,
        text=True,
    ) as crashing:
        assert crashing.stdout is not None
        assert crashing.stdout.readline() in {"Starting\n", "Downloading\n", "Training\n"}
        crashing.kill()
    left = boto("sagemaker").describe_training_job(TrainingJobName=name)
    assert left["TrainingJobStatus"] in {"InProgress", "Completed"}
    assert train(sagemaker, name).job == name
    assert len(boto("sagemaker").list_training_jobs(NameContains=name)["TrainingJobSummaries"]) == 1


def test_a_retry_after_a_failure_trains_again(sagemaker: SageMaker, train: Callable[..., Any]) -> None:
    name = unique("job")
    with pytest.raises(TrainingError, match=f"training job {name} ended as Failed"):
        train(sagemaker, name, max_depth="deep")
    with pytest.raises(TrainingError, match=f"training job {name}-2 ended as Failed"):
        train(sagemaker, name, max_depth="deep")
    result = train(sagemaker, name)
    assert result.job == f"{name}-3"
    assert result.artifact_uri.endswith(f"/{name}-3/output/model.tar.gz")
    assert train(sagemaker, name) == result, "what has completed is not trained again"


def test_a_retry_after_a_stop_by_hand_trains_again(
    sagemaker: SageMaker, train: Callable[..., Any], boto: Callable[[str], Any]
) -> None:
    name = unique("job")
    stop = boto("sagemaker").stop_training_job
    asked: list[str] = []

    def once(status: str) -> None:
        if not asked:
            asked.append(status)
            stop(TrainingJobName=name)

    with pytest.raises(TrainingError, match=f"training job {name} ended as Stopped") as caught:
        train(sagemaker, name, **ENDLESS, on_status=once)
    assert caught.value.code == "Stopped"
    assert train(sagemaker, name).job == f"{name}-2"


def test_several_instances_train_together(trained: TrainingResult, boto: Callable[[str], Any]) -> None:
    job = boto("sagemaker").describe_training_job(TrainingJobName=trained.job)
    assert job["ResourceConfig"]["InstanceCount"] == 2
    assert job["TrainingJobStatus"] == "Completed"


def test_a_job_that_sagemaker_refuses_is_named(train: Callable[..., Any]) -> None:
    with pytest.raises(SageMakerError, match="cannot create training job not_a_name") as caught:
        train(make(), "not_a_name")
    assert caught.value.code == "ValidationException"


def interrupt(_status: str) -> None:
    """As Ctrl-C."""
    raise KeyboardInterrupt


def cancel(_status: str) -> None:
    """As Dagster, when a run is cancelled."""
    raise dg.DagsterExecutionInterruptedError


@pytest.mark.parametrize(
    ("stop", "error"), [(interrupt, KeyboardInterrupt), (cancel, dg.DagsterExecutionInterruptedError)]
)
def test_an_interrupted_run_stops_its_job(
    sagemaker: SageMaker,
    train: Callable[..., Any],
    boto: Callable[[str], Any],
    stop: Callable[[str], None],
    error: type[BaseException],
) -> None:
    name = unique("job")
    asked: list[str] = []

    def once(status: str) -> None:
        if not asked:
            asked.append(status)
            stop(status)

    with pytest.raises(error):
        train(sagemaker, name, **ENDLESS, on_status=once)
    assert boto("sagemaker").describe_training_job(TrainingJobName=name)["TrainingJobStatus"] in {"Stopping", "Stopped"}


def test_a_version_is_registered_once_and_approved(
    sagemaker: SageMaker, artifact: str, boto: Callable[[str], Any]
) -> None:
    def register(token: str) -> tuple[str, str]:
        return sagemaker.register(
            algorithm="xgboost", image=XGBOOST, artifact_uri=artifact, token=token, properties={"features": "3"}
        )

    long_token = "a-job-whose-name-is-longer-than-a-client-token-may-be"
    arn, version = register(long_token)
    assert (arn, version) == register(long_token)
    assert [version, register("another")[1]] == ["1", "2"]
    assert sagemaker.approval(arn) == "PendingManualApproval"
    sagemaker.set_approval(arn, status="Approved", reason="the first", properties={"average_precision": "0.8"})
    assert sagemaker.approval(arn) == "Approved"
    package = boto("sagemaker").describe_model_package(ModelPackageName=arn)
    assert package["CustomerMetadataProperties"] == {"features": "3", "average_precision": "0.8"}


def test_a_package_that_is_not_there_is_named(sagemaker: SageMaker, artifact: str) -> None:
    with pytest.raises(SageMakerError, match="cannot describe model package none"):
        sagemaker.approval("none")
    with pytest.raises(
        SageMakerError, match=f"find version 1 in model package group {sagemaker.solution_prefix}-xgb: .*not exist"
    ):
        sagemaker.package("xgboost", "1")
    register(sagemaker, artifact, token="a")
    with pytest.raises(SageMakerError, match=f"cannot describe model package arn:.*/{sagemaker.solution_prefix}-xgb/7"):
        sagemaker.package("xgboost", "7")


def register(sagemaker: SageMaker, artifact: str, *, token: str, **changes: Any) -> tuple[str, str]:
    settings: dict[str, Any] = {"algorithm": "xgboost", "image": XGBOOST, "properties": {"features": "3"}, **changes}
    return sagemaker.register(artifact_uri=artifact, token=token, **settings)


def test_a_version_is_found_with_all_that_deploying_it_takes(
    sagemaker: SageMaker, artifact: str, boto: Callable[[str], Any]
) -> None:
    arn, version = register(sagemaker, artifact, token="a", generated_by="a-training-job", commit_id="0123abc")
    package = sagemaker.package("xgboost", version)
    assert package == sagemaker.package_by_arn(arn)
    assert package == ModelPackage(
        arn=arn,
        algorithm="xgboost",
        version="1",
        status="PendingManualApproval",
        image=XGBOOST,
        artifact_uri=artifact,
        created_at=package.created_at,
        properties={"features": "3"},
    )
    lineage = boto("sagemaker").describe_model_package(ModelPackageName=arn)["MetadataProperties"]
    assert lineage == {"GeneratedBy": "a-training-job", "CommitId": "0123abc"}


def test_a_version_of_another_solution_is_not_taken_for_ours(sagemaker: SageMaker, artifact: str) -> None:
    arn, _ = register(make(), artifact, token="a")
    with pytest.raises(SageMakerError, match=f"{arn} is no model of {sagemaker.solution_prefix}") as caught:
        sagemaker.package_by_arn(arn)
    assert caught.value.code == "NotOurs"


def test_all_versions_are_listed_the_newest_first(sagemaker: SageMaker, artifact: str) -> None:
    assert sagemaker.packages("xgboost") == []
    arns = [register(sagemaker, artifact, token=str(number))[0] for number in range(12)]
    register(sagemaker, artifact, token="forest", algorithm="random_cut_forest", image=FOREST)
    sagemaker.set_approval(arns[3], status="Rejected", reason="worse,\nby far", properties={})
    packages = sagemaker.packages("xgboost")
    assert [(item.arn, item.version) for item in packages] == [
        (arn, str(number)) for number, arn in reversed(list(enumerate(arns, start=1)))
    ]
    assert {item.version for item in packages if item.status == "Rejected"} == {"4"}
    assert packages[0].created_at > packages[-1].created_at
    assert [item.version for item in sagemaker.packages("random_cut_forest")] == ["1"]


@pytest.mark.parametrize(
    ("properties", "problem"),
    [
        ({"k" * 129: "v"}, "property 'kkk.*is not 1 to 128 letters"),
        ({"columns": "v" * 257}, "property 'columns': value 'vvv.*is not 1 to 256 letters"),
        ({"columns": "a,b"}, "property 'columns': value 'a,b' is not"),
        ({"champion": ""}, "property 'champion': value '' is not"),
        ({str(number): "v" for number in range(51)}, "51 properties, SageMaker takes 50"),
    ],
)
def test_a_property_that_sagemaker_would_refuse_is_named(
    sagemaker: SageMaker, artifact: str, properties: dict[str, str], problem: str
) -> None:
    with pytest.raises(SageMakerError, match=problem) as caught:
        register(sagemaker, artifact, token="a", properties=properties)
    assert caught.value.code == "InvalidRequest"
    assert sagemaker.packages("xgboost") == []


def test_properties_as_large_as_may_be_are_taken(sagemaker: SageMaker, artifact: str) -> None:
    properties = {f"ключ {number} @_.:/=+-": "é" * 256 for number in range(50)}
    arn, _ = register(sagemaker, artifact, token="a", properties=properties)
    assert sagemaker.package_by_arn(arn).properties == properties


def test_an_endpoint_scores_alike_in_one_request_or_many(
    served: tuple[SageMaker, str], deploy: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sagemaker, endpoint = served
    assert deploy(sagemaker, version="7") == endpoint, "one that is healthy is left as it is"
    rows = np.random.default_rng(1).normal(size=(100, FEATURES))
    scores = sagemaker.score(endpoint, rows)
    assert scores.shape == (100,)
    assert len(set(scores)) > 5
    monkeypatch.setattr("resources.sagemaker.endpoints.BODY_LIMIT_BYTES", 600)
    np.testing.assert_array_equal(sagemaker.score(endpoint, rows), scores)


def test_bodies_stay_below_the_limit_and_keep_every_bit() -> None:
    widest = np.full((9000, 30), -2.2250738585072014e-308)
    rows = np.vstack([widest, np.random.default_rng(0).normal(size=(1000, 30)), np.full((1, 30), -0.1)])
    bodies = list(csv_bodies(rows))
    assert len(bodies) > 1
    assert max(len(body) for body, _ in bodies) <= BODY_LIMIT_BYTES
    assert sum(count for _, count in bodies) == len(rows)
    read = np.vstack([np.loadtxt(io.BytesIO(body), delimiter=",", ndmin=2) for body, _ in bodies])
    np.testing.assert_array_equal(read, rows)


def test_no_rows_are_no_request(sagemaker: SageMaker) -> None:
    assert sagemaker.score("none", np.empty((0, FEATURES))).shape == (0,)


def test_an_endpoint_that_is_not_there_is_named(sagemaker: SageMaker) -> None:
    with pytest.raises(EndpointError, match=r"cannot score 2 rows at endpoint none: .* not found"):
        sagemaker.score("none", np.zeros((2, FEATURES)))


def test_a_model_that_refuses_is_quoted(served: tuple[SageMaker, str]) -> None:
    sagemaker, endpoint = served
    with pytest.raises(EndpointError, match=f"at endpoint {endpoint}: .*ModelError.*feature") as caught:
        sagemaker.score(endpoint, np.zeros((2, FEATURES + 2)))
    assert caught.value.code == "ModelError"


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], None]]:
    """Sets what every endpoint of another SageMaker answers."""
    answer = [b""]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer[0])))
            self.end_headers()
            self.wfile.write(answer[0])

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", f"http://127.0.0.1:{server.server_port}")
        yield lambda body: answer.__setitem__(0, body)
        server.shutdown()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"0.5\n0.5",
        b"0.5",
        b"[0.5, 0.5]",
        b'{"detail": "loading"}',
        b'{"predictions": []}',
        b'{"predictions": [{"score": null}, {"score": 1}]}',
    ],
)
def test_an_answer_that_is_none_is_quoted(
    sagemaker: SageMaker, answering: Callable[[bytes], None], body: bytes
) -> None:
    answering(body)
    with pytest.raises(EndpointError, match="endpoint any answered b") as caught:
        sagemaker.score("any", np.zeros((2, FEATURES)))
    assert caught.value.code == "BadAnswer"


def test_too_few_scores_are_an_error(sagemaker: SageMaker, answering: Callable[[bytes], None]) -> None:
    answering(b'{"scores": [{"score": 1.5}]}')
    assert sagemaker.score("any", np.zeros((1, FEATURES))).tolist() == [1.5]
    with pytest.raises(EndpointError, match="endpoint any answered 1 scores for 2 rows"):
        sagemaker.score("any", np.zeros((2, FEATURES)))


def assert_gone(client: Any, name: str) -> None:
    client.get_waiter("endpoint_deleted").wait(EndpointName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    with pytest.raises(ClientError, match="Could not find"):
        client.describe_model(ModelName=name)
    with pytest.raises(ClientError, match="Could not find"):
        client.describe_endpoint_config(EndpointConfigName=name)


def test_an_endpoint_that_fails_says_why_and_is_deleted(
    sagemaker: SageMaker, deploy: Callable[..., str], storage: Storage, prefix: str, boto: Callable[[str], Any]
) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as content:
        content.addfile(tarfile.TarInfo("nothing"))
    storage.write(f"{prefix}/model.tar.gz", archive.getvalue())
    name = f"{sagemaker.solution_prefix}-xgb-1"
    with pytest.raises(EndpointError, match=f"endpoint {name} failed: .*ping health check") as caught:
        deploy(sagemaker, artifact_uri=f"{prefix}/model.tar.gz")
    assert caught.value.code == "Failed"
    assert_gone(boto("sagemaker"), name)


def test_an_endpoint_that_is_not_healthy_in_time_is_deleted(
    deploy: Callable[..., str], boto: Callable[[str], Any]
) -> None:
    sagemaker = make(endpoint_timeout_s=0.01)
    name = f"{sagemaker.solution_prefix}-xgb-1"
    with pytest.raises(EndpointError, match=f"endpoint {name} was not healthy after 0 s") as caught:
        deploy(sagemaker)
    assert caught.value.code == "Timeout"
    assert_gone(boto("sagemaker"), name)


def test_an_endpoint_that_cannot_be_deleted_is_named(deploy: Callable[..., str], boto: Callable[[str], Any]) -> None:
    sagemaker = make(endpoint_timeout_s=0.01, delete_timeout_s=0.01)
    name = f"{sagemaker.solution_prefix}-xgb-1"
    with pytest.raises(
        EndpointError, match=f"{name} was not healthy after 0 s; it is still there: cannot delete"
    ) as caught:
        deploy(sagemaker)
    assert caught.value.code == "Timeout"
    boto("sagemaker").get_waiter("endpoint_in_service").wait(
        EndpointName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30}
    )
    sagemaker.delete_endpoint(name)


def test_an_artefact_that_is_not_there_is_named(sagemaker: SageMaker, deploy: Callable[..., str], prefix: str) -> None:
    with pytest.raises(SageMakerError, match=f"cannot deploy endpoint .*{prefix}/model.tar.gz"):
        deploy(sagemaker, artifact_uri=f"{prefix}/model.tar.gz")


def test_the_endpoints_of_this_solution_are_listed_and_no_others(
    sagemaker: SageMaker,
    served: tuple[SageMaker, str],
    deploy: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("resources.sagemaker.endpoints.PAGE_SIZE", 1)
    assert sagemaker.endpoints() == []
    names = [deploy(sagemaker, version=version) for version in ("1", "12")]
    neighbour = make(solution_prefix=f"{sagemaker.solution_prefix}-xgb")
    deploy(neighbour, version="3")
    found = sagemaker.endpoints()
    assert [(item.name, item.algorithm, item.version, item.status) for item in found] == [
        (names[1], "xgboost", "12", "InService"),
        (names[0], "xgboost", "1", "InService"),
    ]
    assert found[0].created_at > found[1].created_at
    assert [item.name for item in served[0].endpoints()] == [served[1]]
    for owner in (sagemaker, neighbour):
        for item in owner.endpoints():
            owner.delete_endpoint(item.name)


def test_an_endpoint_that_was_deleted_comes_back(
    sagemaker: SageMaker, artifact: str, boto: Callable[[str], Any]
) -> None:
    arn, version = register(sagemaker, artifact, token="a")
    rows = np.random.default_rng(2).normal(size=(9, FEATURES))

    def deploy_again() -> str:
        package = sagemaker.package_by_arn(arn)
        return sagemaker.deploy(
            algorithm=package.algorithm, version=version, image=package.image, artifact_uri=package.artifact_uri
        )

    name = deploy_again()
    scores = sagemaker.score(name, rows)
    sagemaker.delete_endpoint(name)
    assert deploy_again() == name, "while it is still being deleted"
    np.testing.assert_array_equal(sagemaker.score(name, rows), scores)
    sagemaker.delete_endpoint(name)
    assert_gone(boto("sagemaker"), name)
    assert deploy_again() == name
    np.testing.assert_array_equal(sagemaker.score(name, rows), scores)
    sagemaker.delete_endpoint(name)


class Interrupted(SageMaker):
    """The run is cancelled while it waits for the endpoint."""

    def _wait_for_endpoint(self, name: str) -> None:
        assert self._describe(name)["EndpointStatus"] in {"Creating", "InService"}
        raise dg.DagsterExecutionInterruptedError


def interrupted(sagemaker: SageMaker) -> Interrupted:
    return Interrupted(region=REGION, role_arn=ROLE, solution_prefix=sagemaker.solution_prefix)


def test_an_interrupted_run_deletes_the_endpoint_that_it_was_creating(
    sagemaker: SageMaker, deploy: Callable[..., str], boto: Callable[[str], Any]
) -> None:
    with pytest.raises(dg.DagsterExecutionInterruptedError):
        deploy(interrupted(sagemaker))
    assert_gone(boto("sagemaker"), f"{sagemaker.solution_prefix}-xgb-1")


def test_an_interrupted_run_leaves_alone_the_endpoint_that_was_there(
    served: tuple[SageMaker, str], deploy: Callable[..., str]
) -> None:
    sagemaker, name = served
    with pytest.raises(dg.DagsterExecutionInterruptedError):
        deploy(interrupted(sagemaker), version="7")
    assert [(item.name, item.status) for item in sagemaker.endpoints()] == [(name, "InService")]
    assert sagemaker.score(name, np.zeros((1, FEATURES))).shape == (1,)


def test_an_interrupted_run_does_not_wait_for_long(
    sagemaker: SageMaker, deploy: Callable[..., str], boto: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On AWS an endpoint is created in minutes, and cannot be deleted before."""
    monkeypatch.setattr("resources.sagemaker.endpoints.INTERRUPTED_TIMEOUT_S", 0.01)
    with pytest.raises(dg.DagsterExecutionInterruptedError):
        deploy(interrupted(sagemaker))
    (left,) = sagemaker.endpoints()
    sagemaker.retire(left.name)
    assert_gone(boto("sagemaker"), left.name)


def test_an_endpoint_that_had_failed_is_replaced(
    sagemaker: SageMaker, deploy: Callable[..., str], storage: Storage, prefix: str
) -> None:
    """As a run that was killed while it waited leaves it."""
    name, broken = f"{sagemaker.solution_prefix}-xgb-1", f"{prefix}/model.tar.gz"
    storage.write(broken, b"no archive")
    sagemaker._create(name, image=XGBOOST, artifact_uri=broken)
    with pytest.raises(EndpointError, match="failed"):
        sagemaker._wait_for_endpoint(name)
    assert deploy(sagemaker) == name
    assert sagemaker.score(name, np.zeros((1, FEATURES))).shape == (1,)
    sagemaker.delete_endpoint(name)


def test_deleting_what_is_gone_is_no_error(sagemaker: SageMaker) -> None:
    sagemaker.delete_endpoint("none")


@pytest.mark.usefixtures("nobody_answers")
def test_a_sagemaker_that_does_not_answer_is_said(sagemaker: SageMaker) -> None:
    with pytest.raises(SageMakerError, match="model package any: Could not connect") as caught:
        sagemaker.approval("any")
    assert caught.value.code == "Unreachable"
    with pytest.raises(EndpointError, match="endpoint any: Could not connect"):
        sagemaker.score("any", np.zeros((1, FEATURES)))
