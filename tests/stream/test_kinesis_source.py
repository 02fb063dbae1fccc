"""The source hands over every record of every shard once and in order, and can read the same range again."""

import json
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from fraudit_stream.kinesis_api import KinesisSourceError, KinesisStream
from fraudit_stream.kinesis_source import HANDED_BYTES, HandedRecords, KinesisStreamReader, Options, ShardRange

from .conftest import REGION

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_kinesis.type_defs import ShardTypeDef

HALF = str(1 << 126)
"""A hash key inside the first of two shards."""


@pytest.fixture(autouse=True)
def _shards_are_listed_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fraudit_stream.kinesis_source.RESHARD_CHECK_S", -1.0)


class Query:
    """What Spark does with the reader of a query: asks for the end, plans the range on the driver, reads it elsewhere."""

    def __init__(self, options: Options, *, offset: dict[str, Any] | None = None) -> None:
        self.options = options
        self.reader = KinesisStreamReader(options)
        self.offset = offset or self.reader.initialOffset()
        if offset is not None:
            self.reader.partitions(offset, offset)

    def plan(self) -> list[Any]:
        """The partitions of the next batch."""
        start, self.offset = self.offset, json.loads(json.dumps(self.reader.latestOffset()))
        return self.reader.partitions(start, self.offset)

    def read(self, partitions: list[Any]) -> list[str]:
        """The records of a batch, by a reader of the executor's own."""
        executor = KinesisStreamReader(self.options)
        batches = (batch for partition in partitions for batch in executor.read(partition))
        return [data.decode() for batch in batches for data in batch.column("data").to_pylist()]

    def batch(self) -> list[str]:
        """The records of the next batch."""
        return self.read(self.plan())


@pytest.fixture
def options(stream: str) -> Options:
    return Options(stream=stream, region=REGION)


@pytest.fixture
def query(options: Options) -> Iterator[Query]:
    query = Query(options)
    yield query
    query.reader.stop()


def put(kinesis: "KinesisClient", stream: str, *data: str) -> None:
    records = [{"Data": text.encode(), "PartitionKey": text[:256]} for text in data]
    assert kinesis.put_records(StreamName=stream, Records=records)["FailedRecordCount"] == 0  # type: ignore[arg-type]


def test_each_batch_holds_what_arrived_since_the_last(kinesis: "KinesisClient", stream: str, query: Query) -> None:
    put(kinesis, stream, *"abc")
    assert sorted(query.batch()) == list("abc")
    put(kinesis, stream, *"de")
    assert sorted(query.batch()) == list("de")
    before = query.offset
    assert query.plan() == []
    assert query.offset == before


def test_an_empty_stream_has_no_batch(query: Query) -> None:
    assert query.plan() == []
    assert set(map(str, query.offset["shards"].values())) == {"{}"}


def test_few_records_of_all_shards_are_one_partition(kinesis: "KinesisClient", stream: str, query: Query) -> None:
    put(kinesis, stream, *"abcdefgh")
    partitions = query.plan()
    assert len(query.offset["shards"]) == 2
    assert [type(partition) for partition in partitions] == [HandedRecords]


def test_many_records_are_partitions_of_a_size_that_spark_takes(
    kinesis: "KinesisClient", stream: str, query: Query
) -> None:
    largest = secrets.token_hex(2**19 - 128)  # with its key: 1 MiB
    sent = [largest, *(secrets.token_hex(5_000) for _ in range(700))]
    for first in range(0, len(sent), 350):
        put(kinesis, stream, *sent[first : first + 350])
    partitions = query.plan()
    assert sorted(query.read(partitions)) == sorted(sent)
    assert 3 <= len(partitions) <= 5
    assert max(len(partition.stream) for partition in partitions) < HANDED_BYTES


def test_a_batch_that_was_planned_before_a_restart_is_read_from_kinesis_exactly(
    kinesis: "KinesisClient", stream: str, options: Options, query: Query
) -> None:
    put(kinesis, stream, *"abc")
    query.batch()
    start = query.offset
    put(kinesis, stream, *"defgh")
    query.plan()
    put(kinesis, stream, "not in the range")
    restarted = Query(options)
    again = restarted.reader.partitions(start, query.offset)
    assert {type(partition) for partition in again} == {ShardRange}
    assert sorted(restarted.read(again)) == list("defgh")
    restarted.offset = query.offset
    assert restarted.batch() == ["not in the range"]
    restarted.reader.stop()


def test_what_spark_4_2_says_of_the_start_is_where_a_restart_goes_on(
    kinesis: "KinesisClient", stream: str, options: Options, query: Query
) -> None:
    put(kinesis, stream, "a")
    query.batch()
    put(kinesis, stream, "b")
    reader = KinesisStreamReader(options)
    end = reader.latestOffset(query.offset, None)
    assert query.read(reader.partitions(query.offset, end)) == ["b"]
    reader.stop()


def test_latest_is_a_moment_that_a_replay_starts_from_again() -> None:
    reader = KinesisStreamReader(Options(stream="any", region=REGION, starting_position="LATEST"))
    assert 0 <= datetime.now(UTC).timestamp() - float(reader.initialOffset()["start"]) < 5


def test_a_start_in_the_past_leaves_out_what_came_before(kinesis: "KinesisClient", stream: str) -> None:
    put(kinesis, stream, "before")
    assert kinesis.list_shards(StreamName=stream)["Shards"]
    moment = datetime.now(UTC).timestamp()
    put(kinesis, stream, "after")
    query = Query(Options(stream=stream, region=REGION, starting_position=f"{moment:.3f}"))
    assert query.batch() == ["after"]
    query.reader.stop()


def test_children_are_read_after_their_parents_though_the_job_was_down_for_generations(
    kinesis: "KinesisClient", stream: str, options: Options, query: Query
) -> None:
    first, second = (shard["ShardId"] for shard in kinesis.list_shards(StreamName=stream)["Shards"])

    def put_first(data: bytes) -> None:
        kinesis.put_record(StreamName=stream, PartitionKey="any", ExplicitHashKey="1", Data=data)

    put_first(b"before")
    assert query.batch() == ["before"]
    query.reader.stop()

    put_first(b"parent")
    kinesis.split_shard(StreamName=stream, ShardToSplit=first, NewStartingHashKey=HALF)
    put_first(b"child")
    left, right = (shard["ShardId"] for shard in kinesis.list_shards(StreamName=stream)["Shards"][2:])
    kinesis.merge_shards(StreamName=stream, ShardToMerge=left, AdjacentShardToMerge=right)
    put_first(b"grandchild")

    restarted = Query(options, offset=query.offset)
    assert [restarted.batch() for _ in range(4)] == [["parent"], ["child"], ["grandchild"], []]
    positions = restarted.offset["shards"]
    assert {shard for shard, position in positions.items() if position.get("closed")} == {first, left, right}
    assert second in positions
    restarted.reader.stop()


class _Expired(KinesisStream):
    """A stream whose oldest shard is kept no longer."""

    def shards(self) -> "dict[str, ShardTypeDef]":
        listed = super().shards()
        del listed[min(listed)]
        return listed


def test_the_children_of_a_shard_that_expired_are_read(
    kinesis: "KinesisClient", stream: str, options: Options, query: Query
) -> None:
    query.plan()
    query.reader.stop()
    shard = kinesis.list_shards(StreamName=stream)["Shards"][0]["ShardId"]
    kinesis.split_shard(StreamName=stream, ShardToSplit=shard, NewStartingHashKey=HALF)
    kinesis.put_record(StreamName=stream, PartitionKey="any", ExplicitHashKey="1", Data=b"child")
    for offset in (query.offset, None):
        later = Query(options, offset=offset)
        later.reader._stream = _Expired(stream, region=REGION)
        assert later.batch() == ["child"]
        assert shard not in later.offset["shards"]
        later.reader.stop()


def test_a_missing_stream_is_named(aws: None) -> None:  # noqa: ARG001
    with pytest.raises(KinesisSourceError, match=r"cannot read Kinesis stream 'nowhere': .*ResourceNotFoundException"):
        KinesisStreamReader(Options(stream="nowhere", region=REGION)).latestOffset()


def test_a_stream_that_is_deleted_is_named(kinesis: "KinesisClient") -> None:
    kinesis.create_stream(StreamName="short-lived", ShardCount=1)
    query = Query(Options(stream="short-lived", region=REGION))
    query.plan()
    kinesis.delete_stream(StreamName="short-lived")
    with pytest.raises(KinesisSourceError, match=r"cannot read Kinesis stream 'short-lived': .*ResourceNotFound"):
        query.plan()
    query.reader.stop()


def test_a_missing_option_is_named() -> None:
    with pytest.raises(KinesisSourceError, match="the option streamName of the source fraudit-kinesis is missing"):
        Options.read({"region": REGION})


def test_a_checkpoint_of_another_stream_is_refused(kinesis: "KinesisClient", stream: str, options: Options) -> None:
    put(kinesis, stream, "a")
    shard = kinesis.list_shards(StreamName=stream)["Shards"][0]["ShardId"]
    other = Query(options, offset={"start": "TRIM_HORIZON", "shards": {shard: {"sequence": "9" * 56}}})
    with pytest.raises(KinesisSourceError, match="does not know the place in the checkpoint"):
        other.plan()
    other.reader.stop()


def test_a_range_that_ends_beyond_the_stream_is_refused(kinesis: "KinesisClient", stream: str, query: Query) -> None:
    put(kinesis, stream, *"abcdef")
    query.plan()
    shard, position = next(iter(query.offset["shards"].items()))
    beyond = ShardRange(shard_id=shard, start="TRIM_HORIZON", after=None, last=str(int(position["sequence"]) + 1))
    with pytest.raises(KinesisSourceError, match="the stream was made anew under an old checkpoint"):
        query.read([beyond])
