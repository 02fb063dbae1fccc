"""Archived transactions whose labels are known join the table that models learn from, and stay behind it in time."""

import hashlib
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from fraudit_dagster.archive import ArchivedDay, schema_of
from fraudit_dagster.contract import SHIPPED_CONTRACT, Contract, ContractError, load_contract
from fraudit_dagster.sides import PARTS
from fraudit_dagster.split import SplitPart, split_table
from fraudit_dagster.staging import StagedTable, stage_table
from fraudit_dagster.tables import TableError
from fraudit_dagster.validation import row_rules, validate_parts

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

FIRST = datetime(2026, 8, 1, tzinfo=UTC)
ROWS = 100


def contract(**roles: Any) -> Contract:
    return Contract.model_validate(
        {
            "name": "small",
            "inputs": ["Time", "V1", "Amount"],
            "label": "Class",
            "amount": "Amount",
            "time": "Time",
            "split": {"by": "time", "validation": 0.2, "test": 0.2},
            "models": {
                "xgboost": {"features": ["V1", "Amount"]},
                "random_cut_forest": {"features": ["V1"]},
            },
            "learn_from_archive": {"label_age_days": 30},
            **roles,
        }
    )


def delivered(rows: int = ROWS) -> pd.DataFrame:
    """Every second one a fraud, one a second."""
    number = np.arange(rows)
    return pd.DataFrame({"Time": number * 1.0, "V1": number / 8, "Amount": number + 0.5, "Class": number % 2})


def write_archive(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write archived transactions, of which each row says what is not as usual."""
    schema = schema_of("transactions")
    usual = {"contract": "small", "amount": "1.5", "decision": "approve", "degraded": [], "occurred_at": FIRST}
    columns = {name: [{**usual, **row}.get(name) for row in rows] for name in schema.names}
    pq.write_table(pa.table(columns, schema=schema), path)
    return path


def transaction(number: int, **other: Any) -> dict[str, Any]:
    """The time that was sent is that of the card's first purchase: it says nothing of when the transaction occurred."""
    return {
        "transaction_id": f"t{number}",
        "occurred_at": FIRST + timedelta(minutes=number),
        "features": [float(number % 3), 1000 + number / 8, 2.5],
        "label": number % 2,
        **other,
    }


def stage(how: Contract, folder: Path, table: pd.DataFrame, *archives: Path) -> StagedTable:
    table.to_parquet(folder / "delivered.parquet")
    files = {"delivered.parquet": folder / "delivered.parquet", **{path.name: path for path in archives}}
    return stage_table(files, how, folder / "staged")


def split(
    spark: "SparkSession", how: Contract, folder: Path, table: pd.DataFrame, *archives: Path
) -> tuple[dict[str, SplitPart], dict[str, pd.DataFrame]]:
    staged = stage(how, folder, table, *archives)
    parts = split_table(spark.read.parquet(str(staged.folder)), how, folder / "parts", rows=staged.counts.rows)
    return parts, {name: pd.concat(map(pd.read_parquet, part.table.glob("*.parquet"))) for name, part in parts.items()}


def test_archived_transactions_come_after_the_table_and_the_newest_judge(spark: "SparkSession", tmp_path: Path) -> None:
    archives = [
        write_archive(tmp_path / "b.parquet", [transaction(n) for n in range(25, 50)]),
        write_archive(tmp_path / "a.parquet", [transaction(n) for n in range(25)]),
    ]
    _, sides = split(spark, contract(), tmp_path, delivered(), *archives)
    assert {name: len(side) for name, side in sides.items()} == {"train": 90, "validation": 30, "test": 30}
    assert set(sides["train"]["V1"]) == {n / 8 for n in range(90)}
    assert set(sides["test"]["V1"]) == {1000 + n / 8 for n in range(20, 50)}
    newest = sides["test"][sides["test"]["V1"] == 1000 + 49 / 8]
    assert newest[["Time", "Amount", "Class"]].to_numpy().tolist() == [[49 % 3, 2.5, 1]], (
        "the time stays as it was sent"
    )


def test_a_transaction_that_was_delivered_too_stays_on_its_side(spark: "SparkSession", tmp_path: Path) -> None:
    """A replay of the table, or a delivery of what was archived: the same row must not train and judge."""
    table = delivered()
    known = [
        transaction(n, features=[row.Time, row.V1, row.Amount], label=int(row.Class))
        for n, row in enumerate(table.itertuples())
        if n >= 60
    ]
    archive = write_archive(tmp_path / "a.parquet", [*known, *(transaction(n) for n in range(100, 120))])
    how = contract()
    parts, sides = split(spark, how, tmp_path, table, archive)
    assert {name: len(side) for name, side in sides.items()}["test"] >= 20
    seen = [set(side["V1"]) for side in sides.values()]
    assert sum(map(len, seen)) == len(set.union(*seen))
    findings = validate_parts(
        spark.read.parquet(str(tmp_path / "parts" / "table")),
        how,
        {name: part.counts for name, part in parts.items()},
        row_rules(how, weighted=False),
    )
    assert [str(finding) for name in PARTS for finding in findings[name] if not finding.passed] == []


def test_only_labelled_transactions_of_the_contract_join(tmp_path: Path) -> None:
    archive = write_archive(
        tmp_path / "a.parquet",
        [
            transaction(1),
            transaction(2, label=None),
            transaction(3, contract="another", features=[1.0]),
            transaction(4),
        ],
    )
    nothing = write_archive(tmp_path / "b.parquet", [transaction(5, label=None)])
    staged = stage(contract(), tmp_path, delivered(), archive, nothing)
    assert (staged.archived_rows, staged.counts.rows, staged.counts.frauds) == (2, ROWS + 2, ROWS // 2 + 1)


def test_the_version_of_the_table_covers_the_archive(tmp_path: Path) -> None:
    versions = []
    for number, label in enumerate([None, 0, 1]):
        folder = tmp_path / str(number)
        folder.mkdir()
        archives = [] if label is None else [write_archive(folder / "a.parquet", [transaction(1, label=label)])]
        versions.append(stage(contract(), folder, delivered(), *archives).sha256)
    assert len(set(versions)) == 3


def test_other_columns_get_what_the_archive_has_for_them(tmp_path: Path) -> None:
    how = contract(
        inputs=["V1", "Amount"],
        time="at",
        id="order",
        weight={"column": "Weight", "optional": True},
        split={"by": "time"},
    )
    table = delivered().rename(columns={"Time": "at"})
    table["at"] = pd.to_datetime("2027-01-01T00:00:00Z") + pd.to_timedelta(table["at"], unit="s")
    archive = write_archive(tmp_path / "a.parquet", [transaction(7, features=[7.0, 2.5])])
    staged = stage(how, tmp_path, table.assign(order="o", Weight=4.0), archive)
    rows = pd.concat(map(pd.read_parquet, sorted(staged.folder.glob("*.parquet"))))
    archived = rows.iloc[-1].to_dict()
    assert archived.pop("_order") > rows["_order"].iloc[:-1].max(), "also where the table has later times"
    assert archived == {
        "V1": 7.0,
        "Amount": 2.5,
        "Class": 1,
        "at": pd.Timestamp(FIRST + timedelta(minutes=7)),
        "order": "t7",
        "Weight": 1.0,
    }
    assert staged.counts.weight == ROWS * 4.0 + 1


def test_features_of_other_inputs_are_refused(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "a.parquet", [transaction(1, features=[1.0, 2.0])])
    with pytest.raises(TableError, match=r"a\.parquet: transactions with 2 inputs, where the contract 'small' has 3"):
        stage(contract(), tmp_path, delivered(), archive)


def test_a_contract_that_does_not_learn_is_the_one_it_was(tmp_path: Path) -> None:
    fields = load_contract().model_dump(mode="json", exclude={"learn_from_archive"})
    content = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    assert load_contract().sha256 == hashlib.sha256(content.encode()).hexdigest()
    assert contract(learn_from_archive=None).sha256 != contract().sha256
    assert contract(learn_from_archive={"label_age_days": 7}).sha256 != contract().sha256
    text = SHIPPED_CONTRACT.read_text()
    (tmp_path / "learning.yaml").write_text(f"{text}learn_from_archive: {{label_age_days: 14}}\n")
    learns = load_contract(tmp_path / "learning.yaml").learn_from_archive
    assert learns is not None
    assert learns.label_age_days == 14


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            {"group": "customer"},
            "learn_from_archive: archived transactions have no column 'customer', which is the group",
        ),
        (
            {"split": {"by": "side"}},
            "learn_from_archive: archived transactions have no column 'side', which is the split.by",
        ),
        ({"learn_from_archive": {"label_age_days": -1}}, "label_age_days: input should be greater than or equal to 0"),
        ({"learn_from_archive": {"age": 1}}, "learn_from_archive.age: is not a field of a contract"),
    ],
)
def test_a_contract_that_cannot_learn_says_why(change: dict[str, Any], problem: str, tmp_path: Path) -> None:
    shipped = yaml.safe_load(SHIPPED_CONTRACT.read_text())
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({**shipped, "learn_from_archive": {}, **change}))
    with pytest.raises(ContractError, match=problem):
        load_contract(tmp_path / "c.yaml")


@pytest.mark.parametrize(
    ("archived_at", "age", "matured"),
    [
        ("2026-09-01T00:00:00Z", 30, True),
        ("2026-08-31T23:59:59Z", 30, False),
        ("2026-08-02T00:00:00Z", 0, True),
    ],
)
def test_a_day_is_matured_when_it_was_archived_late_enough(archived_at: str, age: int, *, matured: bool) -> None:
    day = ArchivedDay(date(2026, 8, 1), "s3://b/a/", 1, 0, "", datetime.fromisoformat(archived_at))
    assert day.matured(age) is matured
