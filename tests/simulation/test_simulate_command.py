"""``fraudit simulate``: a test part in the embedded AWS's S3, a command as people run it, an API over HTTP."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from fraudit_dagster.cli.app import app
from fraudit_dagster.cli.errors import CommandError
from fraudit_dagster.cli.simulate import planned, simulate
from fraudit_dagster.records import Part
from fraudit_dagster.settings import load_settings
from fraudit_dagster.synthetic import write_synthetic
from jobs.simulator import Plan
from resources.aws import client
from resources.records import RecordError
from resources.storage import Storage
from tests.api.stand_ins import serving
from tests.conftest import unique
from tests.simulation.stand_in import Api, answer, error

REGION, ROWS, FRAUDS = "eu-west-1", 400, 40
FRAUDIT = Path(sys.executable).with_name("fraudit")


@pytest.fixture
def environment(local_cloud: dict[str, str], server: Api) -> Iterator[pytest.MonkeyPatch]:
    """This process's settings lead to the embedded AWS, to a bucket of the test's own, and to the stand-in of the API."""
    with pytest.MonkeyPatch.context() as patch, serving(server) as url:
        bucket = unique("models")
        for name, value in {
            **local_cloud,
            "AWS_REGION": REGION,
            "MODEL_BUCKET": bucket,
            "CHALICE_API_URL": url,
        }.items():
            patch.setenv(name, value)
        patch.setenv("FRAUDIT_API_KEY", "secret")
        patch.setattr("resources.prediction_api.BACKOFF_S", 0.001)
        client("s3", region=REGION).create_bucket(
            Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        yield patch


@pytest.fixture
def part(environment: pytest.MonkeyPatch, tmp_path: Path) -> Part:  # noqa: ARG001 - sets the environment
    """The test part, as the split leaves it."""
    bucket = unique("parts")
    client("s3", region=REGION).create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    made = Part(
        uri=f"s3://{bucket}/test/",
        channels={},
        rows=ROWS,
        frauds=FRAUDS,
        weighted=False,
        medians={},
        raw_sha256="0" * 64,
    )
    write_synthetic(tmp_path / "part.parquet", rows=ROWS, frauds=FRAUDS, seed=1)
    settings = load_settings(env_file=None)
    storage = Storage(
        region=REGION,
        data_bucket=settings.data_bucket,
        stream_bucket=settings.stream_bucket,
        model_bucket=settings.model_bucket,
    )
    storage.upload(tmp_path / "part.parquet", f"{made.uri}part.parquet")
    storage.write(f"s3://{settings.model_bucket}/graph/dataset/test.json", made.model_dump_json().encode())
    return made


@pytest.fixture
def server() -> Api:
    return Api()


def fraudit(*words: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, ["simulate", *words])


def sent(server: Api) -> list[dict[str, Any]]:
    """Bodies of all transactions, by id."""
    return sorted(map(json.loads, server.bodies), key=lambda body: str(body["metadata"]["transaction_id"]))


@pytest.mark.usefixtures("part")
def test_every_event_is_sent_once_and_the_table_sums_up(server: Api) -> None:
    done = fraudit("--events", "300", "--feedback", "1", "--seed", "3")
    assert done.exit_code == 0, done.output
    assert len({body["metadata"]["transaction_id"] for body in sent(server)}) == len(server.bodies) == 300
    assert len({body["metadata"]["run_id"] for body in sent(server)}) == 1
    assert server.keys == {b"secret"}
    text = " ".join(done.stdout.replace("│", " ").split())
    assert "300 of 300 sent, 300 answered, 0 retries" in text
    assert "300 approve" in text
    assert "from the sending" in text
    assert f"{len(server.labels)} sent, {300 - len(server.labels)} still to come" in text
    assert "seed 3" in text
    assert "sent again" not in text


@pytest.mark.usefixtures("part")
def test_a_program_gets_one_object(server: Api) -> None:
    done = fraudit("--events", "1000", "--rate", "5000", "--json", "--seed", "3")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    report = found["report"]
    assert (found["rows"], found["plan"]["seed"], found["plan"]["rate"]) == (ROWS, 3, 5000.0)
    assert (report["requests"], report["answered"], report["decisions"]) == (1000, 1000, {"approve": 1000})
    assert (report["errors"], report["labels"]) == ({}, len(server.labels))
    assert 0 < report["p50_ms"] <= report["p95_ms"] <= report["p99_ms"] <= report["max_ms"]
    assert {body["metadata"]["run_id"] for body in sent(server)} == {found["run_id"]}


@pytest.mark.usefixtures("part")
def test_more_events_than_rows_are_sent_with_new_ids_and_said(server: Api) -> None:
    done = fraudit("--events", str(ROWS + 1))
    assert len({body["metadata"]["transaction_id"] for body in sent(server)}) == ROWS + 1
    assert f"{ROWS} in the test part: sent again from the first, with new ids" in " ".join(
        done.stdout.replace("│", " ").split()
    )


@pytest.mark.usefixtures("part")
def test_a_seed_is_the_same_bodies_and_another_plan_other_ids(server: Api) -> None:
    plan = plan_of(seed=5)
    simulate(plan)
    first, server.bodies = sent(server), []
    first_labels = sorted(server.labels, key=str)
    server.labels = []
    simulate(plan)
    assert sent(server) == first
    assert sorted(server.labels, key=str) == first_labels
    ids = {body["metadata"]["transaction_id"] for body in first}
    for other in (plan_of(seed=5, order="shuffled"), plan_of(seed=5, days=3)):
        server.bodies = []
        simulate(other)
        assert ids.isdisjoint(body["metadata"]["transaction_id"] for body in sent(server))


@pytest.mark.usefixtures("part")
@pytest.mark.parametrize("order", ["time", "shuffled"])
def test_in_time_order_or_not(server: Api, order: str) -> None:
    simulate(plan_of(order=order, concurrency=1))
    times = [json.loads(body)["metadata"]["timestamp"] for body in server.bodies]
    assert (times == sorted(times)) == (order == "time")
    now = datetime.now(UTC)
    assert all(now - timedelta(days=3) <= datetime.fromisoformat(at) <= now for at in times)


def test_labels_are_the_tables_and_are_there_by_the_end(server: Api, part: Part) -> None:
    simulate(plan_of(events=ROWS, feedback=1.0))
    assert 0 < sum(label["label"] for label in server.labels) <= part.frauds
    by_id = {body["metadata"]["transaction_id"]: body["metadata"] for body in sent(server)}
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for label in server.labels:
        assert datetime.fromisoformat(by_id[label["transaction_id"]]["timestamp"]) < datetime.fromisoformat(
            label["labelled_at"]
        )
        assert datetime.fromisoformat(label["labelled_at"]) <= midnight


def plan_of(**changed: Any) -> Plan:
    """A small plan, as the command line makes it."""
    options: dict[str, Any] = {
        "events": 60,
        "seed": 5,
        "days": 2,
        "end": None,
        "order": "time",
        "feedback": 0.3,
        "label_delay": None,
        "drift": None,
        "rate": None,
        "concurrency": None,
    }
    return planned(**{**options, **changed})


@pytest.mark.usefixtures("part")
def test_failed_requests_are_told_by_kind_and_fail_the_command(server: Api) -> None:
    server.replies["everything"] = [
        *[(400, error("not_finite", field="data.V1"))] * 2,
        (503, error("models_unavailable")),
        (200, answer("t", degraded=("events",))),
    ]
    done = fraudit("--events", "20", "--concurrency", "1", "--feedback", "0")
    text = " ".join(done.stdout.replace("│", " ").split())
    assert "error: not_finite 2; POST" in text
    assert "(field data.V1): because" in text
    assert "20 of 20 sent, 18 answered, 1 retries" in text
    assert "degraded: events 18" in text
    assert done.exit_code == 1
    assert isinstance(done.exception, CommandError)
    assert str(done.exception) == "2 requests failed"


@pytest.mark.usefixtures("part")
@pytest.mark.parametrize(("status", "code"), [(401, "unauthorized"), (403, "forbidden")])
def test_a_refused_key_stops_it(server: Api, status: int, code: str) -> None:
    server.replies["everything"] = [(status, error(code))]
    done = fraudit("--events", "2000", "--concurrency", "1")
    assert len(server.bodies) == 1
    assert isinstance(done.exception, CommandError)
    assert f"answered {status} {code}" in str(done.exception)
    assert "fraudit keys create" in str(done.exception)


@pytest.mark.usefixtures("part")
def test_a_dead_api_stops_it(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("CHALICE_API_URL", "http://127.0.0.1:9")
    done = fraudit("--events", "2000")
    assert isinstance(done.exception, CommandError)
    assert "cannot reach the prediction API at http://127.0.0.1:9" in str(done.exception)
    assert "fraudit status" in str(done.exception)


@pytest.mark.usefixtures("environment")
def test_without_a_test_part_it_says_what_to_do() -> None:
    with pytest.raises(RecordError, match=r"dataset/test has no record at s3://.*: materialize it first"):
        simulate(plan_of())


def started(*words: str) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    return subprocess.Popen(
        [FRAUDIT, "simulate", "--seed", "1", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for_requests(server: Api, count: int, child: subprocess.Popen[str]) -> None:
    while len(server.bodies) < count:
        assert child.poll() is None, child.communicate()
        time.sleep(0.02)


@pytest.mark.usefixtures("part")
def test_ctrl_c_lets_requests_end_and_prints_the_table(server: Api) -> None:
    server.delay_s = 0.1
    child = started("--events", "1000000", "--concurrency", "8", "--feedback", "0")
    wait_for_requests(server, 40, child)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    text = " ".join(out.replace("│", " ").split())
    assert f"{server.replied:,} of 1,000,000 sent, {server.replied:,} answered" in text
    assert len(server.bodies) == server.replied
    assert "ended by an interrupt" in text
    assert "Traceback" not in err


@pytest.mark.usefixtures("part")
def test_a_second_ctrl_c_ends_it_at_once(server: Api) -> None:
    server.never.add("everything")
    child = started("--events", "1000")
    wait_for_requests(server, 4, child)
    child.send_signal(signal.SIGINT)
    time.sleep(
        1
    )  # signals that come together are one; without the second one it would wait for ten seconds, and sum up
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    assert "ended by" not in out
    assert "Traceback" not in err
