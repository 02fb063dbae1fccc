"""The graph as a whole: what there is, what it is made from, and that nothing hangs in the air."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg2
import pytest

from fraudit_dagster.definitions import build_defs
from fraudit_dagster.settings import Settings
from resources.secrets import Secrets
from resources.warehouse import Warehouse
from tests.conftest import unique

SCHEDULES = ("weekly_retrain", "daily_clean_up", "daily_schedule", "performance_by_label_age", "archive_matured")
SNAPSHOT = Path(__file__).with_name("graph.json")


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_defs(Settings())


def snapshot(definitions: dg.Definitions) -> dict[str, Any]:
    """Return what a reviewer of the graph wants to see change."""
    graph = definitions.resolve_asset_graph()
    return {
        "assets": {
            node.key.to_user_string(): {
                "group": node.group_name,
                "deps": sorted(parent.to_user_string() for parent in node.parent_keys),
                "kinds": sorted(node.kinds),
                "owners": list(node.owners),
                "tags": {key: value for key, value in sorted(node.tags.items()) if not key.startswith("dagster/")},
                "code_version": node.code_version,
                "pools": sorted(node.pools or ()),
                "checks": {
                    key.name: "blocking" if graph.get(key).blocking else "not blocking"
                    for key in sorted(graph.get_check_keys_for_assets({node.key}))
                },
                "automated": node.automation_condition is not None,
                "partitioned": node.is_partitioned,
            }
            for node in sorted(graph.asset_nodes, key=lambda node: node.key.to_user_string())
        },
        "jobs": {
            job.name: sorted(node.name for node in definitions.resolve_job_def(job.name).nodes)
            for job in definitions.jobs or ()
        },
        "schedules": {
            schedule.name: [schedule.job_name, str(schedule.cron_schedule), schedule.default_status.value]
            for schedule in map(definitions.resolve_schedule_def, SCHEDULES)
        },
        "sensors": {sensor.name: sensor.default_status.value for sensor in definitions.sensors or ()},
    }


def test_the_graph_is_the_one_that_was_reviewed(definitions: dg.Definitions) -> None:
    """After a change that is meant: write what this test prints to ``tests/graph/graph.json``."""
    found = snapshot(definitions)
    assert found == json.loads(SNAPSHOT.read_text()), json.dumps(found, indent=1)


def test_every_dependency_is_defined_and_described(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    defined = {spec.key for spec in definitions.resolve_all_asset_specs()}
    for node in graph.asset_nodes:
        assert node.parent_keys <= defined, f"{node.key} depends on something that nobody defines"
        assert node.description, f"{node.key} has no description"


@pytest.mark.parametrize(
    "job", ["bootstrap", "retrain", "promote", "rollback", "clean_up", "daily", "archive", "backtest"]
)
def test_no_job_is_empty(definitions: dg.Definitions, job: str) -> None:
    assert definitions.resolve_job_def(job).nodes


@pytest.mark.parametrize(
    ("asset", "check"),
    [
        ("raw/transactions", "fit_to_train"),
        ("dataset/train", "fit_to_learn_from"),
        ("dataset/validation", "fit_to_choose_by"),
        ("dataset/test", "fit_to_judge_by"),
    ],
)
def test_a_blocking_check_stands_behind_the_tables(definitions: dg.Definitions, asset: str, check: str) -> None:
    key = dg.AssetCheckKey(dg.AssetKey(asset.split("/")), check)
    assert definitions.resolve_asset_graph().get(key).blocking


def test_the_ui_shows_the_columns_that_there_are(definitions: dg.Definitions, local_cloud: dict[str, str]) -> None:
    """What is read from the migrations is what PostgreSQL has once they are applied."""
    database = unique("columns").replace("-", "_")
    place: dict[str, Any] = {"host": local_cloud["POSTGRES_HOST"], "port": int(local_cloud["POSTGRES_PORT"])}
    login: dict[str, Any] = {"user": local_cloud["POSTGRES_USER"], "password": local_cloud["POSTGRES_PASSWORD"]}
    with closing(psycopg2.connect(dbname="postgres", **place, **login)) as connection:
        connection.autocommit = True
        connection.cursor().execute(f"CREATE DATABASE {database}")
    warehouse = Warehouse(secrets=Secrets(region="eu-west-1"), database=database, sslmode="disable", **place, **login)
    warehouse.migrate()
    graph = definitions.resolve_asset_graph()
    for key in (["warehouse", "fraud_predictions"], ["analytics", "daily_fraud_summary"]):
        shown = graph.get(dg.AssetKey(key)).metadata["dagster/column_schema"]
        there = warehouse.query(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = 'fraud' AND table_name = %(table)s "
            "ORDER BY ordinal_position",
            {"table": key[1]},
        )
        assert [column.name for column in shown.columns] == [row["column_name"] for row in there]


def test_no_password_shows_in_the_definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PASSWORD", "hunter2")
    monkeypatch.setenv("FRAUDIT_API_KEY", "fraudit_secret")
    resources = build_defs(Settings()).resources or {}
    shown = repr([resource.model_dump() for resource in resources.values()])
    assert "hunter2" not in shown
    assert "fraudit_secret" not in shown
