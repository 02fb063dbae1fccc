"""The cells of a column, as the contract wants them, and where they are not so.

Belongs here: one Arrow array at a time. Does not: files and which columns there are (``tables.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pyarrow as pa

    from fraudit_dagster.contract import Contract

SHOWN = 3


@dataclass(slots=True)
class Problems:
    """The wrong cells of a file: how many in each column, and where the first of them are."""

    name: str
    unit: str
    next_line: int
    found: dict[str, tuple[str, list[str], int]] = field(default_factory=dict)

    def note(self, column: str, expected: str, values: pa.Array, bad: np.ndarray | None) -> None:
        """Take down the rows where ``bad`` is true, if there are any."""
        if bad is None or not bad.any():
            return
        _, places, count = self.found.get(column, (expected, [], 0))
        for row in bad.nonzero()[0][: SHOWN - len(places)]:
            places.append(f"{row + self.next_line} holds {values[row].as_py()!r}")
        self.found[column] = (expected, places, count + int(bad.sum()))

    def __str__(self) -> str:
        return "\n".join(
            f"{self.name}: column {column}: {expected} expected; {self.unit} {some(places, SHOWN, of=count)}"
            for column, (expected, places, count) in self.found.items()
        )


def typed_cells(
    column: str, values: pa.Array, contract: Contract, moments: pa.DataType | None, problems: Problems
) -> pa.Array:
    """Give the cells of a column the contract's type.

    Args:
        column: Its name.
        values: Of any type.
        contract: Says what the column is.
        moments: The type of the time column, where it is no input.
        problems: Takes down the cells that hold something else; they are null in what is returned.
    """
    if column == contract.label:
        typed = _label(values)
        # The one column that may not even be empty: it has no null in numpy, where it is read again and again.
        problems.note(column, "a label, 0 or 1, is", values, typed.is_null().to_numpy(zero_copy_only=False))
    elif column in contract.number_columns:
        typed = _number(values)
        problems.note(column, "a number is", values, _lost(values, typed))
    elif column == contract.time and moments is not None:
        typed = _moment(values, moments)
        problems.note(column, "seconds or a timestamp are", values, _lost(values, typed))
    else:
        typed = _text(values)
    return typed


def _lost(values: pa.Array, typed: pa.Array) -> np.ndarray | None:
    """Where a cell was not empty and is now; a NaN is empty: Parquet files written by pandas hold either."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if typed.null_count == values.null_count:
        return None
    empty = pc.is_null(values, nan_is_null=pa.types.is_floating(values.type))
    lost: np.ndarray = pc.and_not(typed.is_null(), empty).to_numpy(zero_copy_only=False)
    return lost


def _number(values: pa.Array) -> pa.Array:
    """As float64; null where a cell is empty, NaN, or holds no number."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = values.type
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        numbers = values.cast(pa.float64(), safe=False)
    else:
        texts = values.to_pandas().astype(object)
        numbers = pa.array(pd.to_numeric(texts, errors="coerce").astype("float64"))
    nan = pc.is_nan(numbers)
    return pc.if_else(nan, pa.scalar(None, pa.float64()), numbers) if pc.any(nan).as_py() else numbers


def _label(values: pa.Array) -> pa.Array:
    """As int32; null where there is none that fits: whether it is 0 or 1 is the validation's to say."""
    import pyarrow as pa
    import pyarrow.compute as pc

    numbers = _number(values)
    whole = pc.and_(pc.equal(numbers, pc.floor(numbers)), pc.less_equal(pc.abs(numbers), float(2**31 - 1)))
    return pc.if_else(whole, numbers, pa.scalar(None, pa.float64())).cast(pa.int32())


def kind_of_moment(values: pa.Array) -> pa.DataType:
    """Seconds where the first cell that is not empty is a number, else timestamps."""
    import pyarrow as pa

    given = values.drop_null()[:1]
    is_number = not pa.types.is_temporal(values.type) and len(given) > 0 and _number(given).null_count == 0
    return pa.float64() if is_number else pa.timestamp("us", tz="UTC")


def _moment(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """As float64 seconds or UTC timestamps; null where a cell is empty or holds something else."""
    import pandas as pd
    import pyarrow as pa

    if pa.types.is_floating(kind):
        return _number(values)
    if pa.types.is_temporal(values.type):
        return values.cast(pa.timestamp("us"), safe=False).cast(kind)
    moments = pd.to_datetime(values.to_pandas().astype(object), utc=True, errors="coerce", format="ISO8601")
    return pa.array(moments).cast(kind, safe=False)


def _text(values: pa.Array) -> pa.Array:
    import pyarrow as pa

    decoded: Any = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
    return decoded.cast(pa.string())


def some(items: Sequence[str], limit: int, *, of: int = 0) -> str:
    """The first of them, and how many more there are."""
    rest = (of or len(items)) - limit
    return ", ".join(items[:limit]) + (f" and {rest} more" if rest > 0 else "")
