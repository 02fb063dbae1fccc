"""Health: whether transactions can be scored; asked deeply, how each dependency is."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from chalicelib.health import DeepHealth, Probe
from chalicelib.service import Service

from tests.api.conftest import World
from tests.api.test_manifest import Clock

CLASSIFIER, DETECTOR = "fraud-detection-xgb-7", "fraud-detection-rcf-7"
DEPENDENCIES = {"manifest", "fraud_classifier", "anomaly_detector", "events", "keys", "alerts"}


def test_it_needs_no_key(world: World) -> None:
    response = world.api.get("/health")
    expected = {"status": "ok", "manifest_version": "2026-11-23T10:00:00Z-3f2a", "reason": None}
    assert (response.status_code, response.json()) == (200, expected)


def test_deep_adds_each_dependency(world: World) -> None:
    response = world.api.get("/health?deep=1")
    answer = response.json()
    assert (response.status_code, answer["status"]) == (200, "ok")
    assert answer["dependencies"].keys() == DEPENDENCIES
    for finding in answer["dependencies"].values():
        assert finding.keys() == {"status", "latency_ms"}
        assert finding["status"] == "ok"
        assert finding["latency_ms"] > 0
    assert world.runtime.endpoints[CLASSIFIER].requests[-1] == [[0.01, 0.0, 0.0]], "the training medians"


def down_of(answer: dict[str, Any]) -> set[str]:
    return {name for name, finding in answer["dependencies"].items() if finding["status"] == "down"}


@pytest.mark.parametrize(
    ("settings", "down"),
    [
        ({"api_keys_secret": "no/such-secret"}, {"keys"}),
        ({"alerts_topic_arn": "arn:aws:sns:eu-west-1:123456789012:no-such-topic"}, {"alerts"}),
    ],
)
def test_what_is_down_is_named(make_service: Callable[..., Service], settings: dict[str, Any], down: set[str]) -> None:
    answer = make_service(**settings).health(deep=True)
    assert (answer["status"], down_of(answer)) == ("degraded", down)
    for name in down:
        assert answer["dependencies"][name] == {"status": "down", "latency_ms": None}, "and no more is said"


def test_events_are_down_with_kinesis(world: World, make_service: Callable[..., Service]) -> None:
    world.kinesis.refused_as = (500, "InternalFailure")
    answer = make_service().health(deep=True)
    assert (answer["status"], down_of(answer)) == ("degraded", {"events"})


def test_a_dependency_that_does_not_answer_is_down(world: World, make_service: Callable[..., Service]) -> None:
    world.kinesis.delay_s = float("inf")
    answer = make_service(health_deadline_s=0.5).health(deep=True)
    assert "events" in down_of(answer)


def test_one_model_is_enough_to_decide(world: World, make_service: Callable[..., Service]) -> None:
    world.runtime.endpoints[DETECTOR].mode = "down"
    answer = make_service().health(deep=True)
    assert (answer["status"], down_of(answer)) == ("degraded", {"anomaly_detector"})
    world.runtime.endpoints[CLASSIFIER].mode = "nan"
    answer = make_service().health(deep=True)
    assert (answer["status"], down_of(answer)) == ("down", {"anomaly_detector", "fraud_classifier"})


def test_without_a_manifest_nothing_can_be_scored(make_service: Callable[..., Service]) -> None:
    answer = make_service(model_bucket="no-such-bucket", alerts_topic_arn=None).health(deep=True)
    assert (answer["status"], answer["manifest_version"]) == ("down", None)
    assert answer["reason"] == "manifest_unreadable"
    assert answer["dependencies"].keys() == {"manifest", "events", "keys"}
    assert down_of(answer) == {"manifest"}


def test_a_refused_manifest_is_the_reason(
    world: World, make_service: Callable[..., Service], manifest: dict[str, Any]
) -> None:
    service = make_service(manifest_max_age_s=0.0, manifest_wait_s=30.0)
    assert service.health(deep=False)["reason"] is None
    s3, place = world.aws("s3"), {"Bucket": "models", "Key": "serving/manifest.json"}
    try:
        s3.put_object(**place, Body=json.dumps({**manifest, "inputs": ["V1", "Amount"]}))
        answer = service.health(deep=False)
        assert answer == {
            "status": "degraded",
            "manifest_version": manifest["manifest_version"],
            "reason": "manifest_invalid",
        }
    finally:
        s3.put_object(**place, Body=json.dumps(manifest))


def test_what_was_found_is_repeated_for_a_while() -> None:
    clock, asked = Clock(), []

    def probes() -> Mapping[str, Probe]:
        return {"a": lambda: asked.append("a")}

    health = DeepHealth(deadline_s=30, max_age_s=5, clock=clock)
    first = health.ask(probes)
    clock.now_s += 4.9
    assert health.ask(probes) is first
    assert asked == ["a"]
    clock.now_s += 0.1
    health.ask(probes)
    assert asked == ["a", "a"]
