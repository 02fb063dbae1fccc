"""The body of ``POST /feedback``: what somebody found out about a transaction.

Belongs here: its fields. Does not: how a field of one kind is checked, and the event that is made of it.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from chalicelib.errors import InvalidRequestError
from chalicelib.transactions import MAX_AHEAD, _identifier, _object, _timestamp, read_json

SOURCES = ("chargeback", "analyst", "customer")

Source = Literal["chargeback", "analyst", "customer"]


@dataclass(frozen=True, slots=True)
class Feedback:
    """One label of one transaction.

    Attributes:
        transaction_id: Of the transaction; it need not have been seen.
        label: 1 for fraud, 0 for none.
        source: Who says so.
        labelled_at: In UTC.
    """

    transaction_id: str
    label: int
    source: Source
    labelled_at: datetime


def parse_feedback(body: bytes, *, max_body_bytes: int, now: datetime) -> Feedback:
    """Check a request's body.

    Raises:
        ApiError: 413 where the body is too large.
        InvalidRequestError: The first rule that is broken, with its field.
    """
    fields = _object(
        read_json(body, max_body_bytes=max_body_bytes),
        "",
        required={"transaction_id": _identifier, "label": _label, "source": _source},
        optional={"labelled_at": _timestamp},
    )
    labelled_at = fields.get("labelled_at", now)
    if labelled_at > now + MAX_AHEAD:
        message = f"labelled_at must lie at most {MAX_AHEAD.days} day after now"
        raise InvalidRequestError("out_of_range", message, field="labelled_at")
    return Feedback(fields["transaction_id"], fields["label"], cast("Source", fields["source"]), labelled_at)


def _label(value: Any, where: str) -> int:
    if isinstance(value, bool) or value not in (0, 1):
        raise InvalidRequestError("not_a_label", f"{where} must be 0 or 1", field=where)
    return int(value)


def _source(value: Any, where: str) -> str:
    if value not in SOURCES:
        raise InvalidRequestError("not_a_source", f"{where} must be one of {', '.join(SOURCES)}", field=where)
    return str(value)
