"""Amazon S3: objects by URI.

Belongs here: reading, writing and listing objects, and their errors. Does not: what the objects mean.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import dagster as dg
from pydantic import Field

from resources.aws import BRIEF, AwsError, translated

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Source = TypeVar("Source")
Target = TypeVar("Target")
Result = TypeVar("Result")

DIGEST = "sha256"
"""Name in an object's own metadata."""
PARALLEL = 4
"""Files of a folder that are transferred at once; each large one is sent in parts by several threads of boto3's own."""


class StorageError(AwsError):
    """S3 refused a request or could not be reached; the message names the object."""


class PreconditionError(StorageError):
    """A conditional write lost: somebody else has written the object since it was read."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as a listing shows it.

    Attributes:
        uri: ``s3://bucket/key``.
        size: In bytes.
        etag: Entity tag, without its quotes: the same bytes, uploaded the same way, have the same one.
        modified: When it was written, by the clock of S3.
    """

    uri: str
    size: int
    etag: str
    modified: datetime


def split_uri(uri: str) -> tuple[str, str]:
    """Return bucket and key of an ``s3://bucket/key`` URI."""
    # By hand: "?", "#" and a second "/" are characters of a key, not of a URL.
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise StorageError(f"{uri!r} is not an s3://bucket/key URI", code="InvalidURI")
    return bucket, key


class Storage(dg.ConfigurableResource):
    """Objects in Amazon S3."""

    region: str = Field(description="AWS region of the buckets.")
    data_bucket: str = Field(description="Raw tables, their parts and archives.")
    stream_bucket: str = Field(description="Artefacts of the stream job, dead letters.")
    model_bucket: str = Field(description="Model artefacts, records of the graph, the serving manifest.")
    brief: bool = Field(default=False, description=BRIEF)

    @cached_property
    def _client(self) -> "S3Client":
        from resources.limited import LimitedS3Resource

        s3: S3Client = LimitedS3Resource(region_name=self.region, brief=self.brief).get_client()
        return s3

    def exists(self, uri: str) -> bool:
        """Whether the object is there."""
        bucket, key = split_uri(uri)
        try:
            with translated(StorageError, f"look up {uri}"):
                self._client.head_object(Bucket=bucket, Key=key)
        except StorageError as error:
            if error.code in {"404", "NoSuchKey", "NotFound"}:
                return False
            raise
        return True

    def read(self, uri: str) -> bytes:
        """Return the bytes of an object."""
        return self.read_with_etag(uri)[0]

    def read_with_etag(self, uri: str) -> tuple[bytes, str]:
        """Return the bytes of an object and its entity tag, for a conditional write later.

        Raises:
            StorageError: The object is not there (code ``NoSuchKey``), or S3 could not be reached.
        """
        bucket, key = split_uri(uri)
        with translated(StorageError, f"read {uri}"):
            answer = self._client.get_object(Bucket=bucket, Key=key)
            return answer["Body"].read(), answer["ETag"]

    def write(self, uri: str, body: bytes, *, content_type: str = "application/octet-stream") -> None:
        """Write an object, over any earlier one."""
        bucket, key = split_uri(uri)
        with translated(StorageError, f"write {uri}"):
            self._client.put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type)

    def write_if(self, uri: str, body: bytes, *, etag: str | None) -> None:
        """Write a JSON object if it still has ``etag``, or if it is not there yet where ``etag`` is None.

        Raises:
            PreconditionError: It was changed in between; nothing was written.
        """
        bucket, key = split_uri(uri)
        condition = {"IfMatch": etag} if etag is not None else {"IfNoneMatch": "*"}
        try:
            with translated(StorageError, f"write {uri}"):
                self._client.put_object(Bucket=bucket, Key=key, Body=body, ContentType="application/json", **condition)  # type: ignore[arg-type]
        except StorageError as error:
            lost = {"412", "PreconditionFailed", "ConditionalRequestConflict"}
            if error.code in lost or (etag is not None and error.code == "NoSuchKey"):  # it was deleted in between
                raise PreconditionError(f"{uri} was changed by somebody else in between", code=error.code) from error
            raise

    def digest(self, uri: str) -> str | None:
        """Return the SHA-256 that an object was uploaded with, in hex digits: empty where with none, None where there is no object."""
        bucket, key = split_uri(uri)
        try:
            with translated(StorageError, f"look up {uri}"):
                return self._client.head_object(Bucket=bucket, Key=key)["Metadata"].get(DIGEST, "")
        except StorageError as error:
            if error.code in {"404", "NoSuchKey", "NotFound"}:
                return None
            raise

    def upload(
        self, path: Path, uri: str, *, digest: str = "", on_progress: Callable[[int], None] | None = None
    ) -> None:
        """Upload a file, in several parts where it is large.

        Args:
            path: Of the file.
            uri: Of the object.
            digest: SHA-256 of the file in hex digits, kept for ``digest``.
            on_progress: Gets the bytes sent since its last call.
        """
        from boto3.exceptions import S3UploadFailedError

        bucket, key = split_uri(uri)
        try:
            with translated(StorageError, f"upload {path} to {uri}"):
                extra = {"Metadata": {DIGEST: digest}} if digest else None
                self._client.upload_file(str(path), bucket, key, ExtraArgs=extra, Callback=on_progress)
        except S3UploadFailedError as error:
            raise StorageError(f"cannot upload {path} to {uri}: {error}", code="UploadFailed") from error

    def download(self, uri: str, path: Path) -> Path:
        """Download an object to ``path``, which is not there before it is whole, and return it."""
        from boto3.exceptions import RetriesExceededError

        bucket, key = split_uri(uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with translated(StorageError, f"download {uri}"):
                self._client.download_file(bucket, key, str(path))
        except RetriesExceededError as error:
            raise StorageError(f"cannot download {uri}: {error}", code="Unreachable") from error
        return path

    def uris(self, prefix: str) -> Iterator[str]:
        """Yield the URI of every object below ``prefix``, in the order of their keys."""
        return (found.uri for found in self.objects(prefix))

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """Yield every object below ``prefix``, in the order of their keys.

        Raises:
            StorageError: The bucket is not there, or S3 could not be reached; perhaps after some objects.
        """
        bucket, key = split_uri(prefix)
        with translated(StorageError, f"list {prefix}"):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key):
                for item in page.get("Contents", []):
                    yield StoredObject(
                        uri=f"s3://{bucket}/{item['Key']}",
                        size=item["Size"],
                        etag=item["ETag"].strip('"'),
                        modified=item["LastModified"],
                    )

    def delete(self, uris: Sequence[str]) -> None:
        """Delete up to 1,000 objects of one bucket; those that are gone already are no error.

        Raises:
            StorageError: S3 did not delete all of them, or could not be reached; the message names the first.
        """
        if not uris:
            return
        bucket = split_uri(uris[0])[0]
        with translated(StorageError, f"delete {len(uris)} objects of {bucket}"):
            answer = self._client.delete_objects(
                Bucket=bucket, Delete={"Objects": [{"Key": split_uri(uri)[1]} for uri in uris], "Quiet": True}
            )
        for error in answer.get("Errors", []):
            code = error.get("Code", "Unknown")
            raise StorageError(f"cannot delete s3://{bucket}/{error.get('Key')}: {code}", code=code)

    def upload_folder(self, folder: Path, prefix: str, *, suffix: str) -> list[str]:
        """Upload the files of ``folder`` that end in ``suffix`` below ``prefix``; objects left there by others are deleted.

        Returns:
            The URIs, in the order of the file names.
        """
        bucket, _ = split_uri(prefix)
        paths = sorted(folder.glob(f"*{suffix}"))
        uris = [f"{prefix.rstrip('/')}/{path.name}" for path in paths]
        _each(self.upload, paths, uris)
        stale = [uri for uri in self.uris(f"{prefix.rstrip('/')}/") if uri not in set(uris)]
        with translated(StorageError, f"delete old objects below {prefix}"):
            for uri in stale:
                self._client.delete_object(Bucket=bucket, Key=split_uri(uri)[1])
        return uris

    def download_folder(self, prefix: str, folder: Path) -> list[Path]:
        """Download every object below ``prefix`` into ``folder`` and return the paths.

        Raises:
            StorageError: There is no such object (code ``NoSuchKey``), or S3 could not be reached.
        """
        # The console makes empty objects that end in "/", to show a folder.
        uris = [uri for uri in self.uris(f"{prefix.rstrip('/')}/") if not uri.endswith("/")]
        if not uris:
            raise StorageError(f"cannot download {prefix}: nothing is there", code="NoSuchKey")
        return _each(self.download, uris, [folder / uri.rsplit("/", 1)[1] for uri in uris])


def _each(transfer: Callable[[Source, Target], Result], sources: list[Source], targets: list[Target]) -> list[Result]:
    """Transfer several files at once, and return what each gave; the first failure cancels those that have not begun."""
    with ThreadPoolExecutor(PARALLEL) as pool:
        transfers = [pool.submit(transfer, *pair) for pair in zip(sources, targets, strict=True)]
        try:
            return [item.result() for item in transfers]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
