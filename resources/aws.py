"""How every resource speaks to AWS: the limits of time and tries, one kind of client, one way to name an error.

Belongs here: time limits, retries, error translation. Does not: any call of a service.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from botocore.config import Config

TIMEOUT_S = 10.0
"""Longest wait for a connection, and for the next bytes of an answer."""

BRIEF_CONNECT_S, BRIEF_READ_S = 1.0, 2.0
"""Of brief clients, which make one attempt: for sensors, which ask again soon, and for which no answer is an answer too."""

BRIEF = "Ask once, for a few seconds at most: for sensors, which ask again soon."
"""Description of the field of that name."""

ATTEMPTS = 4
"""Requests for one call: throttled, failed by the service or unanswered ones are sent again, each after a longer pause."""


NO_CREDENTIALS = 'there are no AWS credentials: for the local world say eval "$(fraudit env)" once it is up (`make up`), for AWS set AWS_PROFILE'


class AwsError(RuntimeError):
    """AWS refused a request or could not be reached; the message says which request and why.

    Attributes:
        code: The error code of AWS (``ResourceNotFoundException``, ``412``), ``InvalidRequest`` where the request was never
            sent because it is none, ``NoCredentials``, or ``Unreachable``.
    """

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


def limits(*, timeout_s: float | None = None, brief: bool = False) -> "Config":
    """Return the limits that every client has; none given: ``TIMEOUT_S``, or those of ``brief`` clients."""
    from botocore.config import Config

    longest_s = (BRIEF_READ_S if brief else TIMEOUT_S) if timeout_s is None else timeout_s
    return Config(
        connect_timeout=BRIEF_CONNECT_S if brief else TIMEOUT_S,
        read_timeout=longest_s,
        retries={"mode": "standard", "total_max_attempts": 1 if brief else ATTEMPTS},
        max_pool_connections=16,
    )


def client(service: str, *, region: str, timeout_s: float | None = None, brief: bool = False) -> Any:
    """Return a boto3 client with our limits."""
    import boto3  # 0.5 s: only when a step or a sensor really calls AWS

    config = limits(timeout_s=timeout_s, brief=brief)
    return boto3.client(service, region_name=region, config=config)  # type: ignore[call-overload]


@contextmanager
def translated(error_type: type[AwsError], doing: str) -> Iterator[None]:
    """Raise errors of boto3 inside the block as ``error_type``: "cannot <doing>: <why>"."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ParamValidationError

    try:
        yield
    except ClientError as error:
        raise error_type(f"cannot {doing}: {error}", code=error.response["Error"]["Code"]) from error
    except ParamValidationError as error:
        raise error_type(f"cannot {doing}: {error}", code="InvalidRequest") from error
    except NoCredentialsError as error:
        raise error_type(f"cannot {doing}: {NO_CREDENTIALS}", code="NoCredentials") from error
    except BotoCoreError as error:
        raise error_type(f"cannot {doing}: {error}", code="Unreachable") from error


def require_credentials() -> None:
    """Refuse to begin what would fail at its first request.

    Raises:
        AwsError: There are no credentials, neither in the environment nor in a file nor of a role.
    """
    import boto3

    if boto3.Session().get_credentials() is None:
        raise AwsError(NO_CREDENTIALS, code="NoCredentials")
