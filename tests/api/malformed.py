"""Malformed requests, made from good ones by mutation, each with what the API must answer.

Belongs here: what can be wrong with a request. Does not: how it is sent (``test_malformed.py``).
"""

import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tests.api.conftest import METADATA, OCCURRED_AT

CARD = "4111 1111 1111 1111"
FULL_WIDTH_CARD = "".join(chr(0xFF10 + int(digit)) for digit in CARD.replace(" ", ""))
IDS = ("transaction_id", "user_id", "run_id")
TIMES = ("timestamp", "labelled_at")
OPTIONAL = ("transaction_id", "run_id", "labelled_at")
HUGE, REPEATED = "@an integer of 10,000 digits@", "@the same name again@"
"""Stand for what no JSON encoder writes."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """One request that is not right.

    Attributes:
        statuses: Those that it may be answered with.
        fields: ``error.field`` of every error in the answer; None: any.
    """

    path: str
    body: bytes
    statuses: tuple[int, ...]
    fields: tuple[str | None, ...] | None = None
    method: str = "POST"
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Node:
    """One field within a body: its path, what holds it, and its key there."""

    path: str
    holder: Any
    key: Any

    @property
    def value(self) -> Any:
        """What it holds."""
        return self.holder[self.key]

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition(".")[2]


def bodies() -> list[tuple[str, dict[str, Any]]]:
    """Return good bodies of every kind, each with its path."""
    metadata = {**METADATA, "transaction_id": "t-1", "run_id": "r-1"}
    by_name = {"metadata": metadata, "data": {"Time": 0, "V1": 0.05, "V2": 1.0, "Amount": 149.62}}
    csv = {"metadata": {**metadata, "transaction_id": "t-2"}, "data": "0,0.05,1.0,149.62"}
    feedback = {"transaction_id": "t-1", "label": 1, "source": "analyst", "labelled_at": METADATA["timestamp"]}
    batch = {"transactions": [by_name, csv]}
    # A batch with one bad transaction is scored all the same: few of them, since that takes time.
    single: list[tuple[str, dict[str, Any]]] = [("/predict", by_name), ("/predict", csv), ("/feedback", feedback)]
    return [*single * 3, ("/predict/batch", batch)]


def malformed(rng: random.Random) -> Malformed:
    """Make one malformed request."""
    path, good = rng.choice(bodies())
    return rng.choice(MUTATIONS)(rng, path, json.loads(json.dumps(good)))  # a copy that shares nothing within


def nodes(value: Any, where: str = "") -> Iterator[Node]:
    """Yield every field within a body."""
    if isinstance(value, dict):
        found = [Node(f"{where}.{key}" if where else key, value, key) for key in value]
    else:
        found = [Node(f"{where}[{key}]", value, key) for key in range(len(value))] if isinstance(value, list) else []
    for node in found:
        yield node
        yield from nodes(node.value, node.path)


def objects(body: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return every object within a body and the body itself, each with its path."""
    return [("", body), *((node.path, node.value) for node in nodes(body) if isinstance(node.value, dict))]


def bad_values(node: Node) -> Sequence[Any]:
    """Return values that must be refused in this field, by the path of the field itself."""
    anywhere = (None, True, math.nan, math.inf, HUGE)
    if isinstance(node.value, dict | list):
        return (*anywhere, 1, "x")
    if node.name == "data":
        return (*anywhere, 1, [], "", "1,2,3", "1,2,3,4,5", ",,,,,", "a b c d", "\ud800", "\x00")
    return (*anywhere, [], {}, [[[[]]]], {"a": 1}, "", " ", "\x00", "\ud800", *_bad_for_kind(node))


def _bad_for_kind(node: Node) -> Sequence[Any]:
    if node.name in TIMES:
        later = (OCCURRED_AT + timedelta(days=3)).isoformat()
        naive = METADATA["timestamp"][:19]
        return (
            0,
            "2026-11-23",
            "0000-01-01T00:00:00Z",
            "2026-11-23T23:59:60Z",
            "9999-12-31T23:59:59-12:00",
            naive,
            later,
        )
    if node.name == "ip_address":
        return (1, "198.18.0.256", "fe80::1%eth0", "198.18.0.1\n", "1" * 1000)
    if node.name == "label" or (node.name == "source" and "metadata" not in node.path):
        return (2, -1, 0.5, "1", "Analyst")
    if isinstance(node.value, str):
        cards = (CARD, "4111-1111.1111/1111", CARD.replace(" ", ""), FULL_WIDTH_CARD) if node.name not in IDS else ()
        return (17, "x" * 129, " x", "x\n", "a\x00b", "a\u202eb", "x" * 20_000, *cards)
    return ("0.1", "NaN", -math.inf, 10**400, 4111111111111111, -4111111111111111, 4.111111111111111e15)


def wrong_value(rng: random.Random, path: str, body: Any) -> Malformed:
    node = rng.choice(list(nodes(body)))
    node.holder[node.key] = rng.choice(bad_values(node))
    return refused(path, body, node.path)


def wrong_cell(rng: random.Random, path: str, body: Any) -> Malformed:
    lines = [node for node in nodes(body) if node.name == "data" and isinstance(node.value, str)]
    if not lines:
        return wrong_value(rng, path, body)
    node, position = rng.choice(lines), rng.randrange(4)
    cells = node.value.split(",")
    cells[position] = rng.choice(
        ["", "x", "nan", "-inf", "1e999", "1_0", "0x1", FULL_WIDTH_CARD, CARD, CARD.replace(" ", ""), "1" * 999]
    )
    node.holder[node.key] = ",".join(cells)
    return refused(path, body, f"{node.path}.{('Time', 'V1', 'V2', 'Amount')[position]}")


def left_out(rng: random.Random, path: str, body: Any) -> Malformed:
    node = rng.choice([node for node in nodes(body) if isinstance(node.holder, dict)])
    del node.holder[node.key]
    if node.name in OPTIONAL and not (path == "/feedback" and node.name == "transaction_id"):
        return Malformed(path, dump(body), (200, 202), ())
    return refused(path, body, node.path)


def unknown_name(rng: random.Random, path: str, body: Any) -> Malformed:
    where, holder = rng.choice(objects(body))
    name = rng.choice(
        ["x", "V29", "Amount_EUR", CARD, "c4111111111111111", "a@example.com", "", "a\x00", "\ud800", "n" * 9999]
    )
    holder[name] = rng.choice([None, 1, "x", [], {}, HUGE, CARD])
    shown = name if name in {"x", "V29", "Amount_EUR"} else "*"
    return refused(path, body, f"{where}.{shown}" if where else shown)


def name_given_twice(rng: random.Random, path: str, body: Any) -> Malformed:
    node = rng.choice([node for node in nodes(body) if isinstance(node.holder, dict)])
    node.holder[REPEATED] = rng.choice([node.value, None, 1, "x"])
    content = dump(body).replace(json.dumps(REPEATED).encode(), json.dumps(node.key).encode())
    return Malformed(path, content, (400,), (node.path,))


def cut_short(rng: random.Random, path: str, body: Any) -> Malformed:
    content = dump(body)
    return Malformed(path, content[: rng.randrange(len(content))], (400,), (None,))


def other_encoding(rng: random.Random, path: str, body: Any) -> Malformed:
    encoding = rng.choice(["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp037"])
    return Malformed(path, json.dumps(body).encode(encoding), (400,), (None,))


def nested(rng: random.Random, path: str, body: Any) -> Malformed:
    depth = rng.choice([1, 10, 500, 900, 20_000])
    before, after = rng.choice([(b"[", b"]"), (b'{"a":', b"}")])
    return Malformed(path, before * depth + (dump(body) if depth == 1 else b"0") + after * depth, (400, 413))


def another_document(rng: random.Random, path: str, _body: Any) -> Malformed:
    return Malformed(
        path, rng.choice([b"", b" ", b"null", b"true", b"1", b'"x"', b"[]", b"NaN", b"\x00", b"{]"]), (400,), (None,)
    )


def flipped_bytes(rng: random.Random, path: str, body: Any) -> Malformed:
    content = bytearray(dump(body))
    for _ in range(rng.randint(1, 8)):
        content[rng.randrange(len(content))] = rng.randrange(256)
    return Malformed(path, bytes(content), (200, 202, 400))


def other_content_type(rng: random.Random, path: str, body: Any) -> Malformed:
    content_type = rng.choice(
        ["text/plain", "text/csv", "application/xml", "multipart/form-data; boundary=x", "x", "json"]
    )
    return Malformed(path, dump(body), (415,), (None,), content_type=content_type)


def other_method(rng: random.Random, path: str, body: Any) -> Malformed:
    method = rng.choice(["GET", "PUT", "PATCH", "DELETE", "TRACE", "OPTIONS"])
    return Malformed(path, dump(body), (405,), (None,), method=method)


def other_path(rng: random.Random, path: str, body: Any) -> Malformed:
    tail = rng.choice(["x", "..", "%00", "\u00e9", "predict", "batch/x", CARD, ";a=b"])
    return Malformed(f"{path}/{tail}", dump(body), (404,), (None,))


def too_large(rng: random.Random, path: str, body: Any) -> Malformed:
    limit = 5 * 2**20 if path == "/predict/batch" else 65_536
    return Malformed(path, dump(body) + b" " * limit if rng.random() < 0.2 else b"x" * (limit + 1), (413,), (None,))


def refused(path: str, body: Any, field: str) -> Malformed:
    """Return the request whose one bad field is named: in a batch beside the answers of the others."""
    of_one = field.startswith("transactions[")
    return Malformed(path, dump(body), (200,) if of_one else (400,), (field,))


def dump(body: Any) -> bytes:
    """Encode a body; NaN and infinity as JavaScript has them."""
    return json.dumps(body).replace(json.dumps(HUGE), "9" * 10_000).encode()


OF_FIELDS = (wrong_value, wrong_cell, left_out, unknown_name, name_given_twice)
OF_BYTES = (cut_short, other_encoding, nested, another_document, flipped_bytes)
OF_HTTP = (other_content_type, other_method, other_path, too_large)
MUTATIONS: tuple[Callable[[random.Random, str, Any], Malformed], ...] = OF_FIELDS * 5 + OF_BYTES * 2 + OF_HTTP
