"""Model health: what serves, how it did by the age of the labels, what has drifted."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.conftest import unique
from tests.dashboard.conftest import YESTERDAY, Visit, evaluate, judge, make_bucket, serve, told
from tests.repository.test_schemas import example_manifest
from tests.warehouse.conftest import Place, store

Serve = Callable[..., None]


@pytest.fixture
def bucket(place: Place, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where manifests and evaluations are read."""
    assert place.name  # its fixture names the embedded AWS in the environment
    bucket = make_bucket(unique("models"))
    monkeypatch.setenv("MODEL_BUCKET", bucket)
    return bucket


@pytest.fixture(name="serve")
def serve_from(bucket: str) -> Serve:
    """Puts manifests there, the last of them as the one that serves."""
    return partial(serve, bucket)


@pytest.fixture
def judged(place: Place) -> Place:
    """A few transactions, and a day with its performance and drift."""
    store(place, "select 't-' || n from generate_series(1, 5) as n", "now() - interval '1 minute'")
    judge(place)
    return place


@pytest.mark.usefixtures("judged")
def test_it_shows_versions_performance_and_drift(visit: Visit, serve: Serve) -> None:
    now = example_manifest()
    earlier = {**now, "manifest_version": "2026-11-20T10:00:00Z-0001"}
    serve(earlier, now)
    page = visit("models", range="7 days")
    assert not page.exception
    versions, performance = (table.value for table in page.dataframe)
    assert list(versions["manifest"]) == [now["manifest_version"], earlier["manifest_version"]]
    assert versions["classifier"][0] == now["fraud_classifier"]["model_version"]
    assert (versions["review at"][0], versions["block at"][0]) == (
        now["policy"]["review_at"],
        now["policy"]["block_at"],
    )
    assert performance[["label_age_days", "recall", "labelled"]].to_numpy().tolist() == [[1, 0.75, 0.5], [0, 0.5, 0.5]]
    assert f"On {YESTERDAY}: V14 have drifted" in told(page)


@pytest.mark.usefixtures("judged")
def test_it_shows_what_thresholds_cost(visit: Visit, serve: Serve, bucket: str) -> None:
    manifest: dict[str, Any] = example_manifest()
    serve(manifest)
    assert "has no cost curve" in told(visit("models"))
    evaluate(bucket, manifest)
    page = visit("models")
    assert not page.exception
    assert "has no cost curve" not in told(page)
    drawn = json.loads(page.get("vega_lite_chart")[0].proto.spec)
    assert [layer["mark"]["type"] for layer in drawn["layer"]] == ["line", "rule", "text"]


@pytest.mark.usefixtures("judged")
def test_a_manifest_that_is_none_hides_nothing_else(visit: Visit, serve: Serve) -> None:
    serve({**example_manifest(), "policy": {}})
    page = visit("models", range="7 days")
    assert not page.exception
    assert "The serving manifest cannot be read" in told(page)
    assert "V14 have drifted" in told(page)


@pytest.mark.usefixtures("serve")
def test_before_anything_serves_it_says_what_to_do(visit: Visit) -> None:
    page = visit("models")
    assert not page.exception
    assert "fraudit graph bootstrap" in told(page)
    assert "No performance in this range" in told(page)
    assert "No drift in this range" in told(page)
