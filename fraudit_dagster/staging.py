"""Files as they arrived become one table that Spark can read: typed Parquet on this machine.

Belongs here: several files as one table, what identifies their content. Does not: reading a file (``tables.py``), where
files come from (``assets/raw.py``).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fraudit_dagster.tables import TableCounts, TableError, typed_batches

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pyarrow as pa

    from fraudit_dagster.contract import Contract

ROW_GROUP_ROWS = 131_072


@dataclass(frozen=True, slots=True)
class StagedTable:
    """A table on this machine, typed, and what it was made from.

    Attributes:
        folder: Of its Parquet files.
        sha256: Of the content: of the file's bytes, or of the files' hashes where there are several.
        counts: Rows, frauds, weights.
        weighted: Whether it has the contract's weight column.
        repeated: Names of the files that hold the bytes of an earlier one, and were left out.
    """

    folder: Path
    sha256: str
    counts: TableCounts
    weighted: bool
    repeated: tuple[str, ...]


def stage_table(files: Mapping[str, Path], contract: Contract, folder: Path) -> StagedTable:
    """Write files as one typed table, a batch at a time: memory does not grow with the table.

    Args:
        files: By the name that errors shall call them: csv, csv.gz, zip (one csv inside) or parquet. Files with the same
            bytes, uploaded twice, are taken once.
        contract: Which columns are wanted, and their types (those of ``typed_batches``).
        folder: Where to write, one Parquet file for each of the files.

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
    if not names:
        raise TableError("no files to read a table from")

    folder.mkdir(parents=True)
    counts = TableCounts()
    schemas: dict[str, pa.Schema] = {}
    for index, name in enumerate(names.values()):
        schemas[name] = _stage_file(name, files[name], contract, folder / f"{index:05}.parquet", counts)
        _same_columns(schemas, name)
    (schema, *_) = schemas.values()
    return StagedTable(
        folder=folder,
        sha256=_sha256_of_all(names),
        counts=counts,
        weighted=contract.weight is not None and contract.weight.column in schema.names,
        repeated=tuple(repeated),
    )


def _stage_file(name: str, path: Path, contract: Contract, target: Path, counts: TableCounts) -> pa.Schema:
    import pyarrow as pa
    import pyarrow.parquet as pq

    batches = typed_batches(path, contract, name=name)
    first = next(batches)
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
    schema: pa.Schema = first.schema
    return schema


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
