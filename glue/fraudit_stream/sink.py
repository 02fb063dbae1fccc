"""One micro-batch into PostgreSQL, in one transaction.

Belongs here: connections, their credentials, and the SQL that makes a replay harmless. Does not: the tables (the warehouse's
migrations), the rules of an event (``events.py``).

``transaction_id`` as primary key is the guarantee of one row per transaction: a replayed batch finds its rows there and adds none.
The ledger ``stream_batches`` counts, and never decides that a batch may be skipped: batch ids start again with a new checkpoint and go
back with a restored one.
"""

import csv
import io
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fraudit_stream.events import Kind, Reason
from fraudit_stream.transform import Record

if TYPE_CHECKING:
    import psycopg2

CONNECT_TIMEOUT_S = 10
STATEMENT_TIMEOUT_S = 120
MAX_ATTEMPTS = 6
FIRST_PAUSE_S = 0.5

_log = logging.getLogger(__name__)

_INCOMING = """
create temporary table incoming (
    kind text, shard_id text, sequence_number numeric, arrived_at timestamptz, raw bytea, reason text, detail text, content jsonb
) on commit drop
"""
_COPY = f"copy incoming ({', '.join(Record._fields)}) from stdin with (format csv)"

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


_PREDICTIONS = f"""
insert into fraud.fraud_predictions ({", ".join(_PREDICTION)})
select distinct on (new.transaction_id) {_columns(_PREDICTION, of="new")}
from incoming cross join lateral jsonb_populate_record(null::fraud.fraud_predictions, content) as new
where kind = 'prediction'
order by new.transaction_id, arrived_at, sequence_number
on conflict (transaction_id) do nothing
"""  # noqa: S608 -- column names of this module

# "offset 0" keeps the look-up by primary key, however large the table and small the planner's guess of the batch.
_CONFLICTS = f"""
insert into fraud.quarantined_events (shard_id, sequence_number, raw, reason, detail, arrived_at)
select shard_id, sequence_number, raw, 'conflict', 'transaction_id is stored with other content', arrived_at
from incoming
cross join lateral jsonb_populate_record(null::fraud.fraud_predictions, content) as new
cross join lateral (
    select * from fraud.fraud_predictions where fraud_predictions.transaction_id = new.transaction_id offset 0
) as stored
where
    kind = 'prediction'
    and ({_columns(_ANSWER, of="new")}) is distinct from ({_columns(_ANSWER, of="stored")})
on conflict do nothing
"""  # noqa: S608 -- column names of this module

_LABELS = """
insert into fraud.fraud_labels (transaction_id, source, label, labelled_at)
select distinct on (new.transaction_id, new.source) new.transaction_id, new.source, new.label, new.labelled_at
from incoming cross join lateral jsonb_populate_record(null::fraud.fraud_labels, content) as new
where kind = 'label'
order by new.transaction_id, new.source, new.labelled_at desc, arrived_at, sequence_number
on conflict (transaction_id, source) do update
set label = excluded.label, labelled_at = excluded.labelled_at, stored_at = excluded.stored_at
where excluded.labelled_at > fraud_labels.labelled_at
"""

_QUARANTINE = """
insert into fraud.quarantined_events (shard_id, sequence_number, raw, reason, detail, arrived_at)
select shard_id, sequence_number, raw, reason, detail, arrived_at from incoming where kind = 'quarantine'
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


class SinkError(RuntimeError):
    """PostgreSQL stayed away, or refused a batch."""


@dataclass(frozen=True, slots=True)
class Database:
    """Where the warehouse is; who asks comes from a secret, at each connection anew, so that a rotation is not noticed."""

    host: str
    port: int
    name: str
    user: str
    sslmode: str
    secret_id: str
    region: str

    def connect(self) -> "psycopg2.extensions.connection":
        """Open a connection.

        Raises:
            SinkError: The secret cannot be read, or is not ``{"username", "password"}``.
            psycopg2.OperationalError: PostgreSQL cannot be reached or refuses the user.
        """
        import psycopg2

        secret = self._secret()
        return psycopg2.connect(
            host=self.host,
            port=self.port,
            dbname=self.name,
            user=self.user or secret["username"],
            password=secret["password"],
            sslmode=self.sslmode,
            connect_timeout=CONNECT_TIMEOUT_S,
            options=f"-c statement_timeout={STATEMENT_TIMEOUT_S}s -c timezone=UTC -c client_encoding=UTF8",
            application_name="fraudit-stream",
            keepalives_idle=30,
        )

    def _secret(self) -> dict[str, str]:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        config = Config(connect_timeout=5, read_timeout=10, retries={"mode": "standard", "max_attempts": 5})
        client = boto3.client("secretsmanager", region_name=self.region, config=config)
        try:
            secret: dict[str, str] = json.loads(client.get_secret_value(SecretId=self.secret_id)["SecretString"])
        except (BotoCoreError, ClientError) as error:
            raise SinkError(f"cannot read the secret {self.secret_id!r} of the warehouse: {error}") from error
        except (KeyError, ValueError) as error:
            raise SinkError(f"the secret {self.secret_id!r} of the warehouse is not JSON") from error
        missing = {"username", "password"} - set(secret)
        if missing:
            raise SinkError(f"the secret {self.secret_id!r} of the warehouse lacks {', '.join(sorted(missing))}")
        return secret


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

        A lost connection, a deadlock or a PostgreSQL that restarts is tried again, up to ``MAX_ATTEMPTS`` times, each time with the
        credentials of the moment.

        Args:
            records: In order within their shard; at least one.
            query_id: The id of the streaming query, which lives in its checkpoint.
            batch_id: Spark's number of the batch in that query.

        Raises:
            SinkError: PostgreSQL stayed away for longer than the retries last, or refused the batch.
        """
        import psycopg2

        started_at = datetime.now(UTC)
        pause_s = FIRST_PAUSE_S
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                return self._write_once(records, query_id=query_id, batch_id=batch_id, started_at=started_at)
            except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
                where = f"{self._database.host}:{self._database.port}/{self._database.name}"
                if attempt == MAX_ATTEMPTS:
                    raise SinkError(f"batch {batch_id} not stored, {where} failed {attempt} times: {error}") from error
                _log.warning(
                    "batch %d: %s failed, next try in %.1f s: %s", batch_id, where, pause_s, str(error).strip()
                )
                self._pause(pause_s)
                pause_s *= 2
            except psycopg2.Error as error:
                raise SinkError(f"PostgreSQL refused batch {batch_id}: {str(error).strip()}") from error
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _write_once(
        self, records: Sequence[Record], *, query_id: str, batch_id: int, started_at: datetime
    ) -> BatchCounts:
        from psycopg2.extras import Json

        connection = self._database.connect()
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(_INCOMING)
                cursor.copy_expert(_COPY, _to_csv(records))
                cursor.execute(_PREDICTIONS)
                predictions = cursor.rowcount
                cursor.execute(_CONFLICTS)
                conflicts = cursor.rowcount
                cursor.execute(_LABELS)
                cursor.execute(_QUARANTINE)
                counts = _count(records, predictions=predictions, conflicts=conflicts)
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
                return counts
        finally:
            connection.close()


def _to_csv(records: Sequence[Record]) -> io.StringIO:
    text = io.StringIO()
    csv.writer(text).writerows((*record[:4], "\\x" + record.raw.hex(), *record[5:]) for record in records)
    text.seek(0)
    return text


def _count(records: Sequence[Record], *, predictions: int, conflicts: int) -> BatchCounts:
    kinds = Counter(record.kind for record in records)
    quarantined = Counter(record.reason for record in records if record.reason is not None)
    if conflicts:
        quarantined[Reason.CONFLICT] = conflicts
    lag = datetime.now(UTC) - min(record.arrived_at for record in records)
    return BatchCounts(
        records=len(records),
        predictions=predictions,
        duplicates=kinds[Kind.PREDICTION] - predictions - conflicts,
        labels=kinds[Kind.LABEL],
        quarantined=dict(quarantined),
        max_lag_ms=max(0, int(lag.total_seconds() * 1000)),
    )
