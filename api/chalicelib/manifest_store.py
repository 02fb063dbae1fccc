"""The serving manifest in S3, as the API sees it: asked for again when old, the last good copy kept.

On Lambda nothing runs between requests, so the request that finds the manifest too old asks for it again,
with a conditional GET: an unchanged manifest costs one answer without a body.
"""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chalicelib.manifest import Manifest, ManifestError
from chalicelib.observability import Metrics, logger

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MANIFEST_KEY = "serving/manifest.json"
RETRY_AFTER_S = 1.0  # after a failed look: neither a busy API nor a health check may hammer S3


class NoManifestError(RuntimeError):
    """There is no manifest to serve by: none was published yet, or none could be read."""


@dataclass(frozen=True, slots=True)
class _Copy:
    manifest: Manifest
    etag: str


class ManifestStore:
    """Gives the current manifest to many threads; one of them refreshes it while the others go on with the old one."""

    def __init__(
        self,
        s3: "S3Client",
        metrics: Metrics,
        *,
        bucket: str,
        max_age_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._s3 = s3
        self._metrics = metrics
        self._bucket = bucket
        self._max_age_s = max_age_s
        self._clock = clock
        self._lock = threading.Lock()
        self._copy: _Copy | None = None
        self._problem: str | None = "it was not looked for yet"
        self._look_again_at = -float("inf")

    @property
    def stale(self) -> bool:
        """Whether the last look at S3 failed, so that an older copy serves."""
        return self._problem is not None

    def current(self) -> Manifest:
        """Return the manifest, at most ``max_age_s`` old while S3 answers.

        Raises:
            NoManifestError: None was ever read.
        """
        if self._clock() >= self._look_again_at and self._lock.acquire(blocking=self._copy is None):
            try:
                if self._clock() >= self._look_again_at:
                    self._refresh()
            finally:
                self._lock.release()
        copy = self._copy
        if copy is None:
            raise NoManifestError(f"no serving manifest at s3://{self._bucket}/{MANIFEST_KEY}: {self._problem}")
        return copy.manifest

    def _refresh(self) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self._copy = self._fetch()
        except (BotoCoreError, ClientError) as error:
            self._keep("manifest_unreadable", str(error))
        except (ManifestError, ValueError) as error:
            self._keep("manifest_invalid", str(error))
        else:
            self._problem = None
            self._look_again_at = self._clock() + self._max_age_s

    def _fetch(self) -> _Copy:
        from botocore.exceptions import ClientError

        condition = {"IfNoneMatch": self._copy.etag} if self._copy else {}
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=MANIFEST_KEY, **condition)  # type: ignore[arg-type]
        except ClientError as error:
            if self._copy and error.response["Error"]["Code"] in {"304", "NotModified"}:
                return self._copy
            raise
        copy = _Copy(Manifest.from_json(json.loads(answer["Body"].read())), answer["ETag"])
        logger.info("serving manifest read", extra={"manifest_version": copy.manifest.version})
        return copy

    def _keep(self, code: str, problem: str) -> None:
        self._problem = problem
        self._look_again_at = self._clock() + RETRY_AFTER_S
        self._metrics.count("Errors", code=code)
        logger.error(code, extra={"reason": problem, "serving": self._copy.manifest.version if self._copy else None})
