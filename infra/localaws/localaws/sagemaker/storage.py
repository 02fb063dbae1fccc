"""Files between S3 and the folders of jobs and endpoints.

Belongs here: downloads, uploads and the archive ``model.tar.gz``. Does not: when they happen. Everything here blocks.
"""

import tarfile
import zlib
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

MAX_MODEL_BYTES = 2 * 1024**3
TIMEOUT_S = 30
ATTEMPTS = 3
FASTEST = 1
"""gzip level: trained numbers hardly compress."""


class StorageError(Exception):
    """S3 could not be read or written, or an archive is broken; the message names the object."""


class Storage:
    """S3, as this machine's environment points to it.

    Args:
        region: AWS region.
    """

    def __init__(self, *, region: str) -> None:
        import boto3
        from botocore.config import Config

        config = Config(
            connect_timeout=TIMEOUT_S,
            read_timeout=TIMEOUT_S,
            retries={"mode": "standard", "max_attempts": ATTEMPTS},
            s3={"addressing_style": "path"},
        )
        # Made once, here: making clients from several threads at once is not safe, using one is.
        self._client = boto3.client("s3", region_name=region, config=config)

    def exists(self, uri: str) -> bool:
        """Say whether an object exists.

        Raises:
            StorageError: S3 could not be asked.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        bucket, key = split(uri)
        try:
            self._client.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:  # noqa: PLR2004 - HTTP's own number
                return False
            raise StorageError(f"{uri}: {error}") from error
        except BotoCoreError as error:
            raise StorageError(f"{uri}: {error}") from error
        return True

    def download_prefix(self, uri: str, folder: Path) -> int:
        """Download all objects whose keys begin with a prefix, keeping their paths below its last ``/``.

        Returns:
            The number of objects.

        Raises:
            StorageError: There is none, or S3 could not be read.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        bucket, prefix = split(uri)
        count = 0
        try:
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            for item in (item for page in pages for item in page.get("Contents", [])):
                target = folder / _relative(item["Key"], prefix)
                if item["Key"].endswith("/"):
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                self._client.download_file(bucket, item["Key"], str(target))
                count += 1
        except (BotoCoreError, ClientError) as error:
            raise StorageError(f"{uri}: {error}") from error
        if not count:
            raise StorageError(f"there is no object under the prefix {uri}")
        return count

    def download_model(self, uri: str, folder: Path) -> None:
        """Download an archive and extract it into a folder.

        Raises:
            StorageError: It is not there, broken, too large, or holds a path outside of the folder.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        bucket, key = split(uri)
        folder.mkdir(parents=True, exist_ok=True)
        archive = folder.with_suffix(".tar.gz")
        try:
            self._client.download_file(bucket, key, str(archive))
        except (BotoCoreError, ClientError) as error:
            raise StorageError(f"{uri}: {error}") from error
        try:
            _extract(archive, folder)
        except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
            raise StorageError(f"{uri} is not a model.tar.gz that can be used: {error}") from error
        finally:
            archive.unlink()

    def upload_model(self, folder: Path, uri: str) -> None:
        """Pack a folder's files and upload the archive.

        Raises:
            StorageError: S3 could not be written.
        """
        from boto3.exceptions import S3UploadFailedError
        from botocore.exceptions import BotoCoreError, ClientError

        bucket, key = split(uri)
        archive = folder.with_suffix(".tar.gz")
        with tarfile.open(archive, "w:gz", compresslevel=FASTEST) as content:
            for path in sorted(folder.iterdir()):
                content.add(path, arcname=path.name)
        try:
            self._client.upload_file(str(archive), bucket, key)
        except (BotoCoreError, ClientError, S3UploadFailedError) as error:
            raise StorageError(f"{uri}: {error}") from error
        finally:
            archive.unlink()


def split(uri: str) -> tuple[str, str]:
    """Return bucket and key of ``s3://bucket/key``.

    Raises:
        StorageError: It is no S3 URI.
    """
    parts = urlsplit(uri, allow_fragments=False)
    if parts.scheme != "s3" or not parts.netloc:
        raise StorageError(f"{uri!r} is not an S3 URI")
    return parts.netloc, uri.removeprefix(f"s3://{parts.netloc}").removeprefix("/")


def _relative(key: str, prefix: str) -> PurePosixPath:
    """Return where an object lies below the last ``/`` of the prefix, or below the prefix where that names a folder."""
    rest = key.removeprefix(prefix)
    relative = rest.removeprefix("/") if rest.startswith("/") or prefix.endswith("/") else key[prefix.rfind("/") + 1 :]
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts:
        raise StorageError(f"the key {key!r} leads out of its folder")
    return path


def _extract(archive: Path, folder: Path) -> None:
    size_bytes = 0
    with tarfile.open(archive, "r:gz") as content:
        for member in content:
            size_bytes += member.size
            if size_bytes > MAX_MODEL_BYTES:
                raise tarfile.TarError(f"it holds more than {MAX_MODEL_BYTES} bytes")
            content.extract(member, folder, filter="data")
