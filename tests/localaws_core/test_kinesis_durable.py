"""What Kinesis keeps: over kill -9, torn and full disks, resharding, retention and a clock that goes back."""

import base64
import itertools
import os
import resource
import signal
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import psutil
import pytest
from botocore.exceptions import BotoCoreError, ClientError
from localaws.kinesis import HASH_KEYS, TOKEN_LIFE_MS, Kinesis
from localaws.kinesis_store import Store, StoreError
from localaws.wire import AwsError

from .kinesis_cloud import SHARD, Clock, all_by_key, client, make, place, put, served, values, values_at

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

HOUR_S = 3600


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., Kinesis]]:
    """Return a function that opens the folder, as a restart would."""
    stores: list[Store] = []

    def start(**options: Any) -> Kinesis:
        for store in stores:
            store.close()
        stores.append(Store(tmp_path))
        return Kinesis(region="eu-west-1", store=stores[-1], clock_ns=clock, **options)

    yield start
    for store in stores:
        store.close()


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*/*.log"))


def listed(kinesis: Kinesis, kind: str | None = None, **where: Any) -> list[str]:
    chosen = {"ShardFilter": {"Type": kind, **where}} if kind else {}
    return [shard["ShardId"][-1] for shard in kinesis.list_shards({"StreamName": "s", **chosen})["Shards"]]


class Writers:
    """Threads that put rising numbers, each under its own keys, and note which were acknowledged."""

    def __init__(self, url: str, count: int, attempts: int = 0) -> None:
        self.acknowledged: dict[str, list[int]] = defaultdict(list)
        self._stop = threading.Event()
        self._url, self._attempts = url, attempts
        self._threads = [threading.Thread(target=self._run, args=(index,)) for index in range(count)]
        for thread in self._threads:
            thread.start()

    def _run(self, index: int) -> None:
        kinesis = client(self._url, self._attempts)
        keys = [f"{index}/{place}" for place in range(5)]
        for number in itertools.count():
            if self._stop.is_set():
                return
            try:
                kinesis.put_records(
                    StreamName="s", Records=[{"Data": b"%d" % number, "PartitionKey": key} for key in keys]
                )
            except (BotoCoreError, ClientError):
                return
            for key in keys:
                self.acknowledged[key].append(number)

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=30)


def test_what_was_acknowledged_survives_kill_9_under_concurrent_writers(tmp_path: Path) -> None:
    with served(tmp_path) as (url, process):
        client(url).create_stream(StreamName="s", ShardCount=4)
        writers = Writers(url, 4)
        time.sleep(1)
        os.kill(process.pid, signal.SIGKILL)
        writers.end()
    assert sum(map(len, writers.acknowledged.values())) > 100
    with served(tmp_path) as (url, _):
        stored = all_by_key(client(url), "s")
    for key, numbers in writers.acknowledged.items():
        assert stored[key][: len(numbers)] == numbers
        assert len(stored[key]) <= len(numbers) + 1  # the last put may have been written and not answered


def test_shards_split_and_merge_under_load_and_nothing_is_lost_or_out_of_order(tmp_path: Path) -> None:
    with served(tmp_path) as (url, _):
        kinesis = client(url)
        kinesis.create_stream(StreamName="s", ShardCount=1)
        writers = Writers(url, 3)
        for _ in range(3):
            time.sleep(0.2)
            (whole,) = kinesis.list_shards(StreamName="s", ShardFilter={"Type": "AT_LATEST"})["Shards"]
            kinesis.split_shard(StreamName="s", ShardToSplit=whole["ShardId"], NewStartingHashKey=str(HASH_KEYS // 2))
            time.sleep(0.2)
            low, high = kinesis.list_shards(StreamName="s", ShardFilter={"Type": "AT_LATEST"})["Shards"]
            kinesis.merge_shards(StreamName="s", ShardToMerge=low["ShardId"], AdjacentShardToMerge=high["ShardId"])
        writers.end()
        assert len(kinesis.list_shards(StreamName="s")["Shards"]) == 10
        stored = all_by_key(kinesis, "s")
    assert len(writers.acknowledged) == 15
    assert stored == writers.acknowledged


@pytest.mark.parametrize("lost_bytes", [1, 30, 90])
def test_a_torn_tail_is_cut_behind_the_last_whole_record(
    opened: Callable[..., Kinesis], tmp_path: Path, lost_bytes: int
) -> None:
    kinesis = opened()
    make(kinesis)
    put(kinesis, "0", "1")
    (segment,) = segments(tmp_path)
    os.truncate(segment, segment.stat().st_size - lost_bytes)
    kinesis = opened()
    assert values(kinesis) == ["0"]
    put(kinesis, "2")
    assert values(opened()) == ["0", "2"]


@pytest.mark.parametrize(
    "tail",
    [struct.pack("<II", 5, 7) + bytes(64), bytes(20_000_000), os.urandom(100_000), b"x" * 9],
    ids=["a frame of another checksum", "zeros", "anything", "less than a header"],
)
def test_a_tail_of_nonsense_is_cut(opened: Callable[..., Kinesis], tmp_path: Path, tail: bytes) -> None:
    kinesis = opened()
    make(kinesis)
    put(kinesis, "0")
    (segment,) = segments(tmp_path)
    whole_bytes = segment.stat().st_size
    with segment.open("ab") as file:
        file.write(tail)
    kinesis = opened()
    assert segment.stat().st_size == whole_bytes
    put(kinesis, "1")
    assert values(opened()) == ["0", "1"]


def test_iterators_and_sequence_numbers_mean_the_same_after_a_restart(opened: Callable[..., Kinesis]) -> None:
    kinesis = opened()
    make(kinesis)
    numbers = put(kinesis, "0", "1", "2")
    held = [
        place(kinesis, kind="LATEST"),
        place(kinesis, kind="AT_SEQUENCE_NUMBER", StartingSequenceNumber=str(numbers[1])),
    ]
    kinesis = opened()
    put(kinesis, "3")
    assert values_at(kinesis, held[0]) == ["3"]
    assert values_at(kinesis, held[1]) == ["1", "2", "3"]
    after = place(kinesis, kind="AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=str(numbers[2]))
    assert values_at(kinesis, after) == ["3"]


def test_sequence_numbers_and_arrivals_rise_when_the_clock_goes_back(
    opened: Callable[..., Kinesis], clock: Clock
) -> None:
    kinesis = opened()
    make(kinesis)
    numbers = put(kinesis, "0")
    for restart in (False, True):
        clock.now_s -= HOUR_S
        kinesis = opened() if restart else kinesis
        numbers += put(kinesis, "1")
    assert numbers == sorted(set(numbers))
    arrived = place(kinesis, kind="AT_TIMESTAMP", Timestamp=datetime.fromtimestamp(clock.now_s, UTC))
    assert values_at(kinesis, arrived) == ["0", "1", "1"]
    (last,) = orjson.loads(orjson.dumps(kinesis.get_records({"ShardIterator": place(kinesis), "Limit": 1})))["Records"]
    moment = datetime.fromtimestamp(last["ApproximateArrivalTimestamp"], UTC)
    assert values_at(kinesis, place(kinesis, kind="AT_TIMESTAMP", Timestamp=moment)) == ["0", "1", "1"]


def test_a_stream_made_anew_after_a_restart_does_not_take_an_old_iterator(
    opened: Callable[..., Kinesis], clock: Clock
) -> None:
    kinesis = opened()
    make(kinesis)
    old = place(kinesis)
    kinesis.delete_stream({"StreamName": "s"})
    clock.now_s -= HOUR_S
    kinesis = opened()
    make(kinesis)
    with pytest.raises(AwsError, match="made anew"):
        kinesis.get_records({"ShardIterator": old})


def test_only_one_process_holds_the_folder(opened: Callable[..., Kinesis], tmp_path: Path) -> None:
    opened()
    with pytest.raises(StoreError, match="in use by another Kinesis"):
        Store(tmp_path)


def test_a_description_that_cannot_be_read_is_named(opened: Callable[..., Kinesis], tmp_path: Path) -> None:
    (tmp_path / "streams.json").write_text('{"streams": [')
    with pytest.raises(StoreError, match=r"streams\.json does not describe streams"):
        opened()


def test_on_a_full_disk_a_put_fails_as_a_whole_and_the_rest_stays(tmp_path: Path) -> None:
    with served(tmp_path) as (url, process):
        kinesis = client(url)
        kinesis.create_stream(StreamName="s", ShardCount=2)
        ends = ("0", str(HASH_KEYS - 1))
        records: list[Any] = [{"Data": bytes(1000), "PartitionKey": "k", "ExplicitHashKey": end} for end in ends]
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (100_000, -1))
        kinesis.put_records(StreamName="s", Records=records[:1] * 40)  # one shard fills, the other has room
        with pytest.raises(ClientError, match="InternalFailure") as caught:
            kinesis.put_records(StreamName="s", Records=records * 40)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
        kinesis.put_records(StreamName="s", Records=records[:1])
        with pytest.raises(ClientError, match="InternalFailure"):
            kinesis.put_records(StreamName="s", Records=records[:1] * 40)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (-1, -1))
        kinesis.put_records(StreamName="s", Records=records)
        assert len(all_by_size(kinesis)) == 43
        os.kill(process.pid, signal.SIGKILL)
    with served(tmp_path) as (url, _):
        assert len(all_by_size(client(url))) == 43


def all_by_size(kinesis: "KinesisClient") -> list[int]:
    return [
        len(record["Data"])
        for shard in kinesis.list_shards(StreamName="s")["Shards"]
        for record in kinesis.get_records(
            ShardIterator=kinesis.get_shard_iterator(
                StreamName="s", ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )["ShardIterator"]
        )["Records"]
    ]


def test_a_stream_that_cannot_be_written_is_not_made(opened: Callable[..., Kinesis], tmp_path: Path) -> None:
    kinesis = opened()
    make(kinesis)
    (tmp_path / "streams.json.new").mkdir()
    with pytest.raises(AwsError, match="InternalFailure"):
        kinesis.split_shard({"StreamName": "s", "ShardToSplit": SHARD, "NewStartingHashKey": str(HASH_KEYS // 2)})
    with pytest.raises(AwsError, match="InternalFailure"):
        kinesis.create_stream({"StreamName": "t", "ShardCount": 1})
    assert listed(kinesis) == ["0"]
    assert kinesis.list_streams({})["StreamNames"] == ["s"]


def test_records_older_than_the_retention_go_from_memory_and_disk(
    opened: Callable[..., Kinesis], clock: Clock, tmp_path: Path
) -> None:
    kinesis = opened()
    make(kinesis)
    numbers = put(kinesis, "0")
    clock.now_s += 23 * HOUR_S
    put(kinesis, "1")
    assert (values(kinesis), len(segments(tmp_path))) == (["0", "1"], 2)
    clock.now_s += 2 * HOUR_S
    assert (values(kinesis), len(segments(tmp_path))) == (["1"], 1)
    kinesis = opened()
    assert values(kinesis) == ["1"]
    trimmed = place(kinesis, kind="AT_SEQUENCE_NUMBER", StartingSequenceNumber=str(numbers[0]))
    assert values_at(kinesis, trimmed) == ["1"]


def test_a_record_takes_little_more_memory_than_its_answer(tmp_path: Path) -> None:
    with served(tmp_path) as (url, process):
        kinesis = client(url)
        kinesis.create_stream(StreamName="s", ShardCount=2)
        records: list[Any] = [{"Data": bytes(250), "PartitionKey": str(index)} for index in range(500)]
        kinesis.put_records(StreamName="s", Records=records)
        server = psutil.Process(process.pid)
        before_bytes = server.memory_info().rss
        for _ in range(40):
            kinesis.put_records(StreamName="s", Records=records)
        assert (server.memory_info().rss - before_bytes) / 20_000 < 1_500


def test_the_retention_can_be_made_longer_and_shorter(opened: Callable[..., Kinesis], clock: Clock) -> None:
    kinesis = opened()
    make(kinesis)
    put(kinesis, "0")

    def hours(action: Callable[[dict[str, Any]], Any], count: int) -> None:
        action({"StreamName": "s", "RetentionPeriodHours": count})

    hours(kinesis.increase_retention, 48)
    clock.now_s += 30 * HOUR_S
    kinesis = opened()
    summary = kinesis.describe_stream_summary({"StreamName": "s"})["StreamDescriptionSummary"]
    assert (summary["RetentionPeriodHours"], values(kinesis)) == (48, ["0"])
    for action, count in (
        (kinesis.increase_retention, 24),
        (kinesis.increase_retention, 8761),
        (kinesis.decrease_retention, 72),
        (kinesis.decrease_retention, 23),
    ):
        with pytest.raises(AwsError, match="InvalidArgumentException"):
            hours(action, count)
    hours(kinesis.decrease_retention, 24)
    assert values(kinesis) == []


def test_an_iterator_lives_five_minutes(opened: Callable[..., Kinesis], clock: Clock) -> None:
    kinesis = opened()
    make(kinesis)
    put(kinesis, "0")
    iterator = place(kinesis)
    clock.now_s += TOKEN_LIFE_MS / 1000
    answer = kinesis.get_records({"ShardIterator": iterator})
    clock.now_s += 1
    with pytest.raises(AwsError, match="ExpiredIteratorException"):
        kinesis.get_records({"ShardIterator": iterator})
    assert values_at(kinesis, answer["NextShardIterator"]) == []


def test_a_split_shard_drains_and_names_its_children(opened: Callable[..., Kinesis]) -> None:
    kinesis = opened()
    make(kinesis)
    put(kinesis, "0", "1")
    middle = HASH_KEYS // 4
    kinesis.split_shard({"StreamName": "s", "ShardToSplit": SHARD, "NewStartingHashKey": str(middle)})
    kinesis = opened()
    parent, low, high = kinesis.list_shards({"StreamName": "s"})["Shards"]
    ending = int(parent["SequenceNumberRange"]["EndingSequenceNumber"])
    for child in (low, high):
        assert (child["ParentShardId"], child["AdjacentParentShardId"]) == (SHARD, None)
        assert int(child["SequenceNumberRange"]["StartingSequenceNumber"]) > ending
    assert [child["HashKeyRange"]["StartingHashKey"] for child in (low, high)] == ["0", str(middle)]
    first = kinesis.get_records({"ShardIterator": place(kinesis), "Limit": 1})
    last = kinesis.get_records({"ShardIterator": first["NextShardIterator"]})
    assert len(last["Records"]) == 1
    assert "NextShardIterator" not in last
    assert [child["ShardId"] for child in last["ChildShards"]] == [low["ShardId"], high["ShardId"]]
    put(kinesis, "2")
    assert [len(values(kinesis, shard["ShardId"])) for shard in (parent, low, high)] in ([2, 1, 0], [2, 0, 1])
    summary = kinesis.describe_stream_summary({"StreamName": "s"})["StreamDescriptionSummary"]
    assert summary["OpenShardCount"] == 2


def test_only_open_neighbours_merge_and_only_inner_keys_split(opened: Callable[..., Kinesis]) -> None:
    kinesis = opened()
    make(kinesis, 3)
    ids = [f"shardId-{index:012d}" for index in range(4)]

    def merge(one: int, other: int) -> None:
        kinesis.merge_shards({"StreamName": "s", "ShardToMerge": ids[one], "AdjacentShardToMerge": ids[other]})

    with pytest.raises(AwsError, match="not an adjacent pair"):
        merge(0, 2)
    merge(1, 0)
    child = kinesis.list_shards({"StreamName": "s"})["Shards"][-1]
    assert (child["ShardId"], child["ParentShardId"], child["AdjacentParentShardId"]) == (ids[3], ids[1], ids[0])
    with pytest.raises(AwsError, match="already been merged or split"):
        merge(0, 2)
    merge(2, 3)
    for wrong in (0, 1, HASH_KEYS - 1):
        with pytest.raises(AwsError, match="NewStartingHashKey"):
            kinesis.split_shard(
                {"StreamName": "s", "ShardToSplit": "shardId-000000000004", "NewStartingHashKey": str(wrong)}
            )


def test_filters_choose_the_shards_of_a_time(opened: Callable[..., Kinesis], clock: Clock) -> None:
    kinesis = opened()
    make(kinesis)
    made = datetime.fromtimestamp(clock.now_s, UTC)
    clock.now_s += HOUR_S
    kinesis.split_shard({"StreamName": "s", "ShardToSplit": SHARD, "NewStartingHashKey": str(HASH_KEYS // 2)})
    clock.now_s += HOUR_S
    now = datetime.fromtimestamp(clock.now_s, UTC)
    assert listed(kinesis) == ["0", "1", "2"]
    assert listed(kinesis, "AT_LATEST") == ["1", "2"]
    assert listed(kinesis, "AT_TRIM_HORIZON") == ["0"]
    assert listed(kinesis, "FROM_TRIM_HORIZON") == ["0", "1", "2"]
    assert listed(kinesis, "AFTER_SHARD_ID", ShardId="shardId-000000000001") == ["2"]
    assert listed(kinesis, "AT_TIMESTAMP", Timestamp=made) == ["0"]
    assert listed(kinesis, "AT_TIMESTAMP", Timestamp=now) == ["1", "2"]
    assert listed(kinesis, "FROM_TIMESTAMP", Timestamp=made) == ["0", "1", "2"]
    assert listed(kinesis, "FROM_TIMESTAMP", Timestamp=now) == ["1", "2"]
    for kind in ("AT_TIMESTAMP", "FROM_TIMESTAMP", "AFTER_SHARD_ID"):
        with pytest.raises(AwsError, match="must be given"):
            listed(kinesis, kind)

    first = kinesis.list_shards({"StreamName": "s", "ShardFilter": {"Type": "AT_LATEST"}, "MaxResults": 1})
    second = kinesis.list_shards({"NextToken": first["NextToken"], "MaxResults": 1})
    assert [shard["ShardId"][-1] for shard in first["Shards"] + second["Shards"]] == ["1", "2"]
    assert second["NextToken"] is None
    clock.now_s += TOKEN_LIFE_MS / 1000 + 1
    with pytest.raises(AwsError, match="ExpiredNextTokenException"):
        kinesis.list_shards({"NextToken": first["NextToken"]})

    clock.now_s += 24 * HOUR_S
    assert listed(kinesis) == ["1", "2"]
    assert listed(opened()) == ["1", "2"]


def test_a_shard_over_its_rate_refuses_records_one_by_one(opened: Callable[..., Kinesis], clock: Clock) -> None:
    kinesis = opened(throttle=True)
    make(kinesis, 2)
    records = [{"PartitionKey": "k", "Data": "eA==", "ExplicitHashKey": "0"}] * 499
    other = {"PartitionKey": "k", "Data": "eA==", "ExplicitHashKey": str(HASH_KEYS - 1)}
    failed = [
        kinesis.put_records({"StreamName": "s", "Records": [*records, other]})["FailedRecordCount"] for _ in range(3)
    ]
    assert failed == [0, 0, 497]
    with pytest.raises(AwsError, match="ProvisionedThroughputExceededException"):
        kinesis.put_record({"StreamName": "s", **records[0]})
    answer = kinesis.put_records({"StreamName": "s", "Records": [records[0], other]})["Records"]
    assert answer[0]["ErrorCode"] == "ProvisionedThroughputExceededException"
    assert answer[1]["ShardId"] == "shardId-000000000001"
    assert len(values(kinesis)) == 1000
    clock.now_s += 1
    megabyte = {**records[0], "Data": base64.b64encode(bytes((1 << 20) - 1)).decode()}
    answer = kinesis.put_records({"StreamName": "s", "Records": [megabyte, records[0]]})
    assert [record.get("ErrorCode") for record in answer["Records"]] == [None, "ProvisionedThroughputExceededException"]
    clock.now_s -= HOUR_S
    refused = [
        kinesis.put_records({"StreamName": "s", "Records": [other] * 500})["FailedRecordCount"] for _ in range(3)
    ]
    assert refused[-1] == 500
    clock.now_s += 1
    assert kinesis.put_record({"StreamName": "s", **other})["ShardId"] == "shardId-000000000001"


def test_a_variable_switches_throttling_on(tmp_path: Path) -> None:
    with served(tmp_path, LOCALAWS_KINESIS_THROTTLE="1") as (url, _):
        kinesis = client(url)
        kinesis.create_stream(StreamName="s", ShardCount=1)
        records: list[Any] = [{"Data": bytes((1 << 20) - 1), "PartitionKey": "k"}] * 3
        assert kinesis.put_records(StreamName="s", Records=records)["FailedRecordCount"] == 2
        answers = [all_by_size_or_throttled(kinesis) for _ in range(8)]
        assert answers[0] == [(1 << 20) - 1]
        assert None in answers


def all_by_size_or_throttled(kinesis: "KinesisClient") -> list[int] | None:
    try:
        return all_by_size(kinesis)
    except kinesis.exceptions.ProvisionedThroughputExceededException:
        return None
