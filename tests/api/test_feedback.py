"""What somebody found out about a transaction goes to Kinesis as a label, and is never lost silently."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from chalicelib.errors import ApiError
from chalicelib.service import Service

from tests.api.conftest import STREAM_BUCKET, World
from tests.api.test_predict import SCHEMAS


@pytest.fixture
def label() -> dict[str, Any]:
    return {
        "transaction_id": f"t-{uuid.uuid4()}",
        "label": 1,
        "source": "chargeback",
        "labelled_at": "2026-11-24T10:00:00+01:00",
    }


def test_a_label_goes_to_kinesis(world: World, label: dict[str, Any]) -> None:
    response = world.post("/feedback", label)
    assert response.status_code == 202
    assert response.json() == {"transaction_id": label["transaction_id"], "accepted": True, "degraded": []}
    event = world.kinesis.event(label["transaction_id"])
    jsonschema.validate(event, json.loads((SCHEMAS / "event-label.v1.json").read_text()))
    assert event == {
        **label,
        "labelled_at": "2026-11-24T09:00:00.000Z",
        "schema_version": 1,
        "type": "label",
        "event_id": event["event_id"],
    }
    assert world.kinesis.partition_keys[-1] == label["transaction_id"]


def test_the_same_label_is_the_same_event(world: World, label: dict[str, Any]) -> None:
    same = {**label, "labelled_at": "2026-11-24T09:00:00Z"}
    others = [{**label, "label": 0}, {**label, "source": "analyst"}, {**label, "labelled_at": "2026-11-24T09:00:01Z"}]
    for sent in (label, same, *others):
        world.post("/feedback", sent)
    first, second, *rest = [event["event_id"] for event in world.kinesis.records[-5:]]
    assert first == second
    assert len({first, *rest}) == 4


def test_a_label_without_a_time_is_of_now(world: World, label: dict[str, Any]) -> None:
    del label["labelled_at"]
    assert world.post("/feedback", label).status_code == 202
    assert world.kinesis.event(label["transaction_id"])["labelled_at"].endswith("Z")


def test_a_label_that_kinesis_refuses_becomes_a_dead_letter(world: World, label: dict[str, Any]) -> None:
    world.kinesis.refused_as = (400, "AccessDeniedException")
    before = set(world.dead_letters())
    response = world.post("/feedback", label)
    assert (response.status_code, response.json()["degraded"]) == (202, ["events"])
    (key,) = set(world.dead_letters()) - before
    letter = json.loads(world.aws("s3").get_object(Bucket=STREAM_BUCKET, Key=key)["Body"].read())
    assert letter["transaction_id"] == label["transaction_id"]
    assert key.endswith(f"/{letter['event_id']}.jsonl")


def test_a_label_that_nobody_takes_was_not_accepted(
    world: World, make_service: Callable[..., Service], label: dict[str, Any]
) -> None:
    world.kinesis.refused_as = (500, "InternalFailure")
    with pytest.raises(ApiError) as caught:
        make_service(stream_bucket="no-such-bucket").feedback(json.dumps(label).encode())
    assert (caught.value.status, caught.value.code) == (503, "feedback_lost")


def test_a_label_needs_no_model(make_service: Callable[..., Service], label: dict[str, Any]) -> None:
    service = make_service(model_bucket="no-such-bucket")
    assert service.feedback(json.dumps(label).encode())["accepted"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("label", 2),
        ("label", True),
        ("source", "neighbour"),
        ("labelled_at", "2126-01-01T00:00:00Z"),
        ("transaction_id", ""),
        ("note", "x"),
    ],
)
def test_the_field_at_fault_is_named(world: World, label: dict[str, Any], field: str, value: Any) -> None:
    response = world.post("/feedback", {**label, field: value})
    assert (response.status_code, response.json()["error"]["field"]) == (400, field)
    assert label["transaction_id"] not in world.kinesis.attempts


def test_only_callers_with_a_key(world: World, label: dict[str, Any]) -> None:
    assert world.api.post("/feedback", json=label).status_code == 401
