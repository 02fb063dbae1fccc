"""What a row of Spark's table is known by: its content, its moment, its side.

Belongs here: the columns that the split makes and the validation checks. Does not: who goes to which side (``split.py``).
"""

from typing import TYPE_CHECKING

from fraudit_dagster.contract import Contract

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

PARTS = ("train", "validation", "test")
SIDE = "_part"
ORDER = "_order"
"""Seconds that order the rows where archived ones have joined the table: theirs are later than all of the delivered ones."""


def column(name: str) -> "Column":
    """A column by its name, whatever characters the name has."""
    from pyspark.sql import functions as F

    return F.col(f"`{name}`")


def content(table: "DataFrame", contract: Contract) -> "Column":
    """A 64-bit hash of a row's content: every column of the contract but the id and the one that decides the side.

    Rows with the same hash are exact duplicates; that two of a hundred million others share one has a chance of 0.03 %.
    """
    from pyspark.sql import functions as F

    required, optional = contract.columns
    known_by = [name for name in (*required, *optional) if name not in {contract.id, contract.split.column}]
    return F.xxhash64(*(column(name) for name in known_by if name in table.columns))


def moment(table: "DataFrame", contract: Contract) -> "Column":
    """A number that orders rows: seconds as they are, or those since 1970; of several that belong together, that of the first.

    What belongs together is a group; and where archived rows have joined the table, rows with the same inputs, since a transaction
    may be in the delivered table and in the archive as well.
    """
    from pyspark.sql import functions as F
    from pyspark.sql.window import Window

    assert contract.time is not None  # noqa: S101 - the contract's own rule where a split is by time
    if ORDER in table.columns:
        same_inputs = Window.partitionBy(F.xxhash64(*map(column, contract.inputs)))
        return F.min(column(ORDER)).over(same_inputs)
    seconds = column(contract.time).cast("double")
    if contract.group is None:
        return seconds
    return F.min(seconds).over(Window.partitionBy(column(contract.group)))
