"""PostgreSQL: the transactions that were scored and what is computed from them.

Belongs here: connections, transactions, migrations and the errors of the database.
Does not: the SQL of a table, nor what a role may do (``fraudit_dagster/sql/``).
"""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

import fraudit_dagster
from resources.secrets import Secrets

if TYPE_CHECKING:
    from psycopg2.extensions import cursor

SQL = Path(fraudit_dagster.__file__).parent / "sql"
ROLES = ("writer", "analyst", "reader")
"""What the warehouse's roles are called in secrets; in PostgreSQL ``fraud_<role>`` (``0002_roles.sql``)."""
MIGRATION_LOCK = 8_145_022
"""Of ``pg_advisory_xact_lock``: two migrations at once wait for each other."""
LOCK_TIMEOUT_S, LOCK_PAUSES_S = 2, (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
"""Who waits for a table's lock holds up all who come after. So a migration soon gives way, and comes again."""
CHUNK_ROWS = 5_000
"""Rows deleted in one transaction."""

_log = logging.getLogger(__name__)


class WarehouseError(RuntimeError):
    """The warehouse could not be reached, or refused a statement."""


class Warehouse(dg.ConfigurableResource):
    """The fraud warehouse in PostgreSQL."""

    secrets: dg.ResourceDependency[Secrets]
    host: str = Field(description="Server name or address.")
    port: int = Field(description="Server port.")
    database: str = Field(description="Database.")
    secret_arn: str | None = Field(
        default=None, description="Secret with username and password, read anew at each connection."
    )
    user: str | None = Field(default=None, description="Role to connect as, where there is no secret.")
    password: str | None = Field(default=None, description="Its password.")
    sslmode: str = Field(default="prefer", description="As in libpq; verify-full on AWS.")
    connect_timeout_s: int = Field(default=10, gt=0, description="Longest wait for a connection, in seconds.")
    statement_timeout_s: float | None = Field(
        default=None, gt=0, description="Longest that one statement may take, in seconds; none: what the role may."
    )

    def _credentials(self) -> tuple[str | None, str | None]:
        if self.secret_arn is None:
            return self.user, self.password
        secret = self.secrets.read(self.secret_arn)
        if missing := [field for field in ("username", "password") if field not in secret]:
            raise WarehouseError(f"the secret {self.secret_arn} has no {' and no '.join(missing)}")
        return secret["username"], secret["password"]

    @contextmanager
    def transaction(self) -> Iterator["cursor"]:
        """Yield a cursor; commit at the end, roll back on any error.

        Raises:
            WarehouseError: The database could not be reached, or a statement failed.
            SecretsError: The secret could not be read.
        """
        import psycopg2

        user, password = self._credentials()
        try:
            connection = psycopg2.connect(
                host=self.host,
                port=self.port,
                dbname=self.database,
                user=user,
                password=password,
                sslmode=self.sslmode,
                connect_timeout=self.connect_timeout_s,
                application_name="fraudit",
                options=self._options(),
            )
        except psycopg2.OperationalError as error:
            raise WarehouseError(
                f"cannot reach the warehouse at {self.host}:{self.port}/{self.database}: {error}"
            ) from error
        try:
            with connection, connection.cursor() as rows:
                yield rows
        except psycopg2.Error as error:
            raise WarehouseError(str(error).strip()) from error
        finally:
            connection.close()

    def _options(self) -> str:
        """Return settings of a connection; what is not set here is as the role has it, which bounds statements and locks too."""
        bound = (
            "" if self.statement_timeout_s is None else f" -c statement_timeout={self.statement_timeout_s * 1000:.0f}"
        )
        return f"-c timezone=UTC{bound}"

    def migrate(self) -> list[str]:
        """Apply the migrations that the database lacks, in the order of their names, in one transaction.

        A statement may take as long as it needs, but waits for a lock only ``LOCK_TIMEOUT_S``: then everything is undone and tried
        again later, so that the stream does not queue up behind a migration that itself waits for a long read.

        Returns:
            The names of those applied now; empty where the schema was up to date.

        Raises:
            WarehouseError: The database could not be reached; one that was applied has been changed since; or one was refused or did
                not get its locks, and is named: none was applied.
        """
        from psycopg2.errors import LockNotAvailable

        for pause_s in LOCK_PAUSES_S:
            try:
                return self._migrate_once()
            except WarehouseError as error:
                if not isinstance(error.__cause__, LockNotAvailable):
                    raise
                _log.warning("%s; next try in %.0f s", error, pause_s)
                time.sleep(pause_s)
        return self._migrate_once()

    def pending(self) -> list[str]:
        """Return the names of the migrations that the database lacks, and change nothing.

        Raises:
            WarehouseError: The database could not be reached, or one that was applied has been changed since.
        """
        with self.transaction() as rows:
            rows.execute("SELECT to_regclass('fraud.migrations') IS NOT NULL")
            (is_there,) = rows.fetchone() or (False,)
            known = self._ledger(rows) if is_there else {}
            names = [name for name, _, _ in _lacking(known)]
            rows.connection.rollback()
        return names

    def _migrate_once(self) -> list[str]:
        import psycopg2

        applied = []
        with self.transaction() as rows:
            rows.execute("SET LOCAL statement_timeout = 0")
            rows.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
            rows.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'")
            for name, statements, checksum in _lacking(self._ledger(rows)):
                try:
                    rows.execute(statements)
                except psycopg2.Error as error:
                    raise WarehouseError(f"migration {name}: {str(error).strip()}") from error
                rows.execute("INSERT INTO fraud.migrations (name, checksum) VALUES (%s, %s)", (name, checksum))
                applied.append(name)
        return applied

    @staticmethod
    def _ledger(rows: "cursor") -> dict[str, str | None]:
        """Return the checksum of each migration that was applied; None where it was before checksums were kept."""
        rows.execute("CREATE SCHEMA IF NOT EXISTS fraud")
        rows.execute(
            "CREATE TABLE IF NOT EXISTS fraud.migrations (name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        rows.execute("ALTER TABLE fraud.migrations ADD COLUMN IF NOT EXISTS checksum text")
        rows.execute("SELECT name, checksum FROM fraud.migrations")
        return dict(rows.fetchall())

    def let_in(self, role: str, *, password: str) -> None:
        """Let a role of the migrations log in with a password, of which the server only gets to see the verifier.

        Raises:
            WarehouseError: There is no such role, or the one that asks may not change it.
        """
        from psycopg2 import sql
        from psycopg2.extensions import encrypt_password

        with self.transaction() as rows:
            rows.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
            verifier = encrypt_password(password, role, rows.connection, "scram-sha-256")
            rows.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier)))

    def drop_day(self, day: date) -> Iterator[int]:
        """Delete the rows of an archived day, a chunk in each transaction, and yield how many each took.

        Safe to interrupt and to repeat: what is gone is gone, and a day that is gone yields nothing.

        Raises:
            WarehouseError: The day is not in ``archived_days``, or its archive has another number of rows.
        """
        while True:
            with self.transaction() as rows:
                rows.execute("SELECT fraud.drop_archived(%s, %s)", (day, CHUNK_ROWS))
                (gone,) = rows.fetchone() or (0,)
            if not gone:
                return
            yield int(gone)

    def replace_days(self, table: str, *, start: datetime, end: datetime, **parameters: Any) -> int:
        """Recompute the daily table for [start, end) in one transaction and return the number of rows written.

        Args:
            table: Whose statements are ``fraudit_dagster/sql/<table>.sql``.
            start: UTC midnight.
            end: UTC midnight.
            parameters: What else the statements ask for.

        Raises:
            WarehouseError: The database could not be reached, a statement failed, or the rows of a day were dropped once they were
                archived: its figures are the last that were true.
        """
        with self.replacing(start=start, end=end) as rows:
            rows.execute((SQL / f"{table}.sql").read_text(), {"start": start, "end": end, **parameters})
            return int(rows.rowcount)

    @contextmanager
    def replacing(self, *, start: datetime, end: datetime) -> Iterator["cursor"]:
        """Yield a cursor to replace the rows of [start, end) in a daily table with; errors as of ``replace_days``."""
        with self.transaction() as rows:
            rows.execute(
                "SELECT day FROM fraud.archived_days WHERE dropped_at IS NOT NULL AND day >= %s AND day < %s ORDER BY day LIMIT 1",
                (start.astimezone(UTC).date(), end.astimezone(UTC).date()),
            )
            if (dropped := rows.fetchone()) is not None:
                raise WarehouseError(
                    f"{dropped[0]}: the warehouse has dropped its rows, so that its daily figures stay as they are; choose days that "
                    "are there"
                )
            yield rows

    def chunks(
        self, statement: str, parameters: Mapping[str, Any] | None = None, *, rows_each: int
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Run one statement that reads, and yield its rows so many at a time, all of one snapshot; no more are in memory.

        Raises:
            WarehouseError: The database could not be reached, or the statement failed; perhaps after some rows.
        """
        with self.transaction() as rows, rows.connection.cursor("chunks") as chunk:
            chunk.execute(statement, parameters)
            while found := chunk.fetchmany(rows_each):
                yield found

    def to_csv(self, statement: str, parameters: Mapping[str, Any] | None = None, *, path: Path) -> None:
        """Run one statement that reads, and write its rows to a CSV file without a head, as COPY gives them: nothing for null.

        Raises:
            WarehouseError: The database could not be reached, or the statement failed.
        """
        with self.transaction() as rows, path.open("wb") as file:
            rows.copy_expert(f"COPY ({rows.mogrify(statement, parameters).decode()}) TO STDOUT (FORMAT csv)", file)

    def query(self, statement: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Run one statement that reads, and return its rows by column name."""
        with self.transaction() as rows:
            rows.execute(statement, parameters)
            names = [column.name for column in rows.description or ()]
            return [dict(zip(names, row, strict=True)) for row in rows.fetchall()]


def _lacking(known: Mapping[str, str | None]) -> Iterator[tuple[str, str, str]]:
    """Yield name, statements and checksum of each migration that is not known, in the order of their names.

    Raises:
        WarehouseError: One that is known had another checksum.
    """
    for path in sorted((SQL / "migrations").glob("*.sql")):
        statements = path.read_text()
        checksum = sha256(statements.encode()).hexdigest()
        if path.name not in known:
            yield path.name, statements, checksum
        elif known[path.name] not in (checksum, None):
            raise WarehouseError(
                f"migration {path.name} was changed after it was applied: restore it, and say what changes in a new one"
            )
