"""Files between S3 and the folders of jobs and endpoints.

Belongs here: downloads, uploads and the archive ``model.tar.gz``. Does not: when they happen. Everything here blocks.
"""

import gzip
import shutil
import tarfile
import threading
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast
from urllib.parse import urlsplit

MAX_MODEL_BYTES = 2 * 1024**3
MAX_MODEL_FILES = 1000
MAX_READ_BYTES = 1024**2
"""Most that the archive's reader may ask for at once: a header that claims more is a trap."""
CHUNK_BYTES = 1024**2
TIMEOUT_S = 30
ATTEMPTS = 3
FASTEST = 1
"""gzip level: trained numbers hardly compress."""


class StorageError(Exception):
    """S3 could not be read or written, or an archive is broken; the message names the object."""


class CancelledDownloadError(Exception):
    """A download ended early because it was asked to."""


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

    def download_prefix(self, uri: str, folder: Path, *, cancelled: threading.Event) -> int:
        """Download all objects whose keys begin with a prefix, keeping their paths below its last ``/``.

        Args:
            uri: The prefix.
            folder: Where to.
            cancelled: Set from another thread, it ends the download between two parts of an object.

        Returns:
            The number of objects.

        Raises:
            StorageError: There is none, S3 could not be read, or the files could not be written.
            CancelledDownloadError: ``cancelled`` was set.
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
                body = self._client.get_object(Bucket=bucket, Key=item["Key"])["Body"]
                with body, target.open("wb") as file:
                    for chunk in body.iter_chunks(CHUNK_BYTES):
                        if cancelled.is_set():
                            raise CancelledDownloadError(uri)
                        file.write(chunk)
                count += 1
        except (BotoCoreError, ClientError, OSError) as error:
            raise StorageError(f"{uri}: {error}") from error
        if not count:
            raise StorageError(f"there is no object under the prefix {uri}")
        return count

    def download_model(self, uri: str, folder: Path) -> None:
        """Download an archive and extract it into a folder that is not there yet.

        Raises:
            StorageError: It is not there, broken, too large, or holds something else than files inside of the folder.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        bucket, key = split(uri)
        folder.mkdir(parents=True, exist_ok=True)
        archive = folder.with_suffix(".tar.gz")
        try:
            size_bytes = self._client.head_object(Bucket=bucket, Key=key)["ContentLength"]
            if size_bytes > MAX_MODEL_BYTES:
                raise StorageError(f"{uri} has {size_bytes:,} bytes, more than {MAX_MODEL_BYTES:,}")
            self._client.download_file(bucket, key, str(archive))
            extract(archive, folder)
        except (BotoCoreError, ClientError) as error:
            raise StorageError(f"{uri}: {error}") from error
        except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error) as error:
            raise StorageError(f"{uri} is not a model.tar.gz that can be used: {error}") from error
        finally:
            archive.unlink(missing_ok=True)

    def upload_model(self, folder: Path, uri: str) -> None:
        """Pack a folder's files and upload the archive.

        Raises:
            StorageError: S3 could not be written.
        """
        from boto3.exceptions import S3UploadFailedError
        from botocore.exceptions import BotoCoreError, ClientError

        bucket, key = split(uri)
        archive = folder.with_suffix(".tar.gz")
        try:
            with tarfile.open(archive, "w:gz", compresslevel=FASTEST) as content:
                for path in sorted(folder.iterdir()):
                    content.add(path, arcname=path.name)
            self._client.upload_file(str(archive), bucket, key)
        except (BotoCoreError, ClientError, S3UploadFailedError, OSError) as error:
            raise StorageError(f"{uri}: {error}") from error
        finally:
            archive.unlink(missing_ok=True)


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


def extract(archive: Path, folder: Path) -> None:
    """Extract the files of a ``model.tar.gz`` into a folder, trusting nothing in it.

    Only plain files and folders with paths inside of the folder are taken; owners, modes and times are not.

    Raises:
        tarfile.TarError: A member is something else, or there is too much of them; or, as also OSError, EOFError, ValueError
            and zlib.error: the archive is broken.
    """
    size_bytes = 0
    with (
        gzip.open(archive) as unzipped,
        tarfile.open(fileobj=cast("IO[bytes]", _Bounded(cast("IO[bytes]", unzipped))), mode="r:") as content,
    ):
        for number, member in enumerate(content, start=1):
            path = PurePosixPath(member.name)
            if path.is_absolute() or ".." in path.parts:
                raise tarfile.TarError(f"{member.name!r} leads out of the folder")
            if not (member.isdir() or member.type in {tarfile.REGTYPE, tarfile.AREGTYPE}):
                raise tarfile.TarError(f"{member.name!r} is neither a file nor a folder")
            size_bytes += member.size
            if member.size < 0 or size_bytes > MAX_MODEL_BYTES or number > MAX_MODEL_FILES:
                raise tarfile.TarError(f"it holds more than {MAX_MODEL_BYTES:,} bytes or {MAX_MODEL_FILES} members")
            target = folder / path
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                shutil.copyfileobj(cast("IO[bytes]", content.extractfile(member)), file)


class _Bounded:
    """The unzipped archive, as tarfile reads it: no large piece at once, and not without end.

    gzip makes a gigabyte out of a megabyte, and tarfile reads the name and the attributes of a member into memory, however
    long a header says they are.
    """

    def __init__(self, content: IO[bytes]) -> None:
        self._content = content

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_READ_BYTES:
            raise tarfile.TarError(f"a header claims {size:,} bytes")
        return self._content.read(size)

    def seek(self, position: int, *_: Any) -> int:
        if position > 2 * MAX_MODEL_BYTES:
            raise tarfile.TarError(f"it is longer than {2 * MAX_MODEL_BYTES:,} bytes")
        return self._content.seek(position)

    def tell(self) -> int:
        return self._content.tell()
