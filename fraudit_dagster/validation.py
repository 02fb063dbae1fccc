"""Is a table fit to train on? A Great Expectations suite made from the data contract.

Belongs here: the rules and what they found. Does not: stopping a run (``assets/raw.py``).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fraudit_dagster.contract import Contract

if TYPE_CHECKING:
    import pandas as pd

LOWEST_PREVALENCE = 0.0001
HIGHEST_PREVALENCE = 0.5
EXAMPLES = 5
LIMITS = ("min_value", "max_value", "value_set", "type_")
"""Of an expectation: what makes its name a sentence."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One expectation and what became of it.

    Attributes:
        expectation: What was expected, in the words of Great Expectations, with its limits.
        column: The column it is about, empty for the table.
        passed: Whether the table meets it.
        unexpected: How many rows do not; 0 where the expectation is not about rows.
        observed: What was found instead: a value, or examples.
    """

    expectation: str
    column: str
    passed: bool
    unexpected: int
    observed: str


def validate_table(table: "pd.DataFrame", contract: Contract) -> list[Finding]:
    """Check types, nulls, infinite numbers, the label's domain, the prevalence and the ranges that the contract asks for.

    Args:
        table: The raw table, with the contract's columns.
        contract: The rules.

    Returns:
        One finding per expectation, failed ones first.
    """
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]
    batch = (
        context.data_sources.add_pandas("tables")
        .add_dataframe_asset(contract.name)
        .add_batch_definition_whole_dataframe("whole")
        .get_batch(batch_parameters={"dataframe": table})
    )
    suite = gx.ExpectationSuite(name=contract.name, expectations=_expectations(table, contract))
    result = batch.validate(suite, result_format="SUMMARY")
    findings = [_finding(item.to_json_dict()) for item in result.results] + _finite(table, contract)
    return sorted(findings, key=lambda finding: finding.passed)


def _expectations(table: "pd.DataFrame", contract: Contract) -> list[Any]:
    from great_expectations import expectations as gxe

    required, optional = contract.columns
    columns = [*required, *(column for column in optional if column in table.columns)]
    values: list[Any] = [gxe.ExpectColumnValuesToNotBeNull(column=column) for column in columns]
    values += [gxe.ExpectColumnValuesToBeOfType(column=column, type_="float64") for column in contract.inputs]
    values += [
        gxe.ExpectColumnValuesToBeInSet(column=contract.label, value_set=[0, 1]),
        gxe.ExpectColumnSumToBeBetween(column=contract.label, min_value=1),
        gxe.ExpectColumnMeanToBeBetween(
            column=contract.label, min_value=LOWEST_PREVALENCE, max_value=HIGHEST_PREVALENCE
        ),
    ]
    values += [
        gxe.ExpectColumnValuesToBeBetween(column=column, min_value=check.min, max_value=check.max)
        for column, check in contract.checks.items()
    ]
    if contract.weight is not None:
        values.append(gxe.ExpectColumnValuesToBeBetween(column=contract.weight.column, min_value=0, strict_min=True))
    return [
        gxe.ExpectTableRowCountToBeBetween(min_value=1),
        *(gxe.ExpectColumnToExist(column=column) for column in columns),
        *(expectation for expectation in values if expectation.column in table.columns),
    ]


def _finite(table: "pd.DataFrame", contract: Contract) -> list[Finding]:
    """Look for infinite inputs, which no trainer takes; by numpy, since Great Expectations would look for ten seconds."""
    import numpy as np

    findings = []
    for column in table.columns.intersection(contract.inputs):
        if table[column].dtype == np.float64:
            infinite = table[column][np.isinf(table[column])]
            observed = ", ".join(map(str, infinite[:EXAMPLES]))
            findings.append(Finding("column values to be finite", column, infinite.empty, len(infinite), observed))
    return findings


def _finding(item: dict[str, Any]) -> Finding:
    config, found = item["expectation_config"], item["result"]
    limits = [f"{name} {config['kwargs'][name]}" for name in LIMITS if config["kwargs"].get(name) is not None]
    unexpected = int(found.get("unexpected_count") or 0)
    examples = found.get("partial_unexpected_list") or []
    observed = ", ".join(map(str, examples[:EXAMPLES])) if unexpected else found.get("observed_value", "")
    problem = (item.get("exception_info") or {}).get("exception_message")
    return Finding(
        expectation=config["type"].removeprefix("expect_").replace("_", " ")
        + (f" ({', '.join(limits)})" if limits else ""),
        column=config["kwargs"].get("column", ""),
        passed=bool(item["success"]),
        unexpected=unexpected,
        observed=str(problem or observed),
    )
