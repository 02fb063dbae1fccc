"""How every resource speaks to AWS: one kind of client, one way to name an error.

Belongs here: time limits, retries, error translation. Does not: any call of a service.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class AwsError(RuntimeError):
    """AWS refused a request or could not be reached; the message says which request and why.

    Attributes:
        code: The error code of AWS (``ResourceNotFoundException``, ``412``), ``InvalidRequest`` where the request was never
            sent because it is none, or ``Unreachable``.
    """

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


def client(service: str, *, region: str, timeout_s: float = 10.0, attempts: int = 4) -> Any:
    """Return a boto3 client that retries throttling and lost connections at most ``attempts`` times."""
    import boto3  # 0.5 s: only when a step or a sensor really calls AWS
    from botocore.config import Config

    config = Config(
        region_name=region,
        connect_timeout=timeout_s,
        read_timeout=timeout_s,
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=16,
    )
    return boto3.client(service, config=config)  # type: ignore[call-overload]


@contextmanager
def translated(error_type: type[AwsError], doing: str) -> Iterator[None]:
    """Raise errors of boto3 inside the block as ``error_type``: "cannot <doing>: <why>"."""
    from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

    try:
        yield
    except ClientError as error:
        raise error_type(f"cannot {doing}: {error}", code=error.response["Error"]["Code"]) from error
    except ParamValidationError as error:
        raise error_type(f"cannot {doing}: {error}", code="InvalidRequest") from error
    except BotoCoreError as error:
        raise error_type(f"cannot {doing}: {error}", code="Unreachable") from error
