"""A request's body, checked and made into a transaction.

Belongs here: every rule about what a client may send; the first broken one is answered with its field. Does not: scoring.
The rules are few and half of them come from the manifest at run time, so they are written out here: a schema library
would be the largest thing in the Lambda package.
"""

import ipaddress
import json
import math
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from chalicelib.card_numbers import holds_card_number
from chalicelib.errors import ApiError, InvalidRequestError
from chalicelib.manifest import Manifest

MAX_TEXT_CHARACTERS = 128
MAX_AGE = timedelta(days=90)
MAX_AHEAD = timedelta(days=1)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)

Check = Callable[[Any, str], Any]


@dataclass(frozen=True, slots=True)
class Transaction:
    """One transaction that may be scored.

    Attributes:
        transaction_id: The client's, or ours where it gave none.
        occurred_at: In UTC.
        run_id: The simulator's run, or None.
        customer: ``user_id``, ``source``, ``device_info``, ``ip_address`` and ``geo`` as the event holds them.
        features: Value by input, in the manifest's order, all finite.
    """

    transaction_id: str
    occurred_at: datetime
    run_id: str | None
    customer: Mapping[str, Any]
    features: Mapping[str, float]


def parse_transaction(body: bytes, manifest: Manifest, *, max_body_bytes: int, now: datetime) -> Transaction:
    """Check a request's body against the rules and the manifest's inputs.

    Raises:
        ApiError: 413 where the body is too large.
        InvalidRequestError: The first rule that is broken, with its field.
    """
    return _transaction(read_json(body, max_body_bytes=max_body_bytes), manifest, now)


def parse_batch(
    body: bytes, manifest: Manifest, *, max_body_bytes: int, max_transactions: int, now: datetime
) -> list[Transaction | InvalidRequestError]:
    """Check a batch, transaction by transaction, in the order sent; what is wrong with one is its own error.

    Raises:
        ApiError: 413 where the body is too large.
        InvalidRequestError: The body is no batch at all.
    """
    content = read_json(body, max_body_bytes=max_body_bytes)
    items = _object(content, "", required={"transactions": _as_is})["transactions"]
    if not isinstance(items, list) or not 0 < len(items) <= max_transactions:
        message = f"transactions must be a list of 1 to {max_transactions} transactions"
        raise InvalidRequestError("wrong_count", message, field="transactions")
    results: list[Transaction | InvalidRequestError] = []
    seen: set[str] = set()
    for position, item in enumerate(items):
        where = f"transactions[{position}]"
        try:
            transaction = _transaction(item, manifest, now)
        except InvalidRequestError as error:
            path = f"{where}.{error.field}" if error.field else where
            results.append(InvalidRequestError(error.code, error.message, field=path))
            continue
        if transaction.transaction_id in seen:
            path = f"{where}.metadata.transaction_id"
            results.append(InvalidRequestError("duplicate_id", f"{path} is in this batch already", field=path))
            continue
        seen.add(transaction.transaction_id)
        results.append(transaction)
    return results


def read_json(body: bytes, *, max_body_bytes: int) -> Any:
    """Decode a body.

    Raises:
        ApiError: 413 where the body is too large.
        InvalidRequestError: It is not JSON.
    """
    if len(body) > max_body_bytes:
        raise ApiError(413, "too_large", f"the body has {len(body)} bytes; at most {max_body_bytes} are taken")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidRequestError("invalid_json", "the body is not JSON in UTF-8", field=None) from None


def _transaction(content: Any, manifest: Manifest, now: datetime) -> Transaction:
    fields = _object(content, "", required={"metadata": _metadata, "data": _as_is})
    metadata = fields["metadata"]
    if not now - MAX_AGE <= metadata["timestamp"] <= now + MAX_AHEAD:
        where = "metadata.timestamp"
        message = f"{where} must lie within {MAX_AGE.days} days before and {MAX_AHEAD.days} day after now"
        raise InvalidRequestError("out_of_range", message, field=where)
    return Transaction(
        transaction_id=metadata.pop("transaction_id", None) or str(uuid.uuid4()),
        occurred_at=metadata.pop("timestamp"),
        run_id=metadata.pop("run_id", None),
        customer=metadata,
        features=_features(fields["data"], manifest.inputs),
    )


def _metadata(value: Any, where: str) -> dict[str, Any]:
    return _object(
        value,
        where,
        required={
            "timestamp": _timestamp,
            "user_id": _identifier,
            "source": _text,
            "device_info": _device_info,
            "ip_address": _ip_address,
            "geo": _geo,
        },
        optional={"transaction_id": _identifier, "run_id": _identifier},
    )


def _device_info(value: Any, where: str) -> dict[str, Any]:
    return _object(value, where, required={"device_type": _text, "os_version": _text, "app_version": _text})


def _geo(value: Any, where: str) -> dict[str, Any]:
    return _object(
        value,
        where,
        required={
            "country": _text,
            "region": _text,
            "city": _text,
            "latitude": _degrees(90),
            "longitude": _degrees(180),
        },
    )


def _object(
    value: Any, where: str, *, required: Mapping[str, Check], optional: Mapping[str, Check] | None = None
) -> dict[str, Any]:
    """Check an object's fields, each by its own check; none may be missing or unknown."""
    if not isinstance(value, dict):
        raise InvalidRequestError("not_an_object", f"{where or 'the body'} must be a JSON object", field=where or None)
    checks = {**required, **(optional or {})}
    _same_names(value, required=required, known=checks, where=where)
    return {name: checks[name](item, _join(where, name)) for name, item in value.items()}


def _same_names(value: Mapping[str, Any], *, required: Mapping[str, Any], known: Mapping[str, Any], where: str) -> None:
    for name in required:
        if name not in value:
            path = _join(where, name)
            raise InvalidRequestError("missing_field", f"{path} is missing", field=path)
    for name in value:
        if name not in known:
            raise InvalidRequestError("unknown_field", "the field is not one of this request", field=_join(where, name))


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _as_is(value: Any, _where: str) -> Any:
    return value


def _identifier(value: Any, where: str) -> str:
    if not isinstance(value, str) or not 0 < len(value.strip()) == len(value) <= MAX_TEXT_CHARACTERS:
        message = f"{where} must be a string of 1 to {MAX_TEXT_CHARACTERS} characters with no space around them"
        raise InvalidRequestError("not_a_text", message, field=where)
    if not value.isprintable():
        message = f"{where} must hold printable characters only"
        raise InvalidRequestError("not_a_text", message, field=where)
    return value


def _text(value: Any, where: str) -> str:
    text = _identifier(value, where)
    if holds_card_number(text):
        raise _card_number(where)
    return text


def _card_number(where: str) -> InvalidRequestError:
    message = f"{where} looks like a card number; card numbers must not be sent"
    return InvalidRequestError("card_number", message, field=where)


def _timestamp(value: Any, where: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is not None and "T" in value.upper():
            return moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        pass
    message = f"{where} must be an RFC 3339 time with an offset, such as 2026-11-23T10:00:00Z"
    raise InvalidRequestError("not_a_timestamp", message, field=where)


def _ip_address(value: Any, where: str) -> str:
    try:
        if isinstance(value, str) and "%" not in value:  # a zone index means nothing outside its host
            return str(ipaddress.ip_address(value))
    except ValueError:
        pass
    raise InvalidRequestError("not_an_ip_address", f"{where} must be an IPv4 or IPv6 address", field=where)


def _degrees(limit: int) -> Check:
    def check(value: Any, where: str) -> float:
        degrees = _number(value, where)
        if abs(degrees) > limit:
            raise InvalidRequestError("out_of_range", f"{where} must lie within -{limit} and {limit}", field=where)
        return degrees

    return check


def _features(data: Any, inputs: tuple[str, ...]) -> dict[str, float]:
    if isinstance(data, str):
        return _features_from_csv(data, inputs)
    if not isinstance(data, dict):
        message = "data must be an object of numbers or a CSV line of the inputs"
        raise InvalidRequestError("not_an_object", message, field="data")
    names = dict.fromkeys(inputs)
    _same_names(data, required=names, known=names, where="data")
    return {name: _number(data[name], f"data.{name}") for name in inputs}


def _features_from_csv(line: str, inputs: tuple[str, ...]) -> dict[str, float]:
    cells = line.strip().split(",")
    if len(cells) != len(inputs):
        message = f"data holds {len(cells)} values; the model takes {len(inputs)}: {', '.join(inputs)}"
        raise InvalidRequestError("wrong_count", message, field="data")
    return {name: _number_in_csv(cell.strip(), f"data.{name}") for name, cell in zip(inputs, cells, strict=True)}


def _number_in_csv(cell: str, where: str) -> float:
    if _NUMBER.fullmatch(cell):
        return _number(float(cell), where)
    if _NOT_FINITE.fullmatch(cell):
        raise _not_finite(where)
    raise _not_a_number(where)


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _not_a_number(where)
    try:
        number = float(value)
    except OverflowError:
        raise _not_finite(where) from None
    if not math.isfinite(number):
        raise _not_finite(where)
    if number.is_integer() and holds_card_number(str(int(value))):
        raise _card_number(where)
    return number


def _not_a_number(where: str) -> InvalidRequestError:
    return InvalidRequestError("not_a_number", f"{where} must be a number", field=where)


def _not_finite(where: str) -> InvalidRequestError:
    return InvalidRequestError("not_finite", f"{where} must be finite: neither NaN nor infinity", field=where)
