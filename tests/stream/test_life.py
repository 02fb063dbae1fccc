"""The job says how it is, stops between two batches, and where it cannot go on, ends and says why in its last line."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import fraudit_dagster

from .conftest import prediction
from .harness import Job, World, predictions, wait_until
from .proxies import Moment

METRICS = json.loads((Path(fraudit_dagster.__file__).parent / "schemas" / "metrics.v1.json").read_text())
END_S = 60


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, moto_url: str) -> Iterator[World]:
    with ExitStack() as cleanup:
        yield World(tmp_path_factory.mktemp("life"), moto_url=moto_url, cleanup=cleanup)


def metrics(job: Job) -> list[dict[str, Any]]:
    return [json.loads(line) for line in job.log.splitlines() if line.startswith('{"_aws"')]


def ask_to_stop(job: Job) -> None:
    """As Glue does: a signal to all processes of the run."""
    os.killpg(job.pid, signal.SIGTERM)


def end_of(job: Job) -> tuple[int | None, str]:
    """The exit code and the last line of the log."""
    wait_until(lambda: job.exit_code is not None, explain=lambda: job.log[-5000:], timeout_s=END_S)
    return job.exit_code, job.log.splitlines()[-1]


def test_the_job_says_how_it_is_and_stops_between_two_batches(world: World) -> None:
    world.send(predictions("first", 50))
    world.send_poison([b"{not json"])
    world.job.start()
    world.settle()

    def of_batches(name: str) -> list[Any]:
        return [line[name] for line in metrics(world.job) if name in line and "BatchRows" in line]

    wait_until(lambda: sum(of_batches("BatchRows")) == 51, explain=lambda: world.job.log[-5000:])
    assert all(age_ms > 0 for age_ms in of_batches("IteratorAgeMs"))
    assert all(duration_ms > 0 for duration_ms in of_batches("BatchDurationMs"))
    reported = metrics(world.job)
    assert [line["Quarantined"] for line in reported if line.get("reason") == "not_json"] == [1]

    wait_until(
        lambda: {"IteratorAgeMs": 0}.items() <= metrics(world.job)[-2].items(), explain=lambda: world.job.log[-5000:]
    )
    heartbeat = metrics(world.job)[-1]
    assert (heartbeat["component"], heartbeat["Heartbeat"], heartbeat["stage"]) == ("stream", 1, "dev")
    known = {metric["name"]: {*METRICS["common_dimensions"], *metric["dimensions"]} for metric in METRICS["metrics"]}
    for line in metrics(world.job):
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == METRICS["namespace"]
        assert all(known[metric["Name"]] == set(*directive["Dimensions"]) for metric in directive["Metrics"])

    under_way = predictions("under way", 300)
    with world.gate.holding(Moment.COPY) as reached:
        world.send(under_way)
        reached()
        ask_to_stop(world.job)
        world.send([prediction("not begun")])
    code, last_line = end_of(world.job)
    assert code == 0
    assert last_line.endswith("stopped on request")
    assert world.stored(under_way) == len(under_way)


def test_a_batch_that_the_warehouse_refuses_ends_the_job(world: World) -> None:
    world.warehouse.query("alter table fraud.stream_batches rename to hidden")
    job = world.another_job("refused")
    job.start()
    code, last_line = end_of(job)
    world.warehouse.query("alter table fraud.hidden rename to stream_batches")
    assert code == 1
    assert "StreamFailedError: SinkError: PostgreSQL refused batch 0" in last_line


def test_a_stream_that_is_missing_ends_the_job(world: World) -> None:
    job = world.another_job("missing", kinesis_stream="nowhere")
    job.start()
    code, last_line = end_of(job)
    assert code == 1
    assert "KinesisSourceError: cannot read Kinesis stream 'nowhere'" in last_line
    assert "ResourceNotFoundException" in last_line


def test_a_job_that_is_asked_to_stop_while_it_starts_stops(world: World) -> None:
    job = world.another_job("early")
    job.start()
    time.sleep(1)
    ask_to_stop(job)
    assert end_of(job)[0] == 0
