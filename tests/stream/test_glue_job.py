"""The job as Glue runs it: a process of its own, killed without warning, started again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fraudit_stream.database import Database
from localaws import processes

from .conftest import REGION, Warehouse, label, prediction

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

JOB = Path(__file__).parents[2] / "glue" / "glue_job.py"


@pytest.fixture
def start_job(tmp_path: Path, database: Database, stream: str) -> Any:
    """Start ``glue_job.py`` with Glue's manner of arguments; ended, if it still lives, after the test."""
    jobs: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        arguments = {
            "JOB_NAME": "fraudit-streaming-job",
            "JOB_RUN_ID": "jr_1",
            "enable-metrics": "true",
            "postgres_host": database.host,
            "postgres_port": database.port,
            "postgres_user": database.user,
            "postgres_secret_arn": database.secret_id,
            "postgres_db": database.name,
            "postgres_sslmode": database.sslmode,
            "kinesis_stream": stream,
            "kinesis_endpoint": "",
            "aws_region": REGION,
            "checkpoint_location": tmp_path / "checkpoint",
            "spool_dir": tmp_path / "spool",
            "trigger_seconds": 1,
        }
        command = [
            sys.executable,
            str(JOB),
            *(part for name, value in arguments.items() for part in (f"--{name}", str(value))),
        ]
        jobs.append(processes.spawn(command, env=os.environ, log_path=tmp_path / "log"))
        return jobs[-1]

    yield start
    for job in jobs:
        processes.end(job, grace_s=0)


def wait_until(condition: Callable[[], bool], *, log: Path, timeout_s: float = 120) -> float:
    """Return the seconds it took."""
    started_s = time.monotonic()
    while not condition():
        assert time.monotonic() - started_s < timeout_s, log.read_text()[-5000:]
        time.sleep(0.05)
    return time.monotonic() - started_s


def put(kinesis: "KinesisClient", stream: str, events: list[dict[str, Any] | bytes]) -> None:
    for first in range(0, len(events), 500):
        records = []
        for number, event in enumerate(events[first : first + 500], start=first):
            data, key = (
                (event, f"poison-{number}")
                if isinstance(event, bytes)
                else (json.dumps(event).encode(), event["transaction_id"])
            )
            records.append({"Data": data, "PartitionKey": key})
        answer = kinesis.put_records(StreamName=stream, Records=records)  # type: ignore[arg-type]
        assert answer["FailedRecordCount"] == 0


def test_every_event_is_stored_or_quarantined_once_though_the_job_is_killed(
    start_job: Callable[[], subprocess.Popen[bytes]],
    kinesis: "KinesisClient",
    stream: str,
    warehouse: Warehouse,
    tmp_path: Path,
) -> None:
    good: list[dict[str, Any] | bytes] = [prediction(f"t-{number}") for number in range(480)]
    duplicates = good[:10]
    conflicts = [prediction("t-20", amount=1.0), prediction("t-21", fraud_proba=0.99, decision="block")]
    labels = [label("t-1"), label("t-2", label=0, source="analyst"), label("not yet scored")]
    poison: list[dict[str, Any] | bytes] = [
        b"{not json",
        json.dumps(prediction("t-nul", source="a\0b")).encode(),
        b'{"type": "\xff"}',
        json.dumps(prediction("t-nan", amount=float("nan"))).encode(),
        json.dumps(prediction("t-version", schema_version=2)).encode(),
    ]
    log = tmp_path / "log"

    def rows() -> int:
        return int(warehouse.one("select count(*) from fraud.fraud_predictions"))

    put(kinesis, stream, good[:200])
    job = start_job()
    first_row_s = wait_until(lambda: rows() > 0, log=log)
    put(kinesis, stream, [*good[200:], *duplicates, *conflicts, *labels, *poison])
    time.sleep(0.3)
    os.killpg(job.pid, signal.SIGKILL)
    job.wait(10)

    job = start_job()
    wait_until(lambda: rows() == 480, log=log)
    wait_until(lambda: warehouse.one("select count(*) from fraud.quarantined_events") == 7, log=log)

    put(kinesis, stream, [prediction("t-last")])
    delay_s = wait_until(lambda: rows() == 481, log=log)
    os.killpg(job.pid, signal.SIGTERM)
    assert job.wait(60) == 0, log.read_text()[-5000:]
    sys.stdout.write(f"start to first row {first_row_s:.1f} s, put to row {delay_s:.2f} s\n")
    assert warehouse.query("select reason, count(*) from fraud.quarantined_events group by 1 order by 1") == [
        ("conflict", 2),
        ("invalid", 1),
        ("not_json", 3),
        ("unknown_version", 1),
    ]
    assert warehouse.query("select transaction_id, label from fraud.fraud_labels order by 1") == [
        ("not yet scored", 1),
        ("t-1", 1),
        ("t-2", 0),
    ]
    assert warehouse.one("select sum(records) from fraud.stream_batches") == 501
    assert warehouse.one("select count(distinct query_id) from fraud.stream_batches") == 1
