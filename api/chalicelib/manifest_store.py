"""The serving manifest in S3, as the API sees it: asked for again when old, the last good copy kept.

On Lambda nothing runs between requests, so the request that finds the manifest too old asks for it again,
with a conditional GET: an unchanged manifest costs one answer without a body. A thread of its own asks, so that a slow
S3 holds up nobody who has a good copy; ages are of the monotonic clock, so that no jump of the wall clock matters.
"""

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chalicelib.aws import code_of, failures
from chalicelib.manifest import Manifest, ManifestError
from chalicelib.observability import Metrics, logger

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MANIFEST_KEY = "serving/manifest.json"
RETRY_AFTER_S = 1.0  # after a failed look: neither a busy API nor a health check may hammer S3


class NoManifestError(RuntimeError):
    """There is no manifest to serve by: ``problem`` (see ``ManifestStore.problem``) says why."""

    def __init__(self, bucket: str, problem: str) -> None:
        super().__init__(f"no serving manifest at s3://{bucket}/{MANIFEST_KEY}: {problem}")
        self.problem = problem


@dataclass(frozen=True, slots=True)
class _Copy:
    manifest: Manifest
    etag: str


class ManifestStore:
    """Gives the current manifest to many threads.

    Args:
        contract: Name of the data contract; a manifest of another one is refused. None: any is taken.
        max_age_s: Age from which the manifest is asked for again.
        wait_s: How long the one request that asks again waits for the answer before it goes on with the copy at hand.
        first_wait_s: How long a request waits where there is no copy yet.
    """

    def __init__(
        self,
        s3: "S3Client",
        metrics: Metrics,
        *,
        bucket: str,
        contract: str | None,
        max_age_s: float,
        wait_s: float,
        first_wait_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._s3 = s3
        self._metrics = metrics
        self._bucket = bucket
        self._contract = contract
        self._max_age_s = max_age_s
        self._wait_s = wait_s
        self._first_wait_s = first_wait_s
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="manifest")
        self._lock = threading.Lock()
        self._look: Future[None] | None = None
        self._look_again_at = -float("inf")
        self._copy: _Copy | None = None
        self._problem: str | None = "manifest_unreadable"

    @property
    def problem(self) -> str | None:
        """Why the last look at S3 gave no manifest to serve by, so that an older copy serves or none.

        ``manifest_missing``, ``manifest_unreadable`` (S3 refuses or does not answer), ``manifest_invalid`` (what lies there
        is refused: an alarm watches the metric ``Errors`` for this code), or None where all is well.
        """
        return self._problem

    def current(self) -> Manifest:
        """Return the manifest, at most ``max_age_s`` old while S3 answers.

        Raises:
            NoManifestError: None was ever read.
        """
        look, mine = self._due_look()
        if look is not None and (mine or self._copy is None):
            done, _ = wait([look], timeout=self._first_wait_s if self._copy is None else self._wait_s)
            for ended in done:
                ended.result()
        copy = self._copy
        if copy is None:
            raise NoManifestError(self._bucket, self._problem or "manifest_unreadable")
        return copy.manifest

    def probe(self) -> None:
        """Ask S3 whether the manifest is there, whatever is kept.

        Raises:
            BotoCoreError, ClientError: It is not, or S3 does not answer.
        """
        self._s3.head_object(Bucket=self._bucket, Key=MANIFEST_KEY)

    def _due_look(self) -> "tuple[Future[None] | None, bool]":
        """Return the look that is under way, if any, and whether the caller is who began it."""
        with self._lock:
            if self._look is not None and not self._look.done():
                return self._look, False
            if self._clock() < self._look_again_at:
                return None, False
            self._look = self._thread.submit(self._refresh)
            return self._look, True

    def _refresh(self) -> None:
        try:
            self._copy = self._fetch()
        except failures() as error:
            code = code_of(error)
            self._keep("manifest_missing" if code in {"NoSuchKey", "404"} else "manifest_unreadable", code)
        except (ManifestError, ValueError, RecursionError) as error:
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
            if self._copy and code_of(error) in {"304", "NotModified"}:
                return self._copy
            raise
        manifest = Manifest.from_json(json.loads(answer["Body"].read()))
        if self._contract not in {None, manifest.contract}:
            raise ManifestError(f"contract.name is {manifest.contract!r}; this API serves {self._contract!r}")
        logger.info("serving manifest read", extra={"manifest_version": manifest.version})
        return _Copy(manifest, answer["ETag"])

    def _keep(self, problem: str, reason: str) -> None:
        self._problem = problem
        self._look_again_at = self._clock() + RETRY_AFTER_S
        self._metrics.count("Errors", code=problem)
        serving = self._copy.manifest.version if self._copy else None
        logger.error(problem, extra={"reason": reason, "serving": serving})
