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
RETRY_S = 2.0
"""After a read that failed, so long nobody waits for another one."""


class KeysUnavailableError(RuntimeError):
    """The keys cannot be read, and those read last are too old to go on with."""


@dataclass(frozen=True, slots=True)
class HashedKey:
    """What is stored of one key."""

    salt: bytes
    sha256: bytes

    def matches(self, key: str) -> bool:
        """Whether ``key`` is the one; takes as long for a wrong key as for the right one."""
        # A header may hold any text, also what is no text: halves of surrogate pairs.
        sent = key.encode("utf-8", "surrogatepass")
        return hmac.compare_digest(hashlib.sha256(self.salt + sent).digest(), self.sha256)


_NOBODY = HashedKey(salt=bytes(16), sha256=bytes(32))


@dataclass(frozen=True, slots=True)
class _Read:
    """The keys, by id, and when they were read."""

    keys: dict[str, HashedKey]
    at: float


class KeyRing:
    """The keys of one secret, kept for a bounded time.

    One thread reads them anew; the others go on with those read last, if these are young enough, so that a slow Secrets
    Manager makes nobody else slow.
    """

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
        self._reading = threading.Lock()
        self._last: _Read | None = None
        self._failed_at = float("-inf")

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
        last = self._last
        age_s = self._age_s(last)
        if last is not None and age_s <= self._max_age_s:
            return last.keys
        if self._reading.acquire(blocking=age_s > self._stale_s):
            try:
                last = self._last if self._age_s(self._last) <= self._max_age_s else self._read()
            finally:
                self._reading.release()
        if last is None or self._age_s(last) > self._stale_s:
            raise KeysUnavailableError(f"cannot read the API keys in secret {self._secret_name!r}")
        return last.keys

    def _age_s(self, last: _Read | None) -> float:
        return float("inf") if last is None else self._clock() - last.at

    def _read(self) -> _Read | None:
        """Read the keys anew, unless that has failed just now, and return those that there are then."""
        from botocore.exceptions import BotoCoreError, ClientError

        if self._clock() - self._failed_at < RETRY_S:
            return self._last
        at = self._clock()
        try:
            # The stage by name: without one, moto answers with the version before a label was moved.
            secret = self._secrets.get_secret_value(SecretId=self._secret_name, VersionStage="AWSCURRENT")
            keys = {
                k["id"]: HashedKey(bytes.fromhex(k["salt"]), bytes.fromhex(k["sha256"]))
                for k in json.loads(secret["SecretString"])["keys"]
            }
        except (BotoCoreError, ClientError, KeyError, TypeError, ValueError) as error:
            # Only the kind of a malformed secret's error: its text could quote the secret.
            reason = error if isinstance(error, BotoCoreError | ClientError) else type(error).__name__
            logger.error("cannot read the API keys", extra={"secret": self._secret_name, "reason": str(reason)})
            self._failed_at = self._clock()
        else:
            self._last = _Read(keys, at)
        return self._last
