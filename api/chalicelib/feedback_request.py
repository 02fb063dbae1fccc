"""The body of ``POST /feedback``: what somebody found out about a transaction.

Belongs here: its fields. Does not: how a field of one kind is checked (``fields.py``), and the event that is made of it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, get_args

from chalicelib.fields import choice, identifier, object_of, refuse_outside, timestamp
from chalicelib.json_body import read_json

Source = Literal["chargeback", "analyst", "customer"]

MAX_AHEAD = timedelta(days=1)


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


FEEDBACK = object_of(
    "One label of one transaction.",
    {
        "transaction_id": identifier("Of the transaction; it need not have been seen."),
        "label": choice("1 for fraud, 0 for none.", (0, 1)),
        "source": choice("Who says so.", get_args(Source)),
        "labelled_at": timestamp(
            f"When it was found out, at most {MAX_AHEAD.days} day ahead; now, where it is left out.", required=False
        ),
    },
)


def parse_feedback(body: bytes, *, max_body_bytes: int, now: datetime) -> Feedback:
    """Check a request's body.

    Raises:
        ApiError: 413 where the body is too large.
        InvalidRequestError: The first rule that is broken, with its field.
    """
    fields = {"labelled_at": now, **FEEDBACK.check(read_json(body, max_body_bytes=max_body_bytes), "")}
    refuse_outside(fields["labelled_at"], "labelled_at", earliest=None, latest=now + MAX_AHEAD)
    return Feedback(**fields)
