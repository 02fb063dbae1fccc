"""Keys of the prediction API: made once, kept as salted hashes.

Belongs here: making keys and the secret's document. Does not: checking a key at a request (``api/chalicelib/keys.py``).
A key reads ``fraudit_<id>_<256 random bits>``; so much randomness needs no slow hash (NIST SP 800-63B, 5.1.2).
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

KEY_PATTERN = re.compile(r"fraudit_([0-9a-f]{8})_[A-Za-z0-9_-]{43}")

LABEL_LIMIT = 100
REVOKED_LIMIT = 100
"""Revoked keys that are remembered: a secret holds 64 KiB."""
FORGOTTEN_AFTER_S = 120
"""Longest time for which the API takes a revoked key: it reads the keys every 60 s, and API Gateway keeps a verdict for 60 s."""
FORGOTTEN_ALONE_S = 660
"""The same while the API cannot reach Secrets Manager, and goes on with the keys that it read last."""


class ApiKeyError(ValueError):
    """A text is not an API key of fraudit, or not one that can be made or revoked."""


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """What people may know of a key: never the key, nor its hash.

    Attributes:
        created_at: RFC 3339, UTC.
        revoked_at: RFC 3339, UTC; None: active.
    """

    key_id: str
    label: str
    created_at: str
    revoked_at: str | None

    @property
    def active(self) -> bool:
        """Whether the API takes the key."""
        return self.revoked_at is None


def new_key() -> str:
    """Return a new API key."""
    return f"fraudit_{secrets.token_hex(4)}_{secrets.token_urlsafe(32)}"


def with_key(document: dict[str, Any], key: str, *, label: str, now: datetime) -> dict[str, Any]:
    """Return the secret's document with ``key`` known; unchanged where it is known already.

    Raises:
        ApiKeyError: ``key`` does not read as a key of fraudit, its id is that of another key or of a revoked one, or the
            label is empty, too long, or does not print in one line.
    """
    key_id = id_of(key)
    if not (label.strip() and label.isprintable() and len(label) <= LABEL_LIMIT):
        raise ApiKeyError(f"a label says who will use the key, in 1 to {LABEL_LIMIT} printable characters")
    known = document["keys"]
    if any(_matches(entry, key) for entry in known):
        return document
    if any(entry.key_id == key_id for entry in entries(document)):
        raise ApiKeyError(f"the id {key_id} is taken by another key, or by one that was revoked: make a new key")
    salt = secrets.token_bytes(16)
    entry = {
        "id": key_id,
        "salt": salt.hex(),
        "sha256": hashlib.sha256(salt + key.encode()).hexdigest(),
        "created_at": now.isoformat(timespec="seconds"),
        "label": label,
    }
    return {**document, "keys": [*known, entry]}


def without_key(document: dict[str, Any], key_id: str, *, now: datetime) -> dict[str, Any]:
    """Return the secret's document with a key revoked; unchanged where it was revoked already.

    Of a revoked key nothing is kept that a key could be checked against.

    Raises:
        ApiKeyError: There is no key of this id; the message names those that there are.
    """
    found = entries(document)
    if any(entry.key_id == key_id and not entry.active for entry in found):
        return document
    if all(entry.key_id != key_id for entry in found):
        known = ", ".join(f"{entry.key_id} ({entry.label})" for entry in found if entry.active)
        raise ApiKeyError(f"there is no key {key_id!r}; the active ones are: {known or 'none'}")
    (gone,) = (entry for entry in document["keys"] if entry["id"] == key_id)
    grave = {name: gone[name] for name in ("id", "created_at", "label")}
    grave["revoked_at"] = now.isoformat(timespec="seconds")
    return {
        **document,
        "keys": [entry for entry in document["keys"] if entry["id"] != key_id],
        "revoked": [*document.get("revoked", []), grave][-REVOKED_LIMIT:],
    }


def entries(document: dict[str, Any]) -> list[KeyEntry]:
    """Return the keys of the secret's document, the revoked ones after the active ones."""
    return [
        KeyEntry(entry["id"], entry["label"], entry["created_at"], entry.get("revoked_at"))
        for entry in [*document["keys"], *document.get("revoked", [])]
    ]


def id_of(key: str) -> str:
    """Return the id in a key.

    Raises:
        ApiKeyError: ``key`` does not read as a key of fraudit.
    """
    match = KEY_PATTERN.fullmatch(key)
    if match is None:
        raise ApiKeyError(
            "an API key reads fraudit_<8 hexadecimal digits>_<43 characters>: make one with `fraudit keys create`"
        )
    return match[1]


def _matches(entry: dict[str, Any], key: str) -> bool:
    return hmac.compare_digest(hashlib.sha256(bytes.fromhex(entry["salt"]) + key.encode()).hexdigest(), entry["sha256"])
