"""The job on a cluster, submitted as Glue submits it: a master, two workers, and no folder that they share."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyspark
import pytest
from fraudit_stream.database import Database
from localaws import processes

from tests.conftest import JVM_OPTIONS, free_port

from .conftest import REGION, Warehouse
from .harness import JOB, predictions, wait_until
from .proxies import LOCAL

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

BIN = Path(pyspark.__file__).parent / "bin"
DEPLOY = "org.apache.spark.deploy"
SMALL_JVM = f"-XX:TieredStopAtLevel=1 -XX:+UseSerialGC {JVM_OPTIONS['SPARK_SUBMIT_OPTS']}"


@dataclass
class Cluster:
    """A standalone Spark on loopback."""

    url: str
    workers: list["subprocess.Popen[bytes]"]
    spawn: Callable[..., "subprocess.Popen[bytes]"]
    log: Callable[[], str]


@pytest.fixture
def spark_cluster(tmp_path: Path, aws: None) -> Iterator[Cluster]:  # noqa: ARG001
    port = free_port()
    environment = {
        **os.environ,
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": LOCAL,
        "SPARK_DAEMON_MEMORY": "128m",
        "SPARK_DAEMON_JAVA_OPTS": SMALL_JVM,
    }
    with ExitStack() as cleanup:

        def spawn(*command: str | Path) -> "subprocess.Popen[bytes]":
            process = processes.spawn(command, env=environment, cwd=tmp_path, log_path=tmp_path / "log")
            cleanup.callback(processes.end, process, grace_s=0)
            return process

        def log() -> str:
            return (tmp_path / "log").read_text()

        where = ("--host", LOCAL, "--webui-port", "0")
        spawn(BIN / "spark-class", f"{DEPLOY}.master.Master", *where, "--port", str(port))
        url = f"spark://{LOCAL}:{port}"
        resources = ("--cores", "1", "--memory", "512m", "--work-dir", str(tmp_path / "work"))
        workers = [spawn(BIN / "spark-class", f"{DEPLOY}.worker.Worker", *where, *resources, url) for _ in range(2)]
        wait_until(lambda: log().count("Registering worker") == len(workers), explain=log)
        yield Cluster(url, workers, spawn, log)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=JOB.parent, check=True, capture_output=True, timeout=60)
    (built,) = folder.iterdir()
    return built


def put(kinesis: "KinesisClient", stream: str, prefix: str, count: int) -> None:
    records = [
        {"Data": json.dumps(event).encode(), "PartitionKey": event["transaction_id"]}
        for event in predictions(prefix, count)
    ]
    assert kinesis.put_records(StreamName=stream, Records=records)["FailedRecordCount"] == 0  # type: ignore[arg-type]


def test_each_event_is_one_row_though_a_worker_dies(
    spark_cluster: Cluster,
    wheel: Path,
    database: Database,
    kinesis: "KinesisClient",
    stream: str,
    warehouse: Warehouse,
    tmp_path: Path,
) -> None:
    settings = {
        "spark.driver.host": LOCAL,
        "spark.driver.memory": "512m",
        "spark.driver.extraJavaOptions": SMALL_JVM,
        "spark.executor.memory": "512m",
        "spark.executor.extraJavaOptions": SMALL_JVM,
        "spark.ui.enabled": "false",
    }
    arguments = {
        "JOB_NAME": "fraudit-streaming-job",
        "postgres_host": database.host,
        "postgres_secret_arn": database.secret_id,
        "postgres_db": database.name,
        "postgres_sslmode": database.sslmode,
        "kinesis_stream": stream,
        "aws_region": REGION,
        "checkpoint_location": tmp_path / "checkpoint",
        "trigger_seconds": 3,
    }

    def rows() -> int:
        return int(warehouse.one("select count(*) from fraud.fraud_predictions"))

    put(kinesis, stream, "before", 100)
    job = spark_cluster.spawn(
        BIN / "spark-submit",
        *("--master", spark_cluster.url, "--py-files", wheel),
        *(part for name, value in settings.items() for part in ("--conf", f"{name}={value}")),
        JOB,
        *(part for name, value in arguments.items() for part in (f"--{name}", str(value))),
    )
    wait_until(lambda: rows() == 100, explain=spark_cluster.log)
    spark_cluster.workers[0].kill()
    put(kinesis, stream, "after", 100)
    wait_until(lambda: rows() == 200, explain=spark_cluster.log)
    assert job.poll() is None
    assert warehouse.one("select sum(records) from fraud.stream_batches") == 200
