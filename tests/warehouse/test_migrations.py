"""``fraudit warehouse migrate``: once, by one at a time, whole or not at all, and never in the way of the stream."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from resources import warehouse as module
from resources.secrets import Secrets, SecretsError
from resources.warehouse import ROLES, SQL, WarehouseError
from scripts.reference_data import warehouse as warehouse_tables
from tests.operate.conftest import REGION, fraudit, said
from tests.warehouse.conftest import Place

MIGRATIONS = sorted(path.name for path in (SQL / "migrations").glob("*.sql"))


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of migrations, empty."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    monkeypatch.setattr(module, "SQL", tmp_path)
    return folder


def test_a_new_database_gets_tables_and_roles_and_a_second_time_nothing(empty: Place) -> None:
    roles = [f"role: fraud_{role} logs in with the secret {empty.secrets}/{role}" for role in ROLES]
    assert said("warehouse", "migrate").splitlines() == [f"warehouse: {', '.join(MIGRATIONS)}", *roles]
    logins = [empty.login(role) for role in ROLES]
    assert said("warehouse", "migrate").splitlines() == ["warehouse: up to date", *roles]
    assert [empty.login(role) for role in ROLES] == logins
    for role, (user, _) in zip(ROLES, logins, strict=True):
        assert empty.run("select current_user::text", role=role) == [(user,)]


def test_a_dry_run_says_what_would_be_made_and_makes_nothing(empty: Place) -> None:
    wanted = [f"+ migration {name}" for name in MIGRATIONS]
    wanted += [f"+ password of fraud_{role}, in the secret {empty.secrets}/{role}" for role in ROLES]
    for _ in range(2):
        assert said("warehouse", "migrate", "--dry-run").splitlines() == wanted
    said("warehouse", "migrate")
    assert said("warehouse", "migrate", "--dry-run").splitlines() == ["nothing to change"]


COLUMNS = """
    select c.table_schema || '.' || c.table_name, c.column_name, c.is_nullable = 'YES',
           coalesce(col_description((c.table_schema || '.' || c.table_name)::regclass, c.ordinal_position), '')
    from information_schema.columns c where c.table_schema = 'fraud' and c.table_name <> 'migrations'
"""


def test_the_reference_has_the_tables_that_postgresql_has(migrated: Place) -> None:
    described = {
        (name, column, "not null" not in rest and "primary key" not in rest, table.comments.get(column, ""))
        for name, table in warehouse_tables().items()
        for column, (_, rest) in table.columns.items()
    }
    assert described == set(migrated.run(COLUMNS))


def test_a_password_that_is_in_the_secret_is_the_one_that_counts(empty: Place) -> None:
    said("warehouse", "migrate")
    Secrets(region=REGION).change(f"{empty.secrets}/reader", lambda secret: {**secret, "password": "of a rotation"})
    said("warehouse", "migrate")
    assert empty.login("reader") == ("fraud_reader", "of a rotation")
    assert empty.run("select 1", role="reader") == [(1,)]


def test_a_role_without_a_secret_is_named(empty: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAUDIT_WAREHOUSE_SECRETS", "nowhere")
    done = fraudit("warehouse", "migrate")
    assert isinstance(done.exception, SecretsError)
    assert "cannot read the secret nowhere/writer" in str(done.exception)
    assert empty.run("select count(*) from fraud.migrations") == [(len(MIGRATIONS),)]


PROGRAM = """
import json, sys
from resources.secrets import Secrets
from resources.warehouse import Warehouse
warehouse = Warehouse(secrets=Secrets(region="eu-west-1"), **json.loads(sys.argv[1]))
print(json.dumps(warehouse.migrate()))
"""


def test_two_processes_at_once_apply_each_migration_once(empty: Place) -> None:
    settings = empty.warehouse().model_dump(exclude={"secrets"}, exclude_none=True)
    command = [sys.executable, "-c", PROGRAM, json.dumps(settings)]
    with closing(empty.connect()) as other:  # holds both up, so that they meet
        other.cursor().execute("select pg_advisory_lock(%s)", (module.MIGRATION_LOCK,))
        both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
        while empty.run(waiting) != [(2,)]:
            assert all(process.poll() is None for process in both)
    applied = [json.loads(process.communicate(timeout=60)[0]) for process in both]
    assert sorted(applied) == [[], MIGRATIONS]


def test_a_file_that_was_changed_after_it_was_applied_is_refused(empty: Place, files: Path) -> None:
    (files / "0001_first.sql").write_text("create table fraud.first ()")
    assert empty.warehouse().migrate() == ["0001_first.sql"]
    (files / "0001_first.sql").write_text("create table fraud.first (id text)")
    (files / "0002_second.sql").write_text("create table fraud.second ()")
    with pytest.raises(WarehouseError, match=r"0001_first.sql was changed after it was applied: restore it, and say"):
        empty.warehouse().migrate()
    assert empty.run("select to_regclass('fraud.second')") == [(None,)]


def test_a_ledger_from_before_checksums_is_taken_as_it_is(empty: Place, files: Path) -> None:
    (files / "0001_first.sql").write_text("create table fraud.first ()")
    empty.run(
        "create schema fraud; create table fraud.migrations (name text primary key, applied_at timestamptz default now())"
    )
    empty.run("insert into fraud.migrations (name) values ('0001_first.sql')")
    assert empty.warehouse().migrate() == []


@pytest.fixture
def long_read(empty: Place, files: Path) -> Iterator[threading.Timer]:
    """Somebody reads a table for a while, which the next migration wants to change; stopped by the timer."""
    (files / "0001_table.sql").write_text("create table fraud.long ()")
    empty.warehouse().migrate()
    (files / "0002_column.sql").write_text("alter table fraud.long add column late text")
    with closing(empty.connect()) as reader:
        reader.cursor().execute("select * from fraud.long")
        timer = threading.Timer(0.3, reader.rollback)
        yield timer
        timer.cancel()


def test_a_migration_gives_way_to_a_long_read_and_comes_again(
    empty: Place, long_read: threading.Timer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOCK_TIMEOUT_S", 0.1)
    monkeypatch.setattr(module, "LOCK_PAUSES_S", (0.1,) * 20)
    long_read.start()
    assert empty.warehouse().migrate() == ["0002_column.sql"]


def test_a_migration_that_never_gets_its_lock_is_named_and_leaves_nothing(
    empty: Place, long_read: threading.Timer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOCK_TIMEOUT_S", 0.1)
    monkeypatch.setattr(module, "LOCK_PAUSES_S", (0.0,))
    assert not long_read.is_alive()
    with pytest.raises(WarehouseError, match=r"migration 0002_column.sql: canceling statement due to lock timeout"):
        empty.warehouse().migrate()
    assert empty.run("select name from fraud.migrations") == [("0001_table.sql",)]
