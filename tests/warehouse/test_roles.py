"""Each role can do what it must, and nothing else."""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest
from fraudit_stream.sink import Sink
from fraudit_stream.transform import classify_record
from psycopg2.errors import InsufficientPrivilege, ReadOnlySqlTransaction

from resources.warehouse import ROLES
from tests.stream.conftest import label, prediction
from tests.warehouse.conftest import Place


@pytest.fixture(scope="module")
def place(migrated: Place) -> Place:
    """One for all: nothing that is refused changes it."""
    return migrated


def test_the_writer_does_all_that_the_stream_needs(place: Place) -> None:
    events = [
        *(prediction(f"t-{number}") for number in range(3)),
        prediction("t-0", amount=1.0),
        label("t-1", label=0, labelled_at="2026-11-01T00:00:00Z"),
        label("t-1", label=1),
        {"type": "neither"},
    ]
    at = datetime.now(UTC)
    records = [classify_record("shard", str(n), at, json.dumps(event).encode()) for n, event in enumerate(events)]
    sink, query_id = Sink(place.database()), str(uuid.uuid4())
    first = sink.write(records, query_id=query_id, batch_id=0)
    assert (first.predictions, first.labels, first.quarantined) == (3, 2, {"conflict": 1, "unknown_version": 1})
    again = sink.write(records, query_id=query_id, batch_id=1)
    assert (again.predictions, again.duplicates, again.quarantined) == (0, 3, first.quarantined)
    later = sink.write(
        [classify_record("shard", "9", at, json.dumps(label("t-1", label=0)).encode())], query_id=query_id, batch_id=2
    )
    assert later.labels == 1
    assert place.run("select label from fraud.fraud_labels") == [(0,)]


def test_the_analyst_does_all_that_the_daily_jobs_need(place: Place) -> None:
    analyst = place.warehouse("analyst")
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for _ in range(2):
        analyst.replace_days("daily_fraud_summary", start=today, end=today + timedelta(days=1))
    place.run("insert into fraud.archived_days values ('2020-01-01', 's3://b/k', 0, 0, 'x', now())", role="analyst")
    assert list(analyst.drop_day(datetime(2020, 1, 1, tzinfo=UTC).date())) == []


@pytest.fixture(scope="module")
def as_role(place: Place) -> Iterator[Callable[[str, str], None]]:
    """Runs a statement as a role, and undoes it."""
    with ExitStack() as stack:
        connections = {role: stack.enter_context(closing(place.connect(role))) for role in ROLES}

        def run(role: str, statement: str) -> None:
            try:
                connections[role].cursor().execute(statement)
            finally:
                connections[role].rollback()

        yield run


@pytest.mark.parametrize("role", ["analyst", "reader"])
def test_every_table_can_be_read(place: Place, as_role: Callable[[str, str], None], role: str) -> None:
    tables = place.run(
        "select oid::regclass::text from pg_class where relnamespace = 'fraud'::regnamespace and relkind = 'r'"
    )
    assert len(tables) > 8
    for (table,) in tables:
        as_role(role, f"select * from {table} limit 1")  # noqa: S608 - of the database


NOBODY_MAY = [
    "create table fraud.mine ()",
    "create table public.mine ()",
    "create schema mine",
    "create role mine",
    "drop table fraud.fraud_labels",
    "alter table fraud.fraud_predictions add column mine text",
    "create index on fraud.fraud_predictions (user_id)",
    "truncate fraud.fraud_predictions",
    "update fraud.fraud_predictions set amount = 0",
    "delete from fraud.fraud_predictions",
    "delete from fraud.fraud_labels",
    "delete from fraud.quarantined_events",
    "update fraud.stream_batches set records = 0",
    "update fraud.migrations set checksum = ''",
    "select pg_read_file('/etc/hostname')",
    "copy fraud.fraud_labels to program 'cat'",
]
REFUSED = {
    "writer": [
        "select * from fraud.daily_fraud_summary",
        "delete from fraud.daily_fraud_summary",
        "update fraud.fraud_labels set source = 'analyst'",
        "update fraud.quarantined_events set raw = ''",
        "select * from fraud.archived_days",
        "select fraud.drop_archived('2026-11-23', 1)",
    ],
    "analyst": [
        "insert into fraud.fraud_labels values ('t', 'analyst', 1, now())",
        "update fraud.fraud_labels set label = 0",
        "update fraud.quarantined_events set replayed_at = now()",
        "delete from fraud.archived_days",
        "create temporary table mine ()",
    ],
    "reader": [
        "insert into fraud.fraud_labels values ('t', 'analyst', 1, now())",
        "delete from fraud.daily_fraud_summary",
        "insert into fraud.archived_days values ('2026-11-23', '', 0, 0, '', now())",
        "select fraud.drop_archived('2026-11-23', 1)",
        "create temporary table mine ()",
    ],
}


@pytest.mark.parametrize(
    ("role", "statement"),
    [(role, statement) for role, more in REFUSED.items() for statement in [*NOBODY_MAY, *more]],
)
def test_everything_else_is_refused(as_role: Callable[[str, str], None], role: str, statement: str) -> None:
    with pytest.raises(InsufficientPrivilege):
        as_role(role, f"set transaction read write; {statement}")


def test_a_reader_writes_nothing_by_mistake(as_role: Callable[[str, str], None]) -> None:
    with pytest.raises(ReadOnlySqlTransaction):
        as_role("reader", "insert into fraud.fraud_labels values ('t', 'analyst', 1, now())")


@pytest.mark.parametrize(
    ("role", "statement", "lock", "idle"),
    [("writer", "2min", "30s", "1min"), ("analyst", "10min", "30s", "5min"), ("reader", "15s", "2s", "30s")],
)
def test_no_role_waits_or_holds_for_ever(place: Place, role: str, statement: str, lock: str, idle: str) -> None:
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    settings = [place.run(f"show {name}", role=role)[0][0] for name in names]
    assert settings == [statement, lock, idle]


def test_who_is_no_role_of_the_warehouse_cannot_connect(place: Place) -> None:
    place.run("create role stranger login password 'known'")
    with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
        psycopg2.connect(host=place.host, port=place.port, dbname=place.name, user="stranger", password="known")
    place.run("drop role stranger")
