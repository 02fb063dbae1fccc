"""Kinesis records to what is written of them.

Belongs here: the step from the source's columns to the sink's. Does not: the rules of an event (``events.py``), SQL (``sink.py``).

It runs on the driver, over the Arrow table of one micro-batch: there the batch has to be anyway, for its one transaction, and a second
Python process per task, with the copies between, costs more than the parsing, in batches of 40,000 too (docs/performance.md).
"""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import orjson

from fraudit_stream.events import Kind, PoisonError, parse_event

if TYPE_CHECKING:
    import pyarrow as pa

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Record(NamedTuple):
    """One record of the stream, and what it is.

    Attributes:
        reason: Why it is in quarantine, else None; so is ``detail``.
        content: The columns of its row as a JSON object; None in quarantine.
    """

    kind: Kind
    shard_id: str
    sequence_number: str
    arrived_at: datetime
    raw: bytes
    reason: str | None
    detail: str | None
    content: str | None


def classify(records: "pa.Table") -> list[Record]:
    """Return each record of the source as a row or as a case for quarantine, in the same order; times are in microseconds."""
    shard_ids, sequence_numbers, data = (
        records.column(name).to_pylist() for name in ("shardId", "sequenceNumber", "data")
    )
    # Arrow would make each time in a zone of its own, which takes longer than to make and to use a plain one in UTC.
    micros = records.column("approximateArrivalTimestamp").cast("int64").to_pylist()
    arrivals = (_EPOCH + timedelta(microseconds=each) for each in micros)
    return [classify_record(*record) for record in zip(shard_ids, sequence_numbers, arrivals, data, strict=True)]


def classify_record(shard_id: str, sequence_number: str, arrived_at: datetime, data: bytes) -> Record:
    """Return one record as a row or as a case for quarantine."""
    try:
        row = parse_event(data, arrived_at=arrived_at)
    except PoisonError as poison:
        return Record(Kind.QUARANTINE, shard_id, sequence_number, arrived_at, data, poison.reason, poison.detail, None)
    content = orjson.dumps(row.columns).decode()
    return Record(row.kind, shard_id, sequence_number, arrived_at, data, None, None, content)
