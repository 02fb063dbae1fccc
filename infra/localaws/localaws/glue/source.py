"""Files from S3, as a run's launch needs them.

Belongs here: fetching one object, and naming what is wrong with its URI. Does not: what is in it (``launch``, ``environments``).
"""

import re
from pathlib import Path
from typing import Any

S3_TIMEOUT_S = 30
S3_ATTEMPTS = 4


class LaunchError(RuntimeError):
    """A run cannot be launched; the message says what is wrong with which file, and what to do."""


class Source:
    """A client of S3 for one launch."""

    def __init__(self) -> None:
        import boto3
        from botocore.config import Config

        config = Config(
            connect_timeout=S3_TIMEOUT_S,
            read_timeout=S3_TIMEOUT_S,
            retries={"mode": "standard", "max_attempts": S3_ATTEMPTS},
        )
        self._client: Any = boto3.session.Session().client("s3", config=config)

    def download(self, uri: str, folder: Path) -> Path:
        """Fetch an object into a folder, which is made where it is not there.

        Returns:
            The file, named as the object.

        Raises:
            LaunchError: It cannot be fetched, or the URI names no object.
            OSError: The folder cannot be written.
        """
        bucket, key = _parsed(uri)
        target = folder / Path(key).name
        target.parent.mkdir(parents=True, exist_ok=True)
        self._fetch(uri, "download_file", bucket, key, str(target))
        return target

    def etag(self, uri: str) -> str:
        """Return what changes when an object does.

        Raises:
            LaunchError: As ``download``.
        """
        bucket, key = _parsed(uri)
        return str(self._fetch(uri, "head_object", Bucket=bucket, Key=key)["ETag"])

    def _fetch(self, uri: str, method: str, *args: str, **params: str) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return getattr(self._client, method)(*args, **params)
        except (BotoCoreError, ClientError) as error:
            raise LaunchError(f"cannot fetch {uri}: {error}; is it there, and may the job read it?") from error


def _parsed(uri: str) -> tuple[str, str]:
    match = re.fullmatch(r"s3a?://([^/]+)/(.*[^/])", uri)
    if match is None:
        raise LaunchError(f"{uri!r} is not the URI of an object in S3")
    return match[1], match[2]
