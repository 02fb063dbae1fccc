"""What arrives becomes a raw table and its parts, or the run stops and says which file, column and line are to blame."""

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
import yaml

from fraudit_dagster.contract import load_contract
from fraudit_dagster.definitions import build_defs
from fraudit_dagster.records import Part, RawTable
from fraudit_dagster.settings import load_settings
from fraudit_dagster.synthetic import write_synthetic
from jobs.failures import reasons_of
from tests.graph.conftest import NARROW, Deployment, new_deployment

RAW = dg.AssetKey(["raw", "transactions"])
PARTS = [dg.AssetKey(["dataset", part]) for part in ("train", "validation", "test")]
FOREST = dg.AssetKey(["model", "random_cut_forest"])


@dataclass(frozen=True)
class Outcome:
    """What became of a run."""

    reasons: str
    started: set[str]
    result: dg.ExecuteInProcessResult


@pytest.fixture(scope="module")
def deployment(
    local_cloud: dict[str, str], spark: object, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """Empty buckets."""
    del spark  # the one session of this process: the graph's own would be the same
    with pytest.MonkeyPatch.context() as patch:
        yield new_deployment(patch, local_cloud, FRAUDIT_WORK_DIR=str(tmp_path_factory.mktemp("work")))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    path = tmp_path_factory.mktemp("table") / "small.parquet"
    write_synthetic(path, rows=1_500, frauds=60, seed=3)
    return pd.read_parquet(path)


def run(dataset: str, *keys: dg.AssetKey, failing: bool = False) -> Outcome:
    """Materialize these assets from a table that the run names, as the sensor of arrivals does."""
    definitions = build_defs(load_settings(env_file=None))
    job = definitions.resolve_job_def("bootstrap").get_subset(asset_selection=set(keys))
    config = {"ops": {"raw__transactions": {"config": {"dataset": dataset}}}} if RAW in keys else {}
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance, run_config=config, raise_on_error=False)
        reasons = "\n".join(reasons_of(instance, result.run_id))
    assert result.success is not failing, reasons
    started = {str(event.step_key) for event in result.all_events if event.is_step_start}
    return Outcome(reasons, started, result)


def record(deployment: Deployment, key: dg.AssetKey, kind: Any) -> Any:
    return deployment.records.load(key, kind)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("missing.csv", "missing.csv: columns missing: V7", id="missing column"),
        pytest.param(
            "text.csv", "text.csv: column V7: a number is expected; line 4 holds 'n.a.'", id="text in a number"
        ),
        pytest.param("cut.csv.gz", "cut.csv.gz: damaged or cut short", id="truncated gzip"),
        pytest.param("empty.csv", "empty.csv: empty; the first line must name the columns", id="empty file"),
    ],
)
def test_a_file_that_is_wrong_stops_the_run_and_is_named(
    deployment: Deployment, table: pd.DataFrame, tmp_path: Path, name: str, reason: str
) -> None:
    path = tmp_path / name
    match name:
        case "missing.csv":
            table.drop(columns="V7").to_csv(path, index=False)
        case "text.csv":
            wrong = table.astype({"V7": object})
            wrong.loc[2, "V7"] = "n.a."
            wrong.to_csv(path, index=False)
        case "cut.csv.gz":
            path.write_bytes(gzip.compress(table.to_csv(index=False).encode())[:50_000])
        case _:
            path.touch()
    uri = f"s3://{deployment.settings.data_bucket}/landing/{name}"
    deployment.storage.upload(path, uri)
    outcome = run(uri, RAW, *PARTS, failing=True)
    assert f"s3://{deployment.settings.data_bucket}/landing/{reason}" in outcome.reasons
    assert outcome.started == {"raw__transactions"}


def test_a_table_without_frauds_stops_before_the_split(
    deployment: Deployment, table: pd.DataFrame, tmp_path: Path
) -> None:
    del deployment
    path = tmp_path / "honest.parquet"
    table.assign(Class=0).to_parquet(path)
    outcome = run(str(path), RAW, *PARTS, failing=True)
    assert "Class: expected at least one fraud, found none" in outcome.reasons
    assert outcome.started == {"raw__transactions"}


def test_the_check_lists_what_failed_first(deployment: Deployment, table: pd.DataFrame, tmp_path: Path) -> None:
    del deployment
    path = tmp_path / "negative.csv"
    wrong = table.copy()
    wrong.loc[[5, 9], "Amount"] = [-1.5, -2.5]
    wrong.to_csv(path, index=False)
    outcome = run(str(path), RAW, failing=True)
    checks = {check.check_name: check for check in outcome.result.get_asset_check_evaluations()}
    assert checks["fit_to_train"].description == (
        "1 of 31 expectations failed: Amount: expected finite numbers, at least 0, found -1.5, -2.5 in 2 rows."
    )
    findings: Any = checks["fit_to_train"].metadata["findings"]
    assert findings.records[0].data == {
        "passed": False,
        "column": "Amount",
        "expectation": "finite numbers, at least 0",
        "unexpected rows": 2,
        "observed": "-1.5, -2.5",
    }


def test_files_below_a_prefix_are_one_table_and_a_duplicate_upload_is_taken_once(
    deployment: Deployment, table: pd.DataFrame, tmp_path: Path
) -> None:
    prefix = f"s3://{deployment.settings.data_bucket}/landing/many/"
    table[:700].to_csv(tmp_path / "a.csv", index=False)
    table[700:].to_parquet(tmp_path / "b.parquet", index=False)
    deployment.storage.upload(tmp_path / "a.csv", f"{prefix}a.csv")
    deployment.storage.upload(tmp_path / "b.parquet", f"{prefix}2026/b.parquet")
    run(prefix, RAW)
    before = record(deployment, RAW, RawTable)
    assert (before.rows, before.frauds, before.synthetic) == (1_500, 60, False)

    deployment.storage.upload(tmp_path / "a.csv", f"{prefix}copy of a.csv")
    deployment.storage.write(f"{prefix}_SUCCESS", b"")
    outcome = run(prefix, RAW, *PARTS)
    assert record(deployment, RAW, RawTable) == before
    (materialization,) = outcome.result.asset_materializations_for_node("raw__transactions")
    assert materialization.metadata["same_content_left_out"].value == [f"{prefix}copy of a.csv"]
    parts = [record(deployment, key, Part) for key in PARTS]
    assert sum(part.rows for part in parts) == 1_500
    train = parts[0]
    assert train.medians.keys() == set(load_contract(NARROW).inputs)
    files = list(deployment.storage.uris(f"{train.channels['xgboost']}/"))
    assert files == [f"{train.channels['xgboost']}/part-00000.csv"]


def test_an_empty_prefix_is_named(deployment: Deployment) -> None:
    prefix = f"s3://{deployment.settings.data_bucket}/landing/nothing/"
    assert f"{prefix}: no table lies below it" in run(prefix, RAW, failing=True).reasons


def test_duplicates_are_a_warning_with_examples(deployment: Deployment, table: pd.DataFrame, tmp_path: Path) -> None:
    del deployment
    path = tmp_path / "twice.csv"
    pd.concat([table, table[:2]]).to_csv(path, index=False)
    outcome = run(str(path), RAW)
    checks = {check.check_name: check for check in outcome.result.get_asset_check_evaluations()}
    assert checks["fit_to_train"].passed
    assert not checks["no_duplicates"].passed
    assert checks["no_duplicates"].severity == dg.AssetCheckSeverity.WARN
    assert "expected no exact duplicate of another row, found Time " in str(checks["no_duplicates"].description)


def test_a_file_that_changed_since_it_was_checked_is_not_split(
    deployment: Deployment, table: pd.DataFrame, tmp_path: Path
) -> None:
    uri = f"s3://{deployment.settings.data_bucket}/landing/changing.csv"
    table.to_csv(tmp_path / "t.csv", index=False)
    deployment.storage.upload(tmp_path / "t.csv", uri)
    run(uri, RAW)
    table[1:].to_csv(tmp_path / "t.csv", index=False)
    deployment.storage.upload(tmp_path / "t.csv", uri)
    assert f"{uri}: changed since it was validated" in run(uri, *PARTS, failing=True).reasons


def test_no_training_starts_on_a_row_that_is_on_two_sides(
    deployment: Deployment, table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del deployment
    contract = yaml.safe_load(NARROW.read_text())
    (tmp_path / "contract.yaml").write_text(yaml.safe_dump({**contract, "split": {"by": "side"}}))
    monkeypatch.setenv("FRAUDIT_CONTRACT", str(tmp_path / "contract.yaml"))
    sides = table.assign(side=["train", "train", "validation", "test"] * (len(table) // 4)).drop_duplicates()
    leaked = sides[sides["side"] == "test"][:1].assign(side="train")
    pd.concat([sides, leaked]).to_csv(tmp_path / "t.csv", index=False)
    outcome = run(str(tmp_path / "t.csv"), RAW, *PARTS, FOREST, failing=True)
    assert "dataset/train: check fit_to_learn_from: 1 of " in outcome.reasons
    assert "expected no row that is on another side too, found Time " in outcome.reasons
    assert "fit_to_choose_by" not in outcome.reasons
    assert outcome.started == {"raw__transactions", "split"}
