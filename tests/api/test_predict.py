"""One transaction goes in; a decision comes out, an event goes to Kinesis, a block to SNS."""

import json
import math
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.api.conftest import KEY, METADATA, OCCURRED_AT, World

Body = Callable[..., dict[str, Any]]
SCHEMAS = Path(__file__).parents[2] / "fraudit_dagster" / "schemas"


def test_a_plain_transaction_is_approved(world: World, body: Body) -> None:
    request = body(v1=0.05, v2=1.0, amount=271.0)
    response = world.predict(request)
    assert response.status_code == 200
    assert response.json() == {
        "transaction_id": request["metadata"]["transaction_id"],
        "decision": "approve",
        "fraud_classifier": {
            "pred_proba": pytest.approx(0.05 + math.log1p(271) / 1000),
            "prediction": 0,
            "model_version": "7",
        },
        "anomaly_detector": {"score": 1.0, "model_version": "8"},
        "reasons": [],
        "degraded": [],
    }
    asked = [
        rows for rows in world.runtime.endpoints["fraud-detection-xgb-7"].requests if rows[0][-1] == math.log1p(271)
    ]
    assert len(asked) == 1, "an approved transaction costs no second request"


def test_the_event_holds_what_was_asked_and_what_was_answered(world: World, body: Body) -> None:
    request = body(v1=0.5)
    request["metadata"]["run_id"] = "run-1"
    answer = world.predict(request).json()
    event = world.kinesis.event(answer["transaction_id"])
    jsonschema.validate(event, json.loads((SCHEMAS / "event-prediction.v1.json").read_text()))

    uuid.UUID(event.pop("event_id"))
    assert event.pop("scored_at").endswith("Z")
    assert event.pop("latency_ms") > 0
    assert event == {
        "schema_version": 1,
        "type": "prediction",
        "transaction_id": answer["transaction_id"],
        "run_id": "run-1",
        "occurred_at": f"{OCCURRED_AT.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.000Z",
        **{name: METADATA[name] for name in ("user_id", "source", "device_info", "ip_address", "geo")},
        "contract": "creditcard",
        "manifest_version": "2026-11-23T10:00:00Z-3f2a",
        "features": {"Time": 0.0, "V1": 0.5, "V2": 1.0, "Amount": 149.62},
        "amount": 149.62,
        "fraud_proba": answer["fraud_classifier"]["pred_proba"],
        "fraud_prediction": 1,
        "anomaly_score": 1.0,
        "decision": "review",
        "reasons": answer["reasons"],
        "degraded": [],
        "model_versions": {"fraud_classifier": "7", "anomaly_detector": "8"},
    }
    assert world.kinesis.partition_keys[-1] == "user-17"


def test_data_may_be_csv_in_the_order_of_the_inputs(world: World, body: Body) -> None:
    request = body()
    by_name = world.predict(request).json()
    csv = {**request, "data": "0, 0.05, 1.0, 149.62\n"}
    csv["metadata"] = {**request["metadata"], "transaction_id": "as-csv"}
    assert world.predict(csv).json() == {**by_name, "transaction_id": "as-csv"}


def test_a_transaction_without_an_id_gets_one(world: World, body: Body) -> None:
    request = body()
    del request["metadata"]["transaction_id"]
    first, second = (world.predict(request).json()["transaction_id"] for _ in range(2))
    assert uuid.UUID(first).version == 4
    assert first != second


def test_reasons_are_the_features_whose_median_lowers_the_score_most(world: World, body: Body) -> None:
    answer = world.predict(body(v1=0.5, v2=9.0, amount=100.0)).json()
    assert answer["decision"] == "review"
    assert answer["reasons"] == [
        {"feature": "V1", "value": 0.5, "weight": pytest.approx(0.49)},
        {"feature": "Amount", "value": 100.0, "weight": pytest.approx(math.log1p(100) / 1000, abs=1e-6)},
    ]
    first, occlusion = world.runtime.endpoints["fraud-detection-xgb-7"].requests
    assert len(first) == 1
    assert len(occlusion) == 3


def test_a_block_is_published_without_personal_data(world: World, body: Body) -> None:
    answer = world.predict(body(v1=0.95)).json()
    assert answer["decision"] == "block"
    assert answer["fraud_classifier"]["prediction"] == 1
    (alert,) = [alert for alert in world.alerts() if alert["transaction_id"] == answer["transaction_id"]]
    assert alert.keys() == {"transaction_id", "occurred_at", "fraud_proba", "anomaly_score", "decision"}


def test_requests_at_the_same_time_get_their_own_answers(world: World, body: Body) -> None:
    requests = [body(v1=0.15, v2=n / 1000, amount=0.0) for n in range(200)]
    with ThreadPoolExecutor(32) as pool:
        responses = list(pool.map(world.predict, requests))
    for request, response in zip(requests, responses, strict=True):
        answer = response.json()
        transaction_id = request["metadata"]["transaction_id"]
        assert (response.status_code, answer["transaction_id"]) == (200, transaction_id)
        assert answer["anomaly_detector"]["score"] == request["data"]["V2"]
        assert world.kinesis.event(transaction_id)["features"] == request["data"]


def test_logs_hold_metrics_and_no_personal_data(world: World, body: Body) -> None:
    request = body(v1=0.91234567, v2=7.7654321, amount=98765.4321)
    transaction_id = world.predict(request).json()["transaction_id"]
    refused = body()
    refused["data"]["198.18.77.203"] = 1
    world.predict(refused)
    world.runtime.endpoints["fraud-detection-xgb-7"].mode = "down"
    world.predict(request)

    text = world.log.read_text()
    for secret in ("0.91234", "7.76543", "98765.4", "198.18.77", "user-17", "Delft", "52.0115", KEY):
        assert secret not in text
    lines = [json.loads(line) for line in text.splitlines()]
    (logged, again) = [line for line in lines if line.get("transaction_id") == transaction_id]
    assert (logged["message"], logged["decision"], again["degraded"]) == ("predict", "block", ["fraud_classifier"])

    known = {metric["name"]: metric for metric in json.loads((SCHEMAS / "metrics.v1.json").read_text())["metrics"]}
    metrics: dict[str, dict[str, Any]] = {}
    for line in lines:
        if "_aws" in line:
            (directive,) = line["_aws"]["CloudWatchMetrics"]
            assert directive["Namespace"] == "fraudit"
            assert line["stage"] == "test"
            (definition,) = directive["Metrics"]
            metrics[definition["Name"]] = line
            assert definition["Unit"] == known[definition["Name"]]["unit"]
            assert directive["Dimensions"] == [["stage", *known[definition["Name"]]["dimensions"]]]
            assert all(name in line for name in directive["Dimensions"][0])
    assert metrics["PredictLatency"]["PredictLatency"] > 0
    assert metrics["ModelLatency"]["model"] in {"fraud_classifier", "anomaly_detector"}
    assert metrics["Decisions"]["decision"] == "review"
    assert metrics["Errors"]["code"] == "unknown_field"
    assert metrics["Degraded"]["model"] == "fraud_classifier"
