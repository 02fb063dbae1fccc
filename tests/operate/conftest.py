"""A deployment on the embedded AWS, as the environment names it, and the command ``fraudit``."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from fraudit_dagster.cli.app import app
from resources.aws import client
from tests.conftest import unique

REGION = "eu-west-1"


@dataclass(frozen=True)
class Deployment:
    """Names of what is deployed, each of its own for each test."""

    secret: str
    bucket: str
    stream: str
    fraud_topic: str
    operations_topic: str


@pytest.fixture
def boto() -> Callable[[str], Any]:
    """Makes boto3 clients of the embedded AWS, to look behind the command."""
    return lambda service: client(service, region=REGION)


@pytest.fixture
def deployment(local_cloud: dict[str, str]) -> Iterator[Deployment]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**local_cloud, "AWS_REGION": REGION}.items():
            patch.setenv(name, value)
        secret, bucket, stream = unique("keys"), unique("stream"), unique("events")
        client("secretsmanager", region=REGION).create_secret(Name=secret, SecretString='{"keys": []}')
        client("s3", region=REGION).create_bucket(
            Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        client("kinesis", region=REGION).create_stream(StreamName=stream, ShardCount=2)
        topics = [client("sns", region=REGION).create_topic(Name=unique(name))["TopicArn"] for name in ("fraud", "ops")]
        made = Deployment(secret, bucket, stream, *topics)
        patch.setenv("FRAUDIT_API_KEYS_SECRET", made.secret)
        patch.setenv("SPARK_STREAMING_BUCKET", made.bucket)
        patch.setenv("KINESIS_STREAM_NAME", made.stream)
        patch.setenv("ALERTS_TOPIC_ARN", made.fraud_topic)
        patch.setenv("OPERATIONS_TOPIC_ARN", made.operations_topic)
        yield made


def fraudit(*words: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, list(words))


def said(*words: str) -> str:
    """What the command prints where it succeeds."""
    done = fraudit(*words)
    assert done.exit_code == 0, done.exception or done.output
    return done.stdout.strip()
