"""Many at the same time: each gets its own answer, and all of an answer is of one manifest, whatever is promoted meanwhile."""

import copy
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import pytest
from chalicelib.limits import Limits
from chalicelib.manifest_store import MANIFEST_KEY
from chalicelib.service import Service

from tests.api.conftest import MANIFEST, World
from tests.api.stand_ins import Endpoint, Formula

Body = Callable[..., dict[str, Any]]
BUCKET = "promotions"
CLIENTS = 16
SERVICE_UNAVAILABLE = 503
PATIENT = Limits(scoring_s=60, models_s=60, reasons_s=60, events_s=60, dead_letters_s=60)


def test_one_request_100_times_at_once(world: World, body: Body, make_service: Callable[..., Service]) -> None:
    same = body(v1=0.15, v2=1.5)
    service = make_service(single=PATIENT)
    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(lambda sent: service.predict(sent, request_id="r"), [json.dumps(same).encode()] * 100))
    assert answers == [answers[0]] * 100
    assert (answers[0]["decision"], answers[0]["degraded"]) == ("approve", [])

    transaction_id = same["metadata"]["transaction_id"]
    events = [dict(record) for record in world.kinesis.records if record["transaction_id"] == transaction_id]
    assert len({event.pop("event_id") for event in events}) == 100
    for event in events:
        del event["scored_at"], event["latency_ms"]
    assert events == [events[0]] * 100
    assert events[0]["features"] == same["data"]


def test_nobody_gets_the_answer_of_another(world: World, body: Body) -> None:
    requests = [body(v1=0.15, v2=n / 1000) for n in range(100)]
    with ThreadPoolExecutor(100) as pool:
        responses = list(pool.map(world.predict, requests))
    in_time = 0
    for request, response in zip(requests, responses, strict=True):
        if response.status_code == SERVICE_UNAVAILABLE:
            continue  # 100 at once may be more than a small machine answers within the deadline
        answer = response.json()
        assert answer["transaction_id"] == request["metadata"]["transaction_id"]
        if "anomaly_detector" not in answer["degraded"]:
            assert answer["anomaly_detector"]["score"] == request["data"]["V2"]
            in_time += 1
    assert in_time > 0


def manifest_of(release: str, version: str) -> dict[str, Any]:
    """Release A reviews what it scores 0.1, release B approves what it scores 0.6: a mixture does something else."""
    made = copy.deepcopy(MANIFEST)
    made["manifest_version"] = version
    for name, kind in (("fraud_classifier", "xgb"), ("anomaly_detector", "rcf")):
        made[name] |= {"endpoint": f"{kind}-{release}", "model_version": release}
    made["policy"] |= {"review_at": 0.05 if release == "A" else 0.9, "block_at": 0.95}
    return made


EXPECTED = {"A": ("A", 0.1, "A", 1.0, "review"), "B": ("B", 0.6, "B", 2.0, "approve")}


def of_release(manifest_version: str) -> tuple[Any, ...]:
    return EXPECTED[manifest_version[0]]


def always(score: float) -> Formula:
    return lambda _: score


@pytest.fixture
def publish(world: World) -> Iterator[Callable[[str, str], None]]:
    """Promotes a release: puts its manifest, under a version that begins with the release's name, where it serves."""
    s3 = world.aws("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    endpoints = {
        f"{kind}-{release}": Endpoint(key, always(score))
        for release, (_, proba, _, anomaly, _) in EXPECTED.items()
        for kind, key, score in (("xgb", "predictions", proba), ("rcf", "scores", anomaly))
    }
    world.runtime.endpoints.update(endpoints)

    def put(release: str, version: str) -> None:
        s3.put_object(Bucket=BUCKET, Key=MANIFEST_KEY, Body=json.dumps(manifest_of(release, version)))

    yield put
    for name in endpoints:
        world.runtime.endpoints.pop(name, None)
    s3.delete_object(Bucket=BUCKET, Key=MANIFEST_KEY)
    s3.delete_bucket(Bucket=BUCKET)


@dataclass
class Fire:
    """Clients in a loop, and what they got."""

    service: Service
    make_body: Body
    answers: list[dict[str, Any]] = field(default_factory=list)

    @contextmanager
    def burning(self) -> Iterator[None]:
        """Ask from many threads until the block is left; an error of any of them is raised then."""
        stop = threading.Event()

        def client() -> None:
            while not stop.is_set():
                body = json.dumps(self.make_body()).encode()
                self.answers.append(self.service.predict(body, request_id="r"))

        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [pool.submit(client) for _ in range(CLIENTS)]
            try:
                yield
            finally:
                stop.set()
        for ended in clients:
            ended.result()


def check(world: World, answers: list[dict[str, Any]]) -> list[str]:
    """Every answer and its event are whole and of one manifest; returns the versions of the manifests."""
    events = {record["transaction_id"]: record for record in world.kinesis.records}
    versions = []
    for answer in answers:
        event = events[answer["transaction_id"]]
        expected = of_release(event["manifest_version"])
        classifier, detector = answer["fraud_classifier"], answer["anomaly_detector"]
        assert answer["degraded"] == []
        assert (
            classifier["model_version"],
            classifier["pred_proba"],
            detector["model_version"],
            detector["score"],
            answer["decision"],
        ) == expected
        assert event["model_versions"] == {"fraud_classifier": expected[0], "anomaly_detector": expected[2]}
        assert (event["fraud_proba"], event["anomaly_score"], event["decision"]) == (expected[1], *expected[3:])
        versions.append(event["manifest_version"])
    return versions


def test_a_promotion_under_fire_mixes_nothing(
    world: World, body: Body, make_service: Callable[..., Service], publish: Callable[[str, str], None]
) -> None:
    publish("A", "A-first")
    service = make_service(model_bucket=BUCKET, manifest_max_age_s=0.01, single=PATIENT)
    fire = Fire(service, body)
    with fire.burning():
        for number, release in zip(range(60), cycle("BA"), strict=False):
            publish(release, f"{release}-{number}")
            time.sleep(0.03)
    versions = check(world, fire.answers)
    assert len(set(versions)) >= 10
    assert {version[0] for version in versions} == {"A", "B"}


def test_after_twice_the_manifests_age_nobody_asks_the_old_endpoints(
    world: World, body: Body, make_service: Callable[..., Service], publish: Callable[[str, str], None]
) -> None:
    max_age_s = 1.0
    publish("A", "A-old")
    fire = Fire(make_service(model_bucket=BUCKET, manifest_max_age_s=max_age_s, single=PATIENT), body)
    with fire.burning():
        time.sleep(0.3)
        publish("B", "B-new")
        time.sleep(2 * max_age_s)
        for kind in ("xgb", "rcf"):
            del world.runtime.endpoints[f"{kind}-A"]
        deleted_at = len(fire.answers)
        time.sleep(0.5)
    versions = check(world, fire.answers)
    assert set(versions) == {"A-old", "B-new"}
    assert set(versions[deleted_at:]) == {"B-new"}
