"""What the tests of Kinesis share: a service of its own, a clock that stands still, putting and reading."""

import base64
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import orjson
from botocore.config import Config
from localaws import processes
from localaws.kinesis import Kinesis
from localaws.services import HttpHealth

from tests.conftest import free_port

from .conftest import AWS_ENV

if TYPE_CHECKING:
    import subprocess

    from mypy_boto3_kinesis import KinesisClient

SHARD = "shardId-000000000000"


def client(url: str, attempts: int = 0) -> "KinesisClient":
    return boto3.client("kinesis", endpoint_url=url, config=Config(retries={"max_attempts": attempts}))


@contextmanager
def served(state: Path, **env: str) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    port = free_port()
    command = [sys.executable, "-m", "localaws.kinesis", "--port", str(port), "--state", str(state)]
    process = processes.spawn(command, env={**os.environ, **AWS_ENV, **env}, log_path=state / "service.log")
    try:
        deadline = time.monotonic() + 30
        while not HttpHealth("/_health").check(port):
            assert process.poll() is None, (state / "service.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}", process
    finally:
        processes.end(process, grace_s=5)


class Clock:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def __call__(self) -> int:
        return int(self.now_s * 1e9)


def make(kinesis: Kinesis, shards: int = 1) -> None:
    kinesis.create_stream({"StreamName": "s", "ShardCount": shards})


def put(kinesis: Kinesis, *values: str, key: str = "k") -> list[int]:
    records = [{"PartitionKey": key, "Data": base64.b64encode(value.encode()).decode()} for value in values]
    answer = kinesis.put_records({"StreamName": "s", "Records": records})
    assert answer["FailedRecordCount"] == 0
    return [int(record["SequenceNumber"]) for record in answer["Records"]]


def place(kinesis: Kinesis, shard: str = SHARD, kind: str = "TRIM_HORIZON", **where: Any) -> str:
    asked = {"StreamName": "s", "ShardId": shard, "ShardIteratorType": kind, **where}
    return str(kinesis.get_shard_iterator(asked)["ShardIterator"])


def values_at(kinesis: Kinesis, iterator: str) -> list[str]:
    answer = orjson.loads(orjson.dumps(kinesis.get_records({"ShardIterator": iterator})))
    return [base64.b64decode(record["Data"]).decode() for record in answer["Records"]]


def values(kinesis: Kinesis, shard: str = SHARD) -> list[str]:
    return values_at(kinesis, place(kinesis, shard))


def all_by_key(kinesis: "KinesisClient", stream: str) -> dict[str, list[int]]:
    """Read each shard to its tip, parents before their children; its sequence numbers rise."""
    found: dict[str, list[int]] = defaultdict(list)
    for shard in kinesis.list_shards(StreamName=stream)["Shards"]:
        at = kinesis.get_shard_iterator(StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")
        iterator: str | None = at["ShardIterator"]
        numbers: list[int] = []
        while iterator:
            answer = kinesis.get_records(ShardIterator=iterator)
            for record in answer["Records"]:
                found[record["PartitionKey"]].append(int(record["Data"]))
                numbers.append(int(record["SequenceNumber"]))
            iterator = answer.get("NextShardIterator") if answer["MillisBehindLatest"] or answer["Records"] else None
        assert numbers == sorted(set(numbers))
    return found
