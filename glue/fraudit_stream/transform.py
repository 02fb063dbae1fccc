"""Kinesis records to rows, batch by batch, inside Spark's Python workers.

Belongs here: the Arrow shape between the stream and the sink. Does not: the rules of an event (``events.py``), SQL (``sink.py``).
"""

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from fraudit_stream.events import Kind, PoisonError, parse_event

if TYPE_CHECKING:
    from datetime import datetime

    import pyarrow as pa

COLUMNS = {
    "kind": "string",
    "shard_id": "string",
    "sequence_number": "string",
    "arrived_at": "timestamp",
    "raw": "binary",
    "reason": "string",
    "detail": "string",
    "content": "string",
}
"""What the sink receives, one row per record: ``content`` is the row as a JSON object, or ``reason`` and ``detail`` say why not."""

SPARK_SCHEMA = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())


def classify(batches: Iterable["pa.RecordBatch"]) -> Iterator["pa.RecordBatch"]:
    """Turn batches of Kinesis records into batches of ``COLUMNS``, record by record, in their order; for ``mapInArrow``."""
    import pyarrow as pa

    schema = pa.schema(
        [
            (name, {"string": pa.string(), "binary": pa.binary(), "timestamp": pa.timestamp("us", tz="UTC")}[kind])
            for name, kind in COLUMNS.items()
        ]
    )
    for batch in batches:
        yield pa.RecordBatch.from_pylist([_classify_record(record) for record in batch.to_pylist()], schema=schema)


def _classify_record(record: dict[str, Any]) -> dict[str, Any]:
    data: bytes = record["data"]
    arrived_at: datetime = record["approximateArrivalTimestamp"]
    row = {
        "shard_id": record["shardId"],
        "sequence_number": record["sequenceNumber"],
        "arrived_at": arrived_at,
        "raw": data,
    }
    try:
        event = parse_event(data, arrived_at=arrived_at)
    except PoisonError as poison:
        return {**row, "kind": Kind.QUARANTINE, "reason": poison.reason, "detail": poison.detail}
    content = json.dumps(event.columns, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return {**row, "kind": event.kind, "content": content}
