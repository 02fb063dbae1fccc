"""A table of transactions divided into train, validation and test, by Spark.

Belongs here: who goes to which side, and the files each side is written as. Does not: where the files go (``assets/dataset.py``).
A row's side depends on its content and the contract alone, never on partitioning, and exact duplicates share a side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fraudit_dagster.contract import Contract, Feature
from fraudit_dagster.records import Algorithm

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

PARTS = ("train", "validation", "test")
SIDE = "_part"
BUCKETS = 1_000_000
SHOWN_SIDES = 3


@dataclass(frozen=True, slots=True)
class SplitPart:
    """Files of one side: a folder of Parquet files, and per algorithm a folder of CSV files (for train, perhaps validation)."""

    table: Path
    channels: dict[Algorithm, Path]
    rows: int
    frauds: int
    medians: dict[str, float]


class SplitError(ValueError):
    """The table cannot be split as the contract asks; the message names the side or the column."""


def read_spark_table(spark: "SparkSession", path: Path, contract: Contract) -> "DataFrame":
    """Read a validated CSV or Parquet file with the contract's columns: numbers as double, the label as int, keys as text."""
    from pyspark.sql import functions as F

    types = dict.fromkeys((*contract.number_columns, contract.label), "double") | dict.fromkeys(
        contract.text_columns, "string"
    )
    if path.name.lower().endswith(".parquet"):
        table = spark.read.parquet(str(path))
    else:
        table = spark.read.csv(str(path), header=True, inferSchema=False)
    required, optional = contract.columns
    wanted = [*required, *(column for column in optional if column in table.columns)]
    cells = [
        F.col(f"`{name}`").cast(types[name]).alias(name) if name in types else F.col(f"`{name}`") for name in wanted
    ]
    return table.select(*cells).withColumn(contract.label, F.col(f"`{contract.label}`").cast("int"))


def split_table(table: "DataFrame", contract: Contract, folder: Path) -> dict[str, SplitPart]:
    """Divide ``table`` and write the sides below ``folder``.

    The classifier's CSV has the label first, then the weight where the table has one, then the features; the forest's has
    the features alone, and where rows are weighted it is a sample in which each row is kept in proportion to its weight,
    so that the forest sees the natural prevalence.

    Args:
        table: All rows, with the contract's columns.
        contract: Says the mode, the shares and the features.
        folder: On this machine; is written anew.

    Raises:
        SplitError: A side has no row or no fraud, a row names another side, or a time cannot be read.
    """
    from pyspark.sql import functions as F

    weighted = contract.weight is not None and contract.weight.column in table.columns
    table = table.withColumn(SIDE, _side(table, contract)).cache()
    try:
        counts = {
            row[SIDE]: (int(row["n"]), int(row["frauds"]))
            for row in table.groupBy(SIDE)
            .agg(F.count("*").alias("n"), F.sum(F.col(f"`{contract.label}`")).alias("frauds"))
            .collect()
        }
        _check(counts)
        middle = [F.percentile_approx(f"`{name}`", F.lit(0.5)) for name in contract.inputs]
        found = table.where(F.col(SIDE) == "train").agg(*middle).first() or ()
        medians = dict(zip(contract.inputs, map(float, found), strict=True))
        table.write.partitionBy(SIDE).mode("overwrite").parquet(str(folder / "table"))
        _write_csv(_classifier_rows(table, contract, weighted=weighted), folder / "xgboost")
        _write_csv(_forest_rows(table, contract, weighted=weighted), folder / "random_cut_forest")
    finally:
        table.unpersist()
    written: dict[str, dict[Algorithm, Path]] = {
        "train": {
            "xgboost": folder / "xgboost" / f"{SIDE}=train",
            "random_cut_forest": folder / "random_cut_forest" / f"{SIDE}=train",
        },
        "validation": {"xgboost": folder / "xgboost" / f"{SIDE}=validation"},
        "test": {},
    }
    return {
        part: SplitPart(
            folder / "table" / f"{SIDE}={part}",
            written[part],
            rows=counts[part][0],
            frauds=counts[part][1],
            medians=medians if part == "train" else {},
        )
        for part in PARTS
    }


def _side(table: "DataFrame", contract: Contract) -> "Column":
    from pyspark.sql import functions as F
    from pyspark.sql.window import Window

    split = contract.split
    if split.column is not None:
        return F.col(f"`{split.column}`")
    if split.by == "time":
        assert contract.time is not None  # noqa: S101 - the contract's own rule
        moment = _seconds(table, contract.time)
        shares = [1 - split.validation - split.test, 1 - split.test]
        limits = F.percentile(moment, F.array(*map(F.lit, shares)))
        unread = F.min(F.when(moment.isNull(), F.col(f"`{contract.time}`").cast("string")))
        borders, example = table.select(limits, unread).first()  # type: ignore[misc]
        if example is not None:
            raise SplitError(f"column {contract.time}: neither seconds nor a timestamp that Spark reads: {example!r}")
        first, second = borders or (0.0, 0.0)  # none where there are no rows, which is an error of its own
        if contract.group is not None:
            moment = F.min(moment).over(Window.partitionBy(f"`{contract.group}`"))
    else:
        moment = _bucket([contract.group] if contract.group else _identity(contract), purpose="side")
        first, second = 1 - split.validation - split.test, 1 - split.test
    return F.when(moment < first, "train").when(moment < second, "validation").otherwise("test")


def _seconds(table: "DataFrame", name: str) -> "Column":
    """A moment as a number that orders rows: as it is where it is one, else the seconds since 1970; null where it is neither."""
    from pyspark.sql import functions as F

    moment = F.col(f"`{name}`")
    match dict(table.dtypes)[name]:
        case "string":
            return F.coalesce(moment.try_cast("double"), moment.try_cast("timestamp").cast("double"))
        case "timestamp" | "timestamp_ntz" | "date":
            return moment.cast("timestamp").cast("double")
        case _:
            return moment.cast("double")


def _identity(contract: Contract) -> Sequence[str]:
    return [contract.id] if contract.id is not None else contract.inputs


def _bucket(names: Sequence[str], *, purpose: str) -> "Column":
    """A number in [0, 1) from the content of these columns, independent between purposes."""
    from pyspark.sql import functions as F

    return F.pmod(F.xxhash64(F.lit(purpose), *(F.col(f"`{name}`") for name in names)), F.lit(BUCKETS)) / BUCKETS


def _features(features: tuple[Feature, ...]) -> list["Column"]:
    from pyspark.sql import functions as F

    return [
        (F.log1p(F.col(f"`{feature.column}`")) if feature.transform == "log1p" else F.col(f"`{feature.column}`")).alias(
            f"f{index}"
        )
        for index, feature in enumerate(features)
    ]


def _classifier_rows(table: "DataFrame", contract: Contract, *, weighted: bool) -> "DataFrame":
    from pyspark.sql import functions as F

    head = [F.col(SIDE), F.col(f"`{contract.label}`").alias("label")]
    if weighted and contract.weight is not None:
        head.append(F.col(f"`{contract.weight.column}`").alias("weight"))
    return table.where(F.col(SIDE) != "test").select(*head, *_features(contract.models.xgboost.features))


def _forest_rows(table: "DataFrame", contract: Contract, *, weighted: bool) -> "DataFrame":
    from pyspark.sql import functions as F

    rows = table.where(F.col(SIDE) == "train")
    if weighted and contract.weight is not None:
        weight = F.col(f"`{contract.weight.column}`")
        heaviest = rows.select(F.max(weight)).first()[0]  # type: ignore[index]
        rows = rows.where(_bucket(_identity(contract), purpose="sample") < weight / F.lit(heaviest))
    return rows.select(F.col(SIDE), *_features(contract.models.random_cut_forest.features))


def _write_csv(table: "DataFrame", folder: Path) -> None:
    table.write.partitionBy(SIDE).mode("overwrite").csv(str(folder), header=False, emptyValue="", compression="none")


def _check(counts: dict[str, tuple[int, int]]) -> None:
    problems = [f"{part} has no rows" for part in PARTS if part not in counts]
    problems += [
        f"{part} has no frauds among its {counts[part][0]:,} rows"
        for part in PARTS
        if part in counts and counts[part][1] == 0
    ]
    if unknown := sorted(repr(side) for side in counts if side not in PARTS):
        shown = ", ".join(unknown[:SHOWN_SIDES]) + (" and others" if len(unknown) > SHOWN_SIDES else "")
        problems.append(f"{shown}: no side (train, validation or test)")
    if problems:
        raise SplitError("the split fails: " + "; ".join(problems))
