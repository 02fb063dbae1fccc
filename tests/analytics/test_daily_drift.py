"""Inputs and scores of a day beside what the manifest's models were trained and judged on, and what is said where they were not."""

import secrets
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import numpy as np
import pytest

from assets.dataset import profile_uri
from assets.drift import daily_feature_drift
from assets.evaluation import evaluation_uri
from fraudit_dagster.contract import Contract
from fraudit_dagster.drift import LEAST_ROWS, PSI_LIMIT, profile_of
from fraudit_dagster.manifest import build_manifest
from fraudit_dagster.records import Profiles
from resources.manifests import Manifests
from resources.project import Project
from resources.storage import Storage, StorageError
from resources.warehouse import WarehouseError
from tests.analytics.conftest import ago, at, decide, decide_all, rows_of, run, shown
from tests.conftest import unique
from tests.evaluations import judged
from tests.operate.conftest import REGION
from tests.warehouse.conftest import Place

DAY = ago(3)
NOON = at(DAY)
CONTRACT = Contract.model_validate(
    {
        "name": "creditcard",
        "inputs": ["V1", "V2", "Amount"],
        "label": "Class",
        "amount": "Amount",
        "time": "Time",
        "split": {"by": "time"},
        "models": {
            "xgboost": {"features": ["V1", "Amount"]},
            "random_cut_forest": {"features": [{"log1p": "Amount"}]},
        },
    }
)
GRID = (np.arange(LEAST_ROWS) + 0.5) / LEAST_ROWS
"""What everything was trained and judged on: evenly from 0 to 1."""


@dataclass(frozen=True)
class Deployment:
    """Buckets with manifests that have served, beside a warehouse."""

    place: Place
    storage: Storage
    manifests: Manifests
    project: Project

    def serve(self, *, profiles: bool = True, version: str = "7") -> str:
        """Put a manifest into the history, and what its models knew where that is kept; return its version."""
        scores = {name: profile_of(GRID) for name in ("fraud_proba", "anomaly_score")}
        evaluation = judged(
            version=version,
            raw_sha256=secrets.token_hex(32),
            contract_sha256=CONTRACT.sha256,
            medians=dict.fromkeys(CONTRACT.inputs, 0.5),
            score_profiles=scores if profiles else {},
        )
        document = build_manifest(CONTRACT, evaluation, now=datetime.now(UTC), after=None, run_id="r", code_version="1")
        self.manifests.switch(document, away_from=self.manifests.current())
        self.storage.write(
            evaluation_uri(self.storage, classifier=version, detector=version), evaluation.model_dump_json().encode()
        )
        if profiles:
            inputs = Profiles(profiles={name: profile_of(GRID) for name in CONTRACT.inputs})
            uri = profile_uri(
                self.storage, CONTRACT.name, raw_sha256=evaluation.raw_sha256, contract_sha256=CONTRACT.sha256
            )
            self.storage.write(uri, inputs.model_dump_json().encode())
        return str(document["manifest_version"])

    def decide_grid(self, version: str, *, moment: datetime = NOON, moved: float = 0, rows: int = LEAST_ROWS) -> None:
        """Store transactions like those of the training, but for a first input that has moved."""
        decide_all(
            self.place,
            [
                {
                    "transaction_id": unique("t"),
                    "occurred_at": moment,
                    "manifest_version": version,
                    "features": [value + moved, 5.0, value],
                    "fraud_proba": value,
                    "anomaly_score": value,
                }
                for value in GRID[:: LEAST_ROWS // rows].tolist()
            ],
        )

    def compare(self, *days: date, **overrides: Any) -> dg.ExecuteInProcessResult:
        """Materialize the days."""
        resources = {
            "warehouse": self.place.warehouse("analyst"),
            "storage": self.storage,
            "manifests": self.manifests,
            "project": self.project,
        }
        return run(daily_feature_drift, days or [DAY], resources=resources | overrides)


@pytest.fixture
def deployment(place: Place, tmp_path: Path) -> Deployment:
    bucket = unique("drift")
    s3: Any = boto3.client("s3", region_name=REGION)
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    storage = Storage(region=REGION, data_bucket=bucket, stream_bucket=bucket, model_bucket=bucket)
    project = Project(
        user_file="",
        work_dir=str(tmp_path),
        code_version="1",
        review_cost=5,
        false_block_cost=25,
        lost_share=1,
        champion_margin=0.02,
        automatic_approval=True,
    )
    return Deployment(place, storage, Manifests(storage=storage), project)


def check(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    (evaluation,) = result.get_asset_check_evaluations()
    assert evaluation.check_name == "stable"
    assert evaluation.severity == dg.AssetCheckSeverity.WARN
    return evaluation


def features(place: Place, columns: str = "feature") -> list[Any]:
    found = rows_of(place, "daily_feature_drift", columns)
    return [row[0] for row in found] if columns == "feature" else found


def test_what_the_models_see_is_compared_and_nothing_else(deployment: Deployment) -> None:
    deployment.decide_grid(deployment.serve())
    result = deployment.compare()
    assert features(deployment.place) == ["Amount", "V1", "anomaly_score", "fraud_proba"]
    for rows, missing, mean, psi, ks in features(deployment.place, "rows, missing, mean, psi, ks"):
        assert (rows, missing, mean) == (LEAST_ROWS, 0, pytest.approx(0.5))
        assert (psi, ks) == (pytest.approx(0, abs=1e-9), pytest.approx(0, abs=1e-9))
    assert check(result).passed
    assert shown(result)["not_compared"] == "none"


def test_what_has_moved_is_warned_of_and_drawn(deployment: Deployment) -> None:
    version = deployment.serve()
    deployment.decide_grid(version, moved=0.3)
    deployment.decide_grid(version, moment=at(DAY - timedelta(days=1)))
    result = deployment.compare(DAY - timedelta(days=1), DAY)
    assert not check(result).passed
    assert check(result).description == f"{DAY}, {version}: V1"
    found = shown(result)
    assert found["drifted"] == 1
    assert found["heat_map"].startswith("![Drift of 4 features")
    ((ks,),) = deployment.place.run(
        "select ks from fraud.daily_feature_drift where feature = 'V1' and day = %s", (DAY,)
    )
    assert ks == pytest.approx(0.3, abs=0.01)


def test_few_transactions_are_compared_and_not_warned_of(deployment: Deployment) -> None:
    deployment.decide_grid(deployment.serve(), moved=0.3, rows=LEAST_ROWS // 2)
    result = deployment.compare()
    assert len(features(deployment.place)) == 4
    assert check(result).passed


def test_a_score_that_was_not_given_is_missing(deployment: Deployment) -> None:
    version = deployment.serve()
    for number, score in enumerate([0.25, None]):
        decide(
            deployment.place,
            f"t-{number}",
            at(DAY),
            manifest_version=version,
            features=[0.5, 0.5, 0.5],
            anomaly_score=score,
        )
    deployment.compare()
    assert features(deployment.place, "feature, rows, missing, mean")[2] == ("anomaly_score", 2, 1, 0.25)


def test_a_manifest_that_changes_at_noon_gives_two_sets_each_by_its_own_training(deployment: Deployment) -> None:
    morning, afternoon = deployment.serve(), deployment.serve(version="8")
    deployment.decide_grid(morning, moment=at(DAY, 11))
    deployment.decide_grid(afternoon, moment=at(DAY, 13), moved=0.5)
    result = deployment.compare()
    found = {
        (version, feature): psi
        for version, feature, psi in features(deployment.place, "manifest_version, feature, psi")
    }
    assert len(found) == 8
    assert found[morning, "V1"] < 0.01
    assert found[afternoon, "V1"] > PSI_LIMIT
    assert check(result).description == f"{DAY}, {afternoon}: V1"


def test_a_manifest_of_before_there_were_profiles_is_counted_and_said_not_to_be_compared(
    deployment: Deployment,
) -> None:
    version = deployment.serve(profiles=False)
    deployment.decide_grid(version)
    result = deployment.compare()
    assert features(deployment.place, "feature, rows, psi, ks") == [
        (name, LEAST_ROWS, None, None) for name in ("Amount", "V1", "anomaly_score", "fraud_proba")
    ]
    assert check(result).passed
    assert "no profiles at s3://" in shown(result)["not_compared"]
    assert shown(result)["heat_map"] == "nothing was compared"


def test_a_manifest_that_never_served_is_named_and_only_its_scores_are_counted(deployment: Deployment) -> None:
    decide(deployment.place, "t", at(DAY), manifest_version="2026-01-01T00:00:00Z-ffff")
    result = deployment.compare()
    assert features(deployment.place) == ["anomaly_score", "fraud_proba"]
    assert "no manifest '2026-01-01T00:00:00Z-ffff' has served" in shown(result)["not_compared"]


def test_an_s3_that_cannot_be_reached_is_no_manifest_without_profiles(deployment: Deployment) -> None:
    class Gone(Storage):
        def read(self, uri: str) -> bytes:
            raise StorageError(f"cannot read {uri}: unreachable", code="Unreachable")

    deployment.decide_grid(deployment.serve(), rows=10)
    with pytest.raises(StorageError, match="unreachable"):
        deployment.compare(storage=Gone(**deployment.storage.model_dump()))
    assert features(deployment.place) == []


def test_a_day_without_transactions_has_no_rows(deployment: Deployment) -> None:
    result = deployment.compare()
    assert shown(result)["dagster/row_count"] == 0
    assert shown(result)["by_feature"] == "no transactions"
    assert check(result).passed


def test_a_day_that_was_archived_and_deleted_keeps_its_rows(deployment: Deployment) -> None:
    deployment.decide_grid(deployment.serve(), rows=5)
    deployment.compare()
    before = rows_of(deployment.place, "daily_feature_drift")
    deployment.place.run("insert into fraud.archived_days values (%s, 's3://b/k', 5, 0, 'x', now())", (DAY,))
    try:
        assert sum(deployment.place.warehouse("analyst").drop_day(DAY)) == 5
        with pytest.raises(WarehouseError, match=f"{DAY}: the warehouse has dropped its rows"):
            deployment.compare()
    finally:
        deployment.place.run("delete from fraud.archived_days")
    assert rows_of(deployment.place, "daily_feature_drift") == before


def test_midnight_belongs_to_the_day_that_begins(deployment: Deployment) -> None:
    version = deployment.serve()
    for moment in (
        at(DAY, 0),
        at(DAY + timedelta(days=1), 0) - timedelta(microseconds=1),
        at(DAY + timedelta(days=1), 0),
    ):
        deployment.decide_grid(version, moment=moment, rows=1)
    deployment.compare(DAY, DAY + timedelta(days=1))
    assert features(deployment.place, "day, rows")[::4] == [(DAY, 2), (DAY + timedelta(days=1), 1)]


def test_thirty_days_in_one_run_are_the_same_twice_and_leave_the_days_around(deployment: Deployment) -> None:
    version = deployment.serve()
    for number in range(0, 32, 3):
        deployment.decide_grid(version, moment=at(ago(5 + number)), moved=number / 100, rows=20)
    days = [ago(number) for number in range(35, 5, -1)]
    deployment.compare(ago(5))
    result = deployment.compare(*days)
    assert len(result.get_asset_materialization_events()) == 30
    once = rows_of(deployment.place, "daily_feature_drift")
    assert {row[0] for row in once} == {ago(5), *(ago(5 + number) for number in range(3, 32, 3))}
    deployment.compare(*days)
    assert rows_of(deployment.place, "daily_feature_drift") == once


def test_the_features_of_a_heat_map_are_those_that_moved_most_first(deployment: Deployment) -> None:
    """A picture cannot be read by a test; that it is one, and of which days, can."""
    version = deployment.serve()
    deployment.decide_grid(version, moment=at(ago(20)), moved=0.2)
    deployment.decide_grid(version, moment=at(ago(3)))
    titles = [shown(deployment.compare(day))["heat_map"].partition("]")[0] for day in (ago(20), ago(3))]
    assert titles[0].endswith(f"{ago(20):%d %b} to {ago(20):%d %b}")
    assert titles[1].endswith(f"{ago(20):%d %b} to {ago(3):%d %b}")
