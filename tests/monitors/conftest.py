"""A small deployment that is watched: an API's word, a stream, a job that runs for ever, a warehouse, metrics, and a topic with a queue."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import dagster as dg
import httpx
import pytest
from localaws import processes

from fraudit_dagster.settings import load_settings
from jobs.sensors import SENSORS
from resources.aws import client
from resources.deployment import build_resources
from resources.stream_job import StreamJob
from resources.watch import Watch
from tests.conftest import ASK, free_port, unique
from tests.operate.conftest import REGION
from tests.warehouse.conftest import Place, migrated, new_place

__all__ = ["migrated", "new_place"]  # fixtures

ENDLESS = "import time\nwhile True: time.sleep(0.02)"
MONITORS = ("watch_api", "watch_stream", "watch_job", "watch_table")


class Word(BaseHTTPRequestHandler):
    """An API that says that it is well."""

    def do_GET(self) -> None:
        body = json.dumps({"status": "ok", "manifest_version": "v7"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def places(local_cloud: dict[str, str], migrated: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Points the environment to all that is watched, and to the one CloudWatch of these tests."""
    del migrated  # the warehouse; its fixture names it in the environment
    state, port = tmp_path_factory.mktemp("cloudwatch"), free_port()
    with ExitStack() as stack:
        command = [sys.executable, "-m", "localaws.cloudwatch", "--port", str(port), "--state", str(state)]
        environment = {**os.environ, **local_cloud, "AWS_REGION": REGION}
        process = processes.spawn(command, env=environment, log_path=state / "service.log")
        stack.callback(processes.end, process, grace_s=10)
        api = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Word))
        threading.Thread(target=api.serve_forever).start()
        stack.callback(api.shutdown)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH", f"http://127.0.0.1:{port}")
        patch.setenv("CHALICE_API_URL", f"http://127.0.0.1:{api.server_port}")
        for variable in ("SPARK_STREAMING_BUCKET", "KINESIS_STREAM_NAME"):
            patch.setenv(variable, unique("watched"))
        s3, bucket = client("s3", region=REGION), os.environ["SPARK_STREAMING_BUCKET"]
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.put_object(Bucket=bucket, Key="job.py", Body=ENDLESS)
        client("kinesis", region=REGION).create_stream(StreamName=os.environ["KINESIS_STREAM_NAME"], ShardCount=1)
        await_answer(f"http://127.0.0.1:{port}/_health")
        yield


def be_patient(patch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let monitors wait this long for an answer: a machine that runs tests may be slower than one that serves."""
    for module in ("resources.aws", "resources.deployment"):
        patch.setattr(f"{module}.BRIEF_READ_S", seconds)


def await_answer(url: str) -> None:
    """Wait until something answers."""
    deadline = time.monotonic() + 30
    while True:
        try:
            ASK.get(url).raise_for_status()
        except httpx.HTTPError:
            assert time.monotonic() < deadline, url
            time.sleep(0.05)
        else:
            return


@dataclass
class Watched:
    """What is watched, and its monitors, whose ticks are made by hand."""

    heard: Callable[[], list[dict[str, Any]]]
    instance: dg.DagsterInstance
    cursors: dict[str, str | None] = field(default_factory=dict)

    def tick(self, monitor: str, *, times: int = 1, watch: Watch | None = None) -> dg.SensorResult:
        """Let a monitor look as the daemon would, and keep its cursor; return the result of the last time."""
        (sensor,) = (found for found in SENSORS if found.name == monitor)
        watch = watch or build_resources(load_settings(env_file=None))["watch"]
        result: Any = None
        for _ in range(times):
            with dg.build_sensor_context(
                self.instance, cursor=self.cursors.get(monitor), resources={"watch": watch}
            ) as context:
                result = sensor(context)
            self.cursors[monitor] = result.cursor
        assert isinstance(result, dg.SensorResult)
        return result

    @property
    def job(self) -> StreamJob:
        """The stream job, as the command ``fraudit stream`` has it."""
        made: StreamJob = build_resources(load_settings(env_file=None))["stream_job"]
        return made

    def measured(self, name: str, value: float, *, ago_s: float = 0, count: int = 1, **dimensions: str) -> None:
        """Put a metric, as the API and the stream do by their logs."""
        wanted = {"stage": os.environ["FRAUDIT_STAGE"], **dimensions}
        client("cloudwatch", region=REGION).put_metric_data(
            Namespace="fraudit",
            MetricData=[
                {
                    "MetricName": name,
                    "Dimensions": [{"Name": key, "Value": said} for key, said in wanted.items()],
                    "Timestamp": datetime.now(UTC) - timedelta(seconds=ago_s),
                    "Values": [value],
                    "Counts": [count],
                }
            ],
        )

    def heartbeats(self, component: str) -> int:
        """How many heartbeats a component has had."""
        now = datetime.now(UTC)
        points = client("cloudwatch", region=REGION).get_metric_statistics(
            Namespace="fraudit",
            MetricName="Heartbeat",
            Dimensions=[
                {"Name": "stage", "Value": os.environ["FRAUDIT_STAGE"]},
                {"Name": "component", "Value": component},
            ],
            StartTime=now - timedelta(minutes=10),
            EndTime=now + timedelta(minutes=1),
            Period=60,
            Statistics=["Sum"],
        )["Datapoints"]
        return int(sum(point["Sum"] for point in points))


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster with nothing in it."""
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def watched(places: None, migrated: Place, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Watched:  # noqa: ARG001 - it sets the environment
    """Metrics, a job and a topic of its own for each test, all well; the job was never asked for, and nothing was stored yet."""
    migrated.run("truncate fraud.stream_batches")
    be_patient(monkeypatch, 20.0)
    monkeypatch.setenv("FRAUDIT_STAGE", unique("stage"))
    name, bucket = unique("job"), os.environ["SPARK_STREAMING_BUCKET"]
    monkeypatch.setenv("GLUE_JOB_NAME", name)
    command = {"Name": "gluestreaming", "ScriptLocation": f"s3://{bucket}/job.py", "PythonVersion": "3"}
    client("glue", region=REGION).create_job(Name=name, Role="role", Command=command)
    client("s3", region=REGION).delete_object(Bucket=bucket, Key="stream/wish.json")
    sns, sqs = client("sns", region=REGION), client("sqs", region=REGION)
    topic = sns.create_topic(Name=unique("operations"))["TopicArn"]
    queue = sqs.create_queue(QueueName=unique("operations"))["QueueUrl"]
    queue_arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue_arn)
    monkeypatch.setenv("OPERATIONS_TOPIC_ARN", topic)

    def heard() -> list[dict[str, Any]]:
        messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
        for message in messages:
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return [json.loads(message["Body"]) for message in messages]

    return Watched(heard, instance)
