"""Events that can be no row, by what is wrong with them, and why the quarantine says they are there.

Belongs here: bytes and reasons. Does not: events that are only strange, which are stored (``strange``, at the end, for contrast).
"""

import base64
import gzip
import json
from typing import Any

from .conftest import label, prediction

DEEP = 100_000
MEGABYTE = 1_000_000


def _raw(**changes: Any) -> bytes:
    return json.dumps(prediction("poison", **changes)).encode()


def _with(text: str, *, instead_of: str = '"amount": 149.62, "fraud_proba"') -> bytes:
    """An event with a piece of JSON that Python would not write."""
    whole = _raw().decode()
    assert instead_of in whole
    return whole.replace(instead_of, text).encode()


def _without(name: str) -> bytes:
    event = prediction("poison")
    del event[name]
    return json.dumps(event).encode()


def _label(**changes: Any) -> bytes:
    return json.dumps(label("poison", **changes)).encode()


POISON: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not_json"),
    "cut short": (_raw()[:-10], "not_json"),
    "two events in one": (_raw() + _raw(), "not_json"),
    "a megabyte of noise": (b"\xff\x00" * (MEGABYTE // 2), "not_json"),
    "a megabyte of text in a field": (_raw(user_id="u" * MEGABYTE), "invalid"),
    "NUL bytes": (b"\0" * 100, "not_json"),
    "NUL in a text": (_raw(source="a\0b"), "invalid"),
    "invalid UTF-8": (_with('"\xff"', instead_of='" Web "').decode().encode("latin-1"), "not_json"),
    "UTF-16": (_raw().decode().encode("utf-16"), "not_json"),
    "half of a surrogate pair": (_raw(user_id="\ud83d"), "invalid"),
    "gzip": (gzip.compress(_raw()), "not_json"),
    "base64": (base64.b64encode(_raw()), "not_json"),
    "an aggregate of the Kinesis Producer Library": (b"\xf3\x89\x9a\xc2" + _raw(), "not_json"),
    "a number": (b"1", "not_json"),
    "null": (b"null", "not_json"),
    "an array": (json.dumps([prediction("poison")]).encode(), "not_json"),
    "an array for an object": (_raw(device_info=[]), "invalid"),
    "an object for a text": (_raw(user_id={}), "invalid"),
    "deep nesting": (b"[" * DEEP + b"]" * DEEP, "not_json"),
    "deep nesting in a field": (_with(f'"x": {"[" * DEEP}{"]" * DEEP}, "amount": 1, "fraud_proba"'), "not_json"),
    "NaN": (_raw(amount=float("nan")), "not_json"),
    "infinity": (_raw(amount=float("inf")), "not_json"),
    "a number beyond all": (_with('"amount": 1e999, "fraud_proba"'), "invalid"),
    "a huge integer": (_with(f'"amount": {"9" * 400}, "fraud_proba"'), "invalid"),
    "an integer of 10,000 digits": (_with(f'"amount": {"9" * 10_000}, "fraud_proba"'), "not_json"),
    "a number as text": (_raw(amount="149.62"), "invalid"),
    "true for a number": (_raw(amount=True), "invalid"),
    "a missing key": (_without("user_id"), "invalid"),
    "no transaction": (_raw(transaction_id=None), "invalid"),
    "a blank transaction": (_raw(transaction_id=" "), "invalid"),
    "a transaction of 300 characters": (_raw(transaction_id="t" * 300), "invalid"),
    "no version": (_without("schema_version"), "unknown_version"),
    "unknown version": (_raw(schema_version=2), "unknown_version"),
    "true for the version": (_raw(schema_version=True), "unknown_version"),
    "no type": (_without("type"), "unknown_type"),
    "unknown type": (_raw(type="refund"), "unknown_type"),
    "no UUID": (_raw(event_id="1"), "invalid"),
    "unknown decision": (_raw(decision="perhaps"), "invalid"),
    "a probability beyond 1": (_raw(fraud_proba=1.1), "invalid"),
    "a prediction of 2": (_raw(fraud_prediction=2), "invalid"),
    "year 0": (_raw(occurred_at="0000-01-01T00:00:00Z"), "invalid"),
    "year 9999": (_raw(occurred_at="9999-12-31T23:59:59Z"), "outside_window"),
    "beyond year 9999 in UTC": (_raw(occurred_at="9999-12-31T23:59:59-12:00"), "invalid"),
    "last year": (_raw(occurred_at="2024-02-29T12:00:00Z"), "outside_window"),
    "no offset": (_raw(occurred_at="2026-11-23T10:00:00"), "invalid"),
    "seconds for a time": (_raw(occurred_at=1_790_000_000), "invalid"),
    "wrong ip": (_raw(ip_address="203.0.113.256"), "invalid"),
    "an ip with a zone": (_raw(ip_address="fe80::1%eth0"), "invalid"),
    "north of the pole": (_raw(geo={"latitude": 91}), "invalid"),
    "no features": (_raw(features={}), "invalid"),
    "features as a list": (_raw(features=[1.0]), "invalid"),
    "a feature that is missing": (_raw(features={"V1": None}), "invalid"),
    "too many features": (_raw(features={f"V{number}": 0 for number in range(4097)}), "invalid"),
    "reasons that are texts": (_raw(reasons=["V14"]), "invalid"),
    "a label of 2": (_label(label=2), "invalid"),
    "a label as text": (_label(label="1"), "invalid"),
    "no label": (_label(label=None), "invalid"),
    "a label for nothing": (_label(transaction_id=None), "invalid"),
    "a label from nowhere": (_label(source="rumour"), "invalid"),
}


def strange() -> list[bytes]:
    """Events that look wrong and are right, or that no two readers need to agree on; the transactions are strange-0, strange-1, ..."""
    changes: list[dict[str, Any]] = [
        {"user_id": "u" * 256},
        {"user_id": "quotes \" and ' and , and \\. and \\N and \t"},
        {"geo": {"city": "東京 🗼 e\u0301"}, "ip_address": "2001:db8::1"},
        {
            "geo": None,
            "device_info": None,
            "ip_address": None,
            "fraud_proba": None,
            "anomaly_score": None,
            "decision": "review",
        },
        {"amount": -0.0, "features": {"V1": 5e-324, "V2": 1.7976931348623157e308, "V3": -0.0}},
        {"amount": 2**70},
        {"unknown": {"field": [None]}},
        {"schema_version": 1.0},
    ]
    events = [json.dumps(prediction(f"strange-{number}", **change)) for number, change in enumerate(changes)]
    events.append(json.dumps(prediction(f"strange-{len(events)}")).replace('"amount": ', '"amount": 1, "amount": '))
    events.append(json.dumps(prediction(f"strange-{len(events)}"), indent=2, ensure_ascii=False))
    return [event.encode() for event in events]
