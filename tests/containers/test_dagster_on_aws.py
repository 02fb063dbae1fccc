"""Dagster's settings for AWS, on a real PostgreSQL and S3, and next to those of this machine."""

import json
import logging
import runpy
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from string import Template
from typing import Any

import boto3
import dagster as dg
import grpc
import psycopg2
import pytest
import yaml
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin
from dagster._core.storage.tags import GRPC_INFO_TAG, WILL_RETRY_TAG
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load import location_origins_from_yaml_paths
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon.monitoring import execute_run_monitoring_iteration
from dagster._grpc.__generated__ import dagster_api_pb2, dagster_api_pb2_grpc
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value, serialize_value
from pydantic import SecretStr

from fraudit_dagster.settings import PROJECT_DIR, load_settings
from jobs.rollback import rollback
from resources import run_launcher
from tests.conftest import free_port, unique

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


@dg.job
def long_one() -> None: ...


class CodeServer(dagster_api_pb2_grpc.DagsterApiServicer):
    """A code server that has processes of some runs, on a port of its own."""

    def __init__(self, port: int) -> None:
        self.runs = set[str]()
        self.address = json.dumps({"host": "127.0.0.1", "port": port})
        self.server = grpc.server(ThreadPoolExecutor(1))
        dagster_api_pb2_grpc.add_DagsterApiServicer_to_server(self, self.server)  # type: ignore[no-untyped-call]
        self.server.add_insecure_port(f"127.0.0.1:{port}")
        self.server.start()

    def CanCancelExecution(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802 - gRPC's names
        """Answer as Dagster's own: whether the run is a process here."""
        asked = deserialize_value(request.serialized_can_cancel_execution_request, CanCancelExecutionRequest)
        result = CanCancelExecutionResult(can_cancel=asked.run_id in self.runs)
        return dagster_api_pb2.CanCancelExecutionReply(serialized_can_cancel_execution_result=serialize_value(result))


@pytest.fixture
def instance(database: str) -> Iterator[dg.DagsterInstance]:  # noqa: ARG001 - it is what Dagster needs
    with dg.DagsterInstance.from_config(str(HOME)) as made:
        yield made


@pytest.fixture
def code_server() -> Iterator[CodeServer]:
    made = CodeServer(free_port())
    yield made
    made.server.stop(None).wait()


def started(
    instance: dg.DagsterInstance, server: CodeServer, *, job: dg.JobDefinition = long_one, lives: bool = False
) -> str:
    """A run that is under way, as far as the database knows."""
    tags = {**job.tags, GRPC_INFO_TAG: server.address}
    run_id = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=tags).run_id
    server.runs |= {run_id} if lives else set()
    return run_id


def look(instance: dg.DagsterInstance) -> None:
    """What the daemon does once a minute."""
    with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as workspace:
        errors = [error for error in execute_run_monitoring_iteration(workspace, logging.getLogger("look")) if error]
    assert errors == []


def run_of(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRun:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run


def test_a_run_whose_container_was_restarted_fails_and_is_started_again(
    instance: dg.DagsterInstance, code_server: CodeServer
) -> None:
    """Else it would be under way for ever, and nothing else would train."""
    lost, lives = started(instance, code_server), started(instance, code_server, lives=True)
    look(instance)
    assert run_of(instance, lives).status == dg.DagsterRunStatus.STARTED
    failed = run_of(instance, lost)
    assert failed.status == dg.DagsterRunStatus.FAILURE
    assert failed.tags[WILL_RETRY_TAG] == "true"
    assert any("no process of this run" in entry.message for entry in instance.all_logs(lost))


def test_a_code_server_that_restarts_is_waited_for(
    instance: dg.DagsterInstance, code_server: CodeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = started(instance, code_server, lives=True)
    code_server.server.stop(None).wait()
    look(instance)
    assert run_of(instance, run).status == dg.DagsterRunStatus.STARTED
    monkeypatch.setattr(run_launcher, "LONGEST_SILENCE_S", 0)
    look(instance)
    assert run_of(instance, run).status == dg.DagsterRunStatus.FAILURE


def test_what_failed_by_itself_and_what_must_not_happen_twice_is_not_started_again(
    instance: dg.DagsterInstance, code_server: CodeServer
) -> None:
    refused = started(instance, code_server, lives=True)
    reason = JobFailureData(error=None, failure_reason=RunFailureReason.STEP_FAILURE)
    instance.report_run_failed(run_of(instance, refused), "not fit to train", reason)
    went_back = started(instance, code_server, job=rollback)
    look(instance)
    for run_id in (refused, went_back):
        assert run_of(instance, run_id).status == dg.DagsterRunStatus.FAILURE
        assert run_of(instance, run_id).tags[WILL_RETRY_TAG] == "false"


def test_one_training_at_a_time_and_no_run_for_ever(instance: dg.DagsterInstance) -> None:
    assert instance.get_concurrency_config().pool_config.default_pool_limit == 1
    assert instance.get_concurrency_config().run_queue_config.max_concurrent_runs == 2  # type: ignore[union-attr]
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_max_runtime_seconds == 6 * 3600
    ticks = instance.get_tick_retention_settings(InstigatorType.SENSOR)
    assert all(days > 0 for days in ticks.values()), "the monitors' ticks would fill the database"


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
    alike = ("nux", "telemetry", "concurrency", "run_launcher", "run_monitoring", "run_retries", "retention")
    assert {key: there[key] for key in alike} == {key: local[key] for key in alike}
    for settings in (local, there):
        del settings["compute_logs"]["config"]["bucket"], settings["compute_logs"]["config"]["local_dir"]
    assert there["compute_logs"] == local["compute_logs"]


def test_the_code_server_may_move_without_the_sensors_forgetting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_CODE_SERVER", "10.0.0.7")
    (origin,) = location_origins_from_yaml_paths([str(HOME / "workspace.yaml")])
    assert isinstance(origin, GrpcServerCodeLocationOrigin)
    assert (origin.host, origin.port, origin.location_name) == ("10.0.0.7", 4000, "fraudit")
