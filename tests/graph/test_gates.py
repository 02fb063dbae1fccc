"""The gates hold: what is not fit to train on is not split, and what is not fit to serve does not serve."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from fraudit_dagster.contract import load_contract
from fraudit_dagster.definitions import build_defs
from fraudit_dagster.manifest import build_manifest
from fraudit_dagster.records import Evaluation, Registration, ServedModel
from fraudit_dagster.settings import load_settings
from fraudit_dagster.synthetic import write_synthetic
from resources.sagemaker import SageMaker
from resources.storage import Storage
from tests.conftest import unique

MANIFEST = "serving/manifest.json"


class ScriptedSageMaker(SageMaker):
    """Endpoints that give every row the same score, and a registry with one opinion."""

    status: str = "Approved"
    probability: float = 0.25

    def approval(self, package_arn: str) -> str:  # noqa: ARG002 - one opinion
        return self.status

    def score(self, endpoint: str, rows: np.ndarray) -> np.ndarray:
        return np.full(len(rows), self.probability if "xgb" in endpoint else 1.5)


@pytest.fixture
def settings(local_cloud: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Settings of a deployment with buckets of its own."""
    import boto3

    for name, value in local_cloud.items():
        monkeypatch.setenv(name, value)
    for name in ("SPARK_DATA_BUCKET", "SPARK_STREAMING_BUCKET", "MODEL_BUCKET"):
        monkeypatch.setenv(name, unique("bucket"))
    settings = load_settings(env_file=None)
    s3 = boto3.client("s3")
    for bucket in (settings.data_bucket, settings.stream_bucket, settings.model_bucket):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return settings


@pytest.fixture
def storage(settings: Any) -> Storage:
    return Storage(
        region="eu-west-1",
        data_bucket=settings.data_bucket,
        stream_bucket=settings.stream_bucket,
        model_bucket=settings.model_bucket,
    )


def judged(*, worse: bool = False) -> Evaluation:
    contract = load_contract()
    row = ",".join("0.5" for _ in contract.inputs)
    return Evaluation(
        models={"xgboost": {}, "random_cut_forest": {}},
        fused={},
        reliability={"ratio": 1.0, "ratio_low": 0.7, "ratio_high": 1.4, "roc_auc_low": 0.9},
        policy={"block_at": 0.8, "review_at": 0.2, "anomaly_review_at": None, "when_degraded": "review"},
        calibration={"kind": "none", "x": [], "y": []},
        medians=dict.fromkeys(contract.inputs, 0.0),
        golden=[{"data": row, "pred_proba": 0.25, "score": 1.5}],
        champion={"worse": worse},
        candidates={
            "xgboost": ServedModel(algorithm="xgboost", endpoint="xgb-2", package_arn="a/2", version="2"),
            "random_cut_forest": ServedModel(
                algorithm="random_cut_forest", endpoint="rcf-2", package_arn="b/2", version="2"
            ),
        },
        raw_sha256="0" * 64,
        contract_sha256=contract.sha256,
    )


def promote(settings: Any, storage: Storage, evaluation: Evaluation, **scripted: Any) -> dg.ExecuteInProcessResult:
    """Materialize the manifest alone: by the route on which no check of another asset stands."""
    record = Registration(status="Approved", reason="said so", evaluation=evaluation)
    storage.write(f"s3://{storage.model_bucket}/graph/model/registration.json", record.model_dump_json().encode())
    sagemaker = ScriptedSageMaker(region="eu-west-1", role_arn="r", solution_prefix="p", **scripted)
    defs = build_defs(settings, resource_overrides={"sagemaker": sagemaker})
    job = defs.resolve_job_def("bootstrap").get_subset(asset_selection={dg.AssetKey(["serving", "manifest"])})
    return job.execute_in_process(instance=dg.DagsterInstance.ephemeral(), raise_on_error=False)


def failure(result: dg.ExecuteInProcessResult) -> str:
    (event,) = [event for event in result.all_events if event.is_step_failure]
    return str(event.step_failure_data.user_failure_data.description)  # type: ignore[union-attr]


def test_a_first_candidate_that_passes_serves(settings: Any, storage: Storage) -> None:
    assert promote(settings, storage, judged()).success
    assert storage.exists(f"s3://{storage.model_bucket}/{MANIFEST}")


@pytest.mark.parametrize(
    ("worse", "scripted", "reason"),
    [
        pytest.param(
            False, {"status": "PendingManualApproval"}, "PendingManualApproval in the registry", id="not approved"
        ),
        pytest.param(False, {"status": "Rejected"}, "Rejected in the registry", id="rejected"),
        pytest.param(True, {}, "worse than the champion", id="worse"),
        pytest.param(False, {"probability": 0.26}, "golden rows", id="another model answers"),
    ],
)
def test_the_champion_goes_on_serving(
    settings: Any,
    storage: Storage,
    worse: bool,
    scripted: dict[str, Any],
    reason: str,
) -> None:
    champion = build_manifest(load_contract(), judged(), now=datetime.now(UTC), run_id="r", code_version="0")
    body = str(champion).replace("'", '"').replace("None", "null").encode()
    storage.write(f"s3://{storage.model_bucket}/{MANIFEST}", body)
    result = promote(settings, storage, judged(worse=worse), **scripted)
    assert not result.success
    assert reason in failure(result)
    assert "the champion stays" in failure(result)
    assert storage.read(f"s3://{storage.model_bucket}/{MANIFEST}") == body


@pytest.mark.usefixtures("settings")
def test_a_table_that_is_not_fit_stops_before_the_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_synthetic(tmp_path / "good.parquet", rows=500, frauds=20, seed=1)
    table = pd.read_parquet(tmp_path / "good.parquet")
    table["Class"] = 0
    table.to_parquet(tmp_path / "honest.parquet")
    monkeypatch.setenv("FRAUDIT_DATASET", str(tmp_path / "honest.parquet"))
    job = build_defs(load_settings(env_file=None)).resolve_job_def("bootstrap")
    result = job.execute_in_process(instance=dg.DagsterInstance.ephemeral(), raise_on_error=False)
    assert not result.success
    (check,) = result.get_asset_check_evaluations()
    assert not check.passed
    assert "Class" in str(check.description)
    assert not any(event.step_key == "split" and event.is_step_start for event in result.all_events)
