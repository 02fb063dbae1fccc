"""What passes is waited for, and the batch written whole once it has passed; what does not is said at once."""

import json
import threading
from collections.abc import Callable
from contextlib import closing

import boto3
import psycopg2
import pytest
from fraudit_stream.database import PAUSES_S, Database, SinkError
from fraudit_stream.sink import BatchCounts, Sink

from .conftest import REGION, SECRET, Warehouse, label, prediction
from .test_sink import QUERY_ID, batch


@pytest.fixture
def written_after(database: Database) -> Callable[..., BatchCounts]:
    """Writes a batch to a database that fails, and calls ``mend`` in the pause after the first try."""

    def write(mend: Callable[[], object], *events: dict[str, object]) -> BatchCounts:
        pauses: list[float] = []

        def pause(pause_s: float) -> None:
            pauses.append(pause_s)
            mend()

        counts = Sink(database, pause=pause).write(batch(events), query_id=QUERY_ID, batch_id=0)
        assert pauses == [PAUSES_S[0]]
        return counts

    return write


def change(warehouse: Warehouse, setting: str) -> None:
    warehouse.query(f"alter database {warehouse.database} {setting}")


def test_read_only_as_after_a_failover(written_after: Callable[..., BatchCounts], warehouse: Warehouse) -> None:
    change(warehouse, "set default_transaction_read_only = on")

    def mend() -> None:
        with closing(warehouse.connect()) as connection:
            connection.set_session(readonly=False, autocommit=True)
            connection.cursor().execute(f"alter database {warehouse.database} reset default_transaction_read_only")

    assert written_after(mend, prediction("t-1")).predictions == 1


def test_no_room_for_a_connection(written_after: Callable[..., BatchCounts], warehouse: Warehouse) -> None:
    warehouse.query("alter role fraud_writer login password 'known'")
    secret = json.dumps({"username": "fraud_writer", "password": "known"})
    boto3.client("secretsmanager", region_name=REGION).put_secret_value(SecretId=SECRET, SecretString=secret)
    change(warehouse, "connection limit 0")
    assert written_after(lambda: change(warehouse, "connection limit -1"), prediction("t-1")).predictions == 1


def test_a_lock_that_is_held_for_too_long(written_after: Callable[..., BatchCounts], warehouse: Warehouse) -> None:
    change(warehouse, "set lock_timeout = '100ms'")
    with closing(warehouse.connect()) as other:
        other.cursor().execute("lock table fraud.fraud_predictions")
        assert written_after(other.rollback, prediction("t-1")).predictions == 1


def test_a_serialization_failure(written_after: Callable[..., BatchCounts], warehouse: Warehouse) -> None:
    """The snapshot of the batch is older than the label that another one commits while this one waits for its row."""
    change(warehouse, "set default_transaction_isolation = 'serializable'")
    written = label("t-1", label=0, labelled_at="2026-11-24T00:00:00+00:00")
    warehouse.query("insert into fraud.fraud_labels values ('t-1', 'chargeback', 1, '2026-11-01')")
    with closing(warehouse.connect()) as other:
        other.cursor().execute("update fraud.fraud_labels set labelled_at = '2026-11-02'")

        def overtake() -> None:
            _until_waiting(warehouse)
            other.commit()

        overtakes = threading.Thread(target=overtake)
        overtakes.start()
        counts = written_after(overtakes.join, written)
    assert counts.labels == 1
    assert warehouse.query("select label, labelled_at::date::text from fraud.fraud_labels") == [(0, "2026-11-24")]


def test_a_deadlock(written_after: Callable[..., BatchCounts], warehouse: Warehouse) -> None:
    change(warehouse, "set deadlock_timeout = '100ms'")
    warehouse.query(
        "insert into fraud.fraud_labels select t, 'chargeback', 1, '2026-11-01' from (values ('t-1'), ('t-2')) as v (t)"
    )
    with closing(warehouse.connect()) as other, other.cursor() as rows:
        rows.execute("set deadlock_timeout = '1min'")  # so that it is the batch that gives way
        rows.execute("update fraud.fraud_labels set label = 0 where transaction_id = 't-2'")

        def cross() -> None:
            _until_waiting(warehouse)
            rows.execute("update fraud.fraud_labels set label = 0 where transaction_id = 't-1'")
            other.commit()

        crosses = threading.Thread(target=cross)
        crosses.start()
        counts = written_after(crosses.join, label("t-1"), label("t-2"))
    assert counts.labels == 2


def test_a_server_that_ends_the_connection(written_after: Callable[..., BatchCounts], warehouse: Warehouse) -> None:
    with closing(warehouse.connect()) as other:
        other.cursor().execute("lock table fraud.fraud_predictions")

        def end() -> None:
            _until_waiting(warehouse)
            warehouse.query("select pg_terminate_backend(pid) from pg_stat_activity where wait_event_type = 'Lock'")

        ends = threading.Thread(target=end)
        ends.start()
        assert written_after(other.rollback, prediction("t-1")).predictions == 1
        ends.join()


def _until_waiting(warehouse: Warehouse) -> None:
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    while not warehouse.one(waiting):
        pass


def test_a_password_that_changes_between_secret_and_server(
    written_after: Callable[..., BatchCounts], warehouse: Warehouse
) -> None:
    warehouse.query("create role between login superuser password 'new'")
    secrets = boto3.client("secretsmanager", region_name=REGION)

    def rotate(password: str) -> None:
        secret = json.dumps({"username": "between", "password": password})
        secrets.put_secret_value(SecretId=SECRET, SecretString=secret)

    rotate("old")
    assert written_after(lambda: rotate("new"), prediction("t-1")).predictions == 1
    warehouse.query("drop role between")


def test_secrets_manager_away(
    written_after: Callable[..., BatchCounts], monkeypatch: pytest.MonkeyPatch, moto_url: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    mend = lambda: monkeypatch.setenv("AWS_ENDPOINT_URL", moto_url)  # noqa: E731 - what it is called says it
    assert written_after(mend, prediction("t-1")).predictions == 1


def test_a_batch_that_is_refused_is_not_tried_again(database: Database, warehouse: Warehouse) -> None:
    warehouse.query("alter table fraud.fraud_predictions add constraint poor check (amount < 100)")
    with pytest.raises(SinkError, match=r"PostgreSQL refused batch 0: .*violates check constraint \"poor\""):
        Sink(database, pause=lambda _: pytest.fail("tried again")).write(
            batch([prediction("t-1")]), query_id=QUERY_ID, batch_id=0
        )
    assert warehouse.one("select count(*) from fraud.stream_batches") == 0


def test_a_commit_whose_answer_is_lost_is_harmless(database: Database, warehouse: Warehouse) -> None:
    lost = iter([True])

    def work(cursor: "psycopg2.extensions.cursor") -> int:
        cursor.execute("insert into fraud.fraud_labels values ('t', 'analyst', 1, now()) on conflict do nothing")
        new = cursor.rowcount
        cursor.connection.commit()
        if next(lost, False):
            raise psycopg2.OperationalError("server closed the connection unexpectedly")
        return new

    assert database.transact(work, task="a label", pause=lambda _: None) == 0
    assert warehouse.one("select count(*) from fraud.fraud_labels") == 1
