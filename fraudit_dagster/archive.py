"""A day of the warehouse as Parquet: what is in its files, what proves that they are whole, and how models read them again.

Belongs here: schemas, checksums, an archived day as rows of a contract. Does not: reading the warehouse and writing to S3
(``resources/archive.py``).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Literal

from fraudit_dagster.tables import TableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import date
    from pathlib import Path

    import pyarrow as pa
    import pyarrow.parquet as pq

    from fraudit_dagster.contract import Contract

Kind = Literal["transactions", "quarantined_events"]
KINDS: tuple[Kind, ...] = ("transactions", "quarantined_events")
BATCH_ROWS = 10_000
"""Rows that are in memory at a time, and in a row group."""
CHECKSUM_BYTES = 16
MARK = b"fraudit.archive"
"""In a file's metadata: which kind of rows it has."""
UNKNOWN = -1
"""The label of a transaction that nobody has told about, where a label has to be a number."""
ID, OCCURRED_AT, LABEL = "_transaction_id", "_occurred_at", "_label"


class ArchiveError(RuntimeError):
    """A day cannot be archived, or its archive is not what it was; the message names the day and says what to do."""


@dataclass(frozen=True, slots=True)
class ArchivedDay:
    """A row of ``fraud.archived_days``.

    Attributes:
        day: UTC.
        uri: S3 prefix of its files, one for each of ``KINDS``; its last part is the checksum, so that what it names never changes.
        rows: Transactions.
        quarantined: Quarantined events.
        checksum: Of the content of both files, whatever the order of the rows: see ``Content``.
        archived_at: Everything of the day that was stored before this moment is in the files.
        dropped_at: When the warehouse began to delete the day; None: it has it all.
    """

    day: date
    uri: str
    rows: int
    quarantined: int
    checksum: str
    archived_at: datetime
    dropped_at: datetime | None = None

    def uri_of(self, kind: Kind) -> str:
        """URI of one of its files."""
        return f"{self.uri}{kind}.parquet"

    def matured(self, label_age_days: int) -> bool:
        """Whether it was archived when its youngest transaction was that old: labels that came by then are in it."""
        return self.archived_at >= end_of(self.day) + timedelta(days=label_age_days)


@dataclass(slots=True)
class Content:
    """How many rows a file has, and what they add up to.

    The checksum is the sum, modulo 2^128, of BLAKE2b hashes of the rows, so it does not depend on their order. A row is the text of its
    cells, each ended by U+001F, U+0000 for null: numbers with a point as the integer of their 64 bits, moments as microseconds
    since 1970, bytes in hexadecimal, the items of a list with a comma in between.

    Attributes:
        rows: So many.
        total: Sum of their hashes.
    """

    rows: int = 0
    total: int = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Count the rows of a batch."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if batch.num_rows == 0:
            return
        cells = [_text(column).cast(pa.string()) for column in batch.columns]
        lines = pc.binary_join_element_wise(*cells, "\x1f", null_handling="replace", null_replacement="\x00")
        self.rows += batch.num_rows
        for line in lines.to_pylist():
            digest = hashlib.blake2b(line.encode(), digest_size=CHECKSUM_BYTES).digest()
            self.total += int.from_bytes(digest)

    @property
    def checksum(self) -> str:
        """As 32 hexadecimal digits."""
        return f"{self.total % (1 << 8 * CHECKSUM_BYTES):0{2 * CHECKSUM_BYTES}x}"


def end_of(day: date) -> datetime:
    """The midnight, UTC, at which a day is over."""
    return start_of(day) + timedelta(days=1)


def start_of(day: date) -> datetime:
    """The midnight, UTC, at which a day begins."""
    return datetime.combine(day, time(), UTC)


def schema_of(kind: Kind) -> pa.Schema:
    """The columns of a file.

    All those of the warehouse's table in their order; of transactions also ``label``, ``label_source`` and ``labelled_at``, the
    latest word on each, and ``labels``, all of them as JSON. An amount is text, as PostgreSQL's ``numeric`` has it: no other type
    holds each of them.
    """
    import pyarrow as pa

    moment, text, number, small = pa.timestamp("us", tz="UTC"), pa.string(), pa.float64(), pa.int16()
    fields: dict[str, pa.DataType]
    if kind == "quarantined_events":
        fields = {
            **dict.fromkeys(("shard_id", "sequence_number"), text),
            "raw": pa.binary(),
            **dict.fromkeys(("reason", "detail"), text),
            **dict.fromkeys(("arrived_at", "replayed_at", "stored_at"), moment),
        }
    else:
        fields = {
            **dict.fromkeys(("transaction_id", "event_id", "run_id"), text),
            **dict.fromkeys(("occurred_at", "scored_at", "stored_at"), moment),
            **dict.fromkeys(("user_id", "source", "device_type", "os_version", "app_version", "ip_address"), text),
            **dict.fromkeys(("country", "region", "city"), text),
            **dict.fromkeys(("latitude", "longitude"), number),
            **dict.fromkeys(("hour", "weekday"), small),
            **dict.fromkeys(("amount", "amount_band", "contract", "manifest_version"), text),
            **dict.fromkeys(("classifier_version", "detector_version"), text),
            "features": pa.list_(number),
            "fraud_proba": number,
            "fraud_prediction": small,
            "anomaly_score": number,
            **dict.fromkeys(("decision", "reasons"), text),
            "degraded": pa.list_(text),
            "latency_ms": number,
            "label": small,
            "label_source": text,
            "labelled_at": moment,
            "labels": text,
        }
    return pa.schema(list(fields.items()), metadata={MARK: kind})


def write_file(kind: Kind, chunks: Iterable[Sequence[tuple[Any, ...]]], path: Path) -> Content:
    """Write rows as they come from the warehouse, a chunk at a time, and return their content.

    Args:
        kind: Of rows.
        chunks: Rows with the columns of ``schema_of``, in its order.
        path: Of the file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema, content = schema_of(kind), Content()
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for rows in chunks:
            columns = zip(*rows, strict=True)
            arrays = [pa.array(cells, field.type) for cells, field in zip(columns, schema, strict=True)]
            batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
            content.add(batch)
            writer.write_batch(batch)
    return content


def read_file(kind: Kind, path: Path) -> Content:
    """Read a file of an archive from end to end and return its content.

    Raises:
        ArchiveError: It is no Parquet file, or has other columns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = Content()
    try:
        with pq.ParquetFile(path) as file:
            if not file.schema_arrow.equals(schema_of(kind)):
                raise ArchiveError(f"{path.name} has other columns than an archive of {kind} has")
            for batch in _batches(file):
                content.add(batch)
    except (pa.ArrowInvalid, OSError) as error:
        raise ArchiveError(f"{path.name} is not a Parquet file, or damaged ({error})") from error
    return content


def is_archive(path: Path) -> bool:
    """Whether a file holds archived transactions, by the mark in its metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return (pq.read_schema(path).metadata or {}).get(MARK) == b"transactions"
    except (pa.ArrowInvalid, OSError):
        return False


def contract_rows(path: Path, contract: Contract, *, name: str, labelled: bool) -> Iterator[pa.RecordBatch]:
    """Read the archived transactions of a contract, a batch at a time.

    Args:
        path: Of a file of transactions.
        contract: Rows of others are left out. The stored features are its inputs, in its order.
        name: What errors call the file.
        labelled: Only those whose label is known.

    Yields:
        The inputs by their names as float64, then ``ID``, ``OCCURRED_AT`` and ``LABEL`` (int32, ``UNKNOWN`` where nobody has told),
        in the order of time.

    Raises:
        TableError: A row has another number of features than the contract has inputs.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    wanted = ["transaction_id", "occurred_at", "contract", "features", "label"]
    with pq.ParquetFile(path) as file:
        for batch in _batches(file, wanted):
            chosen = pc.equal(batch.column("contract"), contract.name)
            if labelled:
                chosen = pc.and_(chosen, batch.column("label").is_valid())
            rows = batch.filter(chosen)
            if rows.num_rows == 0:
                continue
            lengths = pc.unique(pc.list_value_length(rows.column("features"))).to_pylist()
            if lengths != [len(contract.inputs)]:
                raise TableError(
                    f"{name}: transactions with {', '.join(map(str, lengths))} inputs, where the contract {contract.name!r} has "
                    f"{len(contract.inputs)}: a contract with other inputs needs another name"
                )
            cells = pc.list_flatten(rows.column("features")).to_numpy(zero_copy_only=False)
            inputs = cells.reshape(rows.num_rows, -1).T
            yield pa.RecordBatch.from_pydict(
                {
                    **{
                        column: pa.array(values.copy(), from_pandas=True)
                        for column, values in zip(contract.inputs, inputs, strict=True)
                    },
                    ID: rows.column("transaction_id"),
                    OCCURRED_AT: rows.column("occurred_at"),
                    LABEL: rows.column("label").fill_null(UNKNOWN).cast(pa.int32()),
                }
            )


def _batches(file: pq.ParquetFile, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Read a file a row group at a time: asked for all of them, the reader keeps the whole file in memory."""
    for group in range(file.num_row_groups):
        yield from file.iter_batches(batch_size=BATCH_ROWS, row_groups=[group], columns=columns)


def _text(column: pa.Array) -> pa.Array:
    """The cells of a column as text, each number exactly."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_list(kind):
        lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
        ends = pa.array([0, *lengths.cumsum().tolist()], pa.int32())
        items = _text(pc.list_flatten(column)).cast(pa.string()).fill_null("\x00")
        return pc.binary_join(pa.ListArray.from_arrays(ends, items), ",")
    if pa.types.is_floating(kind):
        return column.view(pa.int64())
    if pa.types.is_timestamp(kind):
        return column.cast(pa.int64())
    if pa.types.is_binary(kind):
        return pa.array([None if cell is None else cell.hex() for cell in column.to_pylist()], pa.string())
    return column
