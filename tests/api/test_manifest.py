"""The manifest: read strictly, asked for again when old, and never lost to a bad successor."""

import copy
import json
import threading
import time
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
        ("inputs", ["V1", "V1", "Amount"], "inputs"),
        ("inputs", "Amount", "inputs"),
        ("fraud_classifier.medians", {"V9": 0.0}, "fraud_classifier.medians"),
        ("fraud_classifier.medians", {"Amount": -2.0}, "fraud_classifier.medians: Amount"),
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


@pytest.mark.parametrize(
    ("row", "named"), [("1,2,3", r"golden\[0\]\.data is no row of the 4 inputs"), (None, "NoneType")]
)
def test_golden_rows_fit_the_inputs(manifest: dict[str, Any], row: str | None, named: str) -> None:
    manifest["golden"] = [{"data": row, "pred_proba": 0.5, "score": 1.0}]
    with pytest.raises(ManifestError, match=named):
        Manifest.from_json(manifest)


def test_what_is_shown_has_neither_golden_rows_nor_medians(manifest: dict[str, Any]) -> None:
    shown = Manifest.from_json(manifest).shown
    assert shown.keys() == manifest.keys() - {"golden"}
    for model in ("fraud_classifier", "anomaly_detector"):
        assert shown[model].keys() == manifest[model].keys() - {"medians"}


@pytest.fixture
def s3(aws: Callable[[str], Any]) -> Any:
    client = aws("s3")
    client.create_bucket(Bucket="manifests", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    yield client
    client.delete_object(Bucket="manifests", Key=MANIFEST_KEY)
    client.delete_bucket(Bucket="manifests")


def store_of(s3: Any, **options: Any) -> ManifestStore:
    defaults = {"bucket": "manifests", "contract": None, "max_age_s": 30, "wait_s": 30, "first_wait_s": 30}
    return ManifestStore(s3, Metrics(stage="test"), **{**defaults, **options})


def publish(s3: Any, content: dict[str, Any]) -> None:
    s3.put_object(Bucket="manifests", Key=MANIFEST_KEY, Body=json.dumps(content))


def test_the_life_of_a_manifest(s3: Any, manifest: dict[str, Any]) -> None:
    clock = Clock()
    store = store_of(s3, clock=clock)
    statuses: list[int] = []
    s3.meta.events.register(
        "after-call.s3.GetObject", lambda http_response, **_: statuses.append(http_response.status_code)
    )

    with pytest.raises(NoManifestError, match=r"s3://manifests/serving/manifest\.json: manifest_missing"):
        store.current()
    publish(s3, {**manifest, "manifest_version": "1"})
    with pytest.raises(NoManifestError):
        store.current()
    assert statuses == [404], "a failed look is not repeated at once"
    clock.now_s += 1
    assert store.current().version == "1"

    publish(s3, {**manifest, "manifest_version": "2"})
    clock.now_s += 29
    assert store.current().version == "1"
    clock.now_s += 1
    assert store.current().version == "2"

    clock.now_s += 30
    assert store.current().version == "2"
    assert statuses == [404, 200, 200, 304], "an unchanged manifest is not sent again"
    assert store.problem is None


def test_a_manifest_that_cannot_serve_is_refused_with_an_alarm(
    s3: Any, manifest: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    store = store_of(s3, contract="creditcard", clock=clock)
    publish(s3, {**manifest, "manifest_version": "1"})
    store.current()

    strange = copy.deepcopy(manifest)
    strange["anomaly_detector"]["features"].append("V99")
    other = {**manifest, "contract": {"name": "insurance", "sha256": "00"}}
    for refused in (strange, other, {"schema_version": 1}):
        publish(s3, refused)
        clock.now_s += 30
        assert store.current().version == "1", "the last good copy serves"
        assert store.problem == "manifest_invalid"
        alarms = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
        assert [line["code"] for line in alarms if line["Errors"]] == ["manifest_invalid"]

    publish(s3, {**manifest, "manifest_version": "2"})
    clock.now_s += 1
    assert store.current().version == "2"
    assert store.problem is None


class SlowS3:
    """An S3 client that waits until it is let go before it reads."""

    def __init__(self, s3: Any) -> None:
        self._s3 = s3
        self.let_go = threading.Event()

    def get_object(self, **request: Any) -> Any:
        """Wait, then read."""
        assert self.let_go.wait(60)
        return self._s3.get_object(**request)


def test_a_slow_s3_holds_up_nobody_who_has_a_good_copy(s3: Any, manifest: dict[str, Any]) -> None:
    clock, slow = Clock(), SlowS3(s3)
    store = store_of(slow, clock=clock, wait_s=0.01, first_wait_s=0.01)
    publish(s3, {**manifest, "manifest_version": "1"})
    with pytest.raises(NoManifestError):
        store.current()
    slow.let_go.set()
    while store.problem:
        time.sleep(0.001)
    assert store.current().version == "1", "what S3 answered late serves"

    slow.let_go.clear()
    publish(s3, {**manifest, "manifest_version": "2"})
    clock.now_s += 30
    assert [store.current().version for _ in range(5)] == ["1"] * 5
    slow.let_go.set()
    while store.current().version == "1":
        time.sleep(0.001)
    assert store.current().version == "2"
