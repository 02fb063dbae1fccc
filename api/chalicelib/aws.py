"""The AWS clients of the API: kept connections, short timeouts, few retries.

Belongs here: how AWS is reached. Does not: any call. Endpoints come from the environment (``AWS_ENDPOINT_URL*``), as botocore reads it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sns import SNSClient

    from chalicelib.signed import Kinesis, SageMakerRuntime

MAX_CONNECTIONS = 64
CONNECT_TIMEOUT_S = 0.5


def failures() -> tuple[type[Exception], ...]:
    """Return the types of error of a call that AWS refused, did not answer, or answered with what cannot be read."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    return BotoCoreError, ClientError, ResponseParserError


def code_of(error: BaseException) -> str:
    """Return AWS's code of a failure, or its type: never its message, which may quote what was sent."""
    return str(_response(error).get("Error", {}).get("Code") or type(error).__name__)


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status with which AWS refused a call, or None where it did not answer."""
    status: int | None = _response(error).get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status


def _response(error: BaseException) -> dict[str, Any]:
    return getattr(error, "response", None) or {}  # None in what botocore raises of a connection


@dataclass(frozen=True, slots=True)
class Clients:
    """One client per service. They are safe to share between threads; making them is not."""

    kinesis: "Kinesis"
    runtime: "SageMakerRuntime"
    s3: "S3Client"
    secrets: "SecretsManagerClient"
    sns: "SNSClient"

    @classmethod
    def connect(cls, *, region: str) -> Self:
        """Make the clients; nothing is sent before their first call."""
        import boto3  # 0.5 s: after the import of the app, so that packaging it does not pay
        from botocore.config import Config
        from botocore.session import get_session

        from chalicelib.signed import HttpLimits, Kinesis, SageMakerRuntime

        def config(*, read_timeout_s: float) -> Config:
            return Config(
                connect_timeout=CONNECT_TIMEOUT_S,
                read_timeout=read_timeout_s,
                retries={"mode": "standard", "total_max_attempts": 2},
                max_pool_connections=MAX_CONNECTIONS,
                tcp_keepalive=True,
            )

        def limits(*, read_timeout_s: float) -> HttpLimits:
            return HttpLimits(CONNECT_TIMEOUT_S, read_timeout_s, MAX_CONNECTIONS)

        core = get_session()
        session = boto3.session.Session(region_name=region, botocore_session=core)
        return cls(
            kinesis=Kinesis(session.client("kinesis"), core, limits(read_timeout_s=2.0)),
            runtime=SageMakerRuntime(session.client("sagemaker-runtime"), core, limits(read_timeout_s=3.0)),
            s3=session.client("s3", config=config(read_timeout_s=2.0)),
            secrets=session.client("secretsmanager", config=config(read_timeout_s=2.0)),
            sns=session.client("sns", config=config(read_timeout_s=1.0)),
        )
