"""A batch is written once, whole, however often it comes."""

import dataclasses
import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from fraudit_stream.database import PAUSES_S, Database, SinkError
from fraudit_stream.sink import BatchCounts, Sink
from fraudit_stream.transform import Record, classify

from .conftest import REGION, SECRET, SQL, Warehouse, label, prediction

if TYPE_CHECKING:
    from collections.abc import Callable

QUERY_ID = str(uuid.uuid4())


def batch(events: Sequence[dict[str, Any] | bytes], *, first_sequence: int = 1) -> list[Record]:
    """The events as they come out of the transformation, from one shard."""
    records = pa.Table.from_pylist(
        [
            {
                "data": event if isinstance(event, bytes) else json.dumps(event).encode(),
                "shardId": "shardId-000000000000",
                "sequenceNumber": str(49_000_000_000_000_000_000_000_000 + number),
                "approximateArrivalTimestamp": datetime.now(UTC),
            }
            for number, event in enumerate(events, start=first_sequence)
        ]
    )
    return classify(records)


@pytest.fixture
def write(database: Database) -> "Callable[..., BatchCounts]":
    sink = Sink(database)

    def write(*events: dict[str, Any] | bytes, batch_id: int = 0, first_sequence: int = 1) -> BatchCounts:
        return sink.write(batch(events, first_sequence=first_sequence), query_id=QUERY_ID, batch_id=batch_id)

    return write


def test_a_prediction_becomes_a_row_with_every_digit(write: "Callable[..., BatchCounts]", warehouse: Warehouse) -> None:
    event = prediction(
        "t-1", reasons=[{"feature": "V14", "value": -9.1, "weight": 0.41}], fraud_proba=0.1 + 0.2, decision="review"
    )
    counts = write(event)
    assert (counts.records, counts.predictions, counts.duplicates, counts.quarantined) == (1, 1, 0, {})
    (row,) = warehouse.query(
        "select event_id::text, occurred_at, ip_address::text, country, amount::text, features, fraud_proba, reasons, degraded, "
        "stored_at >= scored_at from fraud.fraud_predictions"
    )
    assert row == (
        event["event_id"],
        datetime.fromisoformat(event["occurred_at"]),
        "203.0.113.7/32",
        "DE",
        "149.62",
        list(event["features"].values()),
        0.1 + 0.2,
        event["reasons"],
        [],
        True,
    )


@pytest.mark.parametrize(
    "text", ["C:\\new\\table", "a\tb\nc\rd", "\\N", "\\.", 'say "no"', "a\u2028b\x7f", "Zürich 東京 🙂", "{1,2}"]
)
def test_a_text_is_stored_as_it_is_whatever_it_holds(
    text: str, write: "Callable[..., BatchCounts]", warehouse: Warehouse
) -> None:
    write(
        prediction(
            "t-1", user_id=text, reasons=[{"feature": text, "value": 1e-7, "weight": 1e16}], degraded=[text, "other"]
        )
    )
    (row,) = warehouse.query("select user_id, reasons, degraded from fraud.fraud_predictions")
    assert row == (text, [{"feature": text, "value": 1e-7, "weight": 1e16}], [text, "other"])


def test_the_same_batch_again_changes_nothing(write: "Callable[..., BatchCounts]", warehouse: Warehouse) -> None:
    events = [prediction("t-1"), label("t-1"), b"poison", prediction("t-1", amount=1.0)]
    first = write(*events)

    def everything() -> list[list[tuple[Any, ...]]]:
        tables = "fraud_predictions", "fraud_labels", "quarantined_events", "stream_batches"
        return [warehouse.query(f"table fraud.{table}") for table in tables]

    before = everything()
    write(*events)
    assert everything() == before
    assert first.quarantined == {"not_json": 1, "conflict": 1}
    assert first.records == first.predictions + first.duplicates + first.labels + sum(first.quarantined.values())


def test_a_batch_number_used_before_swallows_nothing(write: "Callable[..., BatchCounts]", warehouse: Warehouse) -> None:
    write(prediction("t-1"), batch_id=7)
    write(prediction("t-2"), batch_id=7, first_sequence=2)
    assert warehouse.one("select count(*) from fraud.fraud_predictions") == 2


def test_an_event_delivered_again_is_a_duplicate_and_other_content_a_conflict(
    write: "Callable[..., BatchCounts]", warehouse: Warehouse
) -> None:
    event = prediction("t-1")
    retried = {**event, "event_id": str(uuid.uuid4()), "scored_at": datetime.now(UTC).isoformat(), "latency_ms": 99.0}
    other = {**event, "amount": 0.01}
    counts = write(event, event, retried, other)
    assert (counts.predictions, counts.duplicates, counts.quarantined) == (1, 2, {"conflict": 1})
    counts = write(retried, {**event, "features": {"V1": 2.0}}, batch_id=1, first_sequence=5)
    assert (counts.predictions, counts.duplicates, counts.quarantined) == (0, 1, {"conflict": 1})
    assert warehouse.query("select event_id::text, amount::text from fraud.fraud_predictions") == [
        (event["event_id"], "149.62")
    ]
    raw = [
        bytes(raw) for (raw,) in warehouse.query("select raw from fraud.quarantined_events order by sequence_number")
    ]
    assert json.loads(raw[0]) == other


def test_an_event_that_is_late_by_weeks_is_a_row_once(
    write: "Callable[..., BatchCounts]", warehouse: Warehouse
) -> None:
    late = prediction("t-1", occurred_at=(datetime.now(UTC) - timedelta(days=60)).isoformat())
    assert write(label("t-1"), batch_id=0).labels == 1
    assert write(late, batch_id=1, first_sequence=2).predictions == 1
    assert write(late, batch_id=2, first_sequence=3).duplicates == 1
    assert warehouse.query(
        "select label from fraud.fraud_predictions join fraud.fraud_labels using (transaction_id)"
    ) == [(1,)]


def test_the_latest_label_of_a_source_wins_in_any_order(
    write: "Callable[..., BatchCounts]", warehouse: Warehouse
) -> None:
    now = datetime.now(UTC).replace(hour=0)
    early, late = now.replace(minute=1).isoformat(), now.replace(minute=2).isoformat()
    write(
        label("t-1", label=0, labelled_at=late),
        label("t-1", label=1, labelled_at=early),
        label("t-1", label=1, source="analyst"),
    )
    write(label("t-1", label=1, labelled_at=early), batch_id=1, first_sequence=4)
    assert warehouse.query("select source, label from fraud.fraud_labels order by 1") == [
        ("analyst", 1),
        ("chargeback", 0),
    ]


def test_poison_is_kept_as_it_came(write: "Callable[..., BatchCounts]", warehouse: Warehouse) -> None:
    poison = [b"", b"\x00\xff", b"x" * 1_000_000, json.dumps(prediction("t-1", user_id='\\."\n,')).encode()]
    counts = write(*poison)
    assert (counts.predictions, counts.quarantined) == (1, {"not_json": 3})
    assert [
        bytes(raw) for (raw,) in warehouse.query("select raw from fraud.quarantined_events order by sequence_number")
    ] == poison[:3]


def test_the_ledger_says_what_became_of_each_batch(write: "Callable[..., BatchCounts]", warehouse: Warehouse) -> None:
    event = prediction("t-1")
    write(event, event, label("t-1"), b"poison", batch_id=3)
    assert warehouse.query(
        "select query_id::text, batch_id, records, predictions, duplicates, labels, quarantined, last_sequences, "
        "max_lag_ms between 0 and 60000, started_at <= stored_at from fraud.stream_batches"
    ) == [(QUERY_ID, 3, 4, 1, 1, 1, 1, {"shardId-000000000000": "49000000000000000000000004"}, True, True)]


def test_a_rotated_password_is_used_from_the_next_batch(
    write: "Callable[..., BatchCounts]", database: Database, warehouse: Warehouse
) -> None:
    import boto3

    write(prediction("t-1"))
    warehouse.query("create role rotated login superuser password 'new'")
    secret = json.dumps({"username": "rotated", "password": "new"})
    boto3.client("secretsmanager", region_name=REGION).put_secret_value(SecretId=SECRET, SecretString=secret)
    write(prediction("t-2"), batch_id=1, first_sequence=2)
    assert warehouse.one("select count(*) from fraud.fraud_predictions") == 2
    assert database.user == ""


def test_a_postgres_that_is_away_is_asked_again_a_bounded_number_of_times(database: Database) -> None:
    pauses: list[float] = []
    sink = Sink(dataclasses.replace(database, host="127.0.0.1", port=1), pause=pauses.append)
    with pytest.raises(SinkError, match=rf"batch 5 not stored, 127\.0\.0\.1:1/.* failed {len(PAUSES_S) + 1} times"):
        sink.write(batch([prediction("t-1")]), query_id=QUERY_ID, batch_id=5)
    assert pauses == list(PAUSES_S)
    assert sum(pauses) > 120  # a failover of RDS takes one to two minutes


def test_a_warehouse_without_its_tables_is_said(database: Database, warehouse: Warehouse) -> None:
    warehouse.query("drop schema fraud cascade")
    with pytest.raises(SinkError, match=r"PostgreSQL refused batch 0: .*fraud\.fraud_predictions"):
        Sink(database).write(batch([prediction("t-1")]), query_id=QUERY_ID, batch_id=0)


def test_a_missing_secret_is_named(database: Database) -> None:
    with pytest.raises(SinkError, match="cannot read the secret 'nobody' of the warehouse"):
        Sink(dataclasses.replace(database, secret_id="nobody")).write(
            batch([prediction("t-1")]), query_id=QUERY_ID, batch_id=0
        )


def test_the_daily_summary_replaces_its_days(write: "Callable[..., BatchCounts]", warehouse: Warehouse) -> None:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    day = {"start": midnight, "end": midnight + timedelta(days=1)}
    write(
        prediction("t-1", occurred_at=midnight.isoformat()),
        prediction("t-2", occurred_at=midnight.isoformat(), decision="block", amount=50, fraud_proba=0.98),
        prediction(
            "t-3",
            occurred_at=midnight.isoformat(),
            geo=None,
            fraud_proba=None,
            degraded=["fraud_classifier"],
            decision="review",
        ),
        prediction("t-4", occurred_at=day["end"].isoformat()),
    )
    sql = (SQL / "daily_fraud_summary.sql").read_text()
    for _ in range(2):
        warehouse.query(sql, day)
    assert warehouse.query(
        "select day, source, country, transactions, amount::float, approved, reviewed, blocked, flagged, flagged_amount::float, "
        "degraded, mean_fraud_proba, delay_p50_ms > 0 and delay_p99_ms >= delay_p95_ms "
        "from fraud.daily_fraud_summary order by country"
    ) == [
        (midnight.date(), "Web", "DE", 2, 199.62, 1, 0, 1, 1, 50.0, 0, 0.5, True),
        (midnight.date(), "Web", "ZZ", 1, 149.62, 0, 1, 0, 1, 149.62, 1, None, True),
    ]
