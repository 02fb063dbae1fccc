"""Files as they arrived become one table that Spark can read: typed Parquet on this machine.

Belongs here: several files as one table, archived transactions behind the delivered ones, what identifies their content. Does not:
reading a file (``tables.py``, ``archive.py``), where files come from (``assets/raw.py``).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fraudit_dagster.archive import ID, LABEL, OCCURRED_AT, contract_rows, is_archive
from fraudit_dagster.sides import ORDER
from fraudit_dagster.tables import TableCounts, TableError, typed_batches

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa

    from fraudit_dagster.contract import Contract

ROW_GROUP_ROWS = 131_072
MICROSECONDS = 1e6


@dataclass(frozen=True, slots=True)
class StagedTable:
    """A table on this machine, typed, and what it was made from.

    Attributes:
        folder: Of its Parquet files.
        sha256: Of the content: of the file's bytes, or of the files' hashes where there are several.
        counts: Rows, frauds, weights.
        weighted: Whether it has the contract's weight column.
        repeated: Names of the files that hold the bytes of an earlier one, and were left out.
        archived_rows: How many of the rows are archived transactions.
    """

    folder: Path
    sha256: str
    counts: TableCounts
    weighted: bool
    repeated: tuple[str, ...]
    archived_rows: int


def stage_table(files: Mapping[str, Path], contract: Contract, folder: Path) -> StagedTable:
    """Write files as one typed table, a batch at a time: memory does not grow with the table.

    Where the contract learns from the archive, files of archived transactions join it: those of its name whose label is known, with
    a weight of 1. A column ``ORDER`` then orders all rows in time, the archived ones after the delivered ones, whatever the time
    that models see.

    Args:
        files: By the name that errors shall call them: csv, csv.gz, zip (one csv inside) or parquet. Files with the same
            bytes, uploaded twice, are taken once.
        contract: Which columns are wanted, and their types (those of ``typed_batches``).
        folder: Where to write, one Parquet file for each of the files that has rows.

    Raises:
        TableError: A file cannot be read, or the files do not have the same columns.
    """
    names: dict[str, str] = {}
    repeated = []
    for name, path in files.items():
        digest = _sha256(path)
        if digest in names:
            repeated.append(name)
        else:
            names[digest] = name
    learns = contract.learn_from_archive is not None
    archived = [name for name in names.values() if learns and is_archive(files[name])]
    delivered = [name for name in names.values() if name not in archived]
    if not delivered:
        raise TableError("no files to read a table from")

    folder.mkdir(parents=True)
    counts, order = TableCounts(), _Order()
    schemas: dict[str, pa.Schema] = {}
    for index, name in enumerate(delivered):
        batches = typed_batches(files[name], contract, name=name)
        if learns and contract.time is not None:
            batches = (order.of_delivered(batch, contract.time) for batch in batches)
        first = next(batches)
        schemas[name] = first.schema
        _stage(first, batches, contract, folder / f"{index:05}.parquet", counts)
        _same_columns(schemas, name)
    (schema, *_) = schemas.values()
    delivered_rows = counts.rows
    for index, name in enumerate(archived, start=len(delivered)):
        found = contract_rows(files[name], contract, name=name, labelled=True)
        joining = (order.of_archived(rows, contract, schema) for rows in found)
        if (earliest := next(joining, None)) is not None:
            _stage(earliest, joining, contract, folder / f"{index:05}.parquet", counts)
    return StagedTable(
        folder=folder,
        sha256=_sha256_of_all(names),
        counts=counts,
        weighted=contract.weight is not None and contract.weight.column in schema.names,
        repeated=tuple(repeated),
        archived_rows=counts.rows - delivered_rows,
    )


@dataclass(slots=True)
class _Order:
    """Seconds that order rows: delivered ones by their time, archived ones after the latest of these by when they occurred."""

    latest: float = 0.0

    def of_delivered(self, batch: pa.RecordBatch, time: str) -> pa.RecordBatch:
        import pyarrow.compute as pc

        seconds = _seconds(batch.column(time))
        self.latest = max(self.latest, pc.max(seconds).as_py() or 0.0)
        return batch.append_column(ORDER, seconds)

    def of_archived(self, rows: pa.RecordBatch, contract: Contract, schema: pa.Schema) -> pa.RecordBatch:
        """Return archived transactions with the columns of the delivered ones."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        occurred_at = rows.column(OCCURRED_AT)
        columns: dict[str | None, pa.Array] = {
            contract.time: occurred_at,
            contract.id: rows.column(ID),
            contract.label: rows.column(LABEL),
            ORDER: pc.add(_seconds(occurred_at), self.latest),
            **({contract.weight.column: pa.array(np.ones(rows.num_rows))} if contract.weight else {}),
            **{name: rows.column(name) for name in contract.inputs},  # the time too, where models see it
        }
        arrays = [
            _seconds(columns[field.name])
            if field.name == contract.time and pa.types.is_floating(field.type)
            else columns[field.name]
            for field in schema
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _seconds(moments: pa.Array) -> pa.Array:
    """Seconds as they are, or those since 1970, as float64."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_floating(moments.type):
        return moments
    return pc.divide(moments.cast(pa.int64()).cast(pa.float64(), safe=False), MICROSECONDS)


def _stage(
    first: pa.RecordBatch, batches: Iterator[pa.RecordBatch], contract: Contract, target: Path, counts: TableCounts
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Plain, since it is written once and read a few times: numbers of this kind hardly shrink.
    with pq.ParquetWriter(
        target, first.schema, compression="none", use_dictionary=False, write_statistics=False
    ) as writer:
        waiting, rows = [first], first.num_rows
        counts.add(first, contract)
        for batch in batches:
            if rows + batch.num_rows > ROW_GROUP_ROWS:
                writer.write_table(pa.Table.from_batches(waiting))
                waiting, rows = [], 0
            waiting.append(batch)
            rows += batch.num_rows
            counts.add(batch, contract)
        writer.write_table(pa.Table.from_batches(waiting))


def _same_columns(schemas: Mapping[str, pa.Schema], name: str) -> None:
    (first, expected), *_ = schemas.items()
    if schemas[name].equals(expected):
        return
    here, there = ({field.name: str(field.type) for field in schema} for schema in (schemas[name], expected))
    differing = sorted(column for column in here.keys() | there.keys() if here.get(column) != there.get(column))
    shown = ", ".join(f"{c} is {here.get(c, 'absent')} and was {there.get(c, 'absent')}" for c in differing)
    raise TableError(f"{name}: not the columns of {first}: {shown}; files of one table must be alike")


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error})") from error


def _sha256_of_all(digests: Mapping[str, str]) -> str:
    if len(digests) == 1:
        return next(iter(digests))
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()
