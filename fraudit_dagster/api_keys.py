"""Keys of the prediction API: made once, kept as salted hashes.

Belongs here: making keys and the secret's document. Does not: checking a key at a request (``api/chalicelib/keys.py``).
A key reads ``fraudit_<id>_<256 random bits>``; so much randomness needs no slow hash (NIST SP 800-63B, 5.1.2).
"""

import hashlib
import re
import secrets
from datetime import datetime
from typing import Any

KEY_PATTERN = re.compile(r"fraudit_([0-9a-f]{8})_[A-Za-z0-9_-]{43}")


class ApiKeyError(ValueError):
    """A text is not an API key of fraudit."""


def new_key() -> str:
    """Return a new API key."""
    return f"fraudit_{secrets.token_hex(4)}_{secrets.token_urlsafe(32)}"


def with_key(document: dict[str, Any], key: str, *, label: str, now: datetime) -> dict[str, Any]:
    """Return the secret's document with ``key`` known; unchanged where it is known already.

    Raises:
        ApiKeyError: ``key`` does not read as a key of fraudit.
    """
    match = KEY_PATTERN.fullmatch(key)
    if match is None:
        raise ApiKeyError(
            "an API key reads fraudit_<8 hexadecimal digits>_<43 characters>: make one with `fraudit keys create`"
        )
    known = document["keys"]
    if any(_matches(entry, key) for entry in known):
        return document
    salt = secrets.token_bytes(16)
    entry = {
        "id": match[1],
        "salt": salt.hex(),
        "sha256": hashlib.sha256(salt + key.encode()).hexdigest(),
        "created_at": now.isoformat(timespec="seconds"),
        "label": label,
    }
    return {**document, "keys": [*known, entry]}


def _matches(entry: dict[str, Any], key: str) -> bool:
    return bool(hashlib.sha256(bytes.fromhex(entry["salt"]) + key.encode()).hexdigest() == entry["sha256"])
