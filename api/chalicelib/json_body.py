"""A request's body, from bytes to JSON values.

Belongs here: what must be settled before any field is looked at: size, encoding, and what JSON leaves open (names given
twice, numbers without bound). Does not: which fields there are (``transactions.py``, ``feedback_request.py``).
"""

import json
from typing import Any

from chalicelib.errors import ApiError, InvalidRequestError
from chalicelib.paths import join, shown

_MAX_INTEGER_DIGITS = 300
_MAX_PATH_CHARACTERS = 256


class _RepeatedNameError(ValueError):
    """An object gives a name twice."""


class _Repeating(dict[str, Any]):
    """An object that gives ``name`` twice."""

    name: str


def read_json(body: bytes, *, max_body_bytes: int) -> Any:
    """Decode a body. NaN and infinity come out as such, for the field's own check to refuse by name.

    Raises:
        ApiError: 413 where the body is too large.
        InvalidRequestError: It is not JSON in UTF-8, is nested beyond any need, or gives a name twice: which of two
            amounts would be meant?
    """
    if len(body) > max_body_bytes:
        raise ApiError(413, "too_large", f"the body has {len(body)} bytes; at most {max_body_bytes} are taken")
    try:
        text = body.decode()
        return _DECODER.decode(text)
    except _RepeatedNameError:
        path = _repeated_path(_MARKING_DECODER.decode(text))
        message = f"{path or 'a name'} is given twice; leave one"
        raise InvalidRequestError("duplicate_field", message, field=path) from None
    except (ValueError, RecursionError):
        message = "the body is not JSON in UTF-8 (without a byte order mark), or is nested too deeply"
        raise InvalidRequestError("invalid_json", message, field=None) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise _RepeatedNameError
    return content


def _marked_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = _Repeating()
    for name, value in pairs:
        if name in content:
            content.name = name
            return content
        content[name] = value
    return dict(content)


def _integer(digits: str) -> int | float:
    """Read an integer: Python refuses those of thousands of digits, and a float has no place for them either."""
    return int(digits) if len(digits) <= _MAX_INTEGER_DIGITS else float(digits)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer)
_MARKING_DECODER = json.JSONDecoder(object_pairs_hook=_marked_object, parse_int=_integer)


def _repeated_path(content: Any) -> str | None:
    """Return the path of the outermost name given twice, or None where it lies deeper than a path can say."""
    found = [("", content)]
    for where, value in found:  # grows while it is read: breadth first, and without recursion
        if isinstance(value, _Repeating):
            return join(where, shown(value.name))
        if len(where) > _MAX_PATH_CHARACTERS:
            continue
        if isinstance(value, dict):
            found.extend((join(where, shown(name)), item) for name, item in value.items())
        elif isinstance(value, list):
            found.extend((f"{where}[{position}]", item) for position, item in enumerate(value))
    return None
