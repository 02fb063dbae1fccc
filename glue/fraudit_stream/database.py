"""PostgreSQL as the stream reaches it: one transaction on a connection of its own, tried again while the server is away.

Belongs here: connections, their credentials, and which failures pass. Does not: any statement (``sink.py``, ``replay.py``).
"""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import psycopg2

Result = TypeVar("Result")

CONNECT_TIMEOUT_S = 10
LOST_AFTER_S = 60
PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0, *[15.0] * 8)
"""Between two tries: 135 s in sum, since a failover of RDS takes one to two minutes."""
PASSING = ("08", "25006", "25P03", "40", "53", "55P03", "57", "58030")
"""Starts of the SQLSTATEs of what passes: connections, read-only during a failover, idle too long, serialization and deadlocks, no
room for another connection, locks, cancelled or shut down, I/O. https://www.postgresql.org/docs/current/errcodes-appendix.html"""

_log = logging.getLogger(__name__)


class SinkError(RuntimeError):
    """PostgreSQL stayed away or refused the work, or the secret with its credentials cannot be used."""


class _SecretsAwayError(Exception):
    """Secrets Manager did not answer, or is too busy."""


@dataclass(frozen=True, slots=True)
class Database:
    """Where the warehouse is; who asks comes from a secret, at each connection anew, so that a rotation is not noticed.

    Attributes:
        user: Role to connect as; empty: the secret's ``username``.
        secret_id: Name or ARN of a secret ``{"username", "password"}``.
    """

    host: str
    port: int
    name: str
    user: str
    sslmode: str
    secret_id: str
    region: str

    def transact(
        self,
        work: Callable[["psycopg2.extensions.cursor"], Result],
        *,
        task: str,
        pause: Callable[[float], None] = time.sleep,
    ) -> Result:
        """Do some work in one transaction; all of it again where the server, or the way to it, fails.

        Args:
            work: Runs the statements. A commit whose answer was lost is repeated too: it must do no harm twice.
            task: What it is, for messages.
            pause: Waits some seconds between two tries.

        Raises:
            SinkError: PostgreSQL stayed away for longer than ``PAUSES_S`` together, or refused the work; or the secret is no use.
        """
        import psycopg2

        for pause_s in (*PAUSES_S, None):
            try:
                return self._transact_once(work)
            except (psycopg2.Error, _SecretsAwayError) as error:
                said = str(error).strip()
                if isinstance(error, psycopg2.Error) and not _passes(error):
                    raise SinkError(f"PostgreSQL refused {task}: {said}") from error
                if pause_s is None:
                    raise SinkError(
                        f"{task} not stored, {self._place} failed {len(PAUSES_S) + 1} times: {said}"
                    ) from error
                _log.warning("%s: %s failed, next try in %.1f s: %s", task, self._place, pause_s, said)
                pause(pause_s)
        raise AssertionError("unreachable: the last try returns or raises")

    @property
    def _place(self) -> str:
        return f"{self.host}:{self.port}/{self.name}"

    def _transact_once(self, work: Callable[["psycopg2.extensions.cursor"], Result]) -> Result:
        connection = self._connect()
        try:
            with connection, connection.cursor() as cursor:
                return work(cursor)
        finally:
            connection.close()

    def _connect(self) -> "psycopg2.extensions.connection":
        """Open a connection. The role's own settings bound statements and locks (``fraudit_dagster/sql/migrations``)."""
        import psycopg2

        secret = self._secret()
        return psycopg2.connect(
            host=self.host,
            port=self.port,
            dbname=self.name,
            user=self.user or secret["username"],
            password=secret["password"],
            sslmode=self.sslmode,
            connect_timeout=CONNECT_TIMEOUT_S,
            options="-c timezone=UTC -c client_encoding=UTF8",
            application_name="fraudit-stream",
            # A server that vanished is noticed within a minute, whether we wait for its answer or it for us.
            keepalives_idle=LOST_AFTER_S // 2,
            keepalives_interval=LOST_AFTER_S // 6,
            keepalives_count=3,
            tcp_user_timeout=LOST_AFTER_S * 1000,
        )

    def _secret(self) -> dict[str, str]:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        config = Config(connect_timeout=5, read_timeout=10, retries={"mode": "standard", "max_attempts": 5})
        client = boto3.client("secretsmanager", region_name=self.region, config=config)
        try:
            answer = client.get_secret_value(SecretId=self.secret_id, VersionStage="AWSCURRENT")
            secret: dict[str, str] = json.loads(answer["SecretString"])
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status >= 500 or "Throttling" in error.response["Error"]["Code"]:  # noqa: PLR2004 - of HTTP
                raise _SecretsAwayError(str(error)) from error
            raise SinkError(f"cannot read the secret {self.secret_id!r} of the warehouse: {error}") from error
        except BotoCoreError as error:
            raise _SecretsAwayError(str(error)) from error
        except (KeyError, ValueError) as error:
            raise SinkError(f"the secret {self.secret_id!r} of the warehouse is not JSON") from error
        missing = {"username", "password"} - set(secret)
        if missing:
            raise SinkError(f"the secret {self.secret_id!r} of the warehouse lacks {', '.join(sorted(missing))}")
        return secret


def _passes(error: "psycopg2.Error") -> bool:
    """Say whether the same work may succeed in a moment: not the work failed, but the server or the way to it."""
    import psycopg2

    if error.pgcode is not None:
        return error.pgcode.startswith(PASSING)
    # Without an SQLSTATE nobody answered. A connection lost during COPY is a bare DatabaseError.
    return (
        isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError) or type(error) is psycopg2.DatabaseError
    )
