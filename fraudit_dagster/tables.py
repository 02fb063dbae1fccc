"""A table of transactions on this machine: where it comes from, reading it, how many rows and frauds are in it.

Here a file becomes record batches with the contract's columns and types, or an error that says what is wrong with it; a
batch at a time, so that memory does not grow with the table. Whether the *values* are plausible is ``validation.py``;
what Spark works on is ``staging.py``; making a table is ``synthetic.py``.
"""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Literal

from fraudit_dagster.cells import SHOWN, Problems, kind_of_moment, some, typed_cells

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np
    import pandas as pd
    import pyarrow as pa

    from fraudit_dagster.contract import Contract

FORMATS = (".csv", ".csv.gz", ".zip", ".parquet")
BATCH_ROWS = 65_536
CSV_BLOCK_BYTES = 1 << 20
"""The reader holds many blocks at a time, so they are small."""
SHOWN_COLUMNS = 8

DatasetKind = Literal["path", "s3", "kaggle", "openml", "synthetic"]


class TableError(ValueError):
    """A table cannot be found or read; the message names the file, and the columns and lines that are wrong."""


@dataclass(frozen=True, slots=True)
class DatasetSource:
    """Where the transactions come from.

    Attributes:
        kind: A file on this machine, objects in S3, a site that offers the public table, or a table made here.
        location: The path or URI; empty for the others.
    """

    kind: DatasetKind
    location: str = ""

    @property
    def synthetic(self) -> bool:
        """Made here, not observed: to be said wherever its numbers are shown."""
        return self.kind == "synthetic"


@dataclass(slots=True)
class TableCounts:
    """How much a table holds, counted while it passes by.

    Attributes:
        rows: Transactions.
        frauds: Rows with label 1.
        weight: Sum of the sampling weights; the rows where there are none.
        fraud_weight: The same of the frauds.
    """

    rows: int = 0
    frauds: int = 0
    weight: float = 0.0
    fraud_weight: float = 0.0

    @property
    def prevalence(self) -> float:
        """Share of frauds, 0 to 1, each row counted with its sampling weight; NaN where there are no rows."""
        return self.fraud_weight / self.weight if self.weight else float("nan")

    def add(self, batch: pa.RecordBatch, contract: Contract) -> None:
        """Count the rows of a typed batch."""
        import pyarrow.compute as pc

        fraud = pc.equal(batch.column(contract.label), 1)
        frauds = pc.sum(fraud).as_py() or 0
        self.rows += batch.num_rows
        self.frauds += frauds
        if contract.weight and contract.weight.column in batch.schema.names:
            weights = batch.column(contract.weight.column)
            self.weight += pc.sum(weights).as_py() or 0.0
            self.fraud_weight += pc.sum(weights.filter(fraud)).as_py() or 0.0
        else:
            self.weight += batch.num_rows
            self.fraud_weight += frauds


def resolve_dataset(setting: str | None, *, user_file: Path) -> DatasetSource:
    """Decide which data set is meant.

    Args:
        setting: A path, an ``s3://`` URI (a trailing ``/`` means all files below it), ``kaggle``, ``openml`` or
            ``synthetic``. None or empty: ``user_file`` where it exists, else synthetic.
        user_file: Where the user's own download lies.

    Raises:
        TableError: The setting names something that does not exist.
    """
    from pathlib import Path

    if not setting:
        return DatasetSource("path", str(user_file)) if user_file.is_file() else DatasetSource("synthetic")
    match setting:
        case "kaggle" | "openml" | "synthetic":
            return DatasetSource(setting)
    if setting.startswith("s3://"):
        return DatasetSource("s3", setting)
    path = Path(setting).expanduser()
    if not path.is_file():
        raise TableError(
            f"data set {setting!r}: no such file; give a file, an s3:// URI, kaggle, openml or synthetic (FRAUDIT_DATASET)"
        )
    return DatasetSource("path", str(path.resolve()))


def typed_batches(path: Path, contract: Contract, *, name: str = "") -> Iterator[pa.RecordBatch]:
    """Read a table batch by batch and give it the contract's types.

    Args:
        path: A csv, csv.gz, zip (one csv inside) or parquet file.
        contract: Which columns are wanted; others are dropped.
        name: What errors call the file; its path where nothing is given.

    Yields:
        Transactions in the file's order: numbers as float64, an empty cell and NaN as null; the label as int32; id, group
        and split columns as text; a time that is no input as float64 (seconds) or as a UTC timestamp (microseconds).

    Raises:
        TableError: The file is missing, damaged or empty, columns are missing, or a column holds what it must not. Wrong
            cells are all looked for before it is raised, so it comes after the batches that are right.
    """
    name = name or str(path)
    if not path.is_file():
        raise TableError(f"{name}: {'is a folder, not a file' if path.is_dir() else 'no such file'}")
    if _format(path, name) == ".parquet":
        yield from _typed(_parquet_batches(path, contract, name), Problems(name, "row", 1), contract)
    else:
        yield from _typed(_csv_batches(path, contract, name), Problems(name, "line", 2), contract)


def read_table(path: Path, contract: Contract) -> pd.DataFrame:
    """Read a whole table into memory, for those that are small.

    Args:
        path: As in ``typed_batches``, and so are the types.
        contract: Which columns are wanted; others are dropped.

    Returns:
        One row per transaction, an empty cell as NaN.

    Raises:
        TableError: As in ``typed_batches``.
    """
    import pyarrow as pa

    frame: pd.DataFrame = pa.Table.from_batches(typed_batches(path, contract)).to_pandas()
    return frame


def count_table(path: Path, contract: Contract) -> TableCounts:
    """Read a table from end to end and count it.

    Raises:
        TableError: As in ``typed_batches``.
    """
    counts = TableCounts()
    for batch in typed_batches(path, contract):
        counts.add(batch, contract)
    return counts


def row_weights(frame: pd.DataFrame, contract: Contract) -> np.ndarray:
    """How many transactions each row stands for: float64 of shape (rows,), all 1 where the table has no weights."""
    import numpy as np

    weights: np.ndarray = np.ones(len(frame))
    if contract.weight and contract.weight.column in frame:
        weights = frame[contract.weight.column].to_numpy(dtype=np.float64)
    return weights


def _format(path: Path, name: str) -> str:
    for extension in FORMATS:
        if path.name.lower().endswith(extension):
            return extension
    raise TableError(f"{name}: unknown kind of file; known are {', '.join(FORMATS)}")


@contextmanager
def _bytes_of(path: Path, name: str) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """The csv's bytes, unpacked; whatever is wrong with the file or its packing becomes a TableError."""
    try:
        match _format(path, name):
            case ".csv.gz":
                with gzip.open(path) as stream:
                    yield stream
            case ".zip":
                with zipfile.ZipFile(path) as archive, archive.open(_only_csv(archive, name)) as stream:
                    yield stream
            case _:
                with path.open("rb") as stream:
                    yield stream
    except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile) as error:
        raise TableError(f"{name}: damaged or cut short ({error}); fetch the file again") from error
    except (RuntimeError, NotImplementedError) as error:  # zipfile: a password or an unknown compression is needed
        raise TableError(f"{name}: cannot be unpacked ({error})") from error
    except OSError as error:
        raise TableError(f"{name}: cannot be read ({error})") from error


def _only_csv(archive: zipfile.ZipFile, name: str) -> str:
    """The name of the one csv file in an archive; what macOS adds to its archives does not count."""
    names = [item for item in archive.namelist() if item.lower().endswith(".csv") and not item.startswith("__MACOSX/")]
    if len(names) != 1:
        found = ", ".join(names) if names else "none"
        raise TableError(f"{name}: one csv file is expected inside, found {found}")
    return names[0]


def _csv_batches(path: Path, contract: Contract, name: str) -> Iterator[pa.RecordBatch]:
    """Cells that are numbers, as such; from the first block where that fails, as text, so that its lines can be named."""
    import pyarrow as pa
    import pyarrow.csv as pa_csv

    header = _header(path, name)
    columns = _wanted(header, contract, name)
    numbers = {*contract.number_columns, contract.label}
    types = {column: pa.float64() if column in numbers else pa.string() for column in columns}
    options = pa_csv.ConvertOptions(include_columns=columns, column_types=types, strings_can_be_null=True)
    rows = 0
    try:
        with (
            _bytes_of(path, name) as stream,
            pa_csv.open_csv(
                stream, read_options=pa_csv.ReadOptions(block_size=CSV_BLOCK_BYTES), convert_options=options
            ) as reader,
        ):
            for batch in reader:
                rows += batch.num_rows
                yield batch
    except pa.ArrowInvalid:
        for batch in _text_batches(path, columns, name):
            yield batch.slice(rows)
            rows = max(rows - batch.num_rows, 0)


def _text_batches(path: Path, columns: Sequence[str], name: str) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    import pyarrow.csv as pa_csv

    torn: list[str] = []
    expected = 0

    def note(row: pa_csv.InvalidRow) -> str:
        nonlocal expected
        expected = row.expected_columns
        torn.append(f"{row.number} has {row.actual_columns}")
        return "skip"

    options = pa_csv.ConvertOptions(
        include_columns=columns, column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=True
    )
    try:
        with (
            _bytes_of(path, name) as stream,
            pa_csv.open_csv(
                stream,
                read_options=pa_csv.ReadOptions(use_threads=False, block_size=CSV_BLOCK_BYTES),
                parse_options=pa_csv.ParseOptions(invalid_row_handler=note),
                convert_options=options,
            ) as reader,
        ):
            yield from reader
    except pa.ArrowInvalid as error:
        raise TableError(f"{name}: not a csv file in UTF-8 ({error})") from error
    if torn:
        raise TableError(f"{name}: {expected} columns are expected; line {some(torn, SHOWN)}")


def _header(path: Path, name: str) -> list[str]:
    try:
        with _bytes_of(path, name) as stream, io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
            header = next(csv.reader(text), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{name}: not a csv file in UTF-8 ({error})") from error
    if not header:
        raise TableError(f"{name}: empty; the first line must name the columns")
    return header


def _parquet_batches(path: Path, contract: Contract, name: str) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            columns = _wanted(file.schema_arrow.names, contract, name)
            # One by one: asked for all of them, the reader runs ahead of a slower writer, through the whole file.
            for group in range(file.num_row_groups):
                for batch in file.iter_batches(batch_size=BATCH_ROWS, row_groups=[group], columns=columns):
                    yield batch.select(columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise TableError(f"{name}: not a parquet file, or damaged ({error}); fetch the file again") from error


def _wanted(found: Sequence[str], contract: Contract, name: str) -> list[str]:
    required, optional = contract.columns
    problems = []
    if missing := [column for column in required if column not in found]:
        problems.append(f"columns missing: {', '.join(missing)} (it has: {some(found, SHOWN_COLUMNS)})")
    wanted = [*required, *(column for column in optional if column in found)]
    if twice := [column for column in wanted if list(found).count(column) > 1]:
        problems.append(f"columns named twice: {', '.join(twice)}")
    if problems:
        raise TableError(f"{name}: {'; '.join(problems)} (contract {contract.name!r})")
    return wanted


def _typed(batches: Iterator[pa.RecordBatch], problems: Problems, contract: Contract) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    first_line = problems.next_line
    moments: pa.DataType | None = None
    for batch in batches:
        if moments is None and contract.time in batch.schema.names:
            moments = kind_of_moment(batch.column(contract.time))
        arrays = {
            column: typed_cells(column, values, contract, moments, problems)
            for column, values in zip(batch.schema.names, batch.columns, strict=True)
        }
        problems.next_line += batch.num_rows
        if not problems.found and batch.num_rows:
            yield pa.RecordBatch.from_pydict(arrays)
    if problems.next_line == first_line:
        raise TableError(f"{problems.name}: no rows, only column names")
    if problems.found:
        raise TableError(str(problems))
