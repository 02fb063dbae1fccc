"""Model health: what serves, how it did by the age of the labels, what has drifted."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fraudit_dagster.manifest import MANIFEST_KEY, evaluation_key
from resources.aws import client
from tests.conftest import unique
from tests.dashboard.conftest import Visit, told
from tests.operate.conftest import REGION
from tests.repository.test_schemas import example_manifest
from tests.warehouse.conftest import Place, store

YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)


@pytest.fixture
def serve(place: Place, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts documents where manifests are read, the last of them as the one that serves."""
    assert place.name  # its fixture names the embedded AWS in the environment
    bucket = unique("models")
    monkeypatch.setenv("MODEL_BUCKET", bucket)
    s3 = client("s3", region=REGION)
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})

    def put(*documents: dict[str, Any]) -> None:
        for document in documents:
            body = json.dumps(document)
            s3.put_object(Bucket=bucket, Key=f"serving/manifests/{document['manifest_version']}.json", Body=body)
            s3.put_object(Bucket=bucket, Key=MANIFEST_KEY, Body=body)

    return put


@pytest.fixture
def judged(place: Place) -> Place:
    """A day with its performance at two ages of the labels, and its drift."""
    store(place, "select 't-' || n from generate_series(1, 5) as n", "now() - interval '1 minute'")
    for age, recall in ((0, 0.5), (1, 0.75)):
        place.run(
            """
            insert into fraud.daily_model_performance values
                (%s, 'creditcard', '7', %s, 100, 50, 0, 4, 3, 1, %s, %s, 0.8, 90, 10)
            """,
            (YESTERDAY, age, 0.75, recall),
        )
    for feature, psi, count in (("V1", 0.01, 900), ("V14", 0.31, 900), ("Amount", 0.9, 10)):
        place.run(
            "insert into fraud.daily_feature_drift values (%s, 'creditcard', 'v', %s, %s, 0, 1.0, %s, 0.01)",
            (YESTERDAY, feature, count, psi),
        )
    return place


@pytest.mark.usefixtures("judged")
def test_it_shows_versions_performance_and_drift(visit: Visit, serve: Callable[..., None]) -> None:
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
def test_it_shows_what_thresholds_cost(visit: Visit, serve: Callable[..., None]) -> None:
    manifest = example_manifest()
    serve(manifest)
    assert "has no cost curve" in told(visit("models"))
    key = evaluation_key(
        classifier=manifest["fraud_classifier"]["model_version"], detector=manifest["anomaly_detector"]["model_version"]
    )
    curve = {"threshold": [0.001, 1.0], "review": [0.5, 0.3], "block": [0.9, 0.3], "nothing": 0.3, "chosen": 0.1}
    client("s3", region=REGION).put_object(
        Bucket=os.environ["MODEL_BUCKET"], Key=key, Body=json.dumps({"cost_curve": curve, "newer": 1})
    )
    page = visit("models")
    assert not page.exception
    assert "has no cost curve" not in told(page)
    drawn = json.loads(page.get("vega_lite_chart")[0].proto.spec)
    assert [layer["mark"]["type"] for layer in drawn["layer"]] == ["line", "rule", "text"]


@pytest.mark.usefixtures("judged")
def test_a_manifest_that_is_none_hides_nothing_else(visit: Visit, serve: Callable[..., None]) -> None:
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
