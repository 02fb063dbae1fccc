"""A large file over HTTP, onto this machine: resumed where it broke off, retried a bounded number of times.

Belongs here: requests, retries, what is kept of a file that is not complete. Does not: which file, or what it must hold
(``resources/datasets.py``).
"""

import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from http import HTTPStatus
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import ssl

    import httpx

Result = TypeVar("Result")
OnProgress = Callable[[int, int | None], None]
"""Called with the bytes that are here and the bytes of the whole file, None where the server does not say.

First before any byte of an attempt has come: what an earlier one left counts then already.
"""

RETRIED_STATUS = frozenset({408, 429, 500, 502, 503, 504})
CHUNK_BYTES = 1 << 18
LONGEST_WAIT_S = 60.0
"""Longest pause before another attempt; a server that asks for more is not waited for."""


class DownloadError(RuntimeError):
    """A file cannot be downloaded; the message says from where, why, and what to do.

    Attributes:
        status: HTTP status of the last answer; None where there was none, or where it is not the server's fault.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class _AgainError(Exception):
    """An attempt failed in a way that may pass."""

    def __init__(self, reason: str, *, status: int | None = None, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Downloads:
    """HTTP with limits.

    Attributes:
        timeout_s: Longest wait for a connection, and for the next bytes.
        attempts: Requests for one document or file, all in all.
        backoff_s: Pause before the second attempt; doubles with each further one.
    """

    timeout_s: float
    attempts: int
    backoff_s: float

    def json(self, url: str) -> Any:
        """Return the JSON document at ``url``.

        Raises:
            DownloadError: It cannot be had, or is no JSON.
        """
        with self._client() as client:
            return self._retried(url, lambda: _document(client, url))

    def file(
        self, url: str, path: Path, *, auth: tuple[str, str] | None = None, on_progress: OnProgress | None = None
    ) -> Path:
        """Download ``url`` to ``path``, and return ``path``.

        What has arrived is kept beside it (``.part``) until it is complete. It is continued, by this call or a later one,
        where the server takes ranges and says that the file is still the same; else the file is fetched from its start.

        Args:
            url: Redirects are followed.
            path: Gets its name when all bytes are there.
            auth: User and password for the host of ``url``; another host that it redirects to does not see them.
            on_progress: Told how far it is.

        Raises:
            DownloadError: The server refused, the attempts are used up, or the disk is full.
        """
        part = _Part(path, url)
        with self._client() as client, writing(part.path):
            self._retried(url, lambda: _receive(client, part, auth=auth, on_progress=on_progress))
            part.finish()
        return path

    def _client(self) -> "httpx.Client":
        import httpx

        agent = {"User-Agent": "fraudit"}
        return httpx.Client(verify=_trust(), timeout=self.timeout_s, follow_redirects=True, headers=agent)

    def _retried(self, url: str, attempt: Callable[[], Result]) -> Result:
        number = 1
        while True:
            try:
                return attempt()
            except _AgainError as error:
                wait_s = self.backoff_s * 2 ** (number - 1) if error.wait_s is None else error.wait_s
                if number >= self.attempts or wait_s > LONGEST_WAIT_S:
                    tries = f"{number} {'attempt' if number == 1 else 'attempts'}"
                    asked = "" if error.wait_s is None else f" (it asks for a pause of {error.wait_s:.0f} s)"
                    raise DownloadError(
                        f"cannot download {url}: {error} after {tries}{asked}; try again later", status=error.status
                    ) from error
                time.sleep(wait_s)
                number += 1


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise what goes wrong with the disk inside the block as ``DownloadError``."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DownloadError(
                f"no space left for {path}: make room and try again, what has arrived is kept"
            ) from error
        raise DownloadError(f"cannot write {path}: {error.strerror or error}") from error


class _Part:
    """The beginning of a file, and what the server said of the whole: enough to ask for the rest."""

    def __init__(self, path: Path, url: str) -> None:
        self.url = url
        self.path = path.with_name(f"{path.name}.part")
        self._whole = path
        self._notes = path.with_name(f"{path.name}.part.json")

    def beginning(self) -> tuple[int, str, int | None]:
        """Return the bytes that are here, and the tag and length of the whole; 0 bytes where it cannot be continued."""
        try:
            notes = json.loads(self._notes.read_text())
            size = self.path.stat().st_size
            url, tag, length = notes["url"], notes["tag"], notes["length"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return 0, "", None
        if url != self.url or not tag or (length is not None and size > length):
            return 0, "", None
        return size, tag, length

    def begin(self, headers: Mapping[str, str]) -> int | None:
        """Start anew with an answer that brings the whole file, and return its length, None where that is not said."""
        length, tag = headers.get("content-length", ""), headers.get("etag", "")
        if "content-encoding" in headers:  # lengths and ranges would count other bytes than ours
            length, tag = "", ""
        if tag.startswith("W/"):  # a weak tag does not promise the same bytes
            tag = ""
        known = int(length) if length.isdigit() else None
        self.path.write_bytes(b"")  # first: the old bytes must never stand beside the new tag
        self._notes.write_text(json.dumps({"url": self.url, "tag": tag, "length": known}))
        return known

    def drop(self) -> None:
        """Forget the beginning."""
        self._notes.unlink(missing_ok=True)

    def finish(self) -> None:
        """Give the file its name."""
        self.path.replace(self._whole)
        self._notes.unlink(missing_ok=True)


@cache
def _trust() -> "ssl.SSLContext":
    """Return whom to trust, read once: 40 ms."""
    import httpx

    return httpx.create_ssl_context()


def _receive(
    client: "httpx.Client", part: _Part, *, auth: tuple[str, str] | None, on_progress: OnProgress | None
) -> None:
    """One attempt at the whole file, or at what is missing of it."""
    done, tag, length = part.beginning()
    if done and done == length:
        return
    headers = {"Accept-Encoding": "identity"}
    if done:
        headers |= {"Range": f"bytes={done}-", "If-Range": tag}
    with _answer(client, part.url, headers=headers, auth=auth) as response:
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.drop()
            raise _AgainError("the file has become shorter")
        if done and response.status_code == HTTPStatus.PARTIAL_CONTENT:
            if not response.headers.get("content-range", "").startswith(f"bytes {done}-"):
                part.drop()
                raise _AgainError("the server continues at another place than asked")
        else:
            done, length = 0, part.begin(response.headers)
        _need_space(part.path, (length or 0) - done)
        with part.path.open("ab") as file:
            for chunk in chain([b""], response.iter_bytes(CHUNK_BYTES)):
                file.write(chunk)
                done += len(chunk)
                if on_progress is not None:
                    on_progress(done, length)
    if length is not None and done != length:
        raise _AgainError(f"{done:,} of {length:,} bytes arrived")


def _document(client: "httpx.Client", url: str) -> Any:
    with _answer(client, url) as response:
        body = response.read()
    try:
        return json.loads(body)
    except ValueError as error:
        raise DownloadError(f"{url} does not answer in JSON: {body[:80]!r}") from error


@contextmanager
def _answer(
    client: "httpx.Client",
    url: str,
    *,
    headers: dict[str, str] | None = None,
    auth: tuple[str, str] | None = None,
) -> Iterator["httpx.Response"]:
    """Yield a good answer; every other becomes an error, also while it is being read."""
    import httpx

    try:
        with client.stream("GET", url, headers=headers, auth=auth) as response:
            _check(response)
            yield response
    except httpx.TransportError as error:
        raise _AgainError(f"connection lost ({error or type(error).__name__})") from error
    except httpx.HTTPError as error:
        raise DownloadError(f"cannot download {url}: {error}") from error


def _check(response: "httpx.Response") -> None:
    where = response.url.copy_with(query=None)  # a signed URL's query is a key
    status = response.status_code
    if status in RETRIED_STATUS:
        raise _AgainError(f"{where} answers {status}", status=status, wait_s=_wait_asked_for(response))
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return
    if not response.is_success:
        said = ""
        if "json" in response.headers.get("content-type", ""):
            said = f": {response.read()[:200].decode(errors='replace')}"
        raise DownloadError(f"{where} answers {status} {response.reason_phrase}{said}", status=status)
    if response.headers.get("content-type", "").startswith("text/html"):
        raise DownloadError(
            f"{where} answers with a web page instead of data: a page to sign in, or of a proxy in between",
            status=status,
        )


def _wait_asked_for(response: "httpx.Response") -> float | None:
    """Return the seconds of a ``Retry-After``, given as such or as a date; None where there is none."""
    value = response.headers.get("retry-after", "")
    if value.isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _need_space(path: Path, wanted: int) -> None:
    if wanted > shutil.disk_usage(path.parent).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
