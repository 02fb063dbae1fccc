"""PostgreSQL: the transactions that were scored and what is computed from them.

Belongs here: connections, transactions, migrations and the errors of the database.
Does not: the SQL of a table (``fraudit_dagster/sql/``).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

import fraudit_dagster
from resources.secrets import Secrets

if TYPE_CHECKING:
    from psycopg2.extensions import cursor

SQL = Path(fraudit_dagster.__file__).parent / "sql"
MIGRATION_LOCK = 8_145_022
"""Of ``pg_advisory_xact_lock``: two migrations at once wait for each other."""


class WarehouseError(RuntimeError):
    """The warehouse could not be reached, or refused a statement."""


class Warehouse(dg.ConfigurableResource):
    """The fraud warehouse in PostgreSQL."""

    secrets: dg.ResourceDependency[Secrets]
    host: str = Field(description="Server name or address.")
    port: int = Field(description="Server port.")
    database: str = Field(description="Database.")
    user: str = Field(description="Role to connect as; the secret's user name wins.")
    password: str | None = Field(default=None, description="Password, where there is no secret.")
    secret_arn: str | None = Field(
        default=None, description="Secret with username and password, read anew at each connection."
    )
    sslmode: str = Field(default="prefer", description="As in libpq; verify-full on AWS.")
    connect_timeout_s: int = Field(default=10, gt=0, description="Longest wait for a connection, in seconds.")
    statement_timeout_s: int = Field(default=60, gt=0, description="Longest single statement, in seconds.")

    def _credentials(self) -> tuple[str, str | None]:
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
                options=f"-c statement_timeout={self.statement_timeout_s}s -c timezone=UTC",
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

    def migrate(self) -> list[str]:
        """Apply the migrations that the database lacks, in the order of their names, in one transaction.

        Returns:
            The names of those applied now; empty where the schema was up to date.

        Raises:
            WarehouseError: The database could not be reached, or refused a migration, which is named; none was applied.
        """
        import psycopg2

        applied = []
        with self.transaction() as rows:
            rows.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
            rows.execute("CREATE SCHEMA IF NOT EXISTS fraud")
            rows.execute(
                "CREATE TABLE IF NOT EXISTS fraud.migrations (name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
            )
            rows.execute("SELECT name FROM fraud.migrations")
            known = {name for (name,) in rows.fetchall()}
            for path in sorted((SQL / "migrations").glob("*.sql")):
                if path.name in known:
                    continue
                try:
                    rows.execute(path.read_text())
                except psycopg2.Error as error:
                    raise WarehouseError(f"migration {path.name}: {str(error).strip()}") from error
                rows.execute("INSERT INTO fraud.migrations (name) VALUES (%s)", (path.name,))
                applied.append(path.name)
        return applied

    def replace_days(self, table: str, *, start: datetime, end: datetime) -> int:
        """Recompute the daily table for [start, end) in one transaction and return the number of rows written."""
        with self.transaction() as rows:
            rows.execute((SQL / f"{table}.sql").read_text(), {"start": start, "end": end})
            return int(rows.rowcount)

    def query(self, statement: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Run one statement that reads, and return its rows by column name."""
        with self.transaction() as rows:
            rows.execute(statement, parameters)
            names = [column.name for column in rows.description or ()]
            return [dict(zip(names, row, strict=True)) for row in rows.fetchall()]
