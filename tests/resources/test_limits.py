"""Every resource ends in bounded time with an error of its own, whatever AWS does: throttle, keep silent, refuse connections."""

import socket
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resources.aws import ATTEMPTS, TIMEOUT_S, AwsError
from resources.glue import Glue, GlueError
from resources.kinesis import Kinesis, KinesisError
from resources.sagemaker import EndpointError, SageMaker, SageMakerError
from resources.sagemaker.endpoints import INVOKE_TIMEOUT_S
from resources.secrets import Secrets, SecretsError
from resources.storage import Storage, StorageError
from tests.resources.conftest import REGION


def storage() -> Storage:
    return Storage(region=REGION, data_bucket="bucket", stream_bucket="bucket", model_bucket="bucket")


def sagemaker() -> SageMaker:
    return SageMaker(region=REGION, role_arn="arn:aws:iam::123456789012:role/fraudit", solution_prefix="fraud")


def train() -> object:
    return sagemaker().train(
        name="job",
        image="image",
        hyperparameters={},
        channels={"train": {"uri": "s3://b/x", "content_type": "text/csv", "distribution": "FullyReplicated"}},
        output_uri="s3://bucket/training",
        on_status=lambda _status: None,
    )


FILE = Path(__file__)
CALLS: dict[str, tuple[type[AwsError], Callable[[], object]]] = {
    "read": (StorageError, lambda: storage().read("s3://bucket/x")),
    "exists": (StorageError, lambda: storage().exists("s3://bucket/x")),
    "write_if": (StorageError, lambda: storage().write_if("s3://bucket/x", b"x", etag=None)),
    "list": (StorageError, lambda: list(storage().uris("s3://bucket/x"))),
    "upload": (StorageError, lambda: storage().upload(FILE, "s3://bucket/x")),
    "download": (StorageError, lambda: storage().download("s3://bucket/x", FILE.with_suffix(".none"))),
    "secret": (SecretsError, lambda: Secrets(region=REGION).read("name")),
    "train": (SageMakerError, train),
    "packages": (SageMakerError, lambda: sagemaker().packages("xgboost")),
    "endpoints": (SageMakerError, lambda: sagemaker().endpoints()),
    "deploy": (
        SageMakerError,
        lambda: sagemaker().deploy(algorithm="xgboost", version="1", image="image", artifact_uri="s3://bucket/x"),
    ),
    "retire": (SageMakerError, lambda: sagemaker().retire("name")),
    "score": (EndpointError, lambda: sagemaker().score("name", np.zeros((1, 2)))),
    "glue": (GlueError, lambda: Glue(region=REGION, job_name="name").latest_run()),
    "kinesis": (KinesisError, lambda: Kinesis(region=REGION, stream_name="name").summary()),
}
each_call = pytest.mark.parametrize(("error", "call"), CALLS.values(), ids=CALLS)


@pytest.fixture
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resources.aws.TIMEOUT_S", 0.2)
    monkeypatch.setattr("resources.aws.ATTEMPTS", 2)
    monkeypatch.setattr("resources.sagemaker.endpoints.INVOKE_TIMEOUT_S", 0.2)


@pytest.mark.parametrize(
    ("client", "timeout_s"),
    [
        (lambda: storage()._client, TIMEOUT_S),
        (lambda: Secrets(region=REGION)._client, TIMEOUT_S),
        (lambda: sagemaker()._client, TIMEOUT_S),
        (lambda: sagemaker()._runtime, INVOKE_TIMEOUT_S),
        (lambda: Glue(region=REGION, job_name="name")._client, TIMEOUT_S),
        (lambda: Kinesis(region=REGION, stream_name="name")._client, TIMEOUT_S),
    ],
)
def test_every_client_has_our_limits(client: Callable[[], Any], timeout_s: float) -> None:
    config = client().meta.config
    assert config.connect_timeout == TIMEOUT_S
    assert config.read_timeout == timeout_s
    assert config.retries == {"mode": "standard", "total_max_attempts": ATTEMPTS}


class _Throttling(BaseHTTPRequestHandler):
    """Any service of AWS on a busy day."""

    protocol_version = "HTTP/1.1"
    asked: list[str]

    def _refuse(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.asked.append(self.path)
        json = "X-Amz-Target" in self.headers or "/invocations" in self.path
        body = (
            b'{"__type": "ThrottlingException", "message": "Rate exceeded"}'
            if json
            else b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
        )
        self.send_response(400 if json else 503)
        if json:
            self.send_header("x-amzn-errortype", "ThrottlingException")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = _refuse  # noqa: N815 - names of http.server

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@each_call
@pytest.mark.usefixtures("short_limits")
def test_a_throttled_call_is_tried_again_and_then_given_up(
    error: type[AwsError],
    call: Callable[[], object],
    serving: Callable[[type[BaseHTTPRequestHandler]], int],
    aws_at: Callable[[int], None],
) -> None:
    asked: list[str] = []
    aws_at(serving(type("Handler", (_Throttling,), {"asked": asked})))
    with pytest.raises(error, match=r"ThrottlingException|SlowDown|503") as caught:
        call()
    assert caught.value.code in {"ThrottlingException", "SlowDown", "503", "UploadFailed"}
    assert len(asked) == 2, "as many as ATTEMPTS"


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Connections are taken and nothing is ever answered."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield server.getsockname()[1]


@pytest.mark.timeout(60)
@each_call
@pytest.mark.usefixtures("short_limits")
def test_a_call_that_is_never_answered_ends(
    error: type[AwsError], call: Callable[[], object], silent_port: int, aws_at: Callable[[int], None]
) -> None:
    aws_at(silent_port)
    with pytest.raises(error, match=r"[Tt]imed? ?out|[Tt]imeout|closed") as caught:
        call()
    assert caught.value.code == "Unreachable"


@each_call
@pytest.mark.usefixtures("short_limits", "nobody_answers")
def test_a_call_to_a_place_where_nothing_listens_ends(error: type[AwsError], call: Callable[[], object]) -> None:
    with pytest.raises(error, match="Could not connect") as caught:
        call()
    assert caught.value.code == "Unreachable"
