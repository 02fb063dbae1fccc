"""Is a table fit to train on, and are its parts fit for theirs? Great Expectations, by the data contract, on Spark.

Belongs here: the rules and what they found. Does not: stopping a run (``assets/raw.py``, ``assets/dataset.py``).

Rules about rows are a Great Expectations suite. What it cannot say, because it is about two parts at once or about rows
that stand for several, is asked of Spark or of the counts, and told in the same form.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fraudit_dagster.contract import Contract
from fraudit_dagster.sides import PARTS, SIDE, column, content, moment
from fraudit_dagster.tables import TableCounts

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite
    from pyspark.sql import Column, DataFrame

LOWEST_PREVALENCE = 0.0001
HIGHEST_PREVALENCE = 0.5
"""Fewer frauds give a classifier next to nothing to learn from; more of them are another population than a card's.
An under-sampled table is in the band by its weights."""
EXAMPLES = 5
FINITE = sys.float_info.max


@dataclass(frozen=True, slots=True)
class Finding:
    """One expectation and what became of it.

    Attributes:
        expectation: What was expected.
        column: The column it is about, empty for the table.
        passed: Whether the table meets it.
        unexpected: How many rows do not; 0 where the expectation is not about rows.
        observed: What was found instead: a value, or examples. Empty where it passed.
    """

    expectation: str
    column: str
    passed: bool
    unexpected: int = 0
    observed: str = ""

    def __str__(self) -> str:
        rows = f" in {self.unexpected:,} row{'s' if self.unexpected > 1 else ''}" if self.unexpected else ""
        return f"{self.column or 'table'}: expected {self.expectation}, found {self.observed or 'otherwise'}{rows}"


@dataclass(frozen=True, slots=True)
class RowRules:
    """The expectations that every row has to meet, whichever part it is in.

    Attributes:
        suite: Of Great Expectations, in which columns go by number, so that a name may hold any character.
        columns: Their names, in that order.
        words: Of each expectation, by its type and its column's number.
    """

    suite: "ExpectationSuite"
    columns: tuple[str, ...]
    words: Mapping[tuple[str, str], str]


def row_rules(contract: Contract, *, weighted: bool) -> RowRules:
    """The contract as a suite: columns, types, nulls, the label's domain, finite numbers and the ranges asked for.

    Args:
        contract: The rules.
        weighted: Whether the table has the contract's optional weight.
    """
    import great_expectations as gx
    from great_expectations import expectations as gxe

    required, optional = contract.columns
    columns = (*required, *(optional if weighted else ()))
    expectations: list[tuple[Any, str]] = [
        (gxe.ExpectTableColumnsToMatchSet(column_set=[*map(_number, range(len(columns)))]), "the contract's columns")
    ]
    for index, name in enumerate(columns):
        at: dict[str, Any] = {"column": _number(index)}
        types = _types(name, contract)
        expectations += [
            (gxe.ExpectColumnValuesToBeInTypeList(**at, type_list=list(types)), f"type {' or '.join(types)}"),
            (gxe.ExpectColumnValuesToNotBeNull(**at), "no empty cell"),
        ]
        if name == contract.label:
            expectations.append((gxe.ExpectColumnValuesToBeInSet(**at, value_set=[0, 1]), "0 or 1"))
        elif name in contract.number_columns or name in contract.checks:
            limits, words = _range(name, contract)
            expectations.append((gxe.ExpectColumnValuesToBeBetween(**at, **limits), words))
    return RowRules(
        suite=gx.ExpectationSuite(name=contract.name, expectations=[expectation for expectation, _ in expectations]),
        columns=columns,
        words={_key(expectation.configuration.to_json_dict()): words for expectation, words in expectations},
    )


def validate_rows(table: "DataFrame", rules: RowRules) -> list[Finding]:
    """Put every row to the rules, in one pass where all of them hold; what fails is counted and shown in a second.

    Args:
        table: With the columns of the rules; others do not matter.
        rules: Made by ``row_rules``.

    Returns:
        One finding per expectation, in the order of the columns.
    """
    import great_expectations as gx

    numbered = table.select(
        *(column(name).alias(_number(i)) for i, name in enumerate(rules.columns) if name in table.columns)
    )
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    batch = (
        context.data_sources.add_spark("tables")
        .add_dataframe_asset("table")
        .add_batch_definition_whole_dataframe("whole")
        .get_batch(batch_parameters={"dataframe": numbered})
    )
    outcome = {_key(item): item for item in _results(batch.validate(rules.suite, result_format="BOOLEAN_ONLY"))}
    failed = [key for key, item in outcome.items() if not item["success"]]
    if failed:
        again = gx.ExpectationSuite(
            name="failed",
            expectations=[e for e in rules.suite.expectations if _key(e.configuration.to_json_dict()) in failed],
        )
        outcome |= {_key(item): item for item in _results(batch.validate(again, result_format="SUMMARY"))}
    return [_finding(outcome[key], words, rules) for key, words in rules.words.items()]


def validate_counts(counts: TableCounts, contract: Contract) -> list[Finding]:
    """Are there rows, frauds, and as many of them as there may be? Each row counts with its sampling weight."""
    share = counts.prevalence
    return [
        Finding("at least one row", "", passed=counts.rows > 0, observed=_unless(counts.rows > 0, "none")),
        Finding("at least one fraud", contract.label, counts.frauds > 0, 0, _unless(counts.frauds > 0, "none")),
        Finding(
            f"a share of frauds between {LOWEST_PREVALENCE:g} and {HIGHEST_PREVALENCE:g}",
            contract.label,
            passed=(within := LOWEST_PREVALENCE <= share <= HIGHEST_PREVALENCE),
            observed=_unless(within, f"{share:.6g}"),
        ),
    ]


def find_duplicates(table: "DataFrame", contract: Contract) -> Finding:
    """Rows that repeat another in every column of the contract but the id."""
    from pyspark.sql import functions as F

    keyed = table.withColumn("_content", content(table, contract))
    several = keyed.groupBy("_content").count().where(F.col("count") > 1)
    repeats = several.agg(F.sum(F.col("count") - 1)).first()
    count = int((repeats and repeats[0]) or 0)
    shown = _examples(keyed.join(several, "_content", "left_semi").orderBy("_content"), contract) if count else ""
    return Finding("no exact duplicate of another row", "", passed=count == 0, unexpected=count, observed=shown)


def validate_parts(
    parts: "DataFrame", contract: Contract, counts: Mapping[str, TableCounts], rules: RowRules
) -> dict[str, list[Finding]]:
    """Put the sides of a split to the rules of rows, and to those about each other.

    A rule about rows that holds for all of them holds for each part: the parts are asked one by one only where it does
    not.

    Args:
        parts: All of them, with the column ``SIDE``.
        contract: The rules.
        counts: Of each part.
        rules: Made by ``row_rules``.

    Returns:
        The findings about each part.
    """
    together = validate_rows(parts, rules)
    sound = all(finding.passed for finding in together)
    findings = {
        part: [
            *(together if sound else validate_rows(parts.where(column(SIDE) == part), rules)),
            *validate_counts(counts[part], contract),
        ]
        for part in PARTS
    }
    rules_of_sides = [_shared(parts, content(parts, contract), "no row that is on another side too", "", contract)]
    if contract.group is not None:
        words = "no group that is on another side too"
        rules_of_sides.append(_shared(parts, column(contract.group), words, contract.group, contract))
    if contract.split.by == "time":
        rules_of_sides.append(_order(parts, contract))
    for part in PARTS:
        findings[part] += [rule[part] for rule in rules_of_sides]
    return findings


def _shared(parts: "DataFrame", key: "Column", words: str, about: str, contract: Contract) -> dict[str, Finding]:
    """Rows whose key is on several sides."""
    from pyspark.sql import functions as F

    keyed = parts.withColumn("_key", key)
    number = F.lit(0)  # of a side, as a bit: Spark adds up numbers by hash, but sorts for texts
    for index, part in enumerate(PARTS):
        number = F.when(column(SIDE) == part, F.lit(1 << index)).otherwise(number)
    several = keyed.groupBy("_key").agg(F.bit_or(number).alias("_sides")).where(F.bit_count("_sides") > 1)
    if several.isEmpty():
        return {part: Finding(words, about, passed=True) for part in PARTS}
    torn = keyed.join(several, "_key", "left_semi")
    rows = {row[0]: int(row[1]) for row in torn.groupBy(SIDE).count().collect()}
    return {
        part: Finding(words, about, passed=False, unexpected=rows[part], observed=_examples(torn, contract, part))
        if part in rows
        else Finding(words, about, passed=True)
        for part in PARTS
    }


def _order(parts: "DataFrame", contract: Contract) -> dict[str, Finding]:
    """Every row, or the first one of every group, comes after all of the earlier parts and before all of the later."""
    from pyspark.sql import functions as F

    timed = parts.select(SIDE, moment(parts, contract).alias("_moment"))
    spans = {row[0]: (row[1], row[2]) for row in timed.groupBy(SIDE).agg(F.min("_moment"), F.max("_moment")).collect()}
    findings = {}
    for index, part in enumerate(PARTS):
        after = [spans[p][1] for p in PARTS[:index] if p in spans]
        before = [spans[p][0] for p in PARTS[index + 1 :] if p in spans]
        early = F.lit(False) if not after else F.col("_moment") <= F.lit(max(after))  # noqa: FBT003 - Spark's literal
        late = F.lit(False) if not before else F.col("_moment") >= F.lit(min(before))  # noqa: FBT003
        overlapping = part in spans and (
            (after and spans[part][0] <= max(after)) or (before and spans[part][1] >= min(before))
        )
        count = timed.where(F.col(SIDE) == part).where(early | late).count() if overlapping else 0
        observed = "; ".join(f"{p} from {spans[p][0]:g} to {spans[p][1]:g}" for p in PARTS if p in spans)
        findings[part] = Finding(
            "to be in its place in time: train, validation, test",
            contract.time or "",
            passed=count == 0,
            unexpected=count,
            observed=_unless(count == 0, observed),
        )
    return findings


def _examples(rows: "DataFrame", contract: Contract, part: str | None = None) -> str:
    if part is not None:
        rows = rows.where(column(SIDE) == part)
    shown = [contract.id, contract.group, contract.time, contract.amount, contract.label]
    names = list(dict.fromkeys(name for name in shown if name is not None))
    found = rows.select(*map(column, names)).limit(EXAMPLES).collect()
    return "; ".join(", ".join(f"{name} {cell}" for name, cell in zip(names, row, strict=True)) for row in found)


def _types(name: str, contract: Contract) -> tuple[str, ...]:
    if name == contract.label:
        return ("IntegerType",)
    if name in contract.number_columns:
        return ("DoubleType",)
    return ("DoubleType", "TimestampType") if name == contract.time else ("StringType",)


def _range(name: str, contract: Contract) -> tuple[dict[str, Any], str]:
    check = contract.checks.get(name)
    low, high = (check.min, check.max) if check else (None, None)
    strict = contract.weight is not None and name == contract.weight.column and (low is None or low <= 0)
    if strict:
        low = 0.0
    limits = {
        "min_value": -FINITE if low is None else low,
        "max_value": FINITE if high is None else high,
        "strict_min": strict,
    }
    bounds = ([f"above {low:g}" if strict else f"at least {low:g}"] if low is not None else []) + (
        [f"at most {high:g}"] if high is not None else []
    )
    return limits, ", ".join(["finite numbers", *bounds])


def _number(index: int) -> str:
    return f"c{index}"


def _key(item: Mapping[str, Any]) -> tuple[str, str]:
    config = item.get("expectation_config", item)
    return config["type"], config["kwargs"].get("column", "")


def _results(result: Any) -> list[dict[str, Any]]:
    return [item.to_json_dict() for item in result.results]


def _finding(item: Mapping[str, Any], words: str, rules: RowRules) -> Finding:
    found = item.get("result") or {}
    number = _key(item)[1]
    unexpected = int(found.get("unexpected_count") or 0)
    examples: Sequence[Any] = found.get("partial_unexpected_list") or []
    problem = (item.get("exception_info") or {}).get("exception_message")
    observed = ", ".join(map(str, examples[:EXAMPLES])) if unexpected else found.get("observed_value", "")
    return Finding(
        expectation=words,
        column=rules.columns[int(number[1:])] if number else "",
        passed=bool(item["success"]),
        unexpected=unexpected,
        observed=_unless(bool(item["success"]), str(problem or observed)),
    )


def _unless(passed: bool, observed: str) -> str:  # noqa: FBT001 - reads as it is said
    return "" if passed else observed
