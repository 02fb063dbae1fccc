"""Kinesis as boto3 sees it, over HTTP."""

import base64
import hashlib
import itertools
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_kinesis.type_defs import GetRecordsOutputTypeDef


@pytest.fixture(scope="module")
def url(serve_module: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> str:
    return serve_module("localaws.kinesis", "--state", str(tmp_path_factory.mktemp("kinesis")))


@pytest.fixture
def kinesis(url: str) -> "KinesisClient":
    return boto3.client(
        "kinesis", endpoint_url=url, config=Config(retries={"max_attempts": 0}, parameter_validation=False)
    )


@pytest.fixture
def stream(kinesis: "KinesisClient", request: pytest.FixtureRequest) -> str:
    name = str(request.node.name)
    kinesis.create_stream(StreamName=name, ShardCount=4)
    return name


def iterator(kinesis: "KinesisClient", stream: str, shard: str, kind: Any = "TRIM_HORIZON", **where: Any) -> str:
    answer = kinesis.get_shard_iterator(StreamName=stream, ShardId=shard, ShardIteratorType=kind, **where)
    return str(answer["ShardIterator"])


def read(kinesis: "KinesisClient", stream: str, shard: str, kind: str = "TRIM_HORIZON", **where: Any) -> list[bytes]:
    return [
        record["Data"]
        for record in kinesis.get_records(ShardIterator=iterator(kinesis, stream, shard, kind, **where))["Records"]
    ]


def shard_ids(kinesis: "KinesisClient", stream: str) -> list[str]:
    return [shard["ShardId"] for shard in kinesis.list_shards(StreamName=stream)["Shards"]]


def test_a_stream_is_active_at_once_and_described(kinesis: "KinesisClient", stream: str) -> None:
    kinesis.get_waiter("stream_exists").wait(StreamName=stream)
    summary = kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
    assert summary["StreamStatus"] == "ACTIVE"
    assert summary["OpenShardCount"] == 4
    assert summary["StreamARN"] == f"arn:aws:kinesis:eu-west-1:123456789012:stream/{stream}"
    assert abs(summary["StreamCreationTimestamp"] - datetime.now(UTC)) < timedelta(minutes=1)
    assert kinesis.describe_stream_summary(StreamARN=summary["StreamARN"])["StreamDescriptionSummary"] == summary


def test_the_shards_share_all_hash_keys_without_gap(kinesis: "KinesisClient", stream: str) -> None:
    ranges = [shard["HashKeyRange"] for shard in kinesis.list_shards(StreamName=stream)["Shards"]]
    assert ranges[0]["StartingHashKey"] == "0"
    assert ranges[-1]["EndingHashKey"] == str(2**128 - 1)
    for left, right in itertools.pairwise(ranges):
        assert int(left["EndingHashKey"]) + 1 == int(right["StartingHashKey"])


def test_shards_and_streams_come_in_pages(kinesis: "KinesisClient", stream: str) -> None:
    first = kinesis.list_shards(StreamName=stream, MaxResults=3)
    second = kinesis.list_shards(NextToken=first["NextToken"])
    assert [len(first["Shards"]), len(second["Shards"])] == [3, 1]
    assert "NextToken" not in second
    pages = kinesis.get_paginator("describe_stream").paginate(StreamName=stream, PaginationConfig={"PageSize": 2})
    assert [len(page["StreamDescription"]["Shards"]) for page in pages] == [2, 2]
    kinesis.create_stream(StreamName=f"{stream}-2", ShardCount=1)
    names = (
        kinesis.get_paginator("list_streams")
        .paginate(PaginationConfig={"PageSize": 1})
        .build_full_result()["StreamNames"]
    )
    assert {stream, f"{stream}-2"} <= set(names)
    assert names == sorted(names)


def test_a_record_goes_to_the_shard_of_its_keys_md5(kinesis: "KinesisClient", stream: str) -> None:
    for key in ("alice", "bob", "größe", "4" * 256):
        put = kinesis.put_record(StreamName=stream, Data=b"x", PartitionKey=key)
        shard = int.from_bytes(hashlib.md5(key.encode(), usedforsecurity=False).digest()) >> 126
        assert put["ShardId"] == f"shardId-{shard:012d}"


def test_an_explicit_hash_key_overrides_the_partition_key(kinesis: "KinesisClient", stream: str) -> None:
    put = kinesis.put_record(StreamName=stream, Data=b"x", PartitionKey="a", ExplicitHashKey=str(2**128 - 1))
    assert put["ShardId"] == "shardId-000000000003"


def test_sequence_numbers_are_decimal_and_rise_over_all_shards(kinesis: "KinesisClient", stream: str) -> None:
    answers = [
        kinesis.put_records(StreamName=stream, Records=[{"Data": b"x", "PartitionKey": str(i)} for i in range(50)])
        for _ in range(3)
    ]
    numbers = [int(record["SequenceNumber"]) for answer in answers for record in answer["Records"]]
    assert numbers == sorted(set(numbers))


def test_data_comes_back_as_it_was_put_and_in_order(kinesis: "KinesisClient", stream: str) -> None:
    blobs = [bytes([value]) * value for value in range(256)]
    kinesis.put_records(StreamName=stream, Records=[{"Data": blob, "PartitionKey": 'quote " and ü'} for blob in blobs])
    (shard,) = (shard for shard in shard_ids(kinesis, stream) if read(kinesis, stream, shard))
    records = kinesis.get_records(ShardIterator=iterator(kinesis, stream, shard))["Records"]
    assert [record["Data"] for record in records] == blobs
    assert {record["PartitionKey"] for record in records} == {'quote " and ü'}
    assert all(
        abs(record["ApproximateArrivalTimestamp"] - datetime.now(UTC)) < timedelta(minutes=1) for record in records
    )


def test_the_five_kinds_of_iterator(kinesis: "KinesisClient", stream: str) -> None:
    puts = []
    for value in (b"0", b"1", b"2"):
        puts.append(kinesis.put_record(StreamName=stream, Data=value, PartitionKey="k"))
        time.sleep(0.02)
    shard, second = puts[1]["ShardId"], puts[1]["SequenceNumber"]
    latest = iterator(kinesis, stream, shard, "LATEST")
    arrived = kinesis.get_records(ShardIterator=iterator(kinesis, stream, shard))["Records"][1][
        "ApproximateArrivalTimestamp"
    ]
    kinesis.put_record(StreamName=stream, Data=b"3", PartitionKey="k")

    assert read(kinesis, stream, shard, "TRIM_HORIZON") == [b"0", b"1", b"2", b"3"]
    assert read(kinesis, stream, shard, "AT_SEQUENCE_NUMBER", StartingSequenceNumber=second) == [b"1", b"2", b"3"]
    assert read(kinesis, stream, shard, "AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=second) == [b"2", b"3"]
    assert read(kinesis, stream, shard, "AT_TIMESTAMP", Timestamp=arrived) == [b"1", b"2", b"3"]
    assert read(kinesis, stream, shard, "AT_TIMESTAMP", Timestamp=arrived - timedelta(days=1)) == [
        b"0",
        b"1",
        b"2",
        b"3",
    ]
    assert [record["Data"] for record in kinesis.get_records(ShardIterator=latest)["Records"]] == [b"3"]


def test_reading_on_sees_every_record_once_and_ends_at_the_tip(kinesis: "KinesisClient", stream: str) -> None:
    kinesis.put_records(StreamName=stream, Records=[{"Data": b"%d" % i, "PartitionKey": "k"} for i in range(10)])
    (shard,) = (shard for shard in shard_ids(kinesis, stream) if read(kinesis, stream, shard))
    time.sleep(0.01)
    answers: list[GetRecordsOutputTypeDef] = []
    at = iterator(kinesis, stream, shard)
    for _ in range(4):
        answers.append(kinesis.get_records(ShardIterator=at, Limit=4))
        at = answers[-1]["NextShardIterator"]
    assert [len(answer["Records"]) for answer in answers] == [4, 4, 2, 0]
    assert [record["Data"] for answer in answers for record in answer["Records"]] == [b"%d" % i for i in range(10)]
    behind_ms = [answer["MillisBehindLatest"] for answer in answers]
    assert min(behind_ms[:2]) >= 10
    assert behind_ms[2:] == [0, 0]


def test_one_answer_holds_at_most_10_mb(kinesis: "KinesisClient", stream: str) -> None:
    for _ in range(12):
        shard = kinesis.put_record(StreamName=stream, Data=bytes((1 << 20) - 1), PartitionKey="k")["ShardId"]
    answer = kinesis.get_records(ShardIterator=iterator(kinesis, stream, shard))
    assert len(answer["Records"]) == 10
    assert len(kinesis.get_records(ShardIterator=answer["NextShardIterator"])["Records"]) == 2


def record(data: bytes = b"x", **more: Any) -> dict[str, Any]:
    return {"Data": data, "PartitionKey": "k", **more}


@pytest.mark.parametrize(
    ("records", "code", "named"),
    [
        ([], "ValidationException", "'Records'"),
        ([record()] * 501, "ValidationException", "'Records'"),
        ([record(), record(bytes(1 << 20))], "ValidationException", "Records[1].Data"),
        ([record(bytes((1 << 20) - 1))] * 5 + [record(b"")], "InvalidArgumentException", "5 MB"),
        ([record(PartitionKey="")], "ValidationException", "Records[0].PartitionKey"),
        ([record(PartitionKey="k" * 257)], "ValidationException", "Records[0].PartitionKey"),
        ([record(ExplicitHashKey=str(2**128))], "ValidationException", "Records[0].ExplicitHashKey"),
        ([{"PartitionKey": "k"}], "ValidationException", "Records[0].Data"),
    ],
)
def test_a_put_over_a_limit_is_refused_as_a_whole(
    kinesis: "KinesisClient", records: list[Any], code: str, named: str
) -> None:
    name = f"refused-{time.time_ns()}"
    kinesis.create_stream(StreamName=name, ShardCount=1)
    with pytest.raises(ClientError, match=code) as caught:
        kinesis.put_records(StreamName=name, Records=records)
    assert named in caught.value.response["Error"]["Message"]
    assert read(kinesis, name, "shardId-000000000000") == []


def test_data_that_is_not_base64_is_refused(url: str, kinesis: "KinesisClient", stream: str) -> None:
    body = json.dumps({"StreamName": stream, "PartitionKey": "k", "Data": "no base64!"})
    answer = httpx.post(url, content=body, headers={"x-amz-target": "Kinesis_20131202.PutRecord"})
    assert answer.status_code == 400
    assert answer.json()["__type"] == "ValidationException"
    assert all(read(kinesis, stream, shard) == [] for shard in shard_ids(kinesis, stream))


def test_what_is_not_there_is_named(kinesis: "KinesisClient", stream: str) -> None:
    with pytest.raises(kinesis.exceptions.ResourceNotFoundException, match="Stream nowhere"):
        kinesis.put_record(StreamName="nowhere", Data=b"x", PartitionKey="k")
    with pytest.raises(kinesis.exceptions.ResourceNotFoundException, match="shardId-000000000009"):
        iterator(kinesis, stream, "shardId-000000000009")
    with pytest.raises(kinesis.exceptions.InvalidArgumentException, match="StreamName or StreamARN"):
        kinesis.describe_stream_summary()
    with pytest.raises(kinesis.exceptions.ResourceInUseException, match="already exists"):
        kinesis.create_stream(StreamName=stream, ShardCount=1)


def test_an_iterator_must_come_from_this_stream(kinesis: "KinesisClient", stream: str) -> None:
    shard = shard_ids(kinesis, stream)[0]
    for wrong in (
        "nonsense",
        *(base64.urlsafe_b64encode(b).decode() for b in (b"[1]", b'[{},1,"s",1,1]', b'["s",1,"s","1",1]')),
    ):
        with pytest.raises(kinesis.exceptions.InvalidArgumentException, match="Invalid ShardIterator"):
            kinesis.get_records(ShardIterator=wrong)
    for number in ("1", str(10**30)):
        with pytest.raises(kinesis.exceptions.InvalidArgumentException, match="did not come from this stream"):
            iterator(kinesis, stream, shard, "AT_SEQUENCE_NUMBER", StartingSequenceNumber=number)
    with pytest.raises(kinesis.exceptions.InvalidArgumentException, match="timestampInMillis"):
        iterator(kinesis, stream, shard, "AT_TIMESTAMP", Timestamp=datetime.now(UTC) + timedelta(hours=1))
    old = iterator(kinesis, stream, shard)
    kinesis.delete_stream(StreamName=stream)
    with pytest.raises(kinesis.exceptions.ResourceNotFoundException):
        kinesis.get_records(ShardIterator=old)
    kinesis.create_stream(StreamName=stream, ShardCount=4)
    with pytest.raises(kinesis.exceptions.InvalidArgumentException, match="made anew"):
        kinesis.get_records(ShardIterator=old)


def test_concurrent_writers_lose_nothing(url: str, kinesis: "KinesisClient", stream: str) -> None:
    def write(writer: int) -> None:
        client = boto3.client("kinesis", endpoint_url=url)
        for batch in range(10):
            client.put_records(
                StreamName=stream,
                Records=[{"Data": f"{writer}/{batch}/{i}".encode(), "PartitionKey": f"{i}"} for i in range(100)],
            )

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    stored = [data for shard in shard_ids(kinesis, stream) for data in read(kinesis, stream, shard)]
    assert len(stored) == len(set(stored)) == 4000
