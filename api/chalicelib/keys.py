"""Who may call: API keys, of which only salted hashes are stored, in one secret.

Belongs here: reading the secret and checking a key. Does not: making keys, and what a caller may do.
A key reads ``fraudit_<id>_<base64url>``; the secret is ``{"keys": [{"id", "salt", "sha256", ...}]}`` with
``sha256`` = SHA-256 of the salt's bytes and the whole key in UTF-8, in hex.
"""

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chalicelib.observability import logger

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

HEADER = "x-api-key"
PREFIX = "fraudit"


class KeysUnavailableError(RuntimeError):
    """The keys cannot be read, and those read last are too old to go on with."""


@dataclass(frozen=True, slots=True)
class HashedKey:
    """What is stored of one key."""

    salt: bytes
    sha256: bytes

    def matches(self, key: str) -> bool:
        """Whether ``key`` is the one; takes as long for a wrong key as for the right one."""
        return hmac.compare_digest(hashlib.sha256(self.salt + key.encode()).digest(), self.sha256)


_NOBODY = HashedKey(salt=bytes(16), sha256=bytes(32))


class KeyRing:
    """The keys of one secret, kept for a bounded time."""

    def __init__(
        self,
        secrets: "SecretsManagerClient",
        *,
        secret_name: str,
        max_age_s: float,
        stale_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._secrets = secrets
        self._secret_name = secret_name
        self._max_age_s = max_age_s
        self._stale_s = stale_s
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: dict[str, HashedKey] = {}
        self._read_at: float | None = None

    def identify(self, key: str) -> str | None:
        """Return the id of the key if it is one of ours, else None.

        Raises:
            KeysUnavailableError: The secret cannot be read and no keys are young enough.
        """
        prefix, _, rest = key.partition("_")
        key_id, _, _ = rest.partition("_")
        known = self._current().get(key_id)
        matches = (known or _NOBODY).matches(key)
        return key_id if known and matches and prefix == PREFIX else None

    def _current(self) -> dict[str, HashedKey]:
        with self._lock:
            age_s = float("inf") if self._read_at is None else self._clock() - self._read_at
            if age_s > self._max_age_s:
                self._refresh(age_s)
            return self._keys

    def _refresh(self, age_s: float) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            text = self._secrets.get_secret_value(SecretId=self._secret_name)["SecretString"]
            keys = {
                k["id"]: HashedKey(bytes.fromhex(k["salt"]), bytes.fromhex(k["sha256"]))
                for k in json.loads(text)["keys"]
            }
        except (BotoCoreError, ClientError, KeyError, TypeError, ValueError) as error:
            # Only the kind of a malformed secret's error: its text could quote the secret.
            reason = error if isinstance(error, BotoCoreError | ClientError) else type(error).__name__
            logger.error("cannot read the API keys", extra={"secret": self._secret_name, "reason": str(reason)})
            if age_s > self._stale_s:
                raise KeysUnavailableError(
                    f"cannot read the API keys in secret {self._secret_name!r}: {reason}"
                ) from None
            return
        self._keys, self._read_at = keys, self._clock()
