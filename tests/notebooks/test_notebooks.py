"""The two notebooks, run as "Run all" runs them: what they find, what they show, and what they leave behind."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import boto3
import pytest
from nbclient.exceptions import CellExecutionError

from assets.training import RandomCutForestConfig, XGBoostConfig
from resources.sagemaker import SHORT_NAMES, SageMaker
from scripts.permissions import PERMISSIONS
from tests.notebooks.conftest import NOTEBOOKS, Lab, Ran

PNG = b"\x89PNG\r\n"
ASKS_ITSELF = {"CreateModel", "DeleteModel", "CreateEndpoint", "DeleteEndpoint", "InvokeEndpoint", "CreateTrainingJob"}


@pytest.fixture(scope="module")
def classifier(lab: Lab) -> Ran:
    return lab.run("train_xgboost")


@pytest.fixture(scope="module")
def detector(lab: Lab) -> Ran:
    return lab.run("train_random_cut_forest")


def test_the_classifier_finds_frauds_and_saves_money(classifier: Ran) -> None:
    metrics, money = classifier.told["metrics"], classifier.told["money"]
    assert metrics["average_precision"] > 5 * metrics["prevalence"]
    assert metrics["roc_auc"] > 0.9
    assert money["expected_cost"] < money["cost_without_model"]
    assert classifier.told["problem"] == "none"


def test_the_detector_ranks_frauds_above_the_others_without_a_label(detector: Ran) -> None:
    metrics, money = detector.told["metrics"], detector.told["money"]
    assert metrics["average_precision"] > 2 * metrics["prevalence"]
    assert metrics["roc_auc"] > 0.8
    assert 0 < money["share_flagged"] < 0.2


def test_pictures_are_shown(classifier: Ran, detector: Ran) -> None:
    assert len(classifier.pictures()) == 4
    assert len(detector.pictures()) == 3
    for picture in classifier.pictures() + detector.pictures():
        assert base64.b64decode(picture).startswith(PNG)


def test_nothing_is_left(lab: Lab, classifier: Ran, detector: Ran) -> None:
    for ran in (classifier, detector):
        assert {operation for _, operation, _ in ran.told["calls"]} >= ASKS_ITSELF
    assert lab.left_over() == []


def test_a_cell_that_fails_takes_its_endpoint_with_it(lab: Lab) -> None:
    def fail(source: str) -> str:
        return source.replace("    judged_on =", '    raise RuntimeError("the network is gone")\n    judged_on =')

    with pytest.raises(CellExecutionError, match="the network is gone"):
        lab.run("train_random_cut_forest", change=fail)
    assert lab.left_over() == []


def test_a_training_that_is_interrupted_is_stopped(lab: Lab) -> None:
    def interrupt(source: str) -> str:
        endless = source.replace('"num_round": "500"', '"num_round": "1000000"').replace('"50"', '"1000000"')
        return endless.replace("logs=False)", "logs=False, wait=False)\n    raise KeyboardInterrupt")

    with pytest.raises(CellExecutionError, match="KeyboardInterrupt"):
        lab.run("train_xgboost", change=interrupt)
    client: Any = boto3.client("sagemaker")
    jobs = client.list_training_jobs(NameContains=f"{lab.settings.solution_prefix}-notebook-xgb", SortBy="CreationTime")
    newest = max(jobs["TrainingJobSummaries"], key=lambda job: job["CreationTime"])
    assert newest["TrainingJobStatus"] in {"Stopping", "Stopped"}


def test_what_a_killed_kernel_left_is_replaced(lab: Lab, detector: Ran) -> None:
    """One name for each notebook, so that the next run finds it."""
    assert detector.told["name"] == f"{lab.settings.solution_prefix}-notebook-rcf"
    deletions = [arguments for _, operation, arguments in detector.told["calls"] if operation == "DeleteEndpoint"]
    assert deletions == [{"EndpointName": detector.told["name"]}] * 2


def test_nothing_of_the_graph_is_touched(lab: Lab, classifier: Ran, detector: Ran) -> None:
    """Every name that a notebook gives to SageMaker starts as none of the graph's can."""
    graph = SageMaker(region="eu-west-1", role_arn="r", solution_prefix=lab.settings.solution_prefix)
    ours = f"{lab.settings.solution_prefix}-notebook-"
    named = {
        value
        for ran in (classifier, detector)
        for service, _, arguments in ran.told["calls"]
        if service == "sagemaker"
        for key, value in arguments.items()
        if key in {"EndpointName", "EndpointConfigName", "ModelName", "TrainingJobName"}
    }
    assert named
    assert all(name.startswith(ours) for name in named)
    assert not any(graph._name(algorithm).startswith(ours) for algorithm in SHORT_NAMES)
    assert not any(f"{graph._name(algorithm)}-1".startswith(ours) for algorithm in SHORT_NAMES)


def test_the_role_allows_what_they_do(classifier: Ran, detector: Ran) -> None:
    """``permissions.json`` is what tests/terraform hold the notebook's role to."""
    recorded = set(json.loads(PERMISSIONS.read_text())["notebook"])
    asked = {f"{service}:{operation}" for ran in (classifier, detector) for service, operation, _ in ran.told["calls"]}
    assert {action.replace("s3:ListObjectsV2", "s3:ListBucket") for action in asked} <= recorded


def test_they_train_as_the_graph_does(classifier: Ran, detector: Ran, lab: Lab) -> None:
    """The hyperparameters stand in the notebooks, to be read and changed there; they begin as the graph's."""
    given = [
        arguments["HyperParameters"]
        for ran in (classifier, detector)
        for _, operation, arguments in ran.told["calls"]
        if operation == "CreateTrainingJob"
    ]
    features = len(lab.contract.models.random_cut_forest.features)
    assert given == [
        XGBoostConfig().hyperparameters(weighted=False),
        RandomCutForestConfig().hyperparameters(features=features),
    ]


def test_nothing_is_told_to_the_makers_of_the_sdk(classifier: Ran) -> None:
    told = json.dumps([cell.get("outputs", []) for cell in classifier.notebook.cells])
    assert "telemetry" not in told.lower()


@pytest.mark.parametrize("source", sorted(NOTEBOOKS.glob("*.py")), ids=lambda path: path.name)
def test_they_import_only_what_is_on_the_instance(source: Path) -> None:
    imported = set(re.findall(r"^\s*(?:from|import) (\w+)", source.read_text(), re.MULTILINE))
    assert imported & {"dagster", "assets", "resources", "jobs", "pyspark"} == set()
