"""Many transactions in one request: each gets what ``POST /predict`` would give it, in the order sent."""

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from chalicelib import scoring
from chalicelib.aws import Clients
from chalicelib.manifest import Manifest
from chalicelib.observability import Metrics
from chalicelib.scoring import Models, Row

from tests.api.conftest import KEY, STREAM_BUCKET, World
from tests.api.test_predict import SCHEMAS

Body = Callable[..., dict[str, Any]]
CLASSIFIER, DETECTOR = "fraud-detection-xgb-7", "fraud-detection-rcf-7"


def id_of(body: dict[str, Any]) -> str:
    return str(body["metadata"]["transaction_id"])


def test_each_transaction_is_answered_as_alone(world: World, body: Body) -> None:
    bodies = [body(v1=0.05), body(v1=0.5, v2=9.0), body(v1=0.95), body(v1=0.0, v2=4.0)]
    alone = [world.predict(single).json() for single in bodies]
    for number, single in enumerate(bodies):
        single["metadata"]["transaction_id"] += "-again"
        alone[number]["transaction_id"] += "-again"
    response = world.batch(bodies)
    assert response.status_code == 200
    assert response.json() == {"results": alone}
    assert [answer["decision"] for answer in alone] == ["approve", "review", "block", "review"]


def test_500_transactions_are_one_request_to_each_neighbour(world: World, body: Body) -> None:
    bodies = [body(v1=0.01, v2=number / 1000) for number in range(500)]
    before = len(world.kinesis.calls)
    results = world.batch(bodies).json()["results"]
    assert [answer["anomaly_detector"]["score"] for answer in results] == [number / 1000 for number in range(500)]
    for endpoint in world.runtime.endpoints.values():
        assert [len(rows) for rows in endpoint.requests] == [500]
    assert world.kinesis.calls[before:] == [500]
    assert [event["transaction_id"] for event in world.kinesis.records[-500:]] == [id_of(single) for single in bodies]


def test_the_reasons_of_all_are_one_request(world: World, body: Body) -> None:
    bodies = [body(v1=v1, amount=0.0) for v1 in (0.5, 0.05, 0.6, 0.7)]
    results = world.batch(bodies).json()["results"]
    assert [[reason["weight"] for reason in answer["reasons"]] for answer in results] == [[0.49], [], [0.59], [0.69]]
    assert [len(rows) for rows in world.runtime.endpoints[CLASSIFIER].requests] == [4, 3 * 3]


def test_one_that_is_refused_does_not_keep_the_others_from_their_answers(world: World, body: Body) -> None:
    good, strange, outside, again = body(), body(), body(amount=-1.5), body()
    strange["data"]["V3"] = 1.0
    again["metadata"]["transaction_id"] = id_of(good)
    results = world.batch([strange, good, outside, again]).json()["results"]
    assert [result.get("transaction_id") for result in results] == [None, id_of(good), None, None]
    schema = json.loads((SCHEMAS / "error.v1.json").read_text())
    errors = [result for result in results if "error" in result]
    for error in errors:
        jsonschema.validate(error, schema)
    assert [(error["error"]["code"], error["error"]["field"]) for error in errors] == [
        ("unknown_field", "transactions[0].data.V3"),
        ("out_of_range", "transactions[2].data.Amount"),
        ("duplicate_id", "transactions[3].metadata.transaction_id"),
    ]
    assert [len(rows) for rows in world.runtime.endpoints[DETECTOR].requests] == [1]


def test_where_all_are_refused_no_model_is_asked(world: World, body: Body) -> None:
    results = world.batch([body(amount=-1.5)]).json()["results"]
    assert results[0]["error"]["code"] == "out_of_range"
    assert world.runtime.endpoints[CLASSIFIER].requests == []


@pytest.mark.parametrize("mode", ["down", "rubbish", "nan", "short"])
def test_without_the_classifier_nothing_is_approved(world: World, body: Body, mode: str) -> None:
    world.runtime.endpoints[CLASSIFIER].mode = mode
    results = world.batch([body(v1=0.0), body(v1=0.95)]).json()["results"]
    assert [answer["decision"] for answer in results] == ["review", "review"]
    for answer in results:
        assert answer["degraded"] == ["fraud_classifier"]
        assert answer["fraud_classifier"] == {"pred_proba": None, "prediction": None, "model_version": "7"}
        assert world.kinesis.event(answer["transaction_id"])["degraded"] == ["fraud_classifier"]


def test_a_model_that_is_late_counts_as_down(world: World, body: Body) -> None:
    world.runtime.endpoints[DETECTOR].mode = "slow"
    results = world.batch([body(), body(v1=0.95)]).json()["results"]
    assert [answer["decision"] for answer in results] == ["review", "block"]
    assert [answer["degraded"] for answer in results] == [["anomaly_detector"]] * 2


def test_reasons_that_cannot_be_had_are_left_out(world: World, body: Body) -> None:
    world.runtime.endpoints[CLASSIFIER].mode = "no reasons"
    results = world.batch([body(v1=0.05), body(v1=0.5)]).json()["results"]
    assert [(answer["reasons"], answer["degraded"]) for answer in results] == [([], []), ([], ["reasons"])]


def test_without_any_model_there_are_no_answers_and_no_events(world: World, body: Body) -> None:
    for endpoint in world.runtime.endpoints.values():
        endpoint.mode = "down"
    bodies = [body(), body(amount=-1.5)]
    response = world.batch(bodies)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "models_unavailable")
    assert id_of(bodies[0]) not in world.kinesis.attempts


def test_only_the_events_that_kinesis_refused_are_sent_again(world: World, body: Body) -> None:
    world.kinesis.throttled = 3
    bodies = [body() for _ in range(10)]
    results = world.batch(bodies).json()["results"]
    assert [answer["degraded"] for answer in results] == [[]] * 10
    assert [world.kinesis.attempts[id_of(single)] for single in bodies] == [2] * 3 + [1] * 7
    for single in bodies:
        world.kinesis.event(id_of(single))


def test_without_kinesis_the_events_of_a_batch_are_one_dead_letter(world: World, body: Body) -> None:
    world.kinesis.refused_as = (500, "InternalFailure")
    before = set(world.dead_letters())
    bodies = [body() for _ in range(500)]
    results = world.batch(bodies).json()["results"]
    assert [answer["degraded"] for answer in results] == [["events"]] * 500
    (key,) = set(world.dead_letters()) - before
    lines = world.aws("s3").get_object(Bucket=STREAM_BUCKET, Key=key)["Body"].read().split(b"\n")
    assert [json.loads(line)["transaction_id"] for line in lines] == [id_of(single) for single in bodies]


def test_every_block_is_published(world: World, body: Body) -> None:
    bodies = [body(v1=0.95) for _ in range(12)]
    world.batch([*bodies, body(v1=0.5)])
    heard = [alert["transaction_id"] for alert in world.alerts()]
    assert set(map(id_of, bodies)) <= set(heard)
    assert len(heard) == len(set(heard))


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"{}", 400, "missing_field"),
        (b'{"transactions": []}', 400, "wrong_count"),
        (b'{"transactions": [' + b"1," * 500 + b"1]}", 400, "wrong_count"),
        (b" " * (5 * 2**20 + 1), 413, "too_large"),
    ],
)
def test_a_body_that_is_no_batch(world: World, content: bytes, status: int, code: str) -> None:
    headers = {"x-api-key": KEY, "content-type": "application/json"}
    response = world.api.post("/predict/batch", content=content, headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


def test_requests_stay_below_the_limit_of_an_endpoint(
    world: World, clients: Clients, manifest: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "MAX_REQUEST_BYTES", 30)
    models, read = Models(clients.runtime, Metrics(stage="test")), Manifest.from_json(manifest)
    rows = [Row.of(read, {"Time": 0.0, "V1": 0.5, "V2": number + 0.5, "Amount": 0.0}) for number in range(6)]
    scores = models.score(read, rows, timeout_s=30)
    assert [score.anomaly for score in scores] == [number + 0.5 for number in range(6)]
    endpoints = world.runtime.endpoints
    assert [len(request) for request in endpoints[CLASSIFIER].requests] == [2, 2, 2], "'0.5,0.5,0.0' twice"
    assert [len(request) for request in endpoints[DETECTOR].requests] == [3, 3], "'0.5,0.5' three times"
    reasons = models.explain(read, [(row, 0.5) for row in rows], timeout_s=30)
    assert reasons == [[scoring.Reason("V1", 0.5, 0.49)]] * 6
