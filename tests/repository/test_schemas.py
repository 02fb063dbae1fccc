"""The schemas are valid, and say what the modules that write and read them say."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from fraudit_stream.events import PoisonError, parse_event
from jsonschema import Draft202012Validator

from fraudit_dagster.contract import load_contract
from fraudit_dagster.manifest import SCHEMAS, ManifestError, check_manifest, schema
from tests.stream.conftest import label, prediction

KEYS = {
    "prediction": (
        "schema_version",
        "type",
        "event_id",
        "transaction_id",
        "occurred_at",
        "user_id",
        "features",
        "amount",
        "decision",
    ),
    "label": ("schema_version", "type", "event_id", "transaction_id", "label", "source", "labelled_at"),
}
"""Fields that no row can do without; the stream is lenient about the others."""


def example_manifest() -> dict[str, Any]:
    contract = load_contract()
    row = ",".join("0.5" for _ in contract.inputs)
    return {
        "schema_version": 1,
        "manifest_version": "2026-11-23T10:00:00Z-3f2a",
        "created_at": "2026-11-23T10:00:00Z",
        "contract": {"name": contract.name, "sha256": contract.sha256},
        "inputs": list(contract.inputs),
        "amount": contract.amount,
        "fraud_classifier": {
            "endpoint": "fraud-detection-xgb-7",
            "model_version": "7",
            "features": contract.models.xgboost.manifest_features,
            "calibration": {"kind": "none", "x": [], "y": []},
            "medians": {"V1": 0.0},
        },
        "anomaly_detector": {
            "endpoint": "fraud-detection-rcf-7",
            "model_version": "7",
            "features": contract.models.random_cut_forest.manifest_features,
            "medians": {"V1": 0.0},
        },
        "policy": {"block_at": 0.83, "review_at": 0.21, "anomaly_review_at": None, "when_degraded": "review"},
        "golden": [{"data": row, "pred_proba": 0.98, "score": 1.7}],
        "lineage": {"run_id": "r", "dataset_sha256": "0" * 64, "code_version": "0.1.0"},
    }


@pytest.mark.parametrize("path", sorted(SCHEMAS.glob("*.v1.json")), ids=lambda path: path.stem)
def test_each_schema_is_one(path: Any) -> None:
    document = json.loads(path.read_text())
    if "$schema" in document:
        Draft202012Validator.check_schema(document)


def test_a_manifest_that_is_right_passes() -> None:
    check_manifest(example_manifest())


def test_every_wrong_field_of_a_manifest_is_named() -> None:
    document = example_manifest()
    document["policy"]["when_degraded"] = "approve"
    document["fraud_classifier"]["features"].append({"square": "V1"})
    del document["golden"]
    with pytest.raises(ManifestError) as caught:
        check_manifest(document)
    for field in ("policy.when_degraded", "fraud_classifier.features", "golden"):
        assert field in str(caught.value)


def test_metrics_have_the_namespace_and_a_unit_each() -> None:
    document = schema("metrics.v1")
    assert document["namespace"] == "fraudit"
    assert len({metric["name"] for metric in document["metrics"]}) == len(document["metrics"]) == 11
    assert {metric["unit"] for metric in document["metrics"]} == {"Milliseconds", "Count"}


@pytest.mark.parametrize(("event", "name"), [(prediction("t1"), "prediction"), (label("t1"), "label")])
def test_the_stream_takes_what_the_event_schemas_describe(event: dict[str, Any], name: str) -> None:
    document = schema(f"event-{name}.v1")
    Draft202012Validator(document).validate(event)
    assert set(document["required"]) == set(event)
    parse_event(
        json.dumps(event).encode(), arrived_at=datetime.fromisoformat(event.get("scored_at") or event["labelled_at"])
    )
    for field in KEYS[name]:
        rest = {key: value for key, value in event.items() if key != field}
        with pytest.raises(PoisonError):
            parse_event(json.dumps(rest).encode(), arrived_at=datetime.now(UTC))
