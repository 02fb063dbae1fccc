"""Tables without a header: csv files of a training channel, csv bodies of a request.

Belongs here: reading numbers. Does not: which column means what.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from localaws.algorithms.container import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAN = b"nan"
MISSING = ["", "nan", "NaN", "NAN"]


def read_folder(folder: Path, *, channel: str) -> "NDArray[np.float32]":
    """Read all csv files of a channel, in the order of their names, as one (n, columns) table; missing values are NaN.

    Files whose names start with ``.`` or ``_`` are no data (Spark's ``_SUCCESS``).

    Raises:
        UserError: There is no data, a value is no number, or the files differ in their number of columns.
    """
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name[0] not in "._" and path.stat().st_size
    ]
    if not files:
        raise UserError(f"No data in the {channel} channel")
    tables = [_read_file(path, channel=channel) for path in files]
    widths = {table.shape[1] for table in tables}
    if len(widths) > 1:
        raise UserError(f"The files of the {channel} channel differ in their number of columns: {sorted(widths)}")
    return tables[0] if len(tables) == 1 else np.concatenate(tables)


def _read_file(path: Path, *, channel: str) -> "NDArray[np.float32]":
    import pyarrow as pa
    from pyarrow import csv

    with path.open("rb") as file:
        width = file.readline().count(b",") + 1
    try:
        content = csv.read_csv(
            path,
            read_options=csv.ReadOptions(autogenerate_column_names=True),
            convert_options=csv.ConvertOptions(
                column_types={f"f{index}": pa.float32() for index in range(width)}, null_values=MISSING
            ),
        )
    except pa.ArrowInvalid as error:
        raise UserError(
            f"{path.name} of the {channel} channel is not csv of numbers without a header: {error}"
        ) from error
    table = np.empty((content.num_rows, width), np.float32)
    for index, column in enumerate(content.columns):
        table[:, index] = column.to_numpy()
    return table


def parse_csv(body: bytes) -> "NDArray[np.float32]":
    """Parse the rows of a request, one a line, as (n, columns); an empty field or ``nan`` is NaN.

    Raises:
        ValueError: A field is no number, the rows differ in length, or there are none.
    """
    if b"_" in body:
        raise ValueError("'_' is no part of a number")  # in Python's float it is
    rows = [_numbers(line) for line in body.strip().splitlines()]
    if not rows:
        raise ValueError("there are no rows")
    if len({len(row) for row in rows}) > 1:
        raise ValueError("the rows differ in their number of fields")
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite
        return np.array(rows, np.float32)


def _numbers(line: bytes) -> list[float]:
    fields = line.split(b",")
    try:
        return [float(field or NAN) for field in fields]
    except ValueError:
        return [float(field.strip() or NAN) for field in fields]
