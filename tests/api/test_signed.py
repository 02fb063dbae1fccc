"""Signed requests: the same as botocore's client sends, its errors, and no more attempts than can help."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)
from botocore.parsers import ResponseParserError
from botocore.session import Session, get_session
from chalicelib.aws import Clients, code_of
from chalicelib.signed import HttpLimits, Kinesis, SageMakerRuntime

from tests.api.stand_ins import serving

ACCESS_KEY, SECRET_KEY = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
LIMITS = HttpLimits(connect_timeout_s=0.5, read_timeout_s=0.3, connections=4)
ENDPOINT, STREAM = "fraud-detection-xgb-7", "fraud-predictions-stream"
RECORDS = [(b'{"n":1}', "user-17"), ("{\u00e9}".encode(), "user-18")]


class Service:
    """An AWS service that checks signatures by itself and answers as told.

    Attributes:
        requests: What came: the path, the headers, the body.
        answers: Status, headers and body of the next answers; the last one is repeated.
        clock_ahead_s: How far its clock is ahead of this machine's.
    """

    def __init__(self, *answers: tuple[int, dict[str, str], bytes]) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.answers = list(answers) or [(200, {}, b"{}")]
        self.clock_ahead_s = 0.0
        self.delay_s = 0.0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for _ in range(2):
                message = await receive()
                await send({"type": message["type"] + ".complete"})
            return
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        path = scope["raw_path"].decode()
        self.requests.append((path, headers, body))
        await asyncio.sleep(self.delay_s)
        status, more_headers, content = self._answer(path, headers, body)
        pairs = {**more_headers, "content-length": str(len(content))}.items()
        lines = [(name.encode(), value.encode()) for name, value in pairs]
        await send({"type": "http.response.start", "status": status, "headers": lines})
        await send({"type": "http.response.body", "body": content})

    def _answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        now = datetime.now(UTC) + timedelta(seconds=self.clock_ahead_s)
        signed_at = datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        expected = signature(path, headers, body)
        if not headers["authorization"].endswith(f"Signature={expected}"):
            return 403, {}, b'{"__type": "InvalidSignatureException", "message": "does not match"}'
        if abs(now - signed_at) > timedelta(minutes=5):
            return 403, {}, b'{"__type": "InvalidSignatureException", "message": "Signature expired"}'
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def signature(path: str, headers: dict[str, str], body: bytes) -> str:
    """Signature version 4 of a request that came.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
    """
    parts = dict(part.split("=", 1) for part in headers["authorization"].removeprefix("AWS4-HMAC-SHA256 ").split(", "))
    _, *scope = parts["Credential"].split("/")
    names = parts["SignedHeaders"].split(";")
    assert {"host", "x-amz-date", "content-type"} <= set(names)
    lines = "".join(f"{name}:{' '.join(headers[name].split())}\n" for name in names)
    digest = hashlib.sha256(body).hexdigest()
    canonical = f"POST\n{path.replace('%', '%25')}\n\n{lines}\n{parts['SignedHeaders']}\n{digest}"
    text = f"AWS4-HMAC-SHA256\n{headers['x-amz-date']}\n{'/'.join(scope)}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{SECRET_KEY}".encode()
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


def session_of(token: str | None = None) -> Session:
    session = get_session()
    session.set_credentials(ACCESS_KEY, SECRET_KEY, token)
    return session


SESSION = session_of()
"""Of most tests: it keeps what it has read of the services' descriptions."""


def clients(url: str, session: Session = SESSION) -> tuple[SageMakerRuntime, Kinesis]:
    made = [session.create_client(name, "eu-west-1", endpoint_url=url) for name in ("sagemaker-runtime", "kinesis")]
    return SageMakerRuntime(made[0], session, LIMITS), Kinesis(made[1], session, LIMITS)


@contextmanager
def running(service: Service) -> Iterator[tuple[SageMakerRuntime, Kinesis]]:
    with serving(service) as url:
        yield clients(url)


@pytest.mark.parametrize("token", [None, "a+session/token=="])
def test_requests_are_those_of_boto3(token: str | None) -> None:
    service, core = Service(), session_of(token)
    with serving(service) as url:
        runtime, kinesis = clients(url, core)
        runtime.invoke_endpoint(ENDPOINT, "1,2\n3,4")
        kinesis.put_records(STREAM, RECORDS)
        kinesis.describe_stream(STREAM)
        session = boto3.session.Session(region_name="eu-west-1", botocore_session=core)
        session.client("sagemaker-runtime", endpoint_url=url).invoke_endpoint(
            EndpointName=ENDPOINT, ContentType="text/csv", Accept="application/json", Body="1,2\n3,4"
        )
        boto = session.client("kinesis", endpoint_url=url)
        boto.put_records(StreamName=STREAM, Records=[{"Data": data, "PartitionKey": key} for data, key in RECORDS])
        boto.describe_stream_summary(StreamName=STREAM)
    ours, theirs = service.requests[:3], service.requests[3:]
    for (path, headers, body), (its_path, its_headers, its_body) in zip(ours, theirs, strict=True):
        assert path == its_path
        assert body == its_body or json.loads(body) == json.loads(its_body)
        for name in ("host", "content-type", "x-amz-target", "x-amz-security-token"):
            assert headers.get(name) == its_headers.get(name)
        credential, its_credential = (h["authorization"].partition(",")[0] for h in (headers, its_headers))
        assert credential == its_credential
    assert ours[0][1]["accept"] == theirs[0][1]["accept"] == "application/json"


def test_an_odd_name_is_signed_as_it_is_sent() -> None:
    service = Service()
    with running(service) as (runtime, _):
        runtime.invoke_endpoint("a b/c", "1")
    assert service.requests[0][0] == "/endpoints/a%20b%2Fc/invocations"


def test_the_answer_is_given_as_it_came() -> None:
    records = {"FailedRecordCount": 1, "Records": [{"SequenceNumber": "1"}, {"ErrorCode": "InternalFailure"}]}
    service = Service((200, {}, b'{"predictions":[{"score":0.5}]}'), (200, {}, json.dumps(records).encode()))
    with running(service) as (runtime, kinesis):
        assert runtime.invoke_endpoint(ENDPOINT, "1") == b'{"predictions":[{"score":0.5}]}'
        assert kinesis.put_records(STREAM, RECORDS) == records
    sent = json.loads(service.requests[1][2])
    assert [base64.b64decode(record["Data"]) for record in sent["Records"]] == [data for data, _ in RECORDS]


@pytest.mark.parametrize(
    ("status", "headers", "body", "code"),
    [
        (424, {"x-amzn-errortype": "ModelError"}, b'{"message": "died", "OriginalStatusCode": 500}', "ModelError"),
        (400, {"x-amzn-errortype": "ValidationError:http://internal"}, b'{"message": "none"}', "ValidationError"),
        (403, {}, b'{"__type": "com.amazon.coral.service#AccessDeniedException"}', "AccessDeniedException"),
        (404, {}, b"<html>", "404"),
    ],
)
def test_what_is_refused_for_good_is_asked_once(status: int, headers: dict[str, str], body: bytes, code: str) -> None:
    service = Service((status, headers, body))
    with running(service) as (runtime, _), pytest.raises(ClientError) as caught:
        runtime.invoke_endpoint(ENDPOINT, "1")
    assert code_of(caught.value) == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert caught.value.operation_name == "InvokeEndpoint"
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    "first",
    [(503, {}, b""), (500, {}, b"<html>"), (400, {"x-amzn-errortype": "ThrottlingException"}, b"{}")],
)
def test_what_passes_is_asked_again_once(first: tuple[int, dict[str, str], bytes]) -> None:
    service = Service(first, (200, {}, b"ok"))
    with running(service) as (runtime, _):
        assert runtime.invoke_endpoint(ENDPOINT, "1") == b"ok"
    assert len(service.requests) == 2

    service = Service(first)
    with running(service) as (runtime, kinesis):
        with pytest.raises(ClientError):
            runtime.invoke_endpoint(ENDPOINT, "1")
        assert len(service.requests) == 2
        with pytest.raises(ClientError):
            kinesis.put_records(STREAM, RECORDS)
        assert len(service.requests) == 3, "events.py has attempts of its own"


def test_a_connection_that_was_closed_in_the_meantime_is_opened_anew() -> None:
    service = Service((200, {"connection": "close"}, b"{}"))
    with running(service) as (runtime, kinesis):
        for _ in range(3):
            assert runtime.invoke_endpoint(ENDPOINT, "1") == b"{}"
            assert kinesis.put_records(STREAM, RECORDS) == {}
    assert len(service.requests) == 6


def test_an_answer_that_is_late_is_not_waited_for_twice() -> None:
    service = Service()
    service.delay_s = 1
    with running(service) as (runtime, _), pytest.raises(ReadTimeoutError):
        runtime.invoke_endpoint(ENDPOINT, "1")
    assert len(service.requests) == 1


def test_nobody_listens() -> None:
    with serving(Service()) as url:
        runtime, kinesis = clients(url)
    for call in (lambda: runtime.invoke_endpoint(ENDPOINT, "1"), lambda: kinesis.put_records(STREAM, RECORDS)):
        with pytest.raises(EndpointConnectionError):
            call()


def test_an_answer_that_is_not_json_is_no_answer() -> None:
    with running(Service((200, {}, b"<html>"))) as (_, kinesis), pytest.raises(ResponseParserError):
        kinesis.put_records(STREAM, RECORDS)


def test_without_credentials_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    service = Service()
    with serving(service) as url:
        runtime, _ = clients(url, get_session())
        with pytest.raises(NoCredentialsError):
            runtime.invoke_endpoint(ENDPOINT, "1")
    assert service.requests == []


def test_credentials_that_change_sign_the_next_request() -> None:
    service, session = Service(), session_of()
    credentials: Any = session.get_credentials()
    with serving(service) as url:
        runtime, _ = clients(url, session)
        runtime.invoke_endpoint(ENDPOINT, "1")
        credentials.access_key = "AKIDROTATED"
        runtime.invoke_endpoint(ENDPOINT, "1")
    keys = [
        headers["authorization"].partition("Credential=")[2].partition("/")[0] for _, headers, _ in service.requests
    ]
    assert keys == [ACCESS_KEY, "AKIDROTATED"]


@pytest.mark.parametrize("ahead_s", [-3600, 3600])
def test_a_clock_that_is_off_is_said_by_the_code(ahead_s: float) -> None:
    service = Service()
    service.clock_ahead_s = ahead_s
    with running(service) as (runtime, kinesis):
        calls: list[Callable[[], object]] = [
            lambda: runtime.invoke_endpoint(ENDPOINT, "1"),
            lambda: kinesis.put_records(STREAM, RECORDS),
        ]
        for call in calls:
            with pytest.raises(ClientError) as caught:
                call()
            assert code_of(caught.value) == "InvalidSignatureException"
    assert len(service.requests) == 2, "another attempt would be signed by the same clock"


@pytest.mark.parametrize(
    ("environment", "urls"),
    [
        ({}, ("https://runtime.sagemaker.eu-west-1.amazonaws.com", "https://kinesis.eu-west-1.amazonaws.com")),
        (
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:1/", "AWS_ENDPOINT_URL_KINESIS": "http://127.0.0.1:2"},
            ("http://127.0.0.1:1", "http://127.0.0.1:2"),
        ),
    ],
)
def test_services_are_where_botocore_finds_them(
    environment: dict[str, str], urls: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_KINESIS", "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    made = Clients.connect(region="eu-west-1")
    assert (made.runtime._requests._url, made.kinesis._requests._url) == urls
