"""The graph as a whole: what there is, what it is made from, and that nothing hangs in the air."""

import json
from pathlib import Path

import dagster as dg
import pytest

from fraudit_dagster.definitions import build_defs
from fraudit_dagster.settings import Settings

SNAPSHOT = Path(__file__).with_name("graph.json")


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_defs(Settings())


def test_the_graph_is_the_one_that_was_reviewed(definitions: dg.Definitions) -> None:
    """After a change that is meant: write what this test prints to ``tests/graph/graph.json``."""
    graph = definitions.resolve_asset_graph()
    found = {
        node.key.to_user_string(): {
            "group": node.group_name,
            "deps": sorted(parent.to_user_string() for parent in node.parent_keys),
            "kinds": sorted(node.kinds),
            "owners": list(node.owners),
            "checks": sorted(key.name for key in graph.get_check_keys_for_assets({node.key})),
            "partitioned": node.is_partitioned,
        }
        for node in sorted(graph.asset_nodes, key=lambda node: node.key.to_user_string())
    }
    assert found == json.loads(SNAPSHOT.read_text()), json.dumps(found, indent=1)


def test_every_dependency_is_defined_and_described(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    defined = {spec.key for spec in definitions.resolve_all_asset_specs()}
    for node in graph.asset_nodes:
        assert node.parent_keys <= defined, f"{node.key} depends on something that nobody defines"
        assert node.description, f"{node.key} has no description"


@pytest.mark.parametrize("job", ["bootstrap", "retrain", "daily"])
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


def test_no_password_shows_in_the_definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PASSWORD", "hunter2")
    monkeypatch.setenv("FRAUDIT_API_KEY", "fraudit_secret")
    resources = build_defs(Settings()).resources or {}
    shown = repr([resource.model_dump() for resource in resources.values()])
    assert "hunter2" not in shown
    assert "fraudit_secret" not in shown
