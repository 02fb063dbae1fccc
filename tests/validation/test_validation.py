"""A table is fit to train on, or it is said which column is not, in how many rows, and what stands there."""

import numpy as np
import pandas as pd
import pytest

from fraudit_dagster.contract import Contract
from fraudit_dagster.validation import Finding, validate_table

# Great Expectations imports it; 3.11 and later warn.
pytestmark = pytest.mark.filterwarnings("ignore:module 'sre_:DeprecationWarning")

CONTRACT = Contract.model_validate(
    {
        "name": "small",
        "inputs": ["V1", "Amount"],
        "label": "Class",
        "amount": "Amount",
        "weight": {"column": "Weight", "optional": True},
        "split": {"by": "random"},
        "checks": {"Amount": {"min": 0, "max": 100}, "Weight": {"max": 50}},
        "models": {"xgboost": {"features": ["V1"]}, "random_cut_forest": {"features": ["V1"]}},
    }
)


@pytest.fixture
def table() -> pd.DataFrame:
    number = np.arange(100)
    label = (number % 20 == 0).astype("int8")
    return pd.DataFrame({"V1": number / 8, "Amount": number.astype("float64"), "Class": label, "Weight": 2.0})


def failed(table: pd.DataFrame) -> list[Finding]:
    findings = validate_table(table, CONTRACT)
    passed = [finding.passed for finding in findings]
    assert passed == sorted(passed), "what failed comes first"
    return [finding for finding in findings if not finding.passed]


def test_a_good_table_passes_and_every_rule_is_listed(table: pd.DataFrame) -> None:
    assert failed(table) == []
    rules = {(finding.column, finding.expectation) for finding in validate_table(table, CONTRACT)}
    assert ("Class", "column values to be in set (value_set [0, 1])") in rules
    assert ("Class", "column mean to be between (min_value 0.0001, max_value 0.5)") in rules
    assert {column for column, _ in rules} == {"", "V1", "Amount", "Class", "Weight"}


def test_an_optional_weight_may_be_absent(table: pd.DataFrame) -> None:
    assert failed(table.drop(columns="Weight")) == []


@pytest.mark.parametrize(
    ("column", "values", "expectation", "observed"),
    [
        ("V1", [np.nan, np.nan], "column values to not be null", "None, None"),
        ("V1", [np.inf, -np.inf], "column values to be finite", "inf, -inf"),
        ("Class", [2, -1], "column values to be in set (value_set [0, 1])", "2, -1"),
        ("Amount", [-0.5, 100.5], "column values to be between (min_value 0.0, max_value 100.0)", "-0.5, 100.5"),
        ("Weight", [0.0, -1.0], "column values to be between (min_value 0.0)", "0.0, -1.0"),
        ("Weight", [51.0, 52.0], "column values to be between (max_value 50.0)", "51.0, 52.0"),
    ],
)
def test_a_wrong_value_is_counted_and_shown(
    table: pd.DataFrame, column: str, values: list[float], expectation: str, observed: str
) -> None:
    table.loc[[3, 7], column] = np.array(values, dtype=table[column].dtype)
    assert failed(table) == [Finding(expectation, column, passed=False, unexpected=2, observed=observed)]


def test_at_most_five_examples_are_shown(table: pd.DataFrame) -> None:
    (finding,) = failed(table.assign(Amount=-table["Amount"]))
    assert (finding.unexpected, finding.observed) == (99, "-1.0, -2.0, -3.0, -4.0, -5.0")


@pytest.mark.parametrize(("label", "observed"), [(0, "0.0"), (1, "1.0")])
def test_a_prevalence_that_cannot_be_is_shown(table: pd.DataFrame, label: int, observed: str) -> None:
    findings = {finding.expectation: finding for finding in failed(table.assign(Class=np.int8(label)))}
    finding = findings["column mean to be between (min_value 0.0001, max_value 0.5)"]
    assert (finding.column, finding.unexpected, finding.observed) == ("Class", 0, observed)


def test_a_column_of_another_type_fails(table: pd.DataFrame) -> None:
    (finding,) = failed(table.assign(V1="x"))
    assert (finding.column, finding.expectation) == ("V1", "column values to be of type (type_ float64)")


def test_a_missing_column_is_one_finding(table: pd.DataFrame) -> None:
    assert [(finding.column, finding.expectation) for finding in failed(table.drop(columns="V1"))] == [
        ("V1", "column to exist")
    ]


def test_an_empty_table_fails(table: pd.DataFrame) -> None:
    assert ("", "table row count to be between (min_value 1)") in {
        (finding.column, finding.expectation) for finding in failed(table[:0])
    }
