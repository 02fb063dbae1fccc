"""One micro-batch into PostgreSQL, in one transaction.

Belongs here: the SQL that makes a replay harmless, and what became of each event. Does not: the tables (the warehouse's migrations),
the rules of an event (``events.py``), connections and what is tried again (``database.py``).

``transaction_id`` as primary key is the guarantee of one row per transaction: a replayed batch finds its rows there and adds none.
The ledger ``stream_batches`` counts, and never decides that a batch may be skipped: batch ids start again with a new checkpoint and go
back with a restored one.
"""

import io
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fraudit_stream.database import Database
from fraudit_stream.events import Kind, Reason
from fraudit_stream.transform import Record

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor

CONFLICT = "transaction_id is stored with other content"
QUARANTINED_AT_ONCE = 50
"""Events of up to 1 MB in one statement."""

_ANSWER = (  # what makes two events of one transaction the same: what was sent, and what was answered
    "run_id", "occurred_at", "user_id", "source", "device_type", "os_version", "app_version", "ip_address", "country", "region", "city",
    "latitude", "longitude", "amount", "contract", "features", "fraud_proba", "fraud_prediction", "anomaly_score", "decision", "degraded",
)  # fmt: skip
_PREDICTION = (
    *_ANSWER, "transaction_id", "event_id", "scored_at", "hour", "weekday", "amount_band", "manifest_version", "classifier_version",
    "detector_version", "reasons", "latency_ms",
)  # fmt: skip


def _columns(names: tuple[str, ...], *, of: str) -> str:
    return ", ".join(f"{of}.{name}" for name in names)


# json and not jsonb: each content is taken apart once, when it becomes a row.
_INCOMING = "create temporary table incoming (position integer, content json) on commit drop"
_COPY = "copy incoming from stdin"

_PREDICTIONS = f"""
insert into fraud.fraud_predictions ({", ".join(_PREDICTION)})
select distinct on (new.transaction_id) {_columns(_PREDICTION, of="new")}
from incoming cross join lateral json_populate_record(null::fraud.fraud_predictions, content) as new
order by new.transaction_id, position
on conflict (transaction_id) do nothing
"""  # noqa: S608 -- column names of this module

# "offset 0" keeps the look-up by primary key, however large the table and small the planner's guess of the batch.
_CONFLICTS = f"""
select position
from incoming
cross join lateral json_populate_record(null::fraud.fraud_predictions, content) as new
cross join lateral (
    select * from fraud.fraud_predictions where fraud_predictions.transaction_id = new.transaction_id offset 0
) as stored
where ({_columns(_ANSWER, of="new")}) is distinct from ({_columns(_ANSWER, of="stored")})
"""  # noqa: S608 -- column names of this module

_LABELS = """
insert into fraud.fraud_labels (transaction_id, source, label, labelled_at)
select distinct on (new.transaction_id, new.source) new.transaction_id, new.source, new.label, new.labelled_at
from jsonb_populate_recordset(null::fraud.fraud_labels, %(labels)s) with ordinality as new
order by new.transaction_id, new.source, new.labelled_at desc, new.ordinality
on conflict (transaction_id, source) do update
set label = excluded.label, labelled_at = excluded.labelled_at, stored_at = excluded.stored_at
where excluded.labelled_at > fraud_labels.labelled_at
"""

_QUARANTINE = """
insert into fraud.quarantined_events (shard_id, sequence_number, raw, reason, detail, arrived_at) values %s
on conflict do nothing
"""

_LEDGER = """
insert into fraud.stream_batches (
    query_id, batch_id, records, predictions, duplicates, labels, quarantined, max_lag_ms, last_sequences, started_at
) values (
    %(query_id)s, %(batch_id)s, %(records)s, %(predictions)s, %(duplicates)s, %(labels)s, %(quarantined)s, %(max_lag_ms)s,
    %(last_sequences)s, %(started_at)s
)
on conflict (query_id, batch_id) do nothing
"""


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """What became of one batch: records = predictions + duplicates + labels + quarantined.

    Attributes:
        predictions: Rows that are new in ``fraud_predictions``.
        duplicates: Events of transactions that were there already, with the same content.
        labels: Label events.
        quarantined: Events by reason.
        max_lag_ms: Age of the oldest record when the batch was written.
    """

    records: int
    predictions: int
    duplicates: int
    labels: int
    quarantined: dict[str, int]
    max_lag_ms: int


class Sink:
    """Writes micro-batches; safe to call again with the same batch."""

    def __init__(self, database: Database, *, pause: Callable[[float], None] = time.sleep) -> None:
        self._database = database
        self._pause = pause

    def write(self, records: Sequence[Record], *, query_id: str, batch_id: int) -> BatchCounts:
        """Write one batch in one transaction.

        Args:
            records: In order within their shard; at least one.
            query_id: The id of the streaming query, which lives in its checkpoint.
            batch_id: Spark's number of the batch in that query.

        Raises:
            SinkError: PostgreSQL stayed away for longer than the retries last, or refused the batch.
        """
        started_at = datetime.now(UTC)

        def work(cursor: "Cursor") -> BatchCounts:
            predictions, conflicts = store_rows(cursor, records)
            quarantined = [*(record for record in records if record.kind is Kind.QUARANTINE), *conflicts]
            _quarantine(cursor, quarantined)
            counts = _count(records, predictions=predictions, quarantined=quarantined)
            _note(cursor, records, counts, query_id=query_id, batch_id=batch_id, started_at=started_at)
            return counts

        return self._database.transact(work, task=f"batch {batch_id}", pause=self._pause)


def store_rows(cursor: "Cursor", records: Sequence[Record]) -> tuple[int, list[Record]]:
    """Store the predictions and the labels among some records.

    Args:
        cursor: In a transaction.
        records: In order within their shard. Of two predictions of one transaction, the one that arrived first counts.

    Returns:
        How many rows of ``fraud_predictions`` are new; and as cases for quarantine the predictions of transactions that are stored
        with other content.
    """
    labels = [record.content for record in records if record.kind is Kind.LABEL]
    if labels:
        cursor.execute(_LABELS, {"labels": f"[{','.join(filter(None, labels))}]"})
    predictions = sorted(
        (record for record in records if record.kind is Kind.PREDICTION), key=lambda record: record.arrived_at
    )
    if not predictions:
        return 0, []
    cursor.execute(_INCOMING)
    cursor.copy_expert(_COPY, _to_lines(predictions))
    cursor.execute(_PREDICTIONS)
    new = cursor.rowcount
    if new == len(predictions):
        return new, []
    cursor.execute(_CONFLICTS)
    conflicts = [predictions[position] for (position,) in cursor.fetchall()]
    return new, [
        record._replace(kind=Kind.QUARANTINE, reason=Reason.CONFLICT, detail=CONFLICT, content=None)
        for record in conflicts
    ]


def _to_lines(predictions: Sequence[Record]) -> io.StringIO:
    """Return the lines of COPY's text format. Of the characters that mean something there, JSON on one line holds the backslash alone."""
    contents = (str(record.content).replace("\\", "\\\\") for record in predictions)
    return io.StringIO("".join(f"{position}\t{content}\n" for position, content in enumerate(contents)))


def _quarantine(cursor: "Cursor", records: Sequence[Record]) -> None:
    from psycopg2.extras import execute_values

    rows = (
        (record.shard_id, record.sequence_number, record.raw, record.reason, record.detail, record.arrived_at)
        for record in records
    )
    execute_values(cursor, _QUARANTINE, rows, page_size=QUARANTINED_AT_ONCE)


def _count(records: Sequence[Record], *, predictions: int, quarantined: Sequence[Record]) -> BatchCounts:
    kinds = Counter(record.kind for record in records)
    conflicts = sum(record.reason == Reason.CONFLICT for record in quarantined)
    lag = datetime.now(UTC) - min(record.arrived_at for record in records)
    return BatchCounts(
        records=len(records),
        predictions=predictions,
        duplicates=kinds[Kind.PREDICTION] - predictions - conflicts,
        labels=kinds[Kind.LABEL],
        quarantined=dict(Counter(str(record.reason) for record in quarantined)),
        max_lag_ms=max(0, int(lag.total_seconds() * 1000)),
    )


def _note(
    cursor: "Cursor",
    records: Sequence[Record],
    counts: BatchCounts,
    *,
    query_id: str,
    batch_id: int,
    started_at: datetime,
) -> None:
    from psycopg2.extras import Json

    cursor.execute(
        _LEDGER,
        {
            "query_id": query_id,
            "batch_id": batch_id,
            "records": counts.records,
            "predictions": counts.predictions,
            "duplicates": counts.duplicates,
            "labels": counts.labels,
            "quarantined": sum(counts.quarantined.values()),
            "max_lag_ms": counts.max_lag_ms,
            "last_sequences": Json({record.shard_id: record.sequence_number for record in records}),
            "started_at": started_at,
        },
    )
