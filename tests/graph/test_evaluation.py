"""Candidates are judged through their endpoints, in batches, beside what serves; training says where a model comes from."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from assets import scoring
from assets.drift import SCORES, known_of
from assets.scoring import read_part
from fraudit_dagster.contract import load_contract
from fraudit_dagster.evaluation import evaluate
from fraudit_dagster.records import Evaluation, Part
from fraudit_dagster.synthetic import write_synthetic
from resources.sagemaker import EndpointError, SageMaker
from tests.conftest import unique
from tests.graph.conftest import EVALUATION, NARROW, Deployment, Outcome, new_deployment

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

HEAVY = 10.0
TRAINED = {
    "ops": {
        "model__xgboost": {"config": {"num_round": 30, "max_depth": 3, "instance_count": 2}},
        "model__random_cut_forest": {"config": {"num_trees": 50}},
    }
}


@pytest.fixture(scope="module")
def weighted_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic table whose good transactions were under-sampled, as the contract's weight column says."""
    path = tmp_path_factory.mktemp("weighted") / "weighted.parquet"
    write_synthetic(path, rows=8_000, frauds=240, seed=5)
    table = pd.read_parquet(path)
    table["Weight"] = np.where(table["Class"] == 1, 1.0, HEAVY)
    table.to_parquet(path)
    return path


@pytest.fixture(scope="module")
def first(
    local_cloud: dict[str, str], weighted_table: Path, spark: object, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Deployment, Outcome]]:
    """A deployment on which ``bootstrap`` has run, and that run; batches are small, so that there are several."""
    del spark  # the one session of this process: the graph's own would be the same
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "BATCH_ROWS", 400)
        made = new_deployment(
            patch,
            local_cloud,
            FRAUDIT_DATASET=str(weighted_table),
            FRAUDIT_WORK_DIR=str(tmp_path_factory.mktemp("work")),
            FRAUDIT_LOST_SHARE="0.5",
        )
        outcome = made.run("bootstrap", config=TRAINED)
        assert outcome.success, outcome.reasons
        yield made, outcome
        made.close()


@pytest.fixture
def deployment(first: tuple[Deployment, Outcome]) -> Deployment:
    return first[0]


def metadata_of(outcome: Outcome, *key: str) -> dict[str, Any]:
    (event,) = outcome.result.asset_materializations_for_node("__".join(key))
    return {name: value.value for name, value in event.metadata.items()}


def judge_again(deployment: Deployment, **overrides: Any) -> Evaluation:
    """Materialize the evaluation alone, with some of the resources replaced."""
    from fraudit_dagster.definitions import build_defs

    job = build_defs(deployment.settings, resource_overrides=overrides).resolve_job_def("bootstrap")
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.get_subset(asset_selection={EVALUATION}).execute_in_process(instance=instance)
    assert result.success
    return deployment.judged()


class ChangedEndpoint(SageMaker):
    """Endpoints of which the named ones answer otherwise: with an error, or with noise."""

    changed: list[str]
    error: str | None = None

    def score(self, endpoint: str, rows: np.ndarray) -> np.ndarray:
        if endpoint not in self.changed:
            return super().score(endpoint, rows)
        if self.error is not None:
            raise EndpointError(f"no answer from {endpoint}", code=self.error)
        return np.random.default_rng(0).random(len(rows))


def changed(deployment: Deployment, endpoints: list[str], **how: Any) -> ChangedEndpoint:
    made = deployment.sagemaker
    return ChangedEndpoint(
        region=made.region, role_arn=made.role_arn, solution_prefix=made.solution_prefix, changed=endpoints, **how
    )


def test_the_metrics_are_those_of_the_whole_test_part_with_its_weights(deployment: Deployment, tmp_path: Path) -> None:
    judged, contract = deployment.judged(), load_contract(NARROW)
    test = deployment.records.load(dg.AssetKey(["dataset", "test"]), Part)
    table = read_part(test, deployment.storage, tmp_path)
    assert len(table) == test.rows > 2 * 400
    scores = deployment.sagemaker.score(judged.candidates["xgboost"].endpoint, contract.models.xgboost.apply(table))
    expected = evaluate(table["Class"].to_numpy(), scores, table["Weight"].to_numpy())
    found = judged.models["xgboost"]
    assert found["average_precision"] == pytest.approx(expected.average_precision, abs=1e-6)
    assert (found["rows"], found["frauds"]) == (expected.rows, expected.frauds)
    assert found["prevalence"] == pytest.approx(test.frauds / (test.frauds + HEAVY * (test.rows - test.frauds)))


def test_the_decision_is_priced_beside_no_model_and_beside_the_classifier_alone(
    deployment: Deployment, tmp_path: Path
) -> None:
    judged = deployment.judged()
    table = read_part(deployment.records.load(dg.AssetKey(["dataset", "test"]), Part), deployment.storage, tmp_path)
    lost = 0.5 * table.loc[table["Class"] == 1, "Amount"].sum()
    assert judged.fused["cost_without_model"] == pytest.approx(lost), "half of an approved fraud is lost here"
    assert judged.fused["expected_cost"] < judged.fused["cost_without_model"]
    assert judged.fused["cost_without_anomaly_score"] > 0
    assert 0 < judged.fused["share_flagged"] < 0.1
    assert 0 < judged.fused["precision_of_flagged"] <= 1
    assert 0 < judged.fused["recall_of_flagged"] <= 1


def test_the_golden_rows_are_rows_of_the_test_part_with_the_answers_of_the_endpoints(
    deployment: Deployment, tmp_path: Path
) -> None:
    judged, contract = deployment.judged(), load_contract(NARROW)
    table = read_part(deployment.records.load(dg.AssetKey(["dataset", "test"]), Part), deployment.storage, tmp_path)
    inputs = {tuple(row) for row in table[list(contract.inputs)].to_numpy().tolist()}
    assert len(judged.golden) == scoring.GOLDEN_ROWS
    for row in judged.golden:
        cells = tuple(float(cell) for cell in row["data"].split(","))
        assert cells in inputs
        one = pd.DataFrame([cells], columns=list(contract.inputs))
        (score,) = deployment.sagemaker.score(
            judged.candidates["random_cut_forest"].endpoint, contract.models.random_cut_forest.apply(one)
        )
        assert score == pytest.approx(row["score"], abs=1e-9)


def test_the_ui_shows_figures_as_numbers_and_pictures(first: tuple[Deployment, Outcome]) -> None:
    shown = metadata_of(first[1], "model", "evaluation")
    for name in (
        "xgboost_average_precision",
        "random_cut_forest_roc_auc",
        "expected_cost",
        "cost_without_anomaly_score",
        "calibration_ratio",
        "share_flagged",
    ):
        assert isinstance(shown[name], float), name
    assert shown["calibration_problem"] == "none"
    pictures = re.findall(r"!\[.+\]\(data:image/png;base64,(.+)\)", shown["report"])
    assert len(pictures) == 4
    for picture in pictures:
        assert base64.b64decode(picture).startswith(b"\x89PNG")


def test_what_a_manifest_was_trained_and_judged_on_is_found_from_it(deployment: Deployment) -> None:
    known = known_of("creditcard", deployment.serving(), manifests=deployment.manifests, storage=deployment.storage)
    assert known.gap == ""
    seen = [name for name in load_contract(NARROW).inputs if name != "Time"]
    assert list(known.inputs) == seen, "Time is an input that no model sees"
    assert set(known.profiles) == {*load_contract(NARROW).inputs, *SCORES}
    assert known.inputs["V7"] == load_contract(NARROW).inputs.index("V7") + 1
    assert {known.profiles[name].rows for name in SCORES} == {deployment.judged().models["xgboost"]["rows"]}


def test_a_model_knows_where_it_comes_from(first: tuple[Deployment, Outcome]) -> None:
    deployment, outcome = first
    shown = metadata_of(outcome, "model", "xgboost")
    properties = deployment.sagemaker.package("xgboost", shown["version"]).properties
    judged = deployment.judged()
    assert properties["training_job"] == shown["training_job"]
    assert properties["dataset_sha256"] == judged.raw_sha256
    assert properties["contract_sha256"] == judged.contract_sha256
    assert properties["run_id"] == outcome.result.run_id
    assert properties["hyperparameter:max_depth"] == "3"
    assert properties["hyperparameter:csv_weights"] == "1"
    assert shown["hyperparameters"]["num_round"] == "30"
    assert 0 < shown["last_round_validation_aucpr"] <= 1


def test_a_job_of_two_instances_has_shared_out_channels(first: tuple[Deployment, Outcome]) -> None:
    deployment, outcome = first
    name = metadata_of(outcome, "model", "xgboost")["training_job"]
    job = deployment.sagemaker._client.describe_training_job(TrainingJobName=name)
    assert job["ResourceConfig"]["InstanceCount"] == 2
    sources = [channel["DataSource"]["S3DataSource"] for channel in job["InputDataConfig"]]
    assert [source["S3DataDistributionType"] for source in sources] == ["ShardedByS3Key"] * 2


def test_the_champion_is_no_better_than_itself(deployment: Deployment) -> None:
    judged = judge_again(deployment)
    assert judged.champion is not None
    assert judged.champion["manifest_version"] == deployment.serving()
    assert judged.champion["difference"] == 0
    assert judged.champion["cost_difference"] == pytest.approx(0)
    assert not judged.champion["worse"]


def test_an_evaluation_is_the_same_when_it_is_repeated(deployment: Deployment) -> None:
    assert judge_again(deployment) == judge_again(deployment)


def test_a_candidate_that_guesses_is_worse_and_its_decisions_cost_more(deployment: Deployment) -> None:
    candidate = deployment.candidate()
    guessing = changed(deployment, [candidate.candidates["xgboost"].endpoint])
    deployment.storage.write(
        f"s3://{deployment.storage.model_bucket}/graph/endpoint/xgboost.json",
        candidate.candidates["xgboost"].model_dump_json().encode(),
    )
    judged = judge_again(deployment, sagemaker=guessing)
    assert judged.champion is not None
    assert judged.champion["worse"]
    assert judged.champion["interval"][1] < 0
    assert judged.champion["cost_difference"] > 0


@pytest.mark.parametrize("code", ["ValidationError", "ModelError"])
def test_a_champion_that_does_not_answer_is_not_comparable(deployment: Deployment, code: str) -> None:
    candidate = deployment.candidate()
    for name, served in candidate.candidates.items():
        deployment.storage.write(
            f"s3://{deployment.storage.model_bucket}/graph/endpoint/{name}.json", served.model_dump_json().encode()
        )
    current = deployment.manifests.current()
    assert current is not None
    gone = [current.document[role]["endpoint"] for role in ("fraud_classifier", "anomaly_detector")]
    judged = judge_again(deployment, sagemaker=changed(deployment, gone, error=code))
    assert judged.champion is not None
    assert not judged.champion["worse"]
    assert judged.champion["manifest_version"] == deployment.serving()
    assert "it does not answer: no answer from" in judged.champion["not_comparable"]


def test_a_champion_that_cannot_be_reached_for_now_fails_the_run(deployment: Deployment) -> None:
    current = deployment.manifests.current()
    assert current is not None
    unreachable = changed(deployment, [current.document["anomaly_detector"]["endpoint"]], error="Unreachable")
    with pytest.raises(EndpointError, match="no answer"):
        judge_again(deployment, sagemaker=unreachable)


def test_a_champion_of_another_contract_is_not_comparable(deployment: Deployment, tmp_path: Path) -> None:
    from assets.champion import ask_champion, compare_with_champion, find_champion
    from fraudit_dagster.costs import Costs

    contract = load_contract(NARROW).model_copy(update={"inputs": tuple(f"X{number}" for number in range(3))})
    champion = find_champion(deployment.manifests, contract)
    scored, champion = ask_champion(champion, tmp_path, contract, deployment.sagemaker)
    nothing = np.zeros(0)
    found = compare_with_champion(
        champion,
        scored,
        scoring.Scored(nothing, nothing, nothing, {}),
        decisions=nothing,
        margin=0.0,
        costs=Costs(),
    )
    assert found is not None
    assert not found["worse"]
    assert found["not_comparable"].startswith("it wants V4, V7")


def test_where_nothing_serves_there_is_nothing_to_compare_with(
    local_cloud: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from assets.champion import find_champion

    empty = new_deployment(monkeypatch, local_cloud, FRAUDIT_DATASET=unique("none"))
    assert find_champion(empty.manifests, load_contract(NARROW)) is None
