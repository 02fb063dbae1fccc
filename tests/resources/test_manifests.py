"""The switch of the serving manifest, where the network fails at the worst moment. What it means: ``tests/graph``."""

import http.client
import os
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

import pytest

from fraudit_dagster.contract import load_contract
from fraudit_dagster.manifest import build_manifest
from resources.manifests import Manifests
from resources.storage import PreconditionError, Storage
from tests.conftest import unique
from tests.evaluations import judged
from tests.resources.conftest import REGION


class _Forgetful(BaseHTTPRequestHandler):
    """S3 behind a line that breaks after the first conditional write has arrived, before its answer has."""

    protocol_version = "HTTP/1.1"
    s3: str
    statuses: list[int]

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        behind = http.client.HTTPConnection(self.s3, timeout=10)
        try:
            behind.request(self.command, self.path, body, {k: v for k, v in self.headers.items() if k != "Expect"})
            answer = behind.getresponse()
            content = answer.read()
        finally:
            behind.close()
        if self.command == "PUT":
            self.statuses.append(answer.status)
            if len(self.statuses) == 1:
                self.close_connection = True
                return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"content-length", "connection", "date", "server", "transfer-encoding"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = _forward  # noqa: N815 - names of http.server

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


def document() -> dict[str, Any]:
    return build_manifest(
        load_contract(), judged(), now=datetime.now(UTC), after=None, run_id=unique("run"), code_version="test"
    )


@pytest.fixture
def bucket(boto: Callable[[str], Any]) -> str:
    name = unique("models")
    boto("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    return name


@pytest.fixture
def statuses(serving: Callable[[type[BaseHTTPRequestHandler]], int], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What S3 answered to writes, the first of which nobody heard."""
    found: list[int] = []
    s3 = urlsplit(os.environ["AWS_ENDPOINT_URL"]).netloc
    port = serving(type("Handler", (_Forgetful,), {"s3": s3, "statuses": found}))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    return found


def manifests(bucket: str) -> Manifests:
    storage = Storage(region=REGION, data_bucket=bucket, stream_bucket=bucket, model_bucket=bucket)
    return Manifests(storage=storage)


def test_a_conditional_write_whose_answer_was_lost_looks_lost(bucket: str, statuses: list[int]) -> None:
    storage = manifests(bucket).storage
    with pytest.raises(PreconditionError):
        storage.write_if(f"s3://{bucket}/x", b"1", etag=None)
    assert statuses == [200, 412], "boto3 sent it again"
    assert storage.read(f"s3://{bucket}/x") == b"1"


def test_a_switch_whose_answer_was_lost_has_switched(bucket: str, statuses: list[int]) -> None:
    first = document()
    manifests(bucket).switch(first, away_from=None)
    current = manifests(bucket).current()
    assert statuses[:2] == [200, 412]
    assert current is not None
    assert current.document == first
    assert manifests(bucket).history() == [first["manifest_version"]]
