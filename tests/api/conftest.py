"""The API as a process of its own, over HTTP, with moto for S3, Secrets Manager and SNS, and stand-ins for the models and Kinesis."""

import copy
import hashlib
import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from chalicelib.aws import Clients
from chalicelib.service import Service
from chalicelib.settings import Settings
from moto.server import ThreadedMotoServer

from tests.api.stand_ins import Kinesis, SageMakerRuntime, serving
from tests.conftest import ASK

API = Path(__file__).parents[2] / "api"
KEY_ID = "ab12cd34"
KEY = f"fraudit_{KEY_ID}_c2VjcmV0_X-part"
SALT = bytes.fromhex("00112233445566778899aabbccddeeff")
MODELS_BUCKET = "models"
STREAM_BUCKET = "stream"

SECRET = {
    "keys": [
        {"id": KEY_ID, "salt": SALT.hex(), "sha256": hashlib.sha256(SALT + KEY.encode()).hexdigest(), "label": "t"}
    ]
}

MANIFEST: dict[str, Any] = {
    "schema_version": 1,
    "manifest_version": "2026-11-23T10:00:00Z-3f2a",
    "created_at": "2026-11-23T10:00:00Z",
    "contract": {"name": "creditcard", "sha256": "00"},
    "inputs": ["Time", "V1", "V2", "Amount"],
    "amount": "Amount",
    "fraud_classifier": {
        "endpoint": "fraud-detection-xgb-7",
        "model_version": "7",
        "features": ["V1", "V2", {"log1p": "Amount"}],
        "calibration": {"kind": "none", "x": [], "y": []},
        "medians": {"V1": 0.01, "V2": 0.0, "Amount": 0.0},
    },
    "anomaly_detector": {
        "endpoint": "fraud-detection-rcf-7",
        "model_version": "8",
        "features": ["V1", "V2"],
        "medians": {},
    },
    "policy": {"block_at": 0.8, "review_at": 0.2, "anomaly_review_at": 3.0, "when_degraded": "review"},
    "golden": [],
    "lineage": {},
}

OCCURRED_AT = datetime.now(timezone(timedelta(hours=2))).replace(microsecond=0)
METADATA: dict[str, Any] = {
    "timestamp": OCCURRED_AT.isoformat(),
    "user_id": "user-17",
    "source": "Web",
    "device_info": {"device_type": "phone", "os_version": "Android 16", "app_version": "4.2.0"},
    "ip_address": "198.18.77.203",
    "geo": {"country": "NL", "region": "Zuid-Holland", "city": "Delft", "latitude": 52.01157, "longitude": 4.35711},
}


@pytest.fixture
def manifest() -> dict[str, Any]:
    return copy.deepcopy(MANIFEST)


@pytest.fixture
def body() -> Callable[..., dict[str, Any]]:
    """Makes a request body; the classifier's score is about ``v1``, the anomaly score is ``v2``."""

    def make(v1: float = 0.05, v2: float = 1.0, amount: float = 149.62) -> dict[str, Any]:
        metadata = {**copy.deepcopy(METADATA), "transaction_id": str(uuid.uuid4())}
        return {"metadata": metadata, "data": {"Time": 0, "V1": v1, "V2": v2, "Amount": amount}}

    return make


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture(scope="session")
def aws(moto_url: str) -> Callable[[str], Any]:
    """Makes boto3 clients of the AWS that the API uses."""

    def client(service: str) -> Any:
        return boto3.client(  # type: ignore[call-overload] # the name is not a literal
            service,
            endpoint_url=moto_url,
            region_name="eu-west-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    return client


@dataclass
class World:
    """The running API and everything around it."""

    api: httpx.Client
    log: Path
    runtime: SageMakerRuntime
    kinesis: Kinesis
    aws: Callable[[str], Any]
    alerts_queue: str
    environment: dict[str, str]

    def predict(self, body: Any) -> httpx.Response:
        """Send a body with a good key."""
        return self.post("/predict", body)

    def batch(self, bodies: list[Any]) -> httpx.Response:
        """Send a batch with a good key."""
        return self.post("/predict/batch", {"transactions": bodies})

    def post(self, path: str, body: Any) -> httpx.Response:
        """Send a body to a route, with a good key."""
        return self.api.post(path, json=body, headers={"x-api-key": KEY})

    def alerts(self) -> list[dict[str, Any]]:
        """What was published of blocks since the last look."""
        queue, heard = self.aws("sqs"), []
        while True:
            answer = queue.receive_message(QueueUrl=self.alerts_queue, MaxNumberOfMessages=10)
            for message in answer.get("Messages", []):
                heard.append(json.loads(message["Body"]))
                queue.delete_message(QueueUrl=self.alerts_queue, ReceiptHandle=message["ReceiptHandle"])
            if "Messages" not in answer:
                return heard

    def dead_letters(self) -> list[str]:
        """Keys of all dead letters."""
        listing = self.aws("s3").list_objects_v2(Bucket=STREAM_BUCKET, Prefix="dead-letters/")
        return [item["Key"] for item in listing.get("Contents", [])]


@pytest.fixture(scope="session")
def _world(moto_url: str, aws: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    s3, sns, sqs = aws("s3"), aws("sns"), aws("sqs")
    for bucket in (MODELS_BUCKET, STREAM_BUCKET):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_object(Bucket=MODELS_BUCKET, Key="serving/manifest.json", Body=json.dumps(MANIFEST))
    aws("secretsmanager").create_secret(Name="fraudit/api-keys", SecretString=json.dumps(SECRET))
    topic = sns.create_topic(Name="fraud-alerts")["TopicArn"]
    queue = sqs.create_queue(QueueName="alerts")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})

    log = tmp_path_factory.mktemp("api") / "api.log"
    runtime, kinesis = SageMakerRuntime(), Kinesis()
    with ExitStack() as stack:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            "AWS_ENDPOINT_URL": moto_url,
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": stack.enter_context(serving(runtime)),
            "AWS_ENDPOINT_URL_KINESIS": stack.enter_context(serving(kinesis)),
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
            "solution_prefix": "fraud-detection",
            "stream_name": "fraud-predictions-stream",
            "aws_region": "eu-west-1",
            "stage": "test",
            "model_bucket": MODELS_BUCKET,
            "stream_bucket": STREAM_BUCKET,
            "alerts_topic_arn": topic,
        }
        url, _ = start_server(stack, environment, log)
        api = stack.enter_context(httpx.Client(base_url=url, timeout=30))
        world = World(api, log, runtime, kinesis, aws, queue, environment)
        _warm_up(world)
        yield world


def _warm_up(world: World) -> None:
    """The first requests of a process open its connections; on a busy machine that alone may pass the models' deadline."""
    request = {"metadata": METADATA, "data": {"Time": 0, "V1": 0.05, "V2": 1.0, "Amount": 1.0}}
    for _ in range(20):
        if world.predict(request).json().get("degraded") == []:
            break
    for endpoint in world.runtime.endpoints.values():
        endpoint.requests.clear()


def start_server(
    stack: ExitStack, environment: dict[str, str], log: Path, *arguments: str
) -> tuple[str, "subprocess.Popen[bytes]"]:
    """Start the API's server, to be stopped with ``stack``; return its URL and its process once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    output = stack.enter_context(log.open("w"))
    command = [sys.executable, str(API / "server.py"), "--port", str(port), *arguments]
    process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    stack.callback(process.wait, timeout=20)
    stack.callback(process.terminate)
    url = f"http://127.0.0.1:{port}"
    for _ in range(400):
        assert process.poll() is None, log.read_text()
        try:
            ASK.get(f"{url}/health")
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return url, process
    raise AssertionError(log.read_text())


@pytest.fixture
def world(_world: World) -> Iterator[World]:
    """The running API, all of whose neighbours are well at the start of each test."""
    yield _world
    _world.kinesis.recover()
    for endpoint in _world.runtime.endpoints.values():
        endpoint.mode = "up"
        endpoint.requests.clear()


@pytest.fixture(scope="session")
def clients(_world: World) -> Clients:
    """The API's own clients, in this process, of the same neighbours; the environment is the API's only while they are made."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _world.environment.items():
            patch.setenv(name, value)
        return Clients.connect(region="eu-west-1")


@pytest.fixture
def make_service(world: World, clients: Clients) -> Callable[..., Service]:
    """Makes the API without its HTTP, in this process, among the same neighbours; settings may differ."""

    def make(**settings: Any) -> Service:
        return Service(replace(Settings.from_environment(world.environment), **settings), clients)

    return make
