"""An event of the Kinesis stream: read strictly, flattened into a row, or refused with a reason.

Belongs here: the rules of the event schema (version 1) and the columns made from it. Plain Python: no Spark, no Arrow, no SQL.
Does not: what is done with a refused event (``sink.py``). Nothing but ``PoisonError`` leaves ``parse_event``, whatever the bytes.
"""

import ipaddress
import json
import math
import re
import uuid
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any, NoReturn

import orjson

SCHEMA_VERSION = 1
OLDEST = timedelta(days=90)
NEWEST = timedelta(days=1)
MAX_TEXT_CHARS = 256  # ids are index keys: a PostgreSQL b-tree refuses entries beyond 2.7 kB
MAX_FEATURES = 4096
KNOWN_ADDRESSES = 16_384

DECISIONS = frozenset({"approve", "review", "block"})
LABEL_SOURCES = frozenset({"chargeback", "analyst", "customer"})

_BAND_EDGES = (0.0, 10.0, 50.0, 100.0, 500.0, 1000.0)
_BAND_NAMES = ("<0", "0-10", "10-50", "50-100", "100-500", "500-1000", ">=1000")
_NUMBERS = frozenset({int, float})  # bool is an int to isinstance, and no number of JSON
_HALF_OF_A_PAIR = re.compile("[\ud800-\udfff]").search
_PLAIN_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch


class Kind(StrEnum):
    """Where a record goes."""

    PREDICTION = "prediction"
    LABEL = "label"
    QUARANTINE = "quarantine"


class Reason(StrEnum):
    """Why an event is in quarantine."""

    NOT_JSON = "not_json"
    UNKNOWN_VERSION = "unknown_version"
    UNKNOWN_TYPE = "unknown_type"
    INVALID = "invalid"
    OUTSIDE_WINDOW = "outside_window"
    CONFLICT = "conflict"


class PoisonError(Exception):
    """An event that can be no row.

    Attributes:
        reason: The kind of defect.
        detail: What is wrong and in which field, without the field's value.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Row:
    """One event as a row.

    Attributes:
        kind: ``PREDICTION`` (columns of ``fraud.fraud_predictions``) or ``LABEL`` (of ``fraud.fraud_labels``).
        columns: Value by column name, ready for JSON: times are RFC 3339 in UTC, numbers finite.
    """

    kind: Kind
    columns: dict[str, Any]


def parse_event(data: bytes, *, arrived_at: datetime) -> Row:
    """Return the row that an event is.

    Args:
        data: The record's bytes.
        arrived_at: When Kinesis took the record. The accepted window, [arrived_at - 90 days, arrived_at + 1 day], hangs on it
            and not on the clock, so that a replay decides as the first reading did.

    Raises:
        PoisonError: The bytes are not an event of this schema version.
    """
    event = _Fields(_decode(data), path="", arrived_at=arrived_at)
    if event.get("schema_version") is True or event.get("schema_version") != SCHEMA_VERSION:
        raise PoisonError(Reason.UNKNOWN_VERSION, f"schema_version is not {SCHEMA_VERSION}")
    match event.get("type"):
        case "prediction":
            return Row(Kind.PREDICTION, _prediction(event))
        case "label":
            return Row(Kind.LABEL, _label(event))
        case _:
            raise PoisonError(Reason.UNKNOWN_TYPE, "type is neither 'prediction' nor 'label'")


def amount_band(amount: float) -> str:
    """Return the band of an amount; a band includes its lower edge."""
    return _BAND_NAMES[bisect_right(_BAND_EDGES, amount)]


def _prediction(event: "_Fields") -> dict[str, Any]:
    occurred_at = event.instant("occurred_at")
    device, geo, versions = event.fields("device_info"), event.fields("geo"), event.fields("model_versions")
    country = geo.optional_text("country")
    amount = event.number("amount")
    return {
        "transaction_id": event.text("transaction_id"),
        "event_id": event.uuid("event_id"),
        "run_id": event.optional_text("run_id"),
        "occurred_at": occurred_at.isoformat(),
        "scored_at": event.instant("scored_at").isoformat(),
        "user_id": event.text("user_id"),
        "source": event.text("source"),
        "device_type": device.optional_text("device_type"),
        "os_version": device.optional_text("os_version"),
        "app_version": device.optional_text("app_version"),
        "ip_address": event.optional_ip_address("ip_address"),
        "country": country.upper() if country else None,
        "region": geo.optional_text("region"),
        "city": geo.optional_text("city"),
        "latitude": geo.optional_number("latitude", low=-90, high=90),
        "longitude": geo.optional_number("longitude", low=-180, high=180),
        "hour": occurred_at.hour,
        "weekday": occurred_at.isoweekday(),
        "amount": amount,
        "amount_band": amount_band(amount),
        "contract": event.text("contract"),
        "manifest_version": event.text("manifest_version"),
        "classifier_version": versions.optional_text("fraud_classifier"),
        "detector_version": versions.optional_text("anomaly_detector"),
        "features": event.features("features"),
        "fraud_proba": event.optional_number("fraud_proba", low=0, high=1),
        "fraud_prediction": event.optional_bit("fraud_prediction"),
        "anomaly_score": event.optional_number("anomaly_score"),
        "decision": event.choice("decision", DECISIONS),
        "reasons": [
            {
                "feature": reason.text("feature"),
                "value": reason.optional_number("value"),
                "weight": reason.number("weight"),
            }
            for reason in event.list_of_fields("reasons")
        ],
        "degraded": event.texts("degraded"),
        "latency_ms": event.optional_number("latency_ms", low=0),
    }


def _label(event: "_Fields") -> dict[str, Any]:
    event.uuid("event_id")
    label = event.optional_bit("label")
    if label is None:
        event.refuse("label", "is missing")
    return {
        "transaction_id": event.text("transaction_id"),
        "source": event.choice("source", LABEL_SOURCES),
        "label": label,
        "labelled_at": event.instant("labelled_at").isoformat(),
    }


def _decode(data: bytes) -> dict[str, Any]:
    """Read by orjson, a quarter of json's time. What it refuses, json judges: it says why, and takes what harms no column."""
    try:
        event = orjson.loads(data)
    except orjson.JSONDecodeError:
        event = _decode_strictly(data)
    if not isinstance(event, dict):
        raise PoisonError(Reason.NOT_JSON, "not a JSON object")
    return event


def _decode_strictly(data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise PoisonError(Reason.NOT_JSON, f"not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise PoisonError(Reason.NOT_JSON, f"{error.msg} at character {error.pos}") from error
    except (ValueError, RecursionError) as error:  # an integer of thousands of digits; thousands of nested brackets
        raise PoisonError(Reason.NOT_JSON, f"beyond what a JSON reader takes: {type(error).__name__}") from error


def _refuse_constant(name: str) -> NoReturn:
    raise PoisonError(Reason.NOT_JSON, f"{name} is not JSON")


class _Fields:
    """One JSON object of an event, read field by field; a refusal names the field."""

    __slots__ = ("_arrived_at", "_path", "_values")

    def __init__(self, values: dict[str, Any], *, path: str, arrived_at: datetime) -> None:
        self._values = values
        self._path = path
        self._arrived_at = arrived_at

    def refuse(self, name: str, what: str) -> NoReturn:
        raise PoisonError(Reason.INVALID, f"{self._path}{name} {what}")

    def get(self, name: str) -> Any:
        return self._values.get(name)

    def text(self, name: str) -> str:
        """Return a trimmed text that is not empty."""
        text = self.optional_text(name)
        if text is None:
            self.refuse(name, "is missing or empty")
        return text

    def optional_text(self, name: str) -> str | None:
        """Return a trimmed text, None where it is absent, null or empty."""
        value = self._values.get(name)
        return None if value is None else self._clean(name, value) or None

    def texts(self, name: str) -> list[str]:
        return [self._clean(name, value) for value in self._list(name)]

    def choice(self, name: str, choices: frozenset[str]) -> str:
        value = self.text(name)
        if value not in choices:
            self.refuse(name, f"is not one of {', '.join(sorted(choices))}")
        return value

    def uuid(self, name: str) -> str:
        text = self.text(name)
        if _PLAIN_UUID(text):
            return text
        try:
            return str(uuid.UUID(text))
        except ValueError:
            self.refuse(name, "is not a UUID")

    def number(self, name: str) -> float:
        return self._finite(name, self._values.get(name))

    def optional_number(self, name: str, *, low: float = -math.inf, high: float = math.inf) -> float | None:
        value = self._values.get(name)
        if value is None:
            return None
        number = self._finite(name, value)
        if not low <= number <= high:
            self.refuse(name, f"is outside [{low}, {high}]")
        return number

    def optional_bit(self, name: str) -> int | None:
        value = self.get(name)
        if value is not None and (type(value) is not int or value not in (0, 1)):
            self.refuse(name, "is neither 0 nor 1")
        return value

    def optional_ip_address(self, name: str) -> str | None:
        text = self.optional_text(name)
        if text is None:
            return None
        try:
            address = _ip_address(text)
        except ValueError:
            self.refuse(name, "is not an IP address")
        if "%" in address:
            self.refuse(name, "has a zone, which inet has not")
        return address

    def instant(self, name: str) -> datetime:
        """Return a time of RFC 3339 in UTC, inside the window."""
        text = self.text(name)
        try:
            moment = datetime.fromisoformat(text)
            if moment.tzinfo is None:
                self.refuse(name, "has no UTC offset")
            moment = moment.astimezone(UTC)
        except (ValueError, OverflowError):
            self.refuse(name, "is not a time of RFC 3339")
        if not -OLDEST <= moment - self._arrived_at <= NEWEST:
            raise PoisonError(
                Reason.OUTSIDE_WINDOW,
                f"{self._path}{name} is more than {OLDEST.days} days before or {NEWEST.days} day after the event's arrival",
            )
        return moment

    def features(self, name: str) -> list[float]:
        """Return the values of an object of numbers, in its order, which is that of the contract's inputs."""
        values = self.get(name)
        if not isinstance(values, dict) or not 0 < len(values) <= MAX_FEATURES:
            self.refuse(name, f"is not an object of 1 to {MAX_FEATURES} numbers")
        numbers = list(values.values())
        if _NUMBERS.issuperset(map(type, numbers)) and all(map(_is_finite, numbers)):
            return list(map(float, numbers))
        return [self._finite(f"{name}.{feature[:80]!a}", value) for feature, value in values.items()]

    def fields(self, name: str) -> "_Fields":
        """Return a nested object; an absent one reads as empty."""
        value = self.get(name)
        if value is None:
            value = {}
        if not isinstance(value, dict):
            self.refuse(name, "is not an object")
        return _Fields(value, path=f"{self._path}{name}.", arrived_at=self._arrived_at)

    def list_of_fields(self, name: str) -> list["_Fields"]:
        items = self._list(name)
        if not all(isinstance(item, dict) for item in items):
            self.refuse(name, "is not a list of objects")
        return [_Fields(item, path=f"{name}.", arrived_at=self._arrived_at) for item in items]

    def _list(self, name: str) -> list[Any]:
        value = self.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self.refuse(name, "is not a list")
        return value

    def _clean(self, name: str, value: Any) -> str:
        if not isinstance(value, str):
            self.refuse(name, "is not a text")
        text = value.strip()
        if len(text) > MAX_TEXT_CHARS:
            self.refuse(name, f"is longer than {MAX_TEXT_CHARS} characters")
        if "\0" in text:
            self.refuse(name, "holds a NUL character, which PostgreSQL cannot store")
        if not text.isascii() and _HALF_OF_A_PAIR(text):
            self.refuse(name, "holds half of a surrogate pair")
        return text

    def _finite(self, name: str, value: Any) -> float:
        if type(value) not in _NUMBERS:
            self.refuse(name, "is not a number")
        if not _is_finite(value):
            self.refuse(name, "is not finite")
        return float(value)


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an integer beyond a double
        return False


@lru_cache(KNOWN_ADDRESSES)
def _ip_address(text: str) -> str:
    """Return an address as PostgreSQL writes it; customers come back, and from the same one.

    Raises:
        ValueError: It is none.
    """
    return str(ipaddress.ip_address(text))
