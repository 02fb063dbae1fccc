"""Whatever dies, and whenever: sent = stored + quarantined, and nothing twice.

One world for all, since a job takes long to start: each fault finds the job running and caught up, and leaves it so.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest
from fraudit_stream.job import NO_WORKER, STARTS

from resources.aws import client
from resources.glue import Glue
from tests.conftest import unique

from .conftest import REGION, prediction
from .harness import JOB, Server, World, answers_http, predictions, wait_until
from .proxies import LOCAL, Moment

BATCH = 300
SLOW_ONCE = """#!/bin/sh
case "$*" in *streaming_source_runner*) mkdir {mark} 2>/dev/null && sleep 30;; esac
exec {python} "$@"
"""
"""A Python whose first start for the source takes longer than Spark waits."""


@pytest.fixture(scope="module")
def slow_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slow") / "python"
    path.write_text(SLOW_ONCE.format(mark=path.with_name("slept"), python=sys.executable))
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, moto_url: str, slow_once: Path) -> Iterator[World]:
    with ExitStack() as cleanup:
        world = World(tmp_path_factory.mktemp("world"), moto_url=moto_url, cleanup=cleanup)
        world.job = world.another_job("job", environment={"PYSPARK_PYTHON": str(slow_once)})
        world.send([prediction("first")])
        world.job.start()
        yield world


def test_a_worker_starts_too_slowly_for_spark(world: World, slow_once: Path) -> None:
    world.settle()
    assert slow_once.with_name("slept").is_dir()
    assert f"start 1 of {STARTS}: {NO_WORKER}" in world.job.log


def test_the_job_is_killed_before_it_writes(world: World) -> None:
    events = predictions("before", BATCH)
    with world.gate.holding(Moment.CONNECT) as reached:
        world.send(events)
        reached()
        world.job.kill()
    assert world.stored(events) == 0
    world.job.start()
    world.settle()


def test_the_job_is_killed_during_copy(world: World) -> None:
    events = predictions("copy", BATCH)
    with world.gate.holding(Moment.COPY) as reached:
        world.send(events)
        reached()
        world.job.kill()
    assert world.stored(events) == 0
    world.job.start()
    world.settle()


def test_postgres_is_killed_during_copy_and_stays_away_for_a_while(world: World) -> None:
    with world.gate.holding(Moment.COPY) as reached:
        world.send(predictions("postgres", BATCH))
        reached()
        world.postgres_server.kill()
        time.sleep(3)
    world.postgres_server.start()
    world.settle()
    assert world.job.exit_code is None


def test_its_backend_is_killed_during_copy(world: World) -> None:
    with world.gate.holding(Moment.COPY) as reached:
        world.send(predictions("backend", BATCH))
        reached()
        backend = "select pid from pg_stat_activity where application_name = 'fraudit-stream'"
        os.kill(world.warehouse.one(backend), signal.SIGKILL)
    world.settle()
    assert world.job.exit_code is None


@contextmanager
def _no_connection_left(world: World) -> Iterator[None]:
    with ExitStack() as stack:
        while True:
            try:
                connection = world.warehouse.connect()
            except psycopg2.OperationalError:
                break
            stack.callback(connection.close)
        yield


@contextmanager
def _read_only(world: World) -> Iterator[None]:
    """As after a failover, when the address still leads to what has become the standby."""
    world.warehouse.query("alter system set default_transaction_read_only = on")
    world.warehouse.query("select pg_reload_conf()")
    yield
    world.warehouse.query("alter system reset default_transaction_read_only")
    world.warehouse.query("select pg_reload_conf()")


@pytest.mark.parametrize(
    ("refusing", "message"),
    [(_no_connection_left, "too many clients"), (_read_only, "read-only transaction")],
    ids=["no connection left", "read-only"],
)
def test_postgres_refuses_for_a_while(world: World, refusing: Any, message: str) -> None:
    with refusing(world):
        world.send(predictions(message, BATCH))
        wait_until(lambda: message in world.job.log, explain=lambda: world.job.log[-5000:])
    world.settle()
    assert world.job.exit_code is None


def test_kinesis_is_killed_while_the_job_reads(world: World) -> None:
    world.proxy.strike = world.kinesis_server.kill
    world.send(predictions("kinesis", BATCH))
    wait_until(lambda: world.proxy.strike is None, explain=lambda: "nothing was read")
    time.sleep(1)
    world.kinesis_server.start()
    world.send(predictions("kinesis again", BATCH))
    world.settle()
    assert world.job.exit_code is None


@pytest.mark.parametrize(
    ("code", "times"), [("ProvisionedThroughputExceededException", 6), ("ExpiredIteratorException", 3)]
)
def test_kinesis_refuses_for_a_while(world: World, code: str, times: int) -> None:
    world.proxy.refusals.extend([code] * times)
    world.send(predictions(code, BATCH))
    world.settle()
    assert not world.proxy.refusals
    assert world.job.exit_code is None


@pytest.fixture(scope="module")
def glue(world: World) -> Iterator[Glue]:
    """The same job as one that Glue runs."""
    server = Server("localaws.glue", folder=world.folder, is_ready=answers_http, environment=world.environment)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**world.environment, "AWS_ENDPOINT_URL_GLUE": f"http://{LOCAL}:{server.port}"}.items():
            patch.setenv(name, value)
        bucket, job_name = unique("stream-bucket"), unique("fraudit-streaming-job")
        s3 = client("s3", region=REGION)
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.upload_file(str(JOB), bucket, JOB.name)
        command = {"Name": "gluestreaming", "ScriptLocation": f"s3://{bucket}/{JOB.name}", "PythonVersion": "3"}
        client("glue", region=REGION).create_job(Name=job_name, Role="role", Command=command)
        yield Glue(region=REGION, job_name=job_name)
    server.end()


def test_the_job_is_killed_between_commit_and_checkpoint_and_started_through_glue(world: World, glue: Glue) -> None:
    events = predictions("commit", BATCH)
    with world.gate.holding(Moment.COMMITTED) as reached:
        world.send(events)
        reached()
        world.job.kill()
    assert world.stored(events) > 0
    assert world.job.last_ended == world.job.last_begun - 1
    glue.start(world.job.arguments)
    world.send([prediction("after the batch that came again")])
    world.settle()


def test_a_stop_through_glue_lets_the_batch_end(world: World, glue: Glue) -> None:
    run_id = (glue.latest_run() or {})["Id"]
    events = predictions("last", BATCH)
    with ThreadPoolExecutor(1) as pool, world.gate.holding(Moment.COPY) as reached:
        world.send(events)
        reached()
        stopped = pool.submit(glue.stop)
        wait_until(lambda: (glue.latest_run() or {})["JobRunState"] == "STOPPING", explain=lambda: "not asked to stop")
        os.killpg(_script_of(run_id), signal.SIGTERM)  # AWS may tell Spark's own processes too
        world.send([prediction("not begun")])
    stopped.result()
    assert (glue.latest_run() or {})["JobRunState"] == "STOPPED"
    assert world.stored(events) == BATCH
    assert world.job.last_ended == world.warehouse.one("select max(batch_id) from fraud.stream_batches")
    (log,) = world.folder.glob(f"glue/runs/{run_id}/error.log")
    assert "stopped on request" in log.read_text()


def _script_of(run_id: str) -> int:
    """Return the process of a run, whose group holds all that it started."""
    running = psutil.process_iter(["cmdline"])
    return int(next(each.pid for each in running if run_id in " ".join(each.info["cmdline"] or [])))
