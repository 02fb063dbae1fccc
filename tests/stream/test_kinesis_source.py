"""The source hands over every record of every shard once and in order, and can read the same range again."""

import dataclasses
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fraudit_stream.kinesis_source import KinesisSourceError, KinesisStreamReader, Options

from .conftest import REGION

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient


def options(stream: str, **changes: Any) -> Options:
    defaults = Options(
        stream=stream,
        region=REGION,
        endpoint_url="",
        starting_position="TRIM_HORIZON",
        max_records_per_shard=10_000,
        spool_dir="",
    )
    return dataclasses.replace(defaults, **changes)


def put(kinesis: "KinesisClient", stream: str, *data: str) -> None:
    records = [{"Data": text.encode(), "PartitionKey": text} for text in data]
    assert kinesis.put_records(StreamName=stream, Records=records)["FailedRecordCount"] == 0  # type: ignore[arg-type]


def plan_and_read(reader: KinesisStreamReader, start: dict[str, Any], end: dict[str, Any]) -> list[str]:
    """The records of a range, read as Spark does: planned on the driver, read by a reader of the executor's own."""
    executor = KinesisStreamReader(reader._options)
    start, end = json.loads(json.dumps(start)), json.loads(json.dumps(end))
    return [
        data.decode()
        for partition in reader.partitions(start, end)
        for batch in executor.read(partition)
        for data in batch.column("data").to_pylist()
    ]


@pytest.mark.parametrize("spooled", [True, False], ids=["spool", "no spool"])
def test_each_range_holds_what_arrived_in_between(
    kinesis: "KinesisClient",
    stream: str,
    tmp_path: Path,
    spooled: bool,
) -> None:
    reader = KinesisStreamReader(options(stream, spool_dir=str(tmp_path / "spool") if spooled else ""))
    put(kinesis, stream, "a", "b", "c")
    nothing = reader.initialOffset()
    first = reader.latestOffset()
    put(kinesis, stream, "d", "e")
    second = reader.latestOffset()
    assert sorted(plan_and_read(reader, nothing, first)) == ["a", "b", "c"]
    assert sorted(plan_and_read(reader, first, second)) == ["d", "e"]
    assert reader.latestOffset() == second
    assert reader.partitions(second, second) == []


def test_a_range_is_read_from_kinesis_when_its_spool_is_gone_or_torn(
    kinesis: "KinesisClient", stream: str, tmp_path: Path
) -> None:
    reader = KinesisStreamReader(options(stream, spool_dir=str(tmp_path)))
    put(kinesis, stream, *"abcdefgh")
    start, end = reader.initialOffset(), reader.latestOffset()
    put(kinesis, stream, "not in the range")
    torn, gone = sorted(tmp_path.glob("*.arrow"))
    torn.write_bytes(torn.read_bytes()[:100])
    gone.unlink()
    assert sorted(plan_and_read(reader, start, end)) == list("abcdefgh")


def test_the_spool_is_emptied_as_batches_are_committed(kinesis: "KinesisClient", stream: str, tmp_path: Path) -> None:
    reader = KinesisStreamReader(options(stream, spool_dir=str(tmp_path)))
    put(kinesis, stream, *"abcdefgh")
    first = reader.latestOffset()
    put(kinesis, stream, *"ijklmnop")
    second = reader.latestOffset()
    reader.commit(first)
    assert len(list(tmp_path.iterdir())) == 2
    reader.commit(second)
    assert list(tmp_path.iterdir()) == []


def test_one_batch_takes_a_bounded_share_of_a_backlog(
    kinesis: "KinesisClient", stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fraudit_stream.kinesis_source.RECORDS_PER_CALL", 5)
    reader = KinesisStreamReader(options(stream, max_records_per_shard=5))
    put(kinesis, stream, *(str(number) for number in range(40)))
    sizes, start = [], reader.initialOffset()
    while len(read := plan_and_read(reader, start, end := reader.latestOffset())):
        sizes.append(len(read))
        start = end
    assert max(sizes) <= 10
    assert sum(sizes) == 40


def test_latest_is_a_moment_that_a_replay_starts_from_again(stream: str) -> None:
    start = KinesisStreamReader(options(stream, starting_position="LATEST")).initialOffset()["start"]
    assert 0 <= datetime.now(UTC).timestamp() - float(start) < 5


def test_a_start_in_the_past_leaves_out_what_came_before(kinesis: "KinesisClient", stream: str) -> None:
    put(kinesis, stream, "before")
    shard = next(shard["ShardId"] for shard in kinesis.list_shards(StreamName=stream)["Shards"])
    assert shard
    moment = datetime.now(UTC).timestamp()
    put(kinesis, stream, "after")
    reader = KinesisStreamReader(options(stream, starting_position=f"{moment:.3f}"))
    assert plan_and_read(reader, reader.initialOffset(), reader.latestOffset()) == ["after"]


def test_a_missing_stream_is_named(aws: None) -> None:  # noqa: ARG001
    with pytest.raises(KinesisSourceError, match=r"cannot read Kinesis stream 'nowhere': .*ResourceNotFoundException"):
        KinesisStreamReader(options("nowhere")).latestOffset()


def test_a_missing_option_is_named() -> None:
    with pytest.raises(KinesisSourceError, match="the option streamName of the source fraudit-kinesis is missing"):
        Options.read({"region": REGION})


def test_a_checkpoint_of_another_stream_is_refused(kinesis: "KinesisClient", stream: str) -> None:
    put(kinesis, stream, "a")
    reader = KinesisStreamReader(options(stream))
    shard = reader.latestOffset()["shards"].popitem()[0]
    restarted = KinesisStreamReader(options(stream))
    restarted.partitions(reader.initialOffset(), {"start": "TRIM_HORIZON", "shards": {shard: {"sequence": "9" * 56}}})
    with pytest.raises(KinesisSourceError, match="does not know the place in the checkpoint"):
        restarted.latestOffset()


PARENTS = {"shard-0": (), "shard-1": ("shard-0",), "shard-2": ("shard-0",), "shard-3": ("shard-1", "shard-2")}


class _Resharded:
    """Kinesis after shard 0 was split into 1 and 2, and these merged into 3; each shard holds one record."""

    exceptions = type("exceptions", (), {"ExpiredIteratorException": KeyError, "InvalidArgumentException": KeyError})

    def get_paginator(self, _operation: str) -> "_Resharded":
        return self

    def paginate(self, **_: str) -> Iterator[dict[str, Any]]:
        names = "ParentShardId", "AdjacentParentShardId"
        yield {
            "Shards": [
                {"ShardId": shard, **dict(zip(names, parents, strict=False))} for shard, parents in PARENTS.items()
            ]
        }

    def get_shard_iterator(self, **request: str) -> dict[str, str]:
        return {"ShardIterator": f"{request['ShardId']} {request['ShardIteratorType']}"}

    def get_records(self, **request: Any) -> dict[str, Any]:
        shard = request["ShardIterator"].split()[0]
        record = {
            "Data": shard.encode(),
            "PartitionKey": shard,
            "SequenceNumber": f"1{shard[-1]}",
            "ApproximateArrivalTimestamp": datetime.now(UTC),
        }
        following = {"NextShardIterator": "shard-3 tip"} if shard == "shard-3" else {}
        return {
            "Records": [record] if "tip" not in request["ShardIterator"] else [],
            "MillisBehindLatest": 0,
            **following,
        }


class ReshardedReader(KinesisStreamReader):
    """A reader of that Kinesis, which looks for new shards each time."""

    @cached_property
    def _client(self) -> Any:
        return _Resharded()


def test_children_are_read_after_their_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fraudit_stream.kinesis_source.RESHARD_CHECK_S", -1.0)
    reader = ReshardedReader(options("any"))
    offsets = [reader.initialOffset(), *(reader.latestOffset() for _ in range(4))]
    planned = [
        [partition.shard_id for partition in reader.partitions(start, end)]  # type: ignore[attr-defined]
        for start, end in itertools.pairwise(offsets)
    ]
    assert planned == [["shard-0"], ["shard-1", "shard-2"], ["shard-3"], []]
    assert [position.get("closed", False) for position in offsets[-1]["shards"].values()] == [True, True, True, False]


@pytest.mark.usefixtures("kinesis")
def test_a_query_goes_on_from_its_checkpoint(stream: str, tmp_path: Path) -> None:
    command = [sys.executable, str(Path(__file__).with_name("restarting_query.py")), stream, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    assert json.loads(done.stdout.splitlines()[-1]) == [["a"], ["b"], []]
