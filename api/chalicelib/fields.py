"""The kinds of fields that a request is made of: for each, its check and its JSON Schema side by side.

Belongs here: what one value may be, whatever request it stands in. Does not: which fields a request has
(``transactions.py``, ``feedback_request.py``). The parsers run the checks, ``openapi.py`` shows the schemas; a schema
says less where JSON Schema has no words for a rule (card numbers), and then the description does.
"""

import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from chalicelib.card_numbers import holds_card_number
from chalicelib.errors import InvalidRequestError
from chalicelib.paths import HIDDEN, join, shown

MAX_TEXT_CHARACTERS = 128
_LEAST_CARD_NUMBER = 10**12
_PAST_CARD_NUMBERS = 10**19
_WORD = r"[^\s\x00-\x1f\x7f-\x9f]+"  # as near to "printable" as the regular expressions of all languages come
_DATE_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
_RFC_3339 = re.compile(_DATE_TIME)

Check = Callable[[Any, str], Any]
"""Takes a value and its path; returns it as we keep it, or raises InvalidRequestError."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a request.

    Attributes:
        check: What the parser does with its value.
        schema: JSON Schema of the values that pass, with a description.
        required: Whether it may be left out.
    """

    check: Check
    schema: Mapping[str, Any]
    required: bool = True


def object_of(description: str, fields: Mapping[str, Field]) -> Field:
    """An object of exactly these fields; checked, they come out in this order."""
    required = [name for name, field in fields.items() if field.required]

    def check(value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            message = f"{where or 'the body'} must be a JSON object"
            raise InvalidRequestError("not_an_object", message, field=where or None)
        if value.keys() != fields.keys():
            _refuse_missing_and_unknown(value, where)
        return {name: field.check(value[name], join(where, name)) for name, field in fields.items() if name in value}

    def _refuse_missing_and_unknown(value: Mapping[str, Any], where: str) -> None:
        for name in required:
            if name not in value:
                path = join(where, name)
                raise InvalidRequestError("missing_field", f"{path} is missing", field=path)
        for name in value:
            if name not in fields:
                path = join(where, shown(name))
                hidden = f" (a {HIDDEN} hides its name)" if path.endswith(HIDDEN) else ""
                message = f"{path} is not a field of this request{hidden}"
                raise InvalidRequestError("unknown_field", message, field=path)

    schema = {
        "type": "object",
        "description": description,
        "properties": {name: field.schema for name, field in fields.items()},
        "required": required,
        "additionalProperties": False,
    }
    return Field(check, schema)


def identifier(description: str, *, required: bool = True) -> Field:
    """A client's own name for something; it may look like a card number, since many ids do."""
    schema = {
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_TEXT_CHARACTERS,
        "pattern": rf"^{_WORD}( +{_WORD})*$",
        "description": f"{description} Printable characters, with no space around them.",
    }
    return Field(_identifier, schema, required)


def text(description: str) -> Field:
    """A short text, without card numbers."""
    schema = {**identifier(description).schema}
    schema["description"] += " A card number in it is refused."
    return Field(_text, schema)


def number(description: str, *, above: int | None = None) -> Field:
    """A finite number that is no card number, and above a bound where there is one."""
    schema = {"type": "number", "description": description}
    if above is None:
        return Field(_number, schema)

    def check(value: Any, where: str) -> float:
        checked = _number(value, where)
        if checked <= above:
            raise InvalidRequestError("out_of_range", f"{where} must be above {above}", field=where)
        return checked

    return Field(check, {**schema, "exclusiveMinimum": above})


def degrees(description: str, *, limit: int) -> Field:
    """An angle from ``-limit`` to ``limit``."""

    def check(value: Any, where: str) -> float:
        angle = _number(value, where)
        if abs(angle) > limit:
            raise InvalidRequestError("out_of_range", f"{where} must lie within -{limit} and {limit}", field=where)
        return angle

    return Field(check, {"type": "number", "minimum": -limit, "maximum": limit, "description": description})


def choice(description: str, values: tuple[Any, ...]) -> Field:
    """One of a few values."""

    def check(value: Any, where: str) -> Any:
        if isinstance(value, bool) or value not in values:
            message = f"{where} must be one of {', '.join(map(str, values))}"
            raise InvalidRequestError("not_one_of", message, field=where)
        return values[values.index(value)]

    return Field(check, {"enum": list(values), "description": description})


def timestamp(description: str, *, required: bool = True) -> Field:
    """A moment; comes out in UTC."""
    schema = {
        "type": "string",
        "format": "date-time",
        "pattern": f"^{_DATE_TIME}$",
        "description": f"{description} RFC 3339 with an offset; a leap second cannot be told.",
    }
    return Field(_timestamp, schema, required)


def ip_address(description: str) -> Field:
    """An IPv4 or IPv6 address; comes out in its canonical form."""
    schema = {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}], "description": description}
    return Field(_ip_address, schema)


def refuse_outside(moment: datetime, where: str, *, earliest: datetime | None, latest: datetime) -> None:
    """Refuse a moment outside of a window that moves with the clock.

    Raises:
        InvalidRequestError: It lies outside; the field is ``where``.
    """
    if moment > latest or (earliest is not None and moment < earliest):
        window = f"not later than {_minute(latest)}" + (f" and not before {_minute(earliest)}" if earliest else "")
        raise InvalidRequestError("out_of_range", f"{where} must be {window}", field=where)


def _minute(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%MZ")


def _identifier(value: Any, where: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT_CHARACTERS or value.strip() != value:
        message = f"{where} must be a string of 1 to {MAX_TEXT_CHARACTERS} characters with no space around them"
        raise InvalidRequestError("not_a_text", message, field=where)
    if not value.isprintable():
        message = f"{where} must hold printable characters only"
        raise InvalidRequestError("not_a_text", message, field=where)
    return value


def _text(value: Any, where: str) -> str:
    checked = _identifier(value, where)
    if holds_card_number(checked):
        raise _card_number(where)
    return checked


def _number(value: Any, where: str) -> float:
    if type(value) is float and abs(value) < _LEAST_CARD_NUMBER:  # nearly all are; NaN and infinity are not
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequestError("not_a_number", f"{where} must be a number", field=where)
    checked = float(value)
    if not math.isfinite(checked):
        raise InvalidRequestError("not_finite", f"{where} must be finite: neither NaN nor infinity", field=where)
    if abs(checked) < _PAST_CARD_NUMBERS and checked.is_integer() and holds_card_number(str(int(value))):
        raise _card_number(where)
    return checked


def _card_number(where: str) -> InvalidRequestError:
    message = f"{where} looks like a card number; card numbers must not be sent"
    return InvalidRequestError("card_number", message, field=where)


def _timestamp(value: Any, where: str) -> datetime:
    try:
        if isinstance(value, str) and _RFC_3339.fullmatch(value):
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
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
