"""Parts around the API fail: it answers with what there is, says so, and never approves blindly."""

import json
import math
import time
from collections.abc import Callable
from typing import Any

import pytest
from chalicelib.service import Service

from tests.api.conftest import STREAM_BUCKET, World

Body = Callable[..., dict[str, Any]]
CLASSIFIER, DETECTOR = "fraud-detection-xgb-7", "fraud-detection-rcf-7"


@pytest.mark.parametrize("mode", ["down", "rubbish", "nan", "short"])
def test_without_the_classifier_nothing_is_approved(world: World, body: Body, mode: str) -> None:
    world.runtime.endpoints[CLASSIFIER].mode = mode
    answer = world.predict(body(v1=0.0, v2=0.0)).json()
    assert answer["decision"] == "review"
    assert answer["degraded"] == ["fraud_classifier"]
    assert answer["fraud_classifier"] == {"pred_proba": None, "prediction": None, "model_version": "7"}
    assert answer["reasons"] == []
    event = world.kinesis.event(answer["transaction_id"])
    assert (event["fraud_proba"], event["fraud_prediction"], event["degraded"]) == (None, None, ["fraud_classifier"])


@pytest.mark.parametrize(("v1", "decision"), [(0.0, "review"), (0.95, "block")])
def test_without_the_detector_a_sure_fraud_is_still_blocked(world: World, body: Body, v1: float, decision: str) -> None:
    world.runtime.endpoints[DETECTOR].mode = "down"
    answer = world.predict(body(v1=v1)).json()
    assert (answer["decision"], answer["degraded"]) == (decision, ["anomaly_detector"])
    assert answer["anomaly_detector"]["score"] is None


def test_a_model_that_is_late_counts_as_down(world: World, body: Body) -> None:
    world.runtime.endpoints[DETECTOR].mode = "slow"
    started = time.perf_counter()
    answer = world.predict(body()).json()
    assert answer["degraded"] == ["anomaly_detector"]
    assert time.perf_counter() - started < 3


def test_without_any_model_there_is_no_answer_and_no_event(world: World, body: Body) -> None:
    for endpoint in world.runtime.endpoints.values():
        endpoint.mode = "down"
    request = body()
    response = world.predict(request)
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "models_unavailable"
    assert request["metadata"]["transaction_id"] not in world.kinesis.attempts


def test_reasons_that_are_late_do_not_hold_up_the_decision(world: World, body: Body) -> None:
    world.runtime.endpoints[CLASSIFIER].mode = "slow to explain"
    answer = world.predict(body(v1=0.5)).json()
    assert (answer["decision"], answer["reasons"], answer["degraded"]) == ("review", [], ["reasons"])


def test_a_throttled_event_is_tried_again(world: World, body: Body) -> None:
    world.kinesis.throttled = 1
    answer = world.predict(body()).json()
    assert answer["degraded"] == []
    assert world.kinesis.attempts[answer["transaction_id"]] == 2


def test_an_event_that_kinesis_refuses_becomes_a_dead_letter(world: World, body: Body) -> None:
    world.kinesis.throttled = 100
    before = set(world.dead_letters())
    response = world.predict(body(v1=0.05))
    answer = response.json()
    assert (response.status_code, answer["decision"], answer["degraded"]) == (200, "approve", ["events"])
    assert world.kinesis.attempts[answer["transaction_id"]] == 4, "retries are bounded"
    (key,) = set(world.dead_letters()) - before
    letter = json.loads(world.aws("s3").get_object(Bucket=STREAM_BUCKET, Key=key)["Body"].read())
    assert letter["transaction_id"] == answer["transaction_id"]
    assert key == f"dead-letters/{letter['scored_at'][:10]}/{letter['event_id']}.jsonl"
    assert letter["degraded"] == [], "as Kinesis would have got it"


def test_a_kinesis_that_never_answers_holds_no_answer_up(world: World, body: Body) -> None:
    world.kinesis.delay_s = math.inf
    answer = world.predict(body(v1=0.5)).json()
    assert (answer["decision"], answer["degraded"]) == ("review", ["events"])


def test_an_event_that_nobody_takes_is_said_in_the_answer(
    world: World, body: Body, make_service: Callable[..., Service]
) -> None:
    world.kinesis.refused_as = (500, "InternalFailure")
    service = make_service(stream_bucket="no-such-bucket")
    answer = service.predict(json.dumps(body()).encode(), request_id="r")
    assert answer["degraded"] == ["events", "dead_letters"]
    batch = service.predict_batch(json.dumps({"transactions": [body(), body()]}).encode(), request_id="r")
    assert [result["degraded"] for result in batch["results"]] == [["events", "dead_letters"]] * 2


def test_an_alert_that_cannot_be_published_changes_no_answer(
    body: Body, make_service: Callable[..., Service], capsys: pytest.CaptureFixture[str]
) -> None:
    service = make_service(alerts_topic_arn="arn:aws:sns:eu-west-1:123456789012:no-such-topic")
    bodies = [body(v1=0.95) for _ in range(12)]
    batch = service.predict_batch(json.dumps({"transactions": bodies}).encode(), request_id="r")
    assert {(result["decision"], *result["degraded"]) for result in batch["results"]} == {("block",)}
    counted = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"alert_failed"' in line]
    assert [line["Errors"] for line in counted] == [12]
