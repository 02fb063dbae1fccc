"""``fraudit warehouse``: the database behind the stream, made ready and kept small.

Belongs here: the order of things and what is shown. Does not: any statement (``resources/warehouse.py``, ``fraudit_dagster/sql/``).
"""

import secrets as random
from collections.abc import Iterator
from datetime import date
from functools import partial
from typing import Any

from fraudit_dagster.cli.errors import CommandError
from fraudit_dagster.cli.operate import resources
from fraudit_dagster.cli.replay import progress_of
from fraudit_dagster.settings import Settings, load_settings
from resources.secrets import Secrets
from resources.warehouse import ROLES, Warehouse

PASSWORD_BYTES = 24


def migrate() -> Iterator[str]:
    """Apply the migrations as the owner, and let the roles log in with the passwords of their secrets; yield a line for each.

    A secret that has no password yet gets one here, so that none is ever in a file.

    Raises:
        WarehouseError: PostgreSQL could not be reached, or refused it.
        SecretsError: The secret of a role is missing, or may not be changed.
    """
    settings = load_settings()
    secrets = Secrets(region=settings.aws_region)
    owner = _owner(settings, secrets)
    applied = owner.migrate()
    yield f"warehouse: {', '.join(applied) if applied else 'up to date'}"
    for role in ROLES:
        name, secret = f"fraud_{role}", f"{settings.warehouse_secrets}/{role}"
        known = secrets.change(secret, partial(_with_login, name=name))
        owner.let_in(name, password=known["password"])
        yield f"role: {name} logs in with the secret {secret}"


def pending() -> Iterator[str]:
    """Yield a line for each thing that ``migrate`` would change, and change nothing.

    Raises:
        WarehouseError: PostgreSQL could not be reached, or a migration was changed after it was applied.
        SecretsError: The secret of a role is missing, or may not be read.
    """
    settings = load_settings()
    secrets = Secrets(region=settings.aws_region)
    changes = [f"+ migration {name}" for name in _owner(settings, secrets).pending()]
    for role in ROLES:
        secret = f"{settings.warehouse_secrets}/{role}"
        if "password" not in secrets.read(secret):
            changes.append(f"+ password of fraud_{role}, in the secret {secret}")
    yield from changes or ["nothing to change"]


def _owner(settings: Settings, secrets: Secrets) -> Warehouse:
    password = settings.postgres_password
    return Warehouse(
        secrets=secrets,
        host=settings.postgres_host,
        port=settings.postgres_port,
        database=settings.postgres_db,
        user=settings.postgres_user,
        password=password.get_secret_value() if password else None,
        secret_arn=settings.postgres_secret_arn,
        sslmode=settings.postgres_sslmode,
    )


def _with_login(document: dict[str, Any], *, name: str) -> dict[str, Any]:
    return {"password": random.token_urlsafe(PASSWORD_BYTES), **document, "username": name}


def drop_day(day: date) -> None:
    """Delete the rows of an archived day, as the graph's role, and say what went.

    Raises:
        CommandError: The day is not archived.
        WarehouseError: Its archive has another number of rows than the warehouse, or PostgreSQL could not be reached.
    """
    with resources(load_settings(), "warehouse") as using:
        archives = using.warehouse.query("SELECT * FROM fraud.archived_days WHERE day = %(day)s", {"day": day})
        if not archives:
            raise CommandError(f"{day} is not archived, and so nothing of it is deleted")
        (archive,) = archives
        gone = 0
        with progress_of(str(day)) as progress:
            task = progress.add_task("", total=archive["rows"] + archive["quarantined"])
            for rows in using.warehouse.drop_day(day):
                gone += rows
                progress.advance(task, rows)
    print(f"{day}: {gone:,} rows deleted; they are in {archive['uri']}")  # noqa: T201 - the command's output
