# ruff: noqa: INP001 - a script, in no package
"""Make Dagster's own database and login on the warehouse's server: ``python infra/dagster/database.py``, safe to repeat.

Belongs here: what ``infra/dagster/dagster.yaml`` expects to find. Does not: Dagster's tables, which it makes itself; the warehouse
(``fraudit warehouse migrate``). The login is in the secret that ``DAGSTER_POSTGRES_SECRET`` names; one without a password gets one here,
so that none is ever in a file. ``DAGSTER_POSTGRES_DB`` is the database's name, and ``POSTGRES_*`` the server and its owner.
"""

import os
import secrets as random
from contextlib import closing
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import encrypt_password

from fraudit_dagster.settings import Settings, load_settings
from resources.secrets import Secrets

PASSWORD_BYTES = 24


def _with_password(document: dict[str, Any]) -> dict[str, Any]:
    return {"password": random.token_urlsafe(PASSWORD_BYTES), **document}


def make(settings: Settings, *, database: str, secret: str) -> None:
    """Make the login and the database where they are not there, and let the login in with the password of its secret.

    Args:
        settings: Of the server and its owner; the owner's password is among them.
        database: Name of the database.
        secret: Name of the secret, ``{"username": ...}`` at least.

    Raises:
        SecretsError: There is no such secret, or it may not be changed.
        psycopg2.Error: PostgreSQL could not be reached, or the owner may not do it.
    """
    login = Secrets(region=settings.aws_region).change(secret, _with_password)
    role, owner = sql.Identifier(login["username"]), sql.Identifier(settings.postgres_user)
    password = settings.postgres_password
    connection = psycopg2.connect(
        host=settings.postgres_host,
        port=settings.postgres_port,
        dbname=settings.postgres_db,
        user=settings.postgres_user,
        password=password.get_secret_value() if password else None,
        sslmode=settings.postgres_sslmode,
    )
    with closing(connection), connection.cursor() as rows:
        connection.autocommit = True  # no database is made in a transaction
        verifier = encrypt_password(login["password"], login["username"], connection, "scram-sha-256")
        rows.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (login["username"],))
        if not rows.fetchone():
            rows.execute(sql.SQL("CREATE ROLE {}").format(role))
        rows.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(verifier)))
        rows.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,))
        if not rows.fetchone():
            # The owner of RDS is no superuser: what it gives away must be its own, and the other one's.
            rows.execute(sql.SQL("GRANT {} TO {}").format(role, owner))
            rows.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(database), role))
        rows.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database)))


if __name__ == "__main__":
    make(load_settings(), database=os.environ["DAGSTER_POSTGRES_DB"], secret=os.environ["DAGSTER_POSTGRES_SECRET"])
