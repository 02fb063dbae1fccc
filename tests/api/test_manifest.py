"""The manifest: read strictly, asked for again when old, and never lost to a bad successor."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from chalicelib.manifest import Calibration, Feature, Manifest, ManifestError
from chalicelib.manifest_store import MANIFEST_KEY, ManifestStore, NoManifestError
from chalicelib.observability import Metrics


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        """Return the time, in seconds."""
        return self.now_s


def test_read(manifest: dict[str, Any]) -> None:
    manifest["fraud_classifier"]["calibration"] = {"kind": "isotonic", "x": [0, 1], "y": [0, 0.9]}
    manifest["a field of a later version"] = True
    read = Manifest.from_json(manifest)
    assert read.inputs == ("Time", "V1", "V2", "Amount")
    assert read.classifier.features[2] == Feature("Amount", "log1p")
    assert read.calibration == Calibration((0.0, 1.0), (0.0, 0.9))
    assert (read.detector.endpoint, read.detector.version) == ("fraud-detection-rcf-7", "8")


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("schema_version", 2, "schema_version"),
        ("inputs", ["V1"], "amount"),
        ("policy", {}, "when_degraded"),
        ("policy.when_degraded", "approve", "when_degraded"),
        ("policy.block_at", None, "policy.block_at"),
        ("policy.review_at", float("nan"), "policy.review_at"),
        ("fraud_classifier.features", ["V9"], "fraud_classifier.features"),
        ("fraud_classifier.features", [], "fraud_classifier.features"),
        ("anomaly_detector.features", [{"sqrt": "V1"}], "anomaly_detector.features"),
        ("fraud_classifier.medians", {"V1": "x"}, "fraud_classifier.medians.V1"),
        ("fraud_classifier.calibration", {"kind": "beta"}, "calibration.kind"),
        ("fraud_classifier.calibration", {"kind": "isotonic", "x": [1, 0], "y": [0, 1]}, "calibration"),
        ("fraud_classifier.calibration", {"kind": "isotonic", "x": [0, 1], "y": [0, 2]}, "calibration"),
        ("fraud_classifier.calibration", {"kind": "sigmoid", "x": [0, 1], "y": [0]}, "calibration"),
        ("anomaly_detector", "x", "indices"),
    ],
)
def test_a_wrong_field_is_named(manifest: dict[str, Any], path: str, value: Any, named: str) -> None:
    *parents, name = path.split(".")
    part = manifest
    for parent in parents:
        part = part[parent]
    part[name] = value
    with pytest.raises(ManifestError, match=named):
        Manifest.from_json(manifest)


@pytest.fixture
def s3(aws: Callable[[str], Any]) -> Any:
    client = aws("s3")
    client.create_bucket(Bucket="manifests", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    yield client
    client.delete_object(Bucket="manifests", Key=MANIFEST_KEY)
    client.delete_bucket(Bucket="manifests")


def test_the_life_of_a_manifest(s3: Any, manifest: dict[str, Any]) -> None:
    clock = Clock()
    store = ManifestStore(s3, Metrics(stage="test"), bucket="manifests", max_age_s=30, clock=clock)
    statuses: list[int] = []
    s3.meta.events.register(
        "after-call.s3.GetObject", lambda http_response, **_: statuses.append(http_response.status_code)
    )

    def publish(content: str) -> None:
        s3.put_object(Bucket="manifests", Key=MANIFEST_KEY, Body=content)

    with pytest.raises(NoManifestError, match=r"s3://manifests/serving/manifest\.json"):
        store.current()
    publish(json.dumps({**manifest, "manifest_version": "1"}))
    with pytest.raises(NoManifestError):
        store.current()
    assert statuses == [404], "a failed look is not repeated at once"
    clock.now_s += 1
    assert store.current().version == "1"

    publish(json.dumps({**manifest, "manifest_version": "2"}))
    clock.now_s += 29
    assert store.current().version == "1"
    clock.now_s += 1
    assert store.current().version == "2"

    clock.now_s += 30
    assert store.current().version == "2"
    assert statuses == [404, 200, 200, 304], "an unchanged manifest is not sent again"
    assert not store.stale

    publish('{"schema_version": 1}')
    clock.now_s += 30
    assert store.current().version == "2", "the last good copy serves"
    assert store.stale
    publish(json.dumps({**manifest, "manifest_version": "3"}))
    clock.now_s += 1
    assert store.current().version == "3"
    assert not store.stale
