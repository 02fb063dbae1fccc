"""A real PostgreSQL: migrations once, days replaced, and errors that say what to mend."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from resources import warehouse as module
from resources.secrets import Secrets, SecretsError
from resources.warehouse import SQL, Warehouse, WarehouseError
from tests.conftest import unique
from tests.resources.conftest import REGION

MIGRATIONS = sorted(path.name for path in (SQL / "migrations").glob("*.sql"))


@pytest.fixture
def make(environment: dict[str, str]) -> Callable[..., Warehouse]:
    """Makes a warehouse resource, with what the test changes."""

    def warehouse(**changes: Any) -> Warehouse:
        settings: dict[str, Any] = {
            "host": environment["POSTGRES_HOST"],
            "port": int(environment["POSTGRES_PORT"]),
            "database": environment["POSTGRES_DB"],
            "user": environment["POSTGRES_USER"],
            "password": environment["POSTGRES_PASSWORD"],
            **changes,
        }
        return Warehouse(secrets=Secrets(region=REGION), **settings)

    return warehouse


@pytest.fixture
def empty(make: Callable[..., Warehouse]) -> Warehouse:
    """A database of its own for each test, with nothing in it."""
    name = unique("warehouse").replace("-", "_")
    server = make()
    connection = psycopg2.connect(
        host=server.host, port=server.port, dbname=server.database, user=server.user, password=server.password
    )
    with closing(connection), connection.cursor() as rows:
        connection.autocommit = True
        rows.execute(f"create database {name}")
    return make(database=name)


@pytest.fixture
def warehouse(empty: Warehouse) -> Warehouse:
    empty.migrate()
    return empty


def store(warehouse: Warehouse, transaction_id: str, occurred_at: str, *, decision: str = "approve") -> None:
    with warehouse.transaction() as rows:
        rows.execute(
            """
            insert into fraud.fraud_predictions (transaction_id, event_id, occurred_at, scored_at, user_id, source, country,
                hour, weekday, amount, amount_band, contract, manifest_version, features, fraud_proba, decision)
            values (%s, gen_random_uuid(), %s, now(), 'u', 'Web', 'NL', 1, 1, 10.50, 'low', 'creditcard', 'v', '{1}', 0.5, %s)
            """,
            (transaction_id, occurred_at, decision),
        )


def day(number: int) -> datetime:
    return datetime(2026, 11, number, tzinfo=UTC)


def test_migrations_are_applied_once(empty: Warehouse) -> None:
    assert empty.migrate() == MIGRATIONS
    assert empty.migrate() == []
    assert [row["name"] for row in empty.query("select name from fraud.migrations order by 1")] == MIGRATIONS


def test_two_migrations_at_once_wait_for_each_other(empty: Warehouse) -> None:
    with ThreadPoolExecutor(4) as pool:
        applied = [future.result() for future in [pool.submit(empty.migrate) for _ in range(4)]]
    assert sorted(applied, key=len) == [[], [], [], MIGRATIONS]


def test_a_migration_that_fails_is_named_and_none_stays(
    empty: Warehouse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "0001_good.sql").write_text("create table fraud.good ()")
    (folder / "0002_bad.sql").write_text("create table fraud.bad (id nonsense)")
    monkeypatch.setattr(module, "SQL", tmp_path)
    with pytest.raises(WarehouseError, match=r'migration 0002_bad.sql: type "nonsense" does not exist'):
        empty.migrate()
    assert empty.query("select 1 from pg_namespace where nspname = 'fraud'") == []


def test_a_day_that_is_replaced_twice_has_the_same_rows(warehouse: Warehouse) -> None:
    store(warehouse, "before", "2026-11-22T23:59:59Z")
    store(warehouse, "first", "2026-11-23T00:00:00Z")
    store(warehouse, "last", "2026-11-23T23:59:59Z", decision="block")
    store(warehouse, "after", "2026-11-24T00:00:00Z")

    def rows() -> list[dict[str, Any]]:
        return warehouse.query(
            "select day::text, transactions, amount::text, blocked from fraud.daily_fraud_summary order by day"
        )

    assert warehouse.replace_days("daily_fraud_summary", start=day(23), end=day(24)) == 1
    expected = [{"day": "2026-11-23", "transactions": 2, "amount": "21.00", "blocked": 1}]
    assert rows() == expected
    assert warehouse.replace_days("daily_fraud_summary", start=day(23), end=day(24)) == 1
    assert rows() == expected
    assert warehouse.replace_days("daily_fraud_summary", start=day(20), end=day(25)) == 3
    assert [row["transactions"] for row in rows()] == [1, 2, 1]


def test_a_day_whose_rows_are_gone_is_emptied(warehouse: Warehouse) -> None:
    store(warehouse, "t", "2026-11-23T10:00:00Z")
    warehouse.replace_days("daily_fraud_summary", start=day(23), end=day(24))
    with warehouse.transaction() as rows:
        rows.execute("delete from fraud.fraud_predictions")
    assert warehouse.replace_days("daily_fraud_summary", start=day(23), end=day(24)) == 0
    assert warehouse.query("select * from fraud.daily_fraud_summary") == []


def test_times_come_back_in_utc(warehouse: Warehouse) -> None:
    (row,) = warehouse.query("select %(at)s::timestamptz as at", {"at": "2026-11-23T12:00:00+02:00"})
    assert row == {"at": datetime(2026, 11, 23, 10, tzinfo=UTC)}


def test_an_error_inside_a_transaction_leaves_nothing(warehouse: Warehouse) -> None:
    def write_and_fail() -> None:
        with warehouse.transaction() as rows:
            rows.execute("create table fraud.half_done ()")
            raise RuntimeError("of the caller")

    with pytest.raises(RuntimeError, match="of the caller"):
        write_and_fail()
    assert warehouse.query("select to_regclass('fraud.half_done')::text as found") == [{"found": None}]


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("select * from fraud.nothing", r'relation "fraud.nothing" does not exist\nLINE 1'),
        ("selec 1", "syntax error"),
        ("create table fraud.x ()", "no results to fetch"),
        ("set local statement_timeout = 100; select pg_sleep(30)", "statement timeout"),
    ],
)
def test_a_statement_that_fails_says_why(warehouse: Warehouse, statement: str, message: str) -> None:
    with pytest.raises(WarehouseError, match=message):
        warehouse.query(statement)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"port": 1}, "Connection refused"),
        ({"database": "nowhere"}, 'database "nowhere" does not exist'),
        ({"password": "hunter2"}, "password authentication failed"),
        ({"sslmode": "require"}, "server does not support SSL"),
    ],
)
def test_a_server_that_cannot_be_used_is_named_and_the_password_is_not(
    make: Callable[..., Warehouse], changes: dict[str, Any], message: str
) -> None:
    warehouse = make(**changes)
    place = f"cannot reach the warehouse at {warehouse.host}:{warehouse.port}/{warehouse.database}: "
    with pytest.raises(WarehouseError, match=f"^{place}(?s:.*){message}") as caught:
        warehouse.query("select 1")
    assert "hunter2" not in str(caught.value)


def test_the_secret_wins_and_is_read_at_each_connection(
    make: Callable[..., Warehouse], environment: dict[str, str], boto: Callable[[str], Any]
) -> None:
    name, client = unique("postgres"), boto("secretsmanager")
    good = {"username": environment["POSTGRES_USER"], "password": environment["POSTGRES_PASSWORD"]}
    arn = client.create_secret(Name=name, SecretString=json.dumps(good))["ARN"]
    warehouse = make(secret_arn=arn, user="nobody", password=None)
    assert warehouse.query("select current_user::text as me") == [{"me": good["username"]}]
    client.put_secret_value(SecretId=name, SecretString=json.dumps({**good, "password": "hunter2"}))
    with pytest.raises(WarehouseError, match="password authentication failed"):
        warehouse.query("select 1")


def test_a_secret_without_the_fields_is_named(make: Callable[..., Warehouse], boto: Callable[[str], Any]) -> None:
    name = unique("postgres")
    boto("secretsmanager").create_secret(Name=name, SecretString='{"user": "x"}')
    with pytest.raises(WarehouseError, match=f"the secret {name} has no username and no password"):
        make(secret_arn=name).query("select 1")
    with pytest.raises(SecretsError, match="cannot read the secret none"):
        make(secret_arn="none").query("select 1")
