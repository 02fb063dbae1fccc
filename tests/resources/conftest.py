"""The resources of the graph, pointed to a running ``localaws`` as in real use: by the environment."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from resources.aws import client
from resources.storage import Storage
from tests.conftest import free_port, unique

REGION = "eu-west-1"


@pytest.fixture(scope="module", autouse=True)
def environment(local_cloud: dict[str, str]) -> Iterator[dict[str, str]]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in local_cloud.items():
            patch.setenv(name, value)
        yield local_cloud


@pytest.fixture(scope="session")
def boto() -> Callable[[str], Any]:
    """Makes boto3 clients of the embedded AWS, to look behind the resources."""
    return lambda service: client(service, region=REGION)


@pytest.fixture
def aws_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Moves all of AWS to a port of this machine."""

    def move(port: int) -> None:
        for name in os.environ:
            if name.startswith("AWS_ENDPOINT_URL"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{port}")

    return move


@pytest.fixture
def nobody_answers(aws_at: Callable[[int], None]) -> None:
    """All of AWS is at a port where nothing listens."""
    aws_at(free_port())


@pytest.fixture
def serving() -> Iterator[Callable[[type[BaseHTTPRequestHandler]], int]]:
    """Serves a handler of HTTP and returns its port."""
    with ExitStack() as stack:

        def serve(handler: type[BaseHTTPRequestHandler]) -> int:
            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), handler))
            threading.Thread(target=server.serve_forever).start()
            stack.callback(server.shutdown)
            return server.server_port

        yield serve


@pytest.fixture(scope="module")
def storage(environment: dict[str, str], boto: Callable[[str], Any]) -> Storage:  # noqa: ARG001 - it points boto3 here
    """Storage with one bucket for everything."""
    bucket = unique("bucket")
    boto("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    return Storage(region=REGION, data_bucket=bucket, stream_bucket=bucket, model_bucket=bucket)


@pytest.fixture
def prefix(storage: Storage) -> str:
    """An S3 prefix of its own for each test."""
    return f"s3://{storage.data_bucket}/{unique('test')}"
