"""Signed requests to AWS for what every transaction costs: InvokeEndpoint and Kinesis.

Belongs here: these calls over botocore's signature and HTTP session, without the rest of its client, which takes more processor
time than the API itself (docs/decisions/0013-signed-requests.md). Does not: calls made now and then; they go through boto3.

Where a service is, who asks, time limits and TLS are those of a botocore client, and so are the errors. As in botocore, this
machine's clock signs: a service whose clock differs by more than five minutes refuses, and the error's code says so.
"""

import base64
import hashlib
import json
import random
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from botocore import exceptions
from botocore.auth import SIGV4_TIMESTAMP, SigV4Auth
from botocore.awsrequest import AWSPreparedRequest
from botocore.httpsession import URLLib3Session
from botocore.parsers import ResponseParserError, create_parser
from botocore.utils import get_environ_proxies

if TYPE_CHECKING:
    from botocore.awsrequest import AWSResponse
    from botocore.client import BaseClient
    from botocore.session import Session

OK = 200
PASSING_STATUS = frozenset({500, 502, 503, 504})
PASSING_CODE = "ThrottlingException"
PAUSE_S = 0.05  # at most, before a request is sent again
USER_AGENT = "fraudit-api"


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Of the connections to one service."""

    connect_timeout_s: float
    read_timeout_s: float
    connections: int


class SignedRequests:
    """POST requests to one service. Safe to share between threads."""

    def __init__(
        self, client: "BaseClient", session: "Session", *, protocol: str, limits: HttpLimits, attempts: int
    ) -> None:
        """Send as a client would.

        Args:
            client: Of the service; only where it is and how it is signed for are taken.
            session: That made the client; its credentials refresh themselves where they can.
            protocol: Botocore's name of the service's protocol, by which its errors are read.
            limits: Of the connections.
            attempts: How often a request is sent at most. It is sent again where the connection was refused or closed, after
                throttling, and after an error of the server; not after a time limit: that answer would come too late.
        """
        self._url = client.meta.endpoint_url.rstrip("/")
        self._host = self._url.partition("://")[2]
        self._scope = client.meta.service_model.signing_name, client.meta.region_name
        self._credentials = session.get_credentials()
        self._errors: Any = create_parser(protocol)
        self._attempts = attempts
        http: dict[str, Any] = {
            "verify": session.get_config_variable("ca_bundle") or True,
            "proxies": get_environ_proxies(self._url),
            "timeout": (limits.connect_timeout_s, limits.read_timeout_s),
            "max_pool_connections": limits.connections,
            "socket_options": [
                (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
                (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            ],
        }
        self._http = URLLib3Session(**http)

    def post(self, operation: str, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
        """Return the body of the answer.

        Raises:
            ClientError: The service refused; ``operation`` is what the error names.
            BotoCoreError: The service did not answer, or there are no credentials.
        """
        attempt = 1
        while True:
            try:
                answer = self._http.send(self._signed(path, headers, body))
            except (exceptions.ConnectionError, exceptions.ConnectionClosedError):
                if attempt == self._attempts:
                    raise
            else:
                if answer.status_code == OK:
                    return answer.content
                error = self._error(answer)
                passes = answer.status_code in PASSING_STATUS or error["Error"]["Code"] == PASSING_CODE
                if attempt == self._attempts or not passes:
                    raise exceptions.ClientError(error, operation)
            attempt += 1
            time.sleep(random.uniform(0, PAUSE_S))  # noqa: S311 - jitter, not a secret

    def _signed(self, path: str, headers: Mapping[str, str], body: bytes) -> AWSPreparedRequest:
        """Sign a request whose canonical form is plain: few headers, no query, names in lower case, no space to trim.

        https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
        """
        if self._credentials is None:
            raise exceptions.NoCredentialsError
        credentials = self._credentials.get_frozen_credentials()
        moment: Any = SimpleNamespace(context={"timestamp": datetime.now(UTC).strftime(SIGV4_TIMESTAMP)})
        signed = {**headers, "host": self._host, "x-amz-date": moment.context["timestamp"]}
        if credentials.token:
            signed["x-amz-security-token"] = credentials.token
        names = sorted(signed)
        lines = "\n".join([f"{name}:{signed[name]}" for name in names])
        digest = hashlib.sha256(body).hexdigest()
        canonical = f"POST\n{quote(path, safe='/~')}\n\n{lines}\n\n{';'.join(names)}\n{digest}"
        signer = SigV4Auth(credentials, *self._scope)
        signature = signer.signature(signer.string_to_sign(moment, canonical), moment)
        signed["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={signer.scope(moment)}, SignedHeaders={';'.join(names)}, Signature={signature}"
        )
        sent: Any = {**signed, "user-agent": USER_AGENT}  # not signed: a proxy may change it
        return AWSPreparedRequest("POST", self._url + path, sent, body, stream_output=False)

    def _error(self, answer: "AWSResponse") -> Any:
        content = {"status_code": answer.status_code, "headers": answer.headers, "body": answer.content}
        return self._errors.parse(content, None)


class SageMakerRuntime:
    """Endpoints of SageMaker."""

    def __init__(self, client: "BaseClient", session: "Session", limits: HttpLimits) -> None:
        # A second attempt for what passes at once, above all a kept connection that the other side has closed in the meantime.
        self._requests = SignedRequests(client, session, protocol="rest-json", limits=limits, attempts=2)

    def invoke_endpoint(self, endpoint: str, rows: str) -> bytes:
        """Return an endpoint's reply, in JSON, to rows of CSV.

        Raises:
            ClientError, BotoCoreError: There is no reply.
        """
        headers = {"content-type": "text/csv", "accept": "application/json"}
        path = f"/endpoints/{quote(endpoint, safe='')}/invocations"
        return self._requests.post("InvokeEndpoint", path, headers, rows.encode())


class Kinesis:
    """Streams of Kinesis."""

    def __init__(self, client: "BaseClient", session: "Session", limits: HttpLimits) -> None:
        # One attempt: events.py sends again, since it also sees which records of a call were refused.
        self._requests = SignedRequests(client, session, protocol="json", limits=limits, attempts=1)

    def put_records(self, stream: str, records: Sequence[tuple[bytes, str]]) -> Any:
        """Put records, each with its partition key, and return Kinesis's answer: ``{"Records": [...]}``, in their order.

        Raises:
            ClientError, BotoCoreError: None was taken, or nobody knows.
            ResponseParserError: The answer is not JSON.
        """
        encoded = [{"Data": base64.b64encode(data).decode(), "PartitionKey": key} for data, key in records]
        return self._call("PutRecords", {"StreamName": stream, "Records": encoded})

    def describe_stream(self, stream: str) -> Any:
        """Return the summary of a stream.

        Raises:
            ClientError, BotoCoreError: There is none, or Kinesis does not answer.
            ResponseParserError: The answer is not JSON.
        """
        return self._call("DescribeStreamSummary", {"StreamName": stream})

    def _call(self, operation: str, content: Mapping[str, Any]) -> Any:
        headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": f"Kinesis_20131202.{operation}"}
        answer = self._requests.post(operation, "/", headers, json.dumps(content).encode())
        try:
            return json.loads(answer)
        except ValueError:
            raise ResponseParserError(f"{operation} was not answered in JSON") from None
