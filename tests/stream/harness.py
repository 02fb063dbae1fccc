"""A stream, the job and a warehouse as real processes, and the account of what was sent against what was kept.

Belongs here: processes that can be killed and started again. Does not: proxies between them (``proxies.py``); what a fault is and what
must hold after it (``test_faults_*.py``).
"""

import json
import os
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import httpx
import psycopg2
from localaws import postgres, processes

from tests.conftest import ASK, free_port, unique

from .conftest import REGION, SHARDS, STREAM, Warehouse, migrate, prediction
from .proxies import LOCAL, Gate, KinesisProxy

if TYPE_CHECKING:
    import subprocess

    from mypy_boto3_kinesis import KinesisClient

JOB = Path(__file__).parents[2] / "glue" / "glue_job.py"
PUT_RECORDS, PUT_BYTES = 500, 5 << 20
POLL_S = 0.25  # each look opens a connection to PostgreSQL, which costs both sides some milliseconds of CPU


def wait_until(condition: Callable[[], bool], *, explain: Callable[[], str], timeout_s: float = 600) -> None:
    """Wait for a condition; that PostgreSQL is away is no answer."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        with suppress(psycopg2.OperationalError):
            if condition():
                return
        assert time.monotonic() < deadline_s, explain()
        time.sleep(POLL_S)


def predictions(prefix: str, count: int) -> list[dict[str, Any]]:
    """Events of that many transactions, their ids from the prefix."""
    return [prediction(f"{prefix}-{number}") for number in range(count)]


def encoded(event: dict[str, Any]) -> bytes:
    """An event as it is on the stream."""
    return json.dumps(event).encode()


class Server:
    """A program of the embedded AWS: it may be killed, and comes back on its port with what it had kept."""

    def __init__(
        self,
        program: str,
        *,
        folder: Path,
        is_ready: Callable[[int], bool],
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.port = free_port()
        self._environment = {**os.environ, "AWS_REGION": REGION, **environment}
        self._command = [sys.executable, "-m", program, "--port", str(self.port), "--state", str(folder)]
        self._log = folder / f"{program}.log"
        self._is_ready = is_ready
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers; tried again while something of the process before it still lives."""

        def answers() -> bool:
            if self._process is None or self._process.poll() is not None:
                self._process = processes.spawn(self._command, env=self._environment, log_path=self._log)
            return self._is_ready(self.port)

        wait_until(answers, explain=self._log.read_text)

    def kill(self) -> None:
        """Kill the program itself, with no time to do anything; what it had started is left to find out."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        if self._process is not None:
            processes.end(self._process, grace_s=0)


def answers_http(port: int) -> bool:
    try:
        ASK.get(f"http://{LOCAL}:{port}")
    except httpx.HTTPError:
        return False
    return True


class Job:
    """``glue_job.py`` with Glue's manner of arguments, as a process of its own."""

    def __init__(self, arguments: dict[str, Any], *, environment: dict[str, str], folder: Path) -> None:
        self.checkpoint = folder / "checkpoint"
        self._log = folder / "job.log"
        arguments = {**arguments, "checkpoint_location": self.checkpoint}
        self.arguments = {f"--{name}": str(value) for name, value in arguments.items()}
        self._command = [sys.executable, str(JOB), *chain.from_iterable(self.arguments.items())]
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = processes.spawn(self._command, env=self._environment, log_path=self._log)

    def kill(self) -> None:
        """Kill the driver, its JVM and its workers at once."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def end(self) -> None:
        if self._process is not None:
            processes.end(self._process, grace_s=0)

    @property
    def pid(self) -> int:
        """Of the driver, which is its process group's too."""
        assert self._process is not None
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it lives."""
        assert self._process is not None
        return self._process.poll()

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def query_id(self) -> str | None:
        """The id in the checkpoint; None before the first start has come that far."""
        try:
            return str(json.loads((self.checkpoint / "metadata").read_text())["id"])
        except (FileNotFoundError, json.JSONDecodeError):
            return None

    @property
    def last_begun(self) -> int:
        """The last batch of which the checkpoint says that it began; it may have ended too."""
        return self._last("offsets")

    @property
    def last_ended(self) -> int:
        """The last batch of which the checkpoint says that it ended."""
        return self._last("commits")

    def _last(self, folder: str) -> int:
        return max(int(path.name) for path in (self.checkpoint / folder).glob("[0-9]*"))


class World:
    """One stream, one warehouse and one job between them; what was sent is remembered."""

    def __init__(self, folder: Path, *, moto_url: str, cleanup: ExitStack) -> None:
        self.folder, self._cleanup = folder, cleanup
        self.kinesis_server = Server("localaws.kinesis", folder=folder, is_ready=answers_http)
        self.kinesis_server.start()
        cleanup.callback(self.kinesis_server.end)
        self.proxy = KinesisProxy(self.kinesis_server.port)
        cleanup.callback(self.proxy.close)

        password = postgres.password_of(folder)
        self.postgres_server = Server(
            "localaws.postgres",
            folder=folder,
            is_ready=lambda port: postgres.is_ready(port=port, password=password, database="fraudit"),
        )
        self.postgres_server.start()
        cleanup.callback(self.postgres_server.end)
        self.gate = Gate(self.postgres_server.port)
        cleanup.callback(self.gate.close)
        self.warehouse = Warehouse(host=LOCAL, port=self.postgres_server.port, password=password, database="fraudit")
        migrate(self.warehouse)

        self.environment = {
            "AWS_ENDPOINT_URL": moto_url,
            "AWS_ENDPOINT_URL_KINESIS": self.proxy.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.stream, self._secret = unique(STREAM), unique("postgres")
        self.warehouse.query(f"alter role fraud_writer login password '{password}'")
        secret = {"username": "fraud_writer", "password": password}
        self._client("secretsmanager", moto_url).create_secret(Name=self._secret, SecretString=json.dumps(secret))
        self.kinesis: KinesisClient = self._client("kinesis", f"http://{LOCAL}:{self.kinesis_server.port}")
        self.kinesis.create_stream(StreamName=self.stream, ShardCount=SHARDS)
        self.job = self.another_job("job")
        self._records = 0
        self._good: set[str] = set()
        self._labels: set[tuple[str, str]] = set()
        self._poison: list[bytes] = []

    def another_job(self, name: str, *, environment: Mapping[str, str] = MappingProxyType({}), **changes: Any) -> Job:
        """A job with a checkpoint of its own, and another environment and other arguments where they are given, not started."""
        arguments = {
            "JOB_NAME": "fraudit-streaming-job",
            "JOB_RUN_ID": "jr_1",
            "enable-metrics": "true",
            "postgres_host": LOCAL,
            "postgres_port": self.gate.port,
            "postgres_secret_arn": self._secret,
            "postgres_db": self.warehouse.database,
            "postgres_sslmode": "prefer",
            "kinesis_stream": self.stream,
            "aws_region": REGION,
            **changes,
        }
        job = Job(arguments, environment={**os.environ, **self.environment, **environment}, folder=self.folder / name)
        self._cleanup.callback(job.end)
        return job

    def send(self, events: Sequence[dict[str, Any] | bytes]) -> None:
        """Put events of which each transaction is to become one row."""
        raw = [event if isinstance(event, bytes) else encoded(event) for event in events]
        ids = [str(json.loads(event)["transaction_id"]) for event in raw]
        self._good.update(ids)
        self._put(list(zip(ids, raw, strict=True)))

    def send_labels(self, events: Sequence[dict[str, Any]]) -> None:
        """Put what transactions turned out to be."""
        self._labels.update((event["transaction_id"], event["source"]) for event in events)
        self._put([(event["transaction_id"], encoded(event)) for event in events])

    def send_poison(self, events: Sequence[bytes], *, key: str = "poison") -> None:
        """Put what is to be quarantined."""
        self._poison += events
        self._put([(key, event) for event in events])

    def settle(self, job: Job | None = None) -> None:
        """Wait until the job has dealt with all that was sent. Then sent = stored + quarantined, and nothing is there twice."""
        job = job or self.job

        def records() -> int:
            ledger = "select coalesce(sum(records), 0) from fraud.stream_batches where query_id = %(id)s"
            return int(self.warehouse.query(ledger, {"id": job.query_id})[0][0])

        wait_until(lambda: records() >= self._records, explain=lambda: job.log[-5000:])
        assert records() == self._records, job.log[-5000:]
        stored = [name for (name,) in self.warehouse.query("select transaction_id from fraud.fraud_predictions")]
        assert Counter(stored) == Counter(self._good)
        labels = self.warehouse.query("select transaction_id, source from fraud.fraud_labels")
        assert Counter(labels) == Counter(self._labels)
        quarantined = [bytes(raw) for (raw,) in self.warehouse.query("select raw from fraud.quarantined_events")]
        assert Counter(quarantined) == Counter(self._poison)
        assert not self.warehouse.query(
            "select * from fraud.stream_batches where records <> predictions + duplicates + labels + quarantined"
        )

    def stored(self, events: Sequence[dict[str, Any]]) -> int:
        """How many of the events are rows."""
        ids = {"ids": [event["transaction_id"] for event in events]}
        found = self.warehouse.query(
            "select count(*) from fraud.fraud_predictions where transaction_id = any(%(ids)s)", ids
        )
        return int(found[0][0])

    def _put(self, records: list[tuple[str, bytes]]) -> None:
        left = deque(records)
        while left:
            page: list[dict[str, Any]] = []
            size_bytes = 0
            while left and len(page) < PUT_RECORDS and size_bytes + len(left[0][1]) + len(left[0][0]) <= PUT_BYTES:
                key, data = left.popleft()
                size_bytes += len(key) + len(data)
                page.append({"PartitionKey": key, "Data": data})
            answer = self.kinesis.put_records(StreamName=self.stream, Records=page)  # type: ignore[arg-type]
            assert answer["FailedRecordCount"] == 0
        self._records += len(records)

    @staticmethod
    def _client(service: str, url: str) -> Any:
        import boto3

        return boto3.client(  # type: ignore[call-overload]
            service, region_name=REGION, endpoint_url=url, aws_access_key_id="test", aws_secret_access_key="test"
        )
