"""A table of transactions on this machine: where it comes from, reading it, what is in it.

Here a file becomes a ``DataFrame`` with the contract's columns and types, or an error that says what is wrong with it.
Whether the *values* are plausible is the validation's to say (``assets/``); making a table is ``synthetic.py``.
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

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np
    import pandas as pd
    import pyarrow as pa

    from fraudit_dagster.contract import Contract

FORMATS = (".csv", ".csv.gz", ".zip", ".parquet")
SHOWN_ROWS = 3
SHOWN_COLUMNS = 8

DatasetKind = Literal["path", "s3", "synthetic"]


class TableError(ValueError):
    """A table cannot be found or read; the message names the file, and the columns and lines that are wrong."""


@dataclass(frozen=True, slots=True)
class DatasetSource:
    """Where the transactions come from.

    Attributes:
        kind: A file on this machine, an object in S3, or a table made here.
        location: The path or URI; empty for a table made here.
    """

    kind: DatasetKind
    location: str = ""

    @property
    def synthetic(self) -> bool:
        """Made here, not observed: to be said wherever its numbers are shown."""
        return self.kind == "synthetic"


@dataclass(frozen=True, slots=True)
class TableProfile:
    """What a table holds.

    Attributes:
        rows: Transactions.
        frauds: Rows with label 1.
        prevalence: Share of frauds, 0 to 1, each row counted with its sampling weight.
        duplicates: Rows that repeat an earlier row in every column.
    """

    rows: int
    frauds: int
    prevalence: float
    duplicates: int


def resolve_dataset(setting: str | None, *, user_file: Path) -> DatasetSource:
    """Decide which data set is meant.

    Args:
        setting: A path, an ``s3://`` URI, ``kaggle``, ``openml`` or ``synthetic``. None or empty: ``user_file`` where
            it exists, else synthetic.
        user_file: Where the user's own download lies.

    Raises:
        TableError: The setting names something that does not exist, or that this version cannot fetch.
    """
    from pathlib import Path

    if not setting:
        return DatasetSource("path", str(user_file)) if user_file.is_file() else DatasetSource("synthetic")
    if setting == "synthetic":
        return DatasetSource("synthetic")
    if setting in {"kaggle", "openml"}:
        raise TableError(
            f"data set {setting!r}: the download is not yet part of this version; "
            f"put the file at {user_file} and leave FRAUDIT_DATASET unset"
        )
    if setting.startswith("s3://"):
        return DatasetSource("s3", setting)
    path = Path(setting).expanduser()
    if not path.is_file():
        raise TableError(
            f"data set {setting!r}: no such file; give a file, an s3:// URI, kaggle, openml or synthetic (FRAUDIT_DATASET)"
        )
    return DatasetSource("path", str(path.resolve()))


def read_table(path: Path, contract: Contract) -> pd.DataFrame:
    """Read a table and give it the contract's types.

    Args:
        path: A csv, csv.gz, zip (one csv inside) or parquet file.
        contract: Which columns are wanted; others are dropped.

    Returns:
        One row per transaction, in the file's order: numbers as float64, an empty cell as NaN; the label as int8; id,
        group and split columns as text; a time that is no input as float64 (seconds) or UTC timestamp.

    Raises:
        TableError: The file is missing, damaged or empty, columns are missing, or a column holds what it must not.
    """
    if not path.is_file():
        raise TableError(f"{path}: {'is a folder, not a file' if path.is_dir() else 'no such file'}")
    read = _read_parquet if _format(path) == ".parquet" else _read_csv
    table = read(path, contract)
    if table.num_rows == 0:
        raise TableError(f"{path}: no rows, only column names")
    return _typed(table, contract, path)


def profile(frame: pd.DataFrame, contract: Contract) -> TableProfile:
    """Count what a table holds."""
    label = frame[contract.label].to_numpy() == 1
    weights = row_weights(frame, contract)
    return TableProfile(
        rows=len(frame),
        frauds=int(label.sum()),
        prevalence=float(weights[label].sum() / weights.sum()),
        duplicates=int(frame.duplicated().sum()),
    )


def row_weights(frame: pd.DataFrame, contract: Contract) -> np.ndarray:
    """How many transactions each row stands for: float64 of shape (rows,), all 1 where the table has no weights."""
    import numpy as np

    weights: np.ndarray = np.ones(len(frame))
    if contract.weight and contract.weight.column in frame:
        weights = frame[contract.weight.column].to_numpy(dtype=np.float64)
    return weights


def _format(path: Path) -> str:
    name = path.name.lower()
    for extension in FORMATS:
        if name.endswith(extension):
            return extension
    raise TableError(f"{path}: unknown kind of file; known are {', '.join(FORMATS)}")


@contextmanager
def _bytes_of(path: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """The csv's bytes, unpacked; whatever is wrong with the file or its packing becomes a TableError."""
    try:
        match _format(path):
            case ".csv.gz":
                with gzip.open(path) as stream:
                    yield stream
            case ".zip":
                with zipfile.ZipFile(path) as archive, archive.open(only_csv(archive, path)) as stream:
                    yield stream
            case _:
                with path.open("rb") as stream:
                    yield stream
    except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile) as error:
        raise TableError(f"{path}: damaged or cut short ({error}); fetch the file again") from error
    except (RuntimeError, NotImplementedError) as error:  # zipfile: a password or an unknown compression is needed
        raise TableError(f"{path}: cannot be unpacked ({error})") from error
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error})") from error


def only_csv(archive: zipfile.ZipFile, path: Path) -> str:
    """Return the name of the one csv file in an archive; what macOS adds to its archives does not count.

    Args:
        archive: Open for reading.
        path: Of the archive, for the error.

    Raises:
        TableError: There is none, or more than one.
    """
    names = [name for name in archive.namelist() if name.lower().endswith(".csv") and not name.startswith("__MACOSX/")]
    if len(names) != 1:
        found = ", ".join(names) if names else "none"
        raise TableError(f"{path}: one csv file is expected inside, found {found}")
    return names[0]


def _read_csv(path: Path, contract: Contract) -> pa.Table:
    import pyarrow as pa
    import pyarrow.csv as pa_csv

    columns = _wanted(_header(path), contract, path)
    numbers = {*contract.number_columns, contract.label}
    text = set(contract.text_columns)
    types = {c: pa.float64() if c in numbers else pa.string() for c in columns if c in numbers | text}
    options = pa_csv.ConvertOptions(include_columns=columns, column_types=types, strings_can_be_null=True)
    try:
        with _bytes_of(path) as stream:
            return pa_csv.read_csv(stream, convert_options=options)
    except pa.ArrowInvalid:
        return _read_csv_as_text(path, columns)


def _read_csv_as_text(path: Path, columns: Sequence[str]) -> pa.Table:
    """The slow way, for a file that is known to be wrong: so that the error can name its lines."""
    import pyarrow as pa
    import pyarrow.csv as pa_csv

    torn: list[pa_csv.InvalidRow] = []

    def note(row: pa_csv.InvalidRow) -> str:
        torn.append(row)
        return "skip"

    options = pa_csv.ConvertOptions(
        include_columns=columns, column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=True
    )
    try:
        with _bytes_of(path) as stream:
            table = pa_csv.read_csv(
                stream,
                read_options=pa_csv.ReadOptions(use_threads=False),
                parse_options=pa_csv.ParseOptions(invalid_row_handler=note),
                convert_options=options,
            )
    except pa.ArrowInvalid as error:
        raise TableError(f"{path}: not a csv file in UTF-8 ({error})") from error
    if torn:
        lines = _some([f"{row.number} has {row.actual_columns}" for row in torn], SHOWN_ROWS)
        raise TableError(f"{path}: {torn[0].expected_columns} columns are expected; line {lines}")
    return table


def _header(path: Path) -> list[str]:
    try:
        with _bytes_of(path) as stream, io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
            header = next(csv.reader(text), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path}: not a csv file in UTF-8 ({error})") from error
    if not header:
        raise TableError(f"{path}: empty; the first line must name the columns")
    return header


def _read_parquet(path: Path, contract: Contract) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            return file.read(columns=_wanted(file.schema_arrow.names, contract, path))
    except (pa.ArrowInvalid, OSError) as error:
        raise TableError(f"{path}: not a parquet file, or damaged ({error}); fetch the file again") from error


def _wanted(found: Sequence[str], contract: Contract, path: Path) -> list[str]:
    required, optional = contract.columns
    problems = []
    if missing := [column for column in required if column not in found]:
        problems.append(f"columns missing: {', '.join(missing)} (it has: {_some(found, SHOWN_COLUMNS)})")
    wanted = [*required, *(column for column in optional if column in found)]
    if twice := [column for column in wanted if list(found).count(column) > 1]:
        problems.append(f"columns named twice: {', '.join(twice)}")
    if problems:
        raise TableError(f"{path}: {'; '.join(problems)} (contract {contract.name!r})")
    return wanted


def _typed(table: pa.Table, contract: Contract, path: Path) -> pd.DataFrame:
    import pandas as pd

    first_line = 1 if _format(path) == ".parquet" else 2
    series: dict[str, pd.Series] = {}
    problems: list[str] = []
    for column in table.column_names:
        values = table[column]
        if column == contract.label:
            typed = _number(values)
            bad = ~(typed.between(-128, 127) & (typed % 1 == 0))
            expected = "a label, 0 or 1, is"
            typed = typed.where(~bad, 0).astype("int8")
        elif column in contract.number_columns:
            typed = _number(values)
            bad, expected = typed.isna() & _given(values), "a number is"
        elif column == contract.time:
            typed = _moment(values)
            bad, expected = typed.isna() & _given(values), "seconds or a timestamp are"
        else:
            typed, bad, expected = values.to_pandas().astype("string").astype(object), None, ""
        if bad is not None and bad.any():
            places = [f"{row + first_line} holds {values[row].as_py()!r}" for row in bad.to_numpy().nonzero()[0]]
            unit = "line" if first_line > 1 else "row"
            problems.append(f"column {column}: {expected} expected; {unit} {_some(places, SHOWN_ROWS)}")
        series[column] = typed
    if problems:
        raise TableError("\n".join(f"{path}: {problem}" for problem in problems))
    return pd.DataFrame(series, copy=False)


def _given(values: pa.ChunkedArray) -> pd.Series:
    """Where a cell is not empty."""
    import pyarrow as pa
    import pyarrow.compute as pc

    # A NaN is an empty cell as well: parquet files written by pandas hold either.
    empty = pc.is_null(values, nan_is_null=pa.types.is_floating(values.type))
    return pc.invert(empty).to_pandas()


def _number(values: pa.ChunkedArray) -> pd.Series:
    """As float64; NaN where a cell is empty or holds no number."""
    import pandas as pd
    import pyarrow as pa

    kind = values.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return values.cast(pa.float64(), safe=False).to_pandas()
    return pd.to_numeric(values.to_pandas().astype(object), errors="coerce").astype("float64")


def _moment(values: pa.ChunkedArray) -> pd.Series:
    """As float64 seconds, or as UTC timestamps; missing where a cell is empty or holds neither."""
    import pandas as pd
    import pyarrow as pa

    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        return _number(values)
    return pd.to_datetime(values.to_pandas(), utc=True, errors="coerce", format="ISO8601")


def _some(items: Sequence[str], limit: int) -> str:
    rest = len(items) - limit
    return ", ".join(items[:limit]) + (f" and {rest} more" if rest > 0 else "")
