"""Kaggle, its storage service and OpenML, on this machine: they answer as the real ones do, and fail when told to."""

import base64
import csv
import hashlib
import http.server
import io
import json
import re
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import Message
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from resources.datasets import COLUMNS, Datasets

USER, KEY = "somebody", "key-of-somebody"
ROWS, FRAUDS = 3000, 7
SIGNATURE = "X-Goog-Signature=a-secret"

Fault = Callable[["Handler", "Served"], None]
"""Answers one request for a file in place of the file."""


@cache
def rows() -> list[list[str]]:
    """A table with the published columns, of numbers that a float would not give back digit by digit. Shared: never changed."""
    return [
        [
            str(row // 2),
            *(f"{((row * 31 + v) % 997) / 7 - 70:.11f}0" for v in range(28)),
            "149.620",
            str(int(row < FRAUDS)),
        ]
        for row in range(ROWS)
    ]


def kaggle_csv(table: list[list[str]]) -> bytes:
    """As Kaggle publishes it: header and label in quotes."""
    lines = [",".join(f'"{name}"' for name in COLUMNS), *(",".join([*row[:-1], f'"{row[-1]}"']) for row in table)]
    return "\n".join(lines).encode() + b"\n"


def zipped(body: bytes, name: str = "creditcard.csv") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(name, body)
    return packed.getvalue()


def openml_arff(table: list[list[str]], columns: tuple[str, ...] = COLUMNS) -> bytes:
    """As OpenML publishes it: a header of attributes, the label nominal and in single quotes."""
    types = {"Class": "{'0','1'}"}
    head = ["% a comment", "@RELATION creditcard", "", *(f"@ATTRIBUTE {n} {types.get(n, 'REAL')}" for n in columns), ""]
    lines = [*head, "@DATA", *(",".join([*row[:-1], f"'{row[-1]}'"]) for row in table)]
    return "\n".join(lines).encode() + b"\n"


def read_csv(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


@dataclass
class Served:
    """A file that is offered.

    Attributes:
        body: Its bytes.
        media: Its content type.
        ranges: Whether a part of it can be asked for.
        tag: Its entity tag; the hash of its bytes where nothing is given.
    """

    body: bytes
    media: str = "application/octet-stream"
    ranges: bool = True
    tag: str = ""

    def __post_init__(self) -> None:
        self.tag = self.tag or f'"{hashlib.md5(self.body, usedforsecurity=False).hexdigest()}"'


@dataclass
class Site:
    """What the servers offer, how they fail, and what they were asked.

    Attributes:
        faults: Answers to the next requests for a file, in order; after them files are served.
        refusal: Status of Kaggle's answer to any request with a good token.
        requests: Host (``site`` or ``storage``), path and headers of each request.
    """

    archive: Served
    arff: Served
    url: str = ""
    storage_url: str = ""
    description: dict[str, Any] | None = None
    refusal: int | None = None
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, str, Message]] = field(default_factory=list)

    def fetches(self) -> list[str | None]:
        """The ranges that files were asked for, in order."""
        return [
            headers.get("Range") for _, path, headers in self.requests if path.split("?")[0] in {"/f.zip", "/f.arff"}
        ]


class Handler(http.server.BaseHTTPRequestHandler):
    """Both hosts; which one is said by the server's name."""

    protocol_version = "HTTP/1.1"
    site: Site
    host: str

    def do_GET(self) -> None:
        site, path = self.site, self.path.split("?")[0]
        site.requests.append((self.host, self.path, self.headers))
        if self.host == "storage" and path == "/f.zip":
            self.file(site.archive)
        elif path == "/f.arff":
            self.file(site.arff)
        elif path == "/api/v1/datasets/download/mlg-ulb/creditcardfraud":
            self._kaggle()
        elif path == "/api/v1/json/data/1597":
            self._openml()
        else:
            self.say(404, {"code": 404, "message": "Not found"})

    def _kaggle(self) -> None:
        token = base64.b64encode(f"{USER}:{KEY}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {token}":
            self.say(401, {"code": 401, "message": "Unauthorized"})
        elif self.site.refusal is not None:
            self.say(self.site.refusal, {"code": self.site.refusal, "message": "Permission denied"})
        else:
            number = len(self.site.requests)
            self.say(302, {}, Location=f"{self.site.storage_url}/f.zip?{SIGNATURE}&number={number}")

    def _openml(self) -> None:
        if self.site.description is not None:
            self.say(412 if "error" in self.site.description else 200, self.site.description)
            return
        md5 = hashlib.md5(openml_arff(rows()), usedforsecurity=False).hexdigest()
        described = {"id": "1597", "name": "creditcard", "format": "ARFF", "row_id_attribute": "Time"}
        answer = {**described, "url": f"{self.site.url}/f.arff", "md5_checksum": md5}
        self.say(200, {"data_set_description": answer})

    def file(self, served: Served) -> None:
        if self.site.faults:
            self.site.faults.pop(0)(self, served)
            return
        start = self.start_of(served)
        if start is not None and start >= len(served.body):
            self.say(416, {}, **{"Content-Range": f"bytes */{len(served.body)}"})
            return
        self.send(served, start)

    def start_of(self, served: Served) -> int | None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = self.headers.get("If-Range", served.tag) == served.tag
        return int(asked[1]) if asked and served.ranges and same else None

    def send(self, served: Served, start: int | None, *, stop: int | None = None) -> None:
        """Send a file, or its end from ``start``; break off at ``stop``."""
        total = len(served.body)
        self.send_response(200 if start is None else HTTPStatus.PARTIAL_CONTENT)
        self.send_header("Content-Type", served.media)
        self.send_header("ETag", served.tag)
        self.send_header("Content-Length", str(total - (start or 0)))
        if start is not None:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.end_headers()
        self.wfile.write(served.body[start or 0 : stop])
        if stop is not None:
            self.close_connection = True

    def say(self, status: int, document: Any, media: str = "application/json", **headers: str) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, _request: object, _address: object) -> None:
        """A client that leaves in the middle of a file is no news; the tests look at what it got."""


def breaks_at(byte: int) -> Fault:
    """The connection is lost there."""
    return lambda handler, served: handler.send(served, handler.start_of(served), stop=byte)


def says(status: int, media: str = "application/json", **headers: str) -> Fault:
    return lambda handler, _served: handler.say(status, {"message": "no"}, media, **headers)


def serves(other: Served) -> Fault:
    """Something else is sent."""
    return lambda handler, _served: handler.send(other, None)


@pytest.fixture(scope="session")
def bodies() -> tuple[bytes, bytes]:
    """The table as Kaggle's zip and as OpenML's file."""
    return zipped(kaggle_csv(rows())), openml_arff(rows())


@pytest.fixture
def site(bodies: tuple[bytes, bytes]) -> Iterator[Site]:
    archive, arff = bodies
    site = Site(archive=Served(archive, media="application/zip"), arff=Served(arff, media="text/plain"))
    servers = []
    for host in ("site", "storage"):
        handler = type(host, (Handler,), {"site": site, "host": host})
        server = _Server(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        servers.append(server)
    site.url, site.storage_url = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    yield site
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def datasets(site: Site, tmp_path: Path) -> Datasets:
    """The resource, with a token, pointed to the servers here."""
    return made(site, tmp_path, kaggle_username=USER, kaggle_key=KEY)


def made(site: Site, folder: Path, **values: Any) -> Datasets:
    fields: dict[str, Any] = {
        "kaggle_url": site.url,
        "openml_url": site.url,
        "kaggle_file": str(folder / "kaggle.json"),
        "rows": ROWS,
        "frauds": FRAUDS,
        "timeout_s": 5.0,
        "attempts": 3,
        "backoff_s": 0.01,
    }
    return Datasets(**{**fields, **values})


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "dataset" / "creditcard.csv"
