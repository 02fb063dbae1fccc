"""The bodies of ``POST /predict`` and ``POST /predict/batch``: declared, checked and made into transactions.

Belongs here: the fields of a transaction; the first broken rule is answered with its field. Does not: how a field of one
kind is checked (``fields.py``), and scoring. The checks are written out: half of them come from the manifest at run time,
and a schema library would be the largest thing in the Lambda package.
"""

import math
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from chalicelib.errors import InvalidRequestError
from chalicelib.fields import Field, degrees, identifier, ip_address, number, object_of, refuse_outside, text, timestamp
from chalicelib.json_body import read_json
from chalicelib.manifest import Manifest

MAX_AGE = timedelta(days=90)
MAX_AHEAD = timedelta(days=1)
"""The warehouse quarantines what lies further away from now."""

_NUMBER = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?"
_FINITE = re.compile(_NUMBER)
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)


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


METADATA = object_of(
    "Who, when, where from.",
    {
        "transaction_id": identifier("The client's id; one is made where it is left out.", required=False),
        "run_id": identifier("Names a simulated run.", required=False),
        "timestamp": timestamp(
            f"When the transaction happened: at most {MAX_AGE.days} days ago, at most {MAX_AHEAD.days} day ahead."
        ),
        "user_id": identifier("The customer."),
        "source": text("The channel, such as Web."),
        "device_info": object_of(
            "The customer's device.",
            {
                "device_type": text("Such as phone."),
                "os_version": text("Such as Android 16."),
                "app_version": text("Of the client's app."),
            },
        ),
        "ip_address": ip_address("IPv4 or IPv6, without a zone."),
        "geo": object_of(
            "Where the customer is.",
            {
                "country": text("Country."),
                "region": text("Region."),
                "city": text("City."),
                "latitude": degrees("In degrees, north is positive.", limit=90),
                "longitude": degrees("In degrees, east is positive.", limit=180),
            },
        ),
    },
)


@lru_cache(maxsize=2)
def transaction_field(inputs: tuple[str, ...], logarithmic: frozenset[str]) -> Field:
    """Return a transaction's body, whose ``data`` are the inputs of a manifest; of some a model takes log(1 + x)."""
    return object_of("One transaction.", {"metadata": METADATA, "data": _data(inputs, logarithmic)})


def parse_transaction(body: bytes, manifest: Manifest, *, max_body_bytes: int, now: datetime) -> Transaction:
    """Check a request's body against the rules and the manifest's inputs.

    Raises:
        ApiError: 413 where the body is too large.
        InvalidRequestError: The first rule that is broken, with its field.
    """
    return _transaction(read_json(body, max_body_bytes=max_body_bytes), "", manifest, now)


def parse_batch(
    body: bytes, manifest: Manifest, *, max_body_bytes: int, max_transactions: int, now: datetime
) -> list[Transaction | InvalidRequestError]:
    """Check a batch, transaction by transaction, in the order sent; what is wrong with one is its own error.

    Of two transactions with one id the first counts, and the second is an error.

    Raises:
        ApiError: 413 where the body is too large.
        InvalidRequestError: The body is no batch at all.
    """

    def check_items(items: Any, where: str) -> list[Transaction | InvalidRequestError]:
        if not isinstance(items, list):
            raise InvalidRequestError("not_a_list", f"{where} must be a list", field=where)
        if not 0 < len(items) <= max_transactions:
            message = f"{where} holds {len(items)} transactions; 1 to {max_transactions} are taken"
            raise InvalidRequestError("wrong_count", message, field=where)
        taken: set[str] = set()
        return [_item(item, f"{where}[{position}]", taken) for position, item in enumerate(items)]

    def _item(item: Any, where: str, taken: set[str]) -> Transaction | InvalidRequestError:
        try:
            transaction = _transaction(item, where, manifest, now)
        except InvalidRequestError as error:
            return error
        if transaction.transaction_id in taken:
            path = f"{where}.metadata.transaction_id"
            return InvalidRequestError("duplicate_id", f"{path} is in this batch already", field=path)
        taken.add(transaction.transaction_id)
        return transaction

    batch = object_of("A batch.", {"transactions": Field(check_items, {})})
    results: list[Transaction | InvalidRequestError] = batch.check(read_json(body, max_body_bytes=max_body_bytes), "")[
        "transactions"
    ]
    return results


def _transaction(content: Any, where: str, manifest: Manifest, now: datetime) -> Transaction:
    fields = transaction_field(manifest.inputs, manifest.logarithmic).check(content, where)
    metadata = fields["metadata"]
    occurred_at = metadata.pop("timestamp")
    path = f"{where}.metadata.timestamp" if where else "metadata.timestamp"
    refuse_outside(occurred_at, path, earliest=now - MAX_AGE, latest=now + MAX_AHEAD)
    return Transaction(
        transaction_id=metadata.pop("transaction_id", None) or str(uuid.uuid4()),
        occurred_at=occurred_at,
        run_id=metadata.pop("run_id", None),
        customer=metadata,
        features=fields["data"],
    )


def _data(inputs: tuple[str, ...], logarithmic: frozenset[str]) -> Field:
    """The inputs of a manifest, by name or as the cells of one CSV line in its order."""
    by_name = object_of(
        "Each input by its name.",
        {name: number(f"The input {name}.", above=-1 if name in logarithmic else None) for name in inputs},
    )

    def check(value: Any, where: str) -> dict[str, float]:
        if isinstance(value, str):
            return check_csv(value, where)
        if not isinstance(value, dict):
            message = f"{where} must be an object of numbers or a CSV line of the inputs"
            raise InvalidRequestError("not_an_object", message, field=where)
        checked: dict[str, float] = by_name.check(value, where)
        return checked

    def check_csv(line: str, where: str) -> dict[str, float]:
        cells = line.split(",")
        if len(cells) != len(inputs):
            message = f"{where} holds {len(cells)} values; the model takes {len(inputs)}: {', '.join(inputs)}"
            raise InvalidRequestError("wrong_count", message, field=where)
        numbers = map(float, cells) if whole_line.fullmatch(line) else map(_read_cell, cells)
        checked: dict[str, float] = by_name.check(dict(zip(inputs, numbers, strict=True)), where)
        return checked

    pattern = rf"\s*{_NUMBER}\s*(,\s*{_NUMBER}\s*){{{len(inputs) - 1}}}"
    whole_line = re.compile(pattern)
    csv = {
        "type": "string",
        "pattern": f"^{pattern}$",
        "description": f"The inputs in this order, as one line of CSV: {', '.join(inputs)}.",
    }
    return Field(check, {"description": "What the models look at.", "oneOf": [by_name.schema, csv]})


def _read_cell(cell: str) -> float | str:
    """Return a cell's number; NaN for the words of what is not finite; the cell itself where it is no number."""
    word = cell.strip()
    if _FINITE.fullmatch(word):
        return float(word)
    return math.nan if _NOT_FINITE.fullmatch(word) else cell
