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


@dataclass(frozen=True, slots=True)
class Finding:
    """One expectation and what became of it.

    Attributes:
        expectation: What was expected, in the words of Great Expectations.
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
    """Check types, nulls, the label's domain, the prevalence and the ranges that the contract asks for.

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
    findings = [_finding(item.to_json_dict()) for item in result.results]
    return sorted(findings, key=lambda finding: finding.passed)


def _expectations(table: "pd.DataFrame", contract: Contract) -> list[Any]:
    from great_expectations import expectations as gxe

    weighted = contract.weight is not None and contract.weight.column in table.columns
    columns = [*contract.columns.required, *((contract.weight.column,) if weighted and contract.weight else ())]
    suite: list[Any] = [gxe.ExpectTableRowCountToBeBetween(min_value=1)]
    suite += [gxe.ExpectColumnToExist(column=column) for column in columns]
    suite += [gxe.ExpectColumnValuesToNotBeNull(column=column) for column in columns]
    suite += [gxe.ExpectColumnValuesToBeOfType(column=column, type_="float64") for column in contract.inputs]
    suite += [
        gxe.ExpectColumnValuesToBeInSet(column=contract.label, value_set=[0, 1]),
        gxe.ExpectColumnSumToBeBetween(column=contract.label, min_value=1),
        gxe.ExpectColumnMeanToBeBetween(
            column=contract.label, min_value=LOWEST_PREVALENCE, max_value=HIGHEST_PREVALENCE
        ),
    ]
    suite += [
        gxe.ExpectColumnValuesToBeBetween(column=column, min_value=check.min, max_value=check.max)
        for column, check in contract.checks.items()
    ]
    if weighted and contract.weight:
        suite.append(gxe.ExpectColumnValuesToBeBetween(column=contract.weight.column, min_value=0, strict_min=True))
    return suite


def _finding(item: dict[str, Any]) -> Finding:
    config, found = item["expectation_config"], item["result"]
    unexpected = int(found.get("unexpected_count") or 0)
    examples = found.get("partial_unexpected_list") or []
    observed = ", ".join(map(str, examples[:EXAMPLES])) if unexpected else found.get("observed_value", "")
    problem = (item.get("exception_info") or {}).get("exception_message")
    return Finding(
        expectation=config["type"].removeprefix("expect_").replace("_", " "),
        column=config["kwargs"].get("column", ""),
        passed=bool(item["success"]),
        unexpected=unexpected,
        observed=str(problem or observed),
    )
