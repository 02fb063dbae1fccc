"""Dagster's settings for AWS, on a real PostgreSQL and S3, and next to those of this machine."""

import json
import runpy
from contextlib import closing
from pathlib import Path
from string import Template
from typing import Any

import boto3
import dagster as dg
import psycopg2
import pytest
import yaml
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin
from dagster._core.workspace.load import location_origins_from_yaml_paths
from pydantic import SecretStr

from fraudit_dagster.settings import PROJECT_DIR, load_settings
from tests.conftest import unique

HOME = PROJECT_DIR / "infra" / "dagster"


def address(local_cloud: dict[str, str], **other: str) -> str:
    """Return where the server of this machine is, and who its superuser is, or another."""
    names = {"host": "HOST", "port": "PORT", "dbname": "DB", "user": "USER", "password": "PASSWORD"}
    where = {key: local_cloud[f"POSTGRES_{suffix}"] for key, suffix in names.items()} | other
    return " ".join(f"{key}={value}" for key, value in where.items())


@pytest.fixture
def database(local_cloud: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A database of its own for Dagster, and the environment of a container."""
    name = unique("dagster").replace("-", "_")
    with closing(psycopg2.connect(address(local_cloud))) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(f'CREATE DATABASE "{name}"')
    variables = {
        **local_cloud,
        "DAGSTER_POSTGRES_DB": name,
        "DAGSTER_POSTGRES_USER": local_cloud["POSTGRES_USER"],
        "DAGSTER_POSTGRES_PASSWORD": local_cloud["POSTGRES_PASSWORD"],
        "MODEL_BUCKET": "models",
        "FRAUDIT_STATE_DIR": str(tmp_path),
    }
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    return name


def test_runs_are_kept_in_postgres(database: str) -> None:
    @dg.job
    def nothing_to_do() -> None: ...

    with dg.DagsterInstance.from_config(str(HOME)) as instance:
        result = nothing_to_do.execute_in_process(instance=instance)
    with dg.DagsterInstance.from_config(str(HOME)) as instance:
        kept = instance.get_run_by_id(result.run_id)
        assert kept is not None
        assert kept.status == dg.DagsterRunStatus.SUCCESS
        assert database in str(instance.run_storage.postgres_url)  # type: ignore[attr-defined]


@pytest.fixture
def owner(local_cloud: dict[str, str]) -> str:
    """One who owns the warehouse as RDS has it: no superuser."""
    name = unique("owner").replace("-", "_")
    with closing(psycopg2.connect(address(local_cloud))) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(f"CREATE ROLE {name} LOGIN CREATEROLE CREATEDB PASSWORD 'o'")
    return name


def test_its_database_and_login_are_made_once(owner: str, local_cloud: dict[str, str], database: str) -> None:  # noqa: ARG001 - the environment
    make = runpy.run_path(str(HOME / "database.py"))["make"]
    secret, login, name = (unique(what).replace("-", "_") for what in ("secret", "login", "own"))
    secrets = boto3.client("secretsmanager")
    secrets.create_secret(Name=secret, SecretString=json.dumps({"username": login}))
    settings = load_settings(env_file=None).model_copy(
        update={"postgres_user": owner, "postgres_password": SecretStr("o")}
    )

    def password() -> str:
        make(settings, database=name, secret=secret)
        return str(
            json.loads(secrets.get_secret_value(SecretId=secret, VersionStage="AWSCURRENT")["SecretString"])["password"]
        )

    first = password()
    where = address(local_cloud, dbname=name, user=login, password=first)
    with closing(psycopg2.connect(where)) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE runs (id int)")
        connection.commit()
    assert password() == first
    with closing(psycopg2.connect(where)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM runs")
        cursor.execute(
            "SELECT rolsuper, rolcreaterole, rolcreatedb, has_database_privilege('pg_monitor', %s, 'CONNECT') "
            "FROM pg_roles WHERE rolname = %s",
            (name, login),
        )
        assert cursor.fetchone() == (False, False, False, False)


def test_nothing_is_written_beside_the_settings(database: str, tmp_path: Path) -> None:  # noqa: ARG001 - it is what Dagster needs
    before = sorted(HOME.iterdir())
    with dg.DagsterInstance.from_config(str(HOME)) as instance:
        assert Path(instance.storage_directory()).is_relative_to(tmp_path)
    assert sorted(HOME.iterdir()) == before


def test_it_is_set_as_on_this_machine() -> None:
    local: dict[str, Any] = yaml.safe_load(
        Template((PROJECT_DIR / "infra" / "local" / "dagster.yaml").read_text()).safe_substitute()
    )
    there: dict[str, Any] = yaml.safe_load((HOME / "dagster.yaml").read_text())
    assert {key: there[key] for key in ("nux", "telemetry", "concurrency")} == {
        key: local[key] for key in ("nux", "telemetry", "concurrency")
    }
    for settings in (local, there):
        del settings["compute_logs"]["config"]["bucket"], settings["compute_logs"]["config"]["local_dir"]
    assert there["compute_logs"] == local["compute_logs"]


def test_the_code_server_may_move_without_the_sensors_forgetting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_CODE_SERVER", "10.0.0.7")
    (origin,) = location_origins_from_yaml_paths([str(HOME / "workspace.yaml")])
    assert isinstance(origin, GrpcServerCodeLocationOrigin)
    assert (origin.host, origin.port, origin.location_name) == ("10.0.0.7", 4000, "fraudit")
