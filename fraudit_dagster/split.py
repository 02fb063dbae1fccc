"""A table of transactions divided into train, validation and test, by Spark.

Belongs here: who goes to which side, and the files each side is written as. Does not: where the files go
(``assets/dataset.py``), whether the sides are sound (``validation.py``).

A row's side depends on its content and the contract alone, never on files, partitions or the order of rows. Rows of one
group share a side, and so do exact duplicates: they have the same inputs, the same time and the same group. Where a column
decides, both are the table's own responsibility, and the validation refuses it otherwise.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fraudit_dagster.contract import Contract, Feature
from fraudit_dagster.drift import profile_of
from fraudit_dagster.records import Algorithm, Profile
from fraudit_dagster.sides import ORDER, PARTS, SIDE, column, content, moment
from fraudit_dagster.tables import TableCounts

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from pyspark.sql import Column, DataFrame

BUCKETS = 1_000_000
SHOWN_SIDES = 3
ROWS_PER_FILE = 150_000
"""Of the whole table: at the size of the published data both cores have a file to write."""
BATCH_ROWS = 32_768
LEARNT_ROWS = 262_144


@dataclass(frozen=True, slots=True)
class SplitPart:
    """One side.

    Attributes:
        table: Folder of its Parquet files.
        channels: Per algorithm, the folder of its CSV files (for train, and the classifier's for validation).
        counts: How much it holds.
        medians: Of the inputs, by column; of train alone.
        profiles: How the inputs are distributed, by column; of train alone.
    """

    table: Path
    channels: dict[Algorithm, Path]
    counts: TableCounts
    medians: dict[str, float]
    profiles: dict[str, Profile]


class SplitError(ValueError):
    """The table cannot be split as the contract asks; the message names the side or the column."""


def split_table(table: "DataFrame", contract: Contract, folder: Path, *, rows: int) -> dict[str, SplitPart]:
    """Divide ``table`` and write the sides below ``folder``.

    The rows of a side are in the order of a hash of their content: the same for the same table, and without a trace of
    time, since a trainer may take a prefix or a subsample. The classifier's CSV has the label first, then the weight where
    the table has one, then the features; the forest's has the features alone, and where rows are weighted it is a sample
    in which each row is kept in proportion to its weight, so that the forest sees the natural prevalence.

    Args:
        table: All rows, typed by ``staging.py``.
        contract: Says the mode, the shares and the features.
        folder: On this machine; is written anew.
        rows: Of the table: says how many files a side becomes.

    Raises:
        SplitError: A side has no row or no fraud, a row names another side, has no time, or lies outside a transform's
            domain.
    """
    whole = folder / "table"
    _write(table.withColumn(SIDE, _side(table, contract)), contract, whole, files=-(-rows // ROWS_PER_FILE))
    tables = {part: whole / f"{SIDE}={part}" for part in PARTS}
    counts = {part: _counts(tables[part], contract) for part in PARTS}
    _check(counts)
    train, validation, test = PARTS
    channels: dict[str, dict[Algorithm, Path]] = {
        train: {
            "xgboost": _classifier_rows(tables[train], contract, folder / "xgboost" / train),
            "random_cut_forest": _forest_rows(tables[train], contract, folder / "random_cut_forest" / train),
        },
        validation: {"xgboost": _classifier_rows(tables[validation], contract, folder / "xgboost" / validation)},
        test: {},
    }
    medians, profiles = _learnt(tables[train], contract)
    return {
        part: SplitPart(
            tables[part],
            channels[part],
            counts[part],
            medians=medians if part == train else {},
            profiles=profiles if part == train else {},
        )
        for part in PARTS
    }


def _side(table: "DataFrame", contract: Contract) -> "Column":
    from pyspark.sql import functions as F

    split = contract.split
    if split.column is not None:
        _check_names(table.select(column(split.column).alias(SIDE)))
        return column(split.column)
    shares = [1 - split.validation - split.test, 1 - split.test]
    if split.by == "time":
        where = moment(table, contract)
        # Rows with the same inputs may lie far apart where archived ones have joined: the shares are of the moments they count with.
        seconds = where if ORDER in table.columns else column(contract.time or "").cast("double")
        borders, missing = table.select(seconds.alias("_seconds")).select(
            F.percentile("_seconds", F.array(*map(F.lit, shares))), F.count_if(F.col("_seconds").isNull())
        ).first() or (None, 0)
        if missing:
            raise SplitError(f"column {contract.time}: {missing:,} rows have no time, by which the split is asked for")
        first, second = borders or shares  # no borders where there are no rows, which is an error of its own
    else:
        where = _bucket([contract.group] if contract.group else contract.inputs)
        first, second = shares
    return F.when(where < first, "train").when(where < second, "validation").otherwise("test")


def _bucket(names: Sequence[str]) -> "Column":
    """A number in [0, 1) from the content of these columns."""
    from pyspark.sql import functions as F

    return F.pmod(F.xxhash64(F.lit("side"), *map(column, names)), F.lit(BUCKETS)) / BUCKETS


def _write(table: "DataFrame", contract: Contract, folder: Path, *, files: int) -> None:
    """Write a folder of Parquet files per side, which hold the same rows in the same order for the same table."""
    order = [SIDE, "_content", *([contract.id] if contract.id else [])]
    (
        table.withColumn("_content", content(table, contract))
        .repartition(max(files, 1), "_content")
        .sortWithinPartitions(*map(column, order))
        .drop("_content")
        .write.partitionBy(SIDE)
        .mode("overwrite")
        .option("parquet.enable.dictionary", "false")
        .parquet(str(folder))
    )
    for path in folder.glob("*/part-*.parquet"):  # part-00000-<random>.c000.snappy.parquet
        path.rename(path.with_name(f"{'-'.join(path.name.split('-')[:2])}.parquet"))


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


def _batches(path: Path, columns: Sequence[str]) -> Iterator["pa.RecordBatch"]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        present = [name for name in columns if name in file.schema_arrow.names]
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=present):
            yield batch.select(present)


def _counts(folder: Path, contract: Contract) -> TableCounts:
    counts = TableCounts()
    for path in _files(folder):
        for batch in _batches(path, [contract.label, *_weight(contract)]):
            counts.add(batch, contract)
    return counts


def _learnt(folder: Path, contract: Contract) -> tuple[dict[str, float], dict[str, Profile]]:
    """Median and distribution of each input, the latter of rows that count with their weight.

    Exact, or of about ``LEARNT_ROWS`` rows, since a file holds the rows of some hashes and any time.
    """
    import numpy as np
    import pyarrow.parquet as pq

    files, rows = [], 0
    for path in _files(folder):
        if rows < LEARNT_ROWS:
            files.append(path)
            rows += pq.read_metadata(path).num_rows
    there = pq.read_schema(files[0]).names

    def column_of(name: str) -> "np.ndarray":
        return np.concatenate([pq.read_table(path, columns=[name])[name].to_numpy() for path in files])

    weight = next((column_of(name) for name in _weight(contract) if name in there), None)
    medians, profiles = {}, {}
    for name in contract.inputs:
        values = column_of(name)
        medians[name] = float(np.nanmedian(values))
        profiles[name] = profile_of(values, weight)
    return medians, profiles


def _weight(contract: Contract) -> list[str]:
    return [contract.weight.column] if contract.weight else []


def _classifier_rows(folder: Path, contract: Contract, target: Path) -> Path:
    features = contract.models.xgboost.features
    head = [contract.label, *_weight(contract)]
    for path in _files(folder):
        rows = (
            _matrix(batch, [name for name in head if name in batch.schema.names], features)
            for batch in _batches(path, [*head, *_inputs(features)])
        )
        _write_csv(rows, target / f"{path.stem}.csv")
    return target


def _forest_rows(folder: Path, contract: Contract, target: Path) -> Path:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    features, weight = contract.models.random_cut_forest.features, _weight(contract)
    heaviest = 0.0
    for path in _files(folder) if weight else []:
        for batch in _batches(path, weight):
            heaviest = max([heaviest, *(pc.max(values).as_py() or 0.0 for values in batch.columns)])

    def sample(path: Path, index: int) -> Iterator["pa.RecordBatch"]:
        random = np.random.default_rng(index)
        for batch in _batches(path, [*weight, *_inputs(features)]):
            matrix = _matrix(batch, [], features)
            if weight and weight[0] in batch.schema.names:
                share = batch.column(weight[0]).to_numpy(zero_copy_only=False) / heaviest
                matrix = matrix.filter(pa.array(random.random(batch.num_rows) < share))
            yield matrix

    for index, path in enumerate(_files(folder)):
        _write_csv(sample(path, index), target / f"{path.stem}.csv")
    return target


def _inputs(features: Sequence[Feature]) -> list[str]:
    return list(dict.fromkeys(feature.column for feature in features))


def _matrix(batch: "pa.RecordBatch", head: Sequence[str], features: Sequence[Feature]) -> "pa.RecordBatch":
    """The columns of ``head`` as they are, then the features, transforms applied."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = [batch.column(name) for name in head]
    for feature in features:
        values = batch.column(feature.column)
        if feature.transform == "log1p":
            lowest = pc.min(values).as_py()
            if lowest is not None and lowest <= -1:
                raise SplitError(f"{feature.name}: log1p needs values above -1, the table holds {lowest:g}")
            values = pc.log1p(values)
        columns.append(values)
    return pa.RecordBatch.from_arrays(columns, names=[str(index) for index in range(len(columns))])


def _write_csv(rows: Iterator["pa.RecordBatch"], path: Path) -> None:
    import pyarrow.csv as pa_csv

    path.parent.mkdir(parents=True, exist_ok=True)
    first = next(rows)
    with pa_csv.CSVWriter(path, first.schema, write_options=pa_csv.WriteOptions(include_header=False)) as writer:
        writer.write_batch(first)
        for batch in rows:
            writer.write_batch(batch)


def _check_names(sides: "DataFrame") -> None:
    """Refuse a column that names other sides, before it makes a folder of each."""
    unknown = sides.where(~column(SIDE).isin(*PARTS) | column(SIDE).isNull()).distinct()
    found = [repr(row[0]) for row in unknown.orderBy(SIDE).limit(SHOWN_SIDES + 1).collect()]
    if found:
        shown = ", ".join(found[:SHOWN_SIDES]) + (" and others" if len(found) > SHOWN_SIDES else "")
        raise SplitError(f"the split fails: {shown}: no side (train, validation or test)")


def _check(counts: dict[str, TableCounts]) -> None:
    problems = [f"{part} has no rows" for part in PARTS if counts[part].rows == 0]
    problems += [
        f"{part} has no frauds among its {counts[part].rows:,} rows"
        for part in PARTS
        if counts[part].rows and counts[part].frauds == 0
    ]
    if problems:
        raise SplitError("the split fails: " + "; ".join(problems))
