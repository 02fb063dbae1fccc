"""A database of its own for each test, in the PostgreSQL of the embedded AWS, with the roles of the warehouse and their secrets."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg2
import pytest
from fraudit_stream.database import Database

from resources.aws import client
from resources.secrets import Secrets
from resources.warehouse import ROLES, Warehouse
from tests.conftest import unique
from tests.operate.conftest import REGION, said

if TYPE_CHECKING:
    from psycopg2.extensions import connection


@dataclass(frozen=True)
class Place:
    """A database, and the name that those of its roles' secrets start with."""

    host: str
    port: int
    name: str
    secrets: str
    owner: tuple[str, str]

    def login(self, role: str) -> tuple[str, str]:
        """User and password of a role, or of the owner."""
        if role == "owner":
            return self.owner
        secret = Secrets(region=REGION).read(f"{self.secrets}/{role}")
        return secret["username"], secret["password"]

    def connect(self, role: str = "owner") -> "connection":
        """Log in as a role."""
        user, password = self.login(role)
        return psycopg2.connect(host=self.host, port=self.port, dbname=self.name, user=user, password=password)

    def run(self, statement: str, parameters: Any = None, *, role: str = "owner") -> list[tuple[Any, ...]]:
        """Run a statement as a role, for good, and return its rows."""
        with closing(self.connect(role)) as connection, connection, connection.cursor() as rows:
            rows.execute(statement, parameters)
            return rows.fetchall() if rows.description else []

    def warehouse(self, role: str = "owner") -> Warehouse:
        """The client of the graph, as a role."""
        user, password = self.login(role)
        return Warehouse(
            secrets=Secrets(region=REGION),
            host=self.host,
            port=self.port,
            database=self.name,
            user=user,
            password=password,
        )

    def database(self) -> Database:
        """The client of the stream, as its role."""
        return Database(
            host=self.host,
            port=self.port,
            name=self.name,
            user="",
            sslmode="prefer",
            secret_id=f"{self.secrets}/writer",
            region=REGION,
        )


@pytest.fixture(scope="module")
def new_place(local_cloud: dict[str, str]) -> Iterator[Callable[[str], Place]]:
    """Makes an empty database for roles with those secrets, and points the command ``fraudit`` there."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**local_cloud, "AWS_REGION": REGION}.items():
            patch.setenv(name, value)
        owner = local_cloud["POSTGRES_USER"], local_cloud["POSTGRES_PASSWORD"]

        def new(secrets: str) -> Place:
            name = unique("place").replace("-", "_")
            place = Place(local_cloud["POSTGRES_HOST"], int(local_cloud["POSTGRES_PORT"]), name, secrets, owner)
            with closing(
                psycopg2.connect(host=place.host, port=place.port, user=owner[0], password=owner[1])
            ) as server:
                server.autocommit = True
                server.cursor().execute(f"create database {name}")
            patch.setenv("POSTGRES_DB", name)
            patch.setenv("FRAUDIT_WAREHOUSE_SECRETS", secrets)
            return place

        yield new


def new_secrets() -> str:
    """Make secrets for the roles as the infrastructure makes them, and return what their names start with."""
    secrets = unique("warehouse")
    for role in ROLES:
        client("secretsmanager", region=REGION).create_secret(
            Name=f"{secrets}/{role}", SecretString=f'{{"username": "fraud_{role}"}}'
        )
    return secrets


@pytest.fixture
def empty(new_place: Callable[[str], Place]) -> Place:
    """A database with nothing in it, and secrets without passwords."""
    return new_place(new_secrets())


@pytest.fixture(scope="module")
def migrated(new_place: Callable[[str], Place]) -> Place:
    """A database as ``fraudit warehouse migrate`` leaves it."""
    place = new_place(new_secrets())
    said("warehouse", "migrate")
    return place


@pytest.fixture
def place(migrated: Place, new_place: Callable[[str], Place]) -> Place:
    """Another one, for this test alone."""
    place = new_place(migrated.secrets)
    place.warehouse().migrate()
    return place


def store(place: Place, ids: str, occurred_at: str, *, stored_at: str = "now()", decision: str = "approve") -> None:
    """Store transactions: a query gives their ids, SQL expressions the rest."""
    place.run(
        f"""
        insert into fraud.fraud_predictions (transaction_id, event_id, occurred_at, scored_at, stored_at, user_id, source, country,
            hour, weekday, amount, amount_band, contract, manifest_version, features, fraud_proba, decision)
        select id, gen_random_uuid(), {occurred_at}, {occurred_at}, {stored_at}, 'u', 'Web', 'NL', 1, 1, 10.50, '10-50',
            'creditcard', 'v', '{{1}}', 0.5, '{decision}'
        from ({ids}) as given (id)
        """  # noqa: S608 - of the tests
    )
