"""Scaling, tags and the limits of reading, as AWS documents them. The clock is the test's."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from localaws.kinesis import HASH_KEYS, Kinesis
from localaws.kinesis_store import Store
from localaws.wire import AwsError

from .kinesis_cloud import SHARD, Clock, make, place, put, values

MEGABYTE = "x" * ((1 << 20) - 1)


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


def shards(kinesis: Kinesis, **chosen: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = kinesis.list_shards({"StreamName": "s", **chosen})["Shards"]
    return found


def open_ranges(kinesis: Kinesis) -> list[tuple[int, int]]:
    return sorted(
        (int(shard["HashKeyRange"]["StartingHashKey"]), int(shard["HashKeyRange"]["EndingHashKey"]))
        for shard in shards(kinesis, ShardFilter={"Type": "AT_LATEST"})
    )


def scale(kinesis: Kinesis, target: int) -> dict[str, Any]:
    return kinesis.update_shard_count({"StreamName": "s", "TargetShardCount": target, "ScalingType": "UNIFORM_SCALING"})


@pytest.mark.parametrize(("before", "after"), [(1, 2), (4, 8), (4, 2), (2, 3), (3, 2), (5, 7), (7, 5), (3, 3)])
def test_scaling_shares_all_hash_keys_evenly_and_keeps_what_was_put(
    opened: Callable[..., Kinesis], before: int, after: int
) -> None:
    kinesis = opened()
    make(kinesis, before)
    for number in range(20):
        put(kinesis, str(number), key=str(number))
    answer = scale(kinesis, after)
    assert (answer["CurrentShardCount"], answer["TargetShardCount"]) == (before, after)
    put(kinesis, "last")
    kinesis = opened()
    bounds = [index * HASH_KEYS // after for index in range(after + 1)]
    assert open_ranges(kinesis) == [(bounds[index], bounds[index + 1] - 1) for index in range(after)]
    stored = [value for shard in shards(kinesis) for value in values(kinesis, shard["ShardId"])]
    assert sorted(stored) == sorted([*map(str, range(20)), "last"])


def test_scaling_splits_and_merges_so_that_every_shard_has_its_parents(opened: Callable[..., Kinesis]) -> None:
    kinesis = opened()
    make(kinesis, 2)
    scale(kinesis, 3)
    known = {shard["ShardId"]: shard for shard in shards(kinesis)}
    assert list(known) == sorted(known)
    for shard in list(known.values())[2:]:
        parents = [known[shard[name]] for name in ("ParentShardId", "AdjacentParentShardId") if shard[name] is not None]
        assert parents
        for parent in parents:
            ending = int(parent["SequenceNumberRange"]["EndingSequenceNumber"])
            assert int(shard["SequenceNumberRange"]["StartingSequenceNumber"]) > ending
    assert len(open_ranges(kinesis)) == 3


def test_a_stream_of_uneven_shards_becomes_even(opened: Callable[..., Kinesis]) -> None:
    kinesis = opened()
    make(kinesis)
    chance = random.Random(7)  # noqa: S311 - no secret
    for _ in range(6):
        whole = max(
            shards(kinesis, ShardFilter={"Type": "AT_LATEST"}),
            key=lambda shard: int(shard["HashKeyRange"]["EndingHashKey"]),
        )
        first, last = (int(whole["HashKeyRange"][name]) for name in ("StartingHashKey", "EndingHashKey"))
        middle = chance.randrange(first + 2, last)
        kinesis.split_shard({"StreamName": "s", "ShardToSplit": whole["ShardId"], "NewStartingHashKey": str(middle)})
    scale(kinesis, 4)
    assert [first for first, _ in open_ranges(kinesis)] == [index * HASH_KEYS // 4 for index in range(4)]


@pytest.mark.parametrize(("before", "target"), [(2, 5), (5, 2), (1, 3)])
def test_scaling_at_most_doubles_and_halves(opened: Callable[..., Kinesis], before: int, target: int) -> None:
    kinesis = opened()
    make(kinesis, before)
    with pytest.raises(AwsError, match=f"InvalidArgumentException: TargetShardCount {target}"):
        scale(kinesis, target)
    assert len(shards(kinesis)) == before


def test_the_shards_of_an_on_demand_stream_are_not_its_owners(opened: Callable[..., Kinesis]) -> None:
    kinesis = opened()
    kinesis.create_stream({"StreamName": "s", "StreamModeDetails": {"StreamMode": "ON_DEMAND"}})
    changes: list[tuple[Callable[[dict[str, Any]], Any], dict[str, Any]]] = [
        (kinesis.update_shard_count, {"TargetShardCount": 2, "ScalingType": "UNIFORM_SCALING"}),
        (kinesis.split_shard, {"ShardToSplit": SHARD, "NewStartingHashKey": "9"}),
        (kinesis.merge_shards, {"ShardToMerge": SHARD, "AdjacentShardToMerge": SHARD}),
    ]
    for change, how in changes:
        with pytest.raises(AwsError, match=r"ValidationException.*ON_DEMAND"):
            change({"StreamName": "s", **how})


def test_a_stream_has_no_more_shards_than_an_account(opened: Callable[..., Kinesis]) -> None:
    with pytest.raises(AwsError, match="LimitExceededException: ShardCount 10001"):
        make(opened(), 10_001)


def test_tags_are_added_listed_in_pages_removed_and_kept(opened: Callable[..., Kinesis]) -> None:
    kinesis = opened()
    kinesis.create_stream({"StreamName": "s", "ShardCount": 1, "Tags": {"team": "fraud", "a": "1"}})
    kinesis.add_tags({"StreamName": "s", "Tags": {"a": "2", "stage": "dev"}})
    kinesis.remove_tags({"StreamName": "s", "TagKeys": ["team", "none"]})
    kinesis = opened()
    first = kinesis.list_tags({"StreamName": "s", "Limit": 1})
    assert first == {"Tags": [{"Key": "a", "Value": "2"}], "HasMoreTags": True}
    assert kinesis.list_tags({"StreamName": "s", "ExclusiveStartTagKey": "a"}) == {
        "Tags": [{"Key": "stage", "Value": "dev"}],
        "HasMoreTags": False,
    }
    with pytest.raises(AwsError, match=r"InvalidArgumentException.*51 tags"):
        kinesis.add_tags({"StreamName": "s", "Tags": {str(number): "" for number in range(49)}})


def test_a_stream_that_was_kept_before_there_were_tags_has_none(opened: Callable[..., Kinesis], tmp_path: Path) -> None:
    make(opened())
    path = tmp_path / "streams.json"
    path.write_text(path.read_text().replace('"tags": {},', ""))
    assert "tags" not in path.read_text()
    assert opened().list_tags({"StreamName": "s"})["Tags"] == []


def read(kinesis: Kinesis, shard: str = SHARD, limit: int = 10_000) -> int:
    return len(kinesis.get_records({"ShardIterator": place(kinesis, shard), "Limit": limit})["Records"])


def assert_throttled(kinesis: Kinesis) -> None:
    with pytest.raises(AwsError, match=f"ProvisionedThroughputExceededException.*{SHARD}"):
        read(kinesis)


def test_a_shard_is_read_five_times_a_second(opened: Callable[..., Kinesis], clock: Clock) -> None:
    kinesis = opened(throttle=True)
    make(kinesis, 2)
    clock.now_s += 1
    for _ in range(5):
        assert read(kinesis) == 0
    assert_throttled(kinesis)
    assert read(kinesis, "shardId-000000000001") == 0
    clock.now_s += 0.2
    assert read(kinesis) == 0
    assert_throttled(kinesis)
    clock.now_s -= 3600
    assert_throttled(kinesis)
    clock.now_s += 1
    assert read(kinesis) == 0


@pytest.mark.parametrize(("megabytes", "seconds"), [(2, 1), (5, 2.5), (10, 5)])
def test_a_large_read_borrows_from_the_seconds_that_follow(
    opened: Callable[..., Kinesis], clock: Clock, megabytes: int, seconds: float
) -> None:
    kinesis = opened()
    make(kinesis)
    for _ in range(megabytes):
        put(kinesis, MEGABYTE)
    kinesis = opened(throttle=True)
    clock.now_s += 1
    assert read(kinesis) == megabytes
    assert_throttled(kinesis)
    clock.now_s += seconds - 0.1
    assert_throttled(kinesis)
    clock.now_s += 0.101
    assert read(kinesis) == megabytes


def test_reads_of_less_than_2_mb_a_second_are_not_held_back(opened: Callable[..., Kinesis], clock: Clock) -> None:
    kinesis = opened()
    make(kinesis)
    put(kinesis, MEGABYTE)
    kinesis = opened(throttle=True)
    for _ in range(10):
        clock.now_s += 0.5
        assert read(kinesis) == 1


def test_reads_are_not_limited_unless_throttling_is_on(opened: Callable[..., Kinesis]) -> None:
    kinesis = opened()
    make(kinesis)
    put(kinesis, MEGABYTE, MEGABYTE)
    assert [read(kinesis) for _ in range(20)] == [2] * 20


def test_a_page_of_shards_is_asked_for_by_its_token_alone(opened: Callable[..., Kinesis]) -> None:
    kinesis = opened()
    make(kinesis, 3)
    token = kinesis.list_shards({"StreamName": "s", "MaxResults": 1})["NextToken"]
    for more in ({"StreamName": "s"}, {"ExclusiveStartShardId": SHARD}, {"ShardFilter": {"Type": "AT_LATEST"}}):
        with pytest.raises(AwsError, match="InvalidArgumentException: NextToken and"):
            kinesis.list_shards({"NextToken": token, **more})
