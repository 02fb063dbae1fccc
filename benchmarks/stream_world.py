"""The stream on this machine: Kinesis, PostgreSQL and Secrets Manager of the embedded AWS, the job as a process, and its events.

Belongs here: what is started and asked, and the processor time and memory of processes. Does not: what is measured (``stream``).
"""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from localaws.processes import end, spawn

from benchmarks import servers
from benchmarks.load import processor_s
from resources.secrets import Secrets
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

LOCALAWS = Path(sys.executable).with_name("localaws")
JOB = servers.PROJECT_DIR / "glue" / "glue_job.py"
LOOP = servers.PEERS_DIR / "stream_loop.py"
PRODUCER = Path(__file__).with_name("stream_producer.py")
SECRET = "bench/warehouse"  # noqa: S105 - its name
SHARDS = 4
TRIGGER_S = 1.0
CALL_EVENTS = 500
POLL_S = 0.05
TIMEOUT_S = 300.0
GRACE_S = 60.0
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class World:
    """What runs.

    Attributes:
        folder: Of state and logs.
        environment: Of a program that speaks to this AWS and this PostgreSQL.
        kinesis: The process of the stream.
        postgres: The process of the database, whose children are its connections.
    """

    folder: Path
    environment: Mapping[str, str]
    kinesis: psutil.Process
    postgres: psutil.Process


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """Have Kinesis, PostgreSQL and Secrets Manager up."""
    state = folder / "state"
    services = "moto,kinesis,postgres"
    port = str(servers.free_port())
    servers.output([LOCALAWS, "up", "--state", state, "--only", services, "--port-base", port])
    try:
        status = json.loads((state / "status.json").read_text())
        environment = servers.environment(**status["env"])
        secret = {"username": environment["POSTGRES_USER"], "password": environment["POSTGRES_PASSWORD"]}
        manager = servers.client("secretsmanager", environment["AWS_ENDPOINT_URL"])
        manager.create_secret(Name=SECRET, SecretString=json.dumps(secret))
        processes = {name: psutil.Process(status["services"][name]["pid"]) for name in ("kinesis", "postgres")}
        yield World(folder, environment, **processes)
    finally:
        servers.output([LOCALAWS, "down", "--state", state])


@dataclass(frozen=True)
class Line:
    """A stream and a database that are new, and what fills the one and empties it into the other."""

    world: World
    stream: str
    database: str

    @classmethod
    def new(cls, world: World, stream: str) -> "Line":
        """Make both, the database with the warehouse's tables."""
        kinesis = servers.client("kinesis", world.environment["AWS_ENDPOINT_URL_KINESIS"])
        kinesis.create_stream(StreamName=stream, ShardCount=SHARDS)
        return cls(world, stream, _new_database(world))

    def beside(self) -> "Line":
        """Make another database for the same stream."""
        return Line(self.world, self.stream, _new_database(self.world))

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Return the rows of a statement."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    @cached_property
    def _connection(self) -> "Connection":
        return _connect(self.world.environment, self.database)

    def arguments(self) -> list[str]:
        """Return the arguments of the job."""
        env, folder = self.world.environment, self.world.folder / self.database
        given = {
            "JOB_NAME": "bench",
            "postgres_host": env["POSTGRES_HOST"],
            "postgres_port": env["POSTGRES_PORT"],
            "postgres_secret_arn": SECRET,
            "postgres_db": self.database,
            "postgres_sslmode": "prefer",
            "kinesis_stream": self.stream,
            "kinesis_endpoint": env["AWS_ENDPOINT_URL_KINESIS"],
            "aws_region": servers.REGION,
            "checkpoint_location": folder / "checkpoint",
            "trigger_seconds": TRIGGER_S,
        }
        return [part for name, value in given.items() for part in (f"--{name}", str(value))]

    @contextmanager
    def running(self, program: Sequence[str | Path]) -> Iterator["Consumer"]:
        """Run what empties the stream, with the arguments of the job, until the block is left."""
        log = self.world.folder / f"{self.database}.log"
        command = [sys.executable, *program, *self.arguments()]
        process = spawn(command, env=self.world.environment, log_path=log)
        try:
            yield Consumer(process, log)
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(GRACE_S)
        finally:
            end(process, grace_s=0)

    @contextmanager
    def producing(self, count: int, *, rate: float, call: int = CALL_EVENTS) -> Iterator["Producer"]:
        """Run the producer; a rate of 0 is as fast as it can."""
        url = self.world.environment["AWS_ENDPOINT_URL_KINESIS"]
        command = [sys.executable, str(PRODUCER), url, self.stream, str(count), str(rate), str(call)]
        with subprocess.Popen(command, env=self.world.environment, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield Producer(process)
            finally:
                process.kill()

    def fill(self, count: int) -> None:
        """Put events as fast as it can."""
        with self.producing(count, rate=0) as producer:
            producer.result()

    def taken(self) -> int:
        """Return how many records are in the ledger."""
        return int(self.query("select coalesce(sum(records), 0) from fraud.stream_batches")[0][0])

    def await_taken(self, count: int, consumer: "Consumer") -> int:
        """Wait until the ledger has at least so many records, and return how many.

        Raises:
            ServerError: What empties the stream ended, or did not come that far in time.
        """
        deadline_s = time.monotonic() + TIMEOUT_S
        while (taken := self.taken()) < count:
            if consumer.process.poll() is not None or time.monotonic() > deadline_s:
                tail = consumer.log.read_text(errors="replace")[-2000:]
                raise servers.ServerError(f"{taken} of {count} events were taken: {tail}")
            time.sleep(POLL_S)
        return taken


@dataclass(frozen=True, slots=True)
class Consumer:
    """A process that empties a stream."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def processor_s(self) -> float:
        """Return the processor time of it and all its children."""
        return processor_s(psutil.Process(self.process.pid))


@dataclass(frozen=True, slots=True)
class Producer:
    """The process that puts events."""

    process: "subprocess.Popen[str]"

    def result(self) -> dict[str, float]:
        """Wait for its end and return what it says of itself.

        Raises:
            ServerError: It failed.
        """
        printed, _ = self.process.communicate()
        if self.process.returncode:
            raise servers.ServerError(f"the producer ended with exit code {self.process.returncode}")
        result: dict[str, float] = json.loads(printed)
        return result


class Meter:
    """Processor time and memory of what takes part, by part: the job's Python, its JVM, Kinesis, PostgreSQL."""

    PYTHON, JVM, KINESIS, POSTGRES = "the job's Python", "the job's JVM", "Kinesis", "PostgreSQL"
    JOB = (PYTHON, JVM)

    def __init__(self, world: World, consumer: Consumer) -> None:
        job = psutil.Process(consumer.process.pid)
        self._parts: dict[str, Callable[[], list[psutil.Process]]] = {
            self.PYTHON: lambda: [each for each in _tree(job) if not _is_java(each)],
            self.JVM: lambda: [each for each in _tree(job) if _is_java(each)],
            self.KINESIS: lambda: [world.kinesis],
            self.POSTGRES: lambda: _tree(world.postgres),
        }

    def processor_s(self) -> dict[str, float]:
        """Return seconds, user and system, those of children that have ended included."""
        return {
            name: _sum(processes(), lambda each: sum(each.cpu_times()[:4])) for name, processes in self._parts.items()
        }

    def memory_mib(self) -> dict[str, float]:
        """Return resident memory of the job's parts."""
        return {name: _sum(self._parts[name](), lambda each: each.memory_info().rss) / MIB for name in self.JOB}


def _new_database(world: World) -> str:
    env, name = world.environment, f"bench_{secrets.token_hex(4)}"
    with closing(_connect(env, env["POSTGRES_DB"])) as connection, connection.cursor() as cursor:
        cursor.execute(f"create database {name}")
    Warehouse(
        secrets=Secrets(region=servers.REGION),
        host=env["POSTGRES_HOST"],
        port=int(env["POSTGRES_PORT"]),
        database=name,
        user=env["POSTGRES_USER"],
        password=env["POSTGRES_PASSWORD"],
    ).migrate()
    return name


def _tree(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def _is_java(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.name() == "java"
    return False


def _sum(processes: Sequence[psutil.Process], value: Callable[[psutil.Process], float]) -> float:
    total = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # a connection that has ended since it was listed
            total += value(process)
    return total


def _connect(env: Mapping[str, str], database: str) -> "Connection":
    import psycopg2

    connection = psycopg2.connect(
        host=env["POSTGRES_HOST"],
        port=env["POSTGRES_PORT"],
        user=env["POSTGRES_USER"],
        password=env["POSTGRES_PASSWORD"],
        dbname=database,
    )
    connection.autocommit = True
    return connection
