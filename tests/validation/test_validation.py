"""A table is fit to train on, or it is said which column is not, in how many rows, and what stands there."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from fraudit_dagster.contract import Contract
from fraudit_dagster.sides import PARTS
from fraudit_dagster.tables import TableCounts
from fraudit_dagster.validation import (
    Finding,
    find_duplicates,
    row_rules,
    validate_counts,
    validate_parts,
    validate_rows,
)

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

CONTENT = {
    "name": "small",
    "inputs": ["V1", "Amount (EUR)"],
    "label": "Class",
    "amount": "Amount (EUR)",
    "weight": {"column": "sampling.weight", "optional": True},
    "split": {"by": "random"},
    "checks": {"Amount (EUR)": {"min": 0, "max": 100}, "sampling.weight": {"max": 50}},
    "models": {"xgboost": {"features": ["V1"]}, "random_cut_forest": {"features": ["V1"]}},
}
CONTRACT = Contract.model_validate(CONTENT)


@pytest.fixture
def table() -> pd.DataFrame:
    """Names with a dot and a blank in them, as tables of others have."""
    number = np.arange(100)
    label = (number % 20 == 0).astype("int32")
    amount = number.astype("float64")
    return pd.DataFrame({"V1": number / 8, "Amount (EUR)": amount, "Class": label, "sampling.weight": 2.0})


InSpark = Callable[[pd.DataFrame], "DataFrame"]


@pytest.fixture
def in_spark(spark: "SparkSession", tmp_path: Path) -> InSpark:
    """Make a frame a table of Spark's, with its very types."""

    def read(table: pd.DataFrame) -> "DataFrame":
        path = tmp_path / f"{id(table)}.parquet"
        table.to_parquet(path, index=False)
        return spark.read.parquet(str(path))

    return read


def failed(in_spark: InSpark, table: pd.DataFrame) -> list[Finding]:
    rules = row_rules(CONTRACT, weighted="sampling.weight" in table)
    return [finding for finding in validate_rows(in_spark(table), rules) if not finding.passed]


def test_a_good_table_passes_and_every_rule_is_listed(in_spark: InSpark, table: pd.DataFrame) -> None:
    findings = validate_rows(in_spark(table), row_rules(CONTRACT, weighted=True))
    assert all(finding.passed for finding in findings)
    assert {(finding.column, finding.expectation) for finding in findings} == {
        ("", "the contract's columns"),
        *((column, "type DoubleType") for column in ("V1", "Amount (EUR)", "sampling.weight")),
        ("Class", "type IntegerType"),
        *((column, "no empty cell") for column in table.columns),
        ("Class", "0 or 1"),
        ("V1", "finite numbers"),
        ("Amount (EUR)", "finite numbers, at least 0, at most 100"),
        ("sampling.weight", "finite numbers, above 0, at most 50"),
    }


def test_an_optional_weight_may_be_absent(in_spark: InSpark, table: pd.DataFrame) -> None:
    assert failed(in_spark, table.drop(columns="sampling.weight")) == []


def test_wrong_values_are_counted_and_shown(in_spark: InSpark, table: pd.DataFrame) -> None:
    table.loc[[3, 7], "V1"] = [np.inf, -np.inf]
    table.loc[[3, 7], "Class"] = np.array([2, -1], dtype="int32")
    table.loc[[3, 7], "Amount (EUR)"] = [-0.5, 100.5]
    table.loc[[3, 7], "sampling.weight"] = [0.0, 51.0]
    assert failed(in_spark, table) == [
        Finding("finite numbers", "V1", passed=False, unexpected=2, observed="inf, -inf"),
        Finding(
            "finite numbers, at least 0, at most 100",
            "Amount (EUR)",
            passed=False,
            unexpected=2,
            observed="-0.5, 100.5",
        ),
        Finding("0 or 1", "Class", passed=False, unexpected=2, observed="2, -1"),
        Finding(
            "finite numbers, above 0, at most 50", "sampling.weight", passed=False, unexpected=2, observed="0.0, 51.0"
        ),
    ]


def test_an_empty_cell_is_counted(in_spark: InSpark, table: pd.DataFrame) -> None:
    rows = in_spark(table).selectExpr("if(V1 < 0.3, null, V1) as V1", "`Amount (EUR)`", "Class", "`sampling.weight`")
    findings = [f for f in validate_rows(rows, row_rules(CONTRACT, weighted=True)) if not f.passed]
    (finding,) = findings
    assert (finding.column, finding.expectation, finding.unexpected) == ("V1", "no empty cell", 3)


def test_at_most_five_examples_are_shown(in_spark: InSpark, table: pd.DataFrame) -> None:
    (finding,) = failed(in_spark, table.assign(**{"Amount (EUR)": -table["Amount (EUR)"]}))
    assert (finding.unexpected, finding.observed) == (99, "-1.0, -2.0, -3.0, -4.0, -5.0")
    assert str(finding) == (
        "Amount (EUR): expected finite numbers, at least 0, at most 100, found -1.0, -2.0, -3.0, -4.0, -5.0 in 99 rows"
    )


def test_columns_that_are_missing_or_of_another_type_fail(in_spark: InSpark, table: pd.DataFrame) -> None:
    texts = failed(in_spark, table.assign(V1="x"))
    assert ("V1", "type DoubleType") in {(finding.column, finding.expectation) for finding in texts}
    absent = failed(in_spark, table.drop(columns="V1"))
    assert ("", "the contract's columns") in {(finding.column, finding.expectation) for finding in absent}


@pytest.mark.parametrize(
    ("counts", "expectations"),
    [
        (TableCounts(1000, 2, 1000.0, 2.0), []),
        (TableCounts(10, 5, 1000.0, 5.0), []),
        (TableCounts(1000, 0, 1000.0, 0.0), ["at least one fraud", "a share of frauds between 0.0001 and 0.5"]),
        (TableCounts(1000, 600, 1000.0, 600.0), ["a share of frauds between 0.0001 and 0.5"]),
        (
            TableCounts(),
            ["at least one row", "at least one fraud", "a share of frauds between 0.0001 and 0.5"],
        ),
    ],
)
def test_frauds_are_few_but_there_are_some_by_weight(counts: TableCounts, expectations: list[str]) -> None:
    assert [f.expectation for f in validate_counts(counts, CONTRACT) if not f.passed] == expectations


def test_duplicates_are_counted_and_shown_whatever_their_id(in_spark: InSpark, table: pd.DataFrame) -> None:
    how = Contract.model_validate(CONTENT | {"id": "tx"})
    again = pd.concat([table, table[3:5], table[3:4]], ignore_index=True)
    rows = in_spark(again.assign(tx=[f"t{number}" for number in again.index]))
    finding = find_duplicates(rows, how)
    assert (finding.passed, finding.unexpected) == (False, 3)
    assert "tx t3, Amount (EUR) 3.0, Class 0" in finding.observed
    assert find_duplicates(rows.limit(100), how).passed


def parts(table: pd.DataFrame) -> pd.DataFrame:
    """The first sixty rows train; a card has three of them."""
    number = np.arange(len(table))
    side = np.select([number < 60, number < 80], PARTS[:2], PARTS[2])
    return table.assign(
        at=number * 10.0, card=[f"card {n // 3}" if n < 60 else f"card {n}" for n in number], _part=side
    )


def verdicts(in_spark: InSpark, frame: pd.DataFrame, **roles: Any) -> dict[str, list[str]]:
    """What fails, by part."""
    how = Contract.model_validate(CONTENT | roles)
    counts = {part: TableCounts(100, 5, 100.0, 5.0) for part in PARTS}
    rules = row_rules(how, weighted=True)
    return {
        part: [f"{f.expectation} ({f.unexpected}): {f.observed}" for f in findings if not f.passed]
        for part, findings in validate_parts(in_spark(frame), how, counts, rules).items()
    }


TIMED = {"split": {"by": "time"}, "time": "at"}


@pytest.mark.parametrize("roles", [{}, TIMED, {"group": "card"}, {**TIMED, "group": "card"}])
def test_good_parts_pass(in_spark: InSpark, table: pd.DataFrame, roles: dict[str, Any]) -> None:
    assert verdicts(in_spark, parts(table), **roles) == {"train": [], "validation": [], "test": []}


def test_a_row_that_is_on_two_sides_fails_both(in_spark: InSpark, table: pd.DataFrame) -> None:
    frame = parts(table)
    leaked = frame.iloc[[90]].assign(_part="train")
    found = "no row that is on another side too (1): Amount (EUR) 90.0, Class 0"
    assert verdicts(in_spark, pd.concat([frame, leaked])) == {"train": [found], "validation": [], "test": [found]}


def test_a_group_that_is_on_two_sides_fails_both(in_spark: InSpark, table: pd.DataFrame) -> None:
    frame = parts(table)
    frame.loc[70, "card"] = "card 2"
    found = verdicts(in_spark, frame, group="card")
    assert found["test"] == []
    assert found["validation"] == ["no group that is on another side too (1): card card 2, Amount (EUR) 70.0, Class 0"]
    (train,) = found["train"]
    assert train.startswith("no group that is on another side too (3): card card 2, Amount (EUR) ")


def test_a_disorder_in_time_names_the_spans(in_spark: InSpark, table: pd.DataFrame) -> None:
    frame = parts(table)
    frame.loc[[10, 90], "at"] = [905.0, 105.0]
    found = verdicts(in_spark, frame, **TIMED)
    spans = "train from 0 to 905; validation from 600 to 790; test from 105 to 990"
    rule = "to be in its place in time: train, validation, test"
    assert found["train"] == [f"{rule} (50): {spans}"]
    assert found["validation"] == [f"{rule} (20): {spans}"]
    assert found["test"] == [f"{rule} (11): {spans}"]


def test_a_group_is_in_its_place_by_its_first_transaction(in_spark: InSpark, table: pd.DataFrame) -> None:
    frame = parts(table)
    frame.loc[2, "at"] = 950.0  # the card's first one is the row before
    assert verdicts(in_spark, frame, **TIMED, group="card")["train"] == []


def test_a_wrong_cell_fails_the_part_that_it_is_in(in_spark: InSpark, table: pd.DataFrame) -> None:
    frame = parts(table)
    frame.loc[70, "Amount (EUR)"] = -1.0
    found = verdicts(in_spark, frame)
    assert found["validation"] == ["finite numbers, at least 0, at most 100 (1): -1.0"]
    assert (found["train"], found["test"]) == ([], [])
