"""An event is a row, or is refused with a reason; whatever the bytes, nothing else happens."""

import contextlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fraudit_stream.events import Kind, PoisonError, Reason, amount_band, parse_event
from hypothesis import given
from hypothesis import strategies as st

from .conftest import label, prediction


def parse(event: object, **later: float) -> Any:
    return parse_event(json.dumps(event).encode(), arrived_at=datetime.now(UTC) + timedelta(**later)).columns


def refusal(event: object) -> PoisonError:
    data = event if isinstance(event, bytes) else json.dumps(event).encode()
    with pytest.raises(PoisonError) as caught:
        parse_event(data, arrived_at=datetime.now(UTC))
    return caught.value


def test_a_prediction_is_flattened_and_cleaned() -> None:
    noon_in_tokyo = datetime.now(UTC).replace(hour=3, minute=0, second=0, microsecond=0)
    occurred_at = noon_in_tokyo.isoformat().replace("T03:", "T12:").replace("+00:00", "+09:00")
    row = parse(prediction("t-1", occurred_at=occurred_at, run_id=" "), days=0.5)
    assert row["occurred_at"] == noon_in_tokyo.isoformat()
    assert (row["hour"], row["weekday"]) == (3, noon_in_tokyo.isoweekday())
    assert (row["source"], row["country"], row["city"], row["run_id"]) == ("Web", "DE", "Berlin", None)
    assert (row["device_type"], row["classifier_version"], row["detector_version"]) == ("mobile", "7", "7")
    assert (row["amount"], row["amount_band"]) == (149.62, "100-500")
    assert (len(row["features"]), row["features"][0], row["features"][-1]) == (30, 1.0, 149.62)


def test_a_model_that_did_not_answer_leaves_its_columns_empty() -> None:
    row = parse(
        prediction("t-1", anomaly_score=None, degraded=["anomaly_detector"], model_versions={"fraud_classifier": "7"})
    )
    assert (row["anomaly_score"], row["detector_version"], row["degraded"]) == (None, None, ["anomaly_detector"])


def test_a_label_is_a_row() -> None:
    event = parse_event(json.dumps(label("t-1", label=0)).encode(), arrived_at=datetime.now(UTC))
    assert event.kind is Kind.LABEL
    assert (event.columns["transaction_id"], event.columns["label"], event.columns["source"]) == (
        "t-1",
        0,
        "chargeback",
    )


def test_unknown_fields_are_left_alone() -> None:
    assert "new_field" not in parse(prediction("t-1", new_field={"a": 1}))


@pytest.mark.parametrize("value", ["\ud800", 10**400, 2**64, [[[]]], "ä"])
def test_an_unknown_field_may_hold_whatever_json_can(value: object) -> None:
    assert parse(prediction("t-1", new_field=value))["transaction_id"] == "t-1"


@pytest.mark.parametrize("amount", [7, 2**53 + 1, 2**64 + 1, 10**30])
def test_an_integer_is_the_nearest_number_of_double_precision(amount: int) -> None:
    features = {"Time": amount, "Amount": 0}
    row = parse(prediction("t-1", amount=amount, features=features))
    assert (row["amount"], row["features"]) == (float(amount), [float(amount), 0.0])
    assert all(type(number) is float for number in (row["amount"], *row["features"]))


@pytest.mark.parametrize(
    "text",
    [
        "12345678-90ab-cdef-1234-567890abcdef",
        "12345678-90AB-CDEF-1234-567890ABCDEF",
        "{1234567890abcdef1234567890abcdef}",
        "urn:uuid:12345678-90ab-cdef-1234-567890abcdef",
    ],
)
def test_a_uuid_is_stored_in_its_plain_form(text: str) -> None:
    assert parse(prediction("t-1", event_id=text))["event_id"] == "12345678-90ab-cdef-1234-567890abcdef"


@pytest.mark.parametrize(
    ("text", "stored"), [("203.0.113.7", "203.0.113.7"), (" 2001:DB8::0001 ", "2001:db8::1"), ("", None)]
)
def test_an_address_is_stored_in_its_plain_form(text: str, stored: str | None) -> None:
    assert parse(prediction("t-1", ip_address=text))["ip_address"] == stored


@pytest.mark.parametrize(
    ("amount", "band"), [(-1, "<0"), (0, "0-10"), (9.99, "0-10"), (10, "10-50"), (999.99, "500-1000"), (1000, ">=1000")]
)
def test_amount_band(amount: float, band: str) -> None:
    assert amount_band(amount) == band


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"", "Expecting value"),
        (b"{not json", "Expecting property name"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b"[" * 100_000, "RecursionError"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "ValueError"),
        (b"\x1f\x8b\x08\x00 gzip", "not UTF-8"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b'{"schema_version": 1, "type": "prediction"', "Expecting"),
    ],
)
def test_bytes_that_are_no_event(data: bytes, detail: str) -> None:
    poison = refusal(data)
    assert poison.reason is Reason.NOT_JSON
    assert detail in poison.detail


@pytest.mark.parametrize("version", [None, 0, 2, "1", True, [1]])
def test_unknown_version(version: object) -> None:
    assert refusal(prediction("t-1", schema_version=version)).reason is Reason.UNKNOWN_VERSION


@pytest.mark.parametrize("kind", [None, "other", 1, ["prediction"]])
def test_unknown_type(kind: object) -> None:
    assert refusal(prediction("t-1", type=kind)).reason is Reason.UNKNOWN_TYPE


@pytest.mark.parametrize(
    ("field", "value", "detail"),
    [
        ("transaction_id", None, "transaction_id is missing or empty"),
        ("transaction_id", "  ", "transaction_id is missing or empty"),
        ("transaction_id", 7, "transaction_id is not a text"),
        ("transaction_id", "x" * 257, "transaction_id is longer than 256"),
        ("user_id", "a\0b", "user_id holds a NUL"),
        ("user_id", "\ud800", "user_id holds half of a surrogate pair"),
        ("event_id", "not a uuid", "event_id is not a UUID"),
        ("occurred_at", "yesterday", "occurred_at is not a time"),
        ("occurred_at", "0000-01-01T00:00:00Z", "occurred_at is not a time"),
        ("occurred_at", "9999-12-31T23:59:59-12:00", "occurred_at is not a time"),
        ("occurred_at", "2026-11-23T10:00:00", "occurred_at has no UTC offset"),
        ("scored_at", 1_700_000_000, "scored_at is not a text"),
        ("amount", None, "amount is not a number"),
        ("amount", "149.62", "amount is not a number"),
        ("amount", True, "amount is not a number"),
        ("amount", 10**400, "amount is not finite"),
        ("fraud_proba", 1.5, "fraud_proba is outside [0, 1]"),
        ("fraud_prediction", 2, "fraud_prediction is neither 0 nor 1"),
        ("fraud_prediction", True, "fraud_prediction is neither 0 nor 1"),
        ("decision", "allow", "decision is not one of approve, block, review"),
        ("ip_address", "999.1.1.1", "ip_address is not an IP address"),
        ("ip_address", "fe80::1%eth0", "ip_address has a zone"),
        ("features", [1.0], "features is not an object"),
        ("features", {}, "features is not an object"),
        ("features", {"V1": None}, "features.'V1' is not a number"),
        ("geo", "Berlin", "geo is not an object"),
        ("geo", {"latitude": 91}, "geo.latitude is outside [-90, 90]"),
        ("device_info", {"os_version": 17}, "device_info.os_version is not a text"),
        ("degraded", "anomaly_detector", "degraded is not a list"),
        ("reasons", ["V14"], "reasons is not a list of objects"),
        ("reasons", [{"feature": "V14"}], "reasons.weight is not a number"),
        ("latency_ms", -1, "latency_ms is outside [0, inf]"),
    ],
)
def test_a_wrong_field_is_named_and_its_value_is_not_repeated(field: str, value: object, detail: str) -> None:
    poison = refusal(prediction("t-1", **{field: value}))
    assert poison.reason is Reason.INVALID
    assert detail in poison.detail


def test_a_number_beyond_double_precision_is_not_finite() -> None:
    poison = refusal(json.dumps(prediction("t-1")).replace("149.62", "1e999").encode())
    assert poison.detail in {"features.'Amount' is not finite", "amount is not finite"}


@pytest.mark.parametrize("field", ["label", "source", "labelled_at", "transaction_id", "event_id"])
def test_a_label_needs_all_its_fields(field: str) -> None:
    assert field in refusal(label("t-1", **{field: None})).detail


@pytest.mark.parametrize(
    ("days", "accepted"), [(-91, False), (-89, True), (0, True), (0.9, True), (1.1, False), (2_000_000, False)]
)
def test_the_window_hangs_on_the_arrival(days: float, accepted: bool) -> None:
    arrived_at = datetime(2026, 11, 23, tzinfo=UTC)
    event = prediction(
        "t-1", occurred_at=(arrived_at + timedelta(days=days)).isoformat(), scored_at=arrived_at.isoformat()
    )
    if accepted:
        assert parse_event(json.dumps(event).encode(), arrived_at=arrived_at)
    else:
        with pytest.raises(PoisonError) as caught:
            parse_event(json.dumps(event).encode(), arrived_at=arrived_at)
        assert caught.value.reason is Reason.OUTSIDE_WINDOW


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.binary())
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    assert refusal(data)


@given(st.sampled_from(sorted(prediction("t-1").keys() - {"type"})), _JSON)
def test_no_value_raises_anything_else_and_what_passes_is_json_that_postgres_takes(field: str, value: object) -> None:
    data = json.dumps(prediction("t-1", **{field: value})).encode()
    with contextlib.suppress(PoisonError):
        row = parse_event(data, arrived_at=datetime.now(UTC))
        text = json.dumps(row.columns, ensure_ascii=False, allow_nan=False)
        assert "\\u0000" not in text
        assert text.encode()
