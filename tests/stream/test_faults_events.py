"""Whatever comes, in whatever order and however often: sent = stored + quarantined, and nothing twice.

The job says what it does with it; and where it cannot go on, it ends and says why.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fraudit_stream.kinesis_source import RESHARD_CHECK_S

import fraudit_dagster

from .conftest import label, prediction
from .harness import Job, World, encoded, predictions, wait_until
from .poison import POISON, strange
from .proxies import Moment

GOOD = 10_000
BATCH = 1_000
METRICS = json.loads((Path(fraudit_dagster.__file__).parent / "schemas" / "metrics.v1.json").read_text())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, moto_url: str) -> Iterator[World]:
    with ExitStack() as cleanup:
        world = World(tmp_path_factory.mktemp("world"), moto_url=moto_url, cleanup=cleanup)
        world.job = world.another_job("small batches", max_records_per_batch=BATCH)
        world.job.start()
        yield world


def test_poison_among_good_events_is_quarantined_as_it_came_and_for_the_right_reason(world: World) -> None:
    events = predictions("good", GOOD)
    poison = list(POISON.values())
    step = GOOD // len(poison)
    for place, (raw, _) in enumerate(poison):
        world.send(events[place * step : (place + 1) * step])
        world.send_poison([raw])
    world.send(events[len(poison) * step :])
    world.send(strange())
    world.send_labels([label("good-1"), label("good-1", source="analyst", label=0), label("not yet scored")])
    world.settle()
    reasons = world.warehouse.query("select raw, reason from fraud.quarantined_events")
    assert {bytes(raw): reason for raw, reason in reasons} == dict(poison)


def _metrics(job: Job) -> list[dict[str, Any]]:
    return [json.loads(line) for line in job.log.splitlines() if line.startswith('{"_aws"')]


def test_the_job_says_what_it_did_and_that_it_lives(world: World) -> None:
    def is_idle() -> bool:
        return any({"IteratorAgeMs": 0}.items() <= line.items() for line in _metrics(world.job))

    wait_until(is_idle, explain=lambda: world.job.log[-5000:])
    reported = _metrics(world.job)
    batches = [line for line in reported if "BatchRows" in line]
    assert sum(line["BatchRows"] for line in batches) == world.warehouse.one(
        "select sum(records) from fraud.stream_batches"
    )
    assert all(line["IteratorAgeMs"] > 0 and line["BatchDurationMs"] > 0 for line in batches)
    quarantined: Counter[str] = Counter()
    for line in reported:
        if "reason" in line:
            quarantined[line["reason"]] += line["Quarantined"]
    assert quarantined == Counter(reason for _, reason in POISON.values())

    heartbeat = reported[-1]
    assert (heartbeat["component"], heartbeat["Heartbeat"], heartbeat["stage"]) == ("stream", 1, "dev")
    known = {metric["name"]: {*METRICS["common_dimensions"], *metric["dimensions"]} for metric in METRICS["metrics"]}
    for line in reported:
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == METRICS["namespace"]
        assert all(known[metric["Name"]] == set(*directive["Dimensions"]) for metric in directive["Metrics"])


def test_an_event_that_comes_1000_times_is_one_row(world: World) -> None:
    world.send([prediction("again")] * 1000)
    world.settle()


def test_other_content_under_a_known_id_is_a_conflict_and_the_first_stays(world: World) -> None:
    world.send([prediction("twice", amount=1.0)])
    others = [encoded(prediction("twice", amount=2.0)), encoded(prediction("twice", amount=1.0, decision="block"))]
    world.send_poison(others, key="twice")
    world.settle()
    world.send([prediction("thrice", amount=1.0)])
    world.send_poison([encoded(prediction("thrice", amount=2.0))], key="thrice")
    world.settle()
    kept = "select amount::float, decision from fraud.fraud_predictions where transaction_id in ('twice', 'thrice')"
    assert world.warehouse.query(kept) == [(1.0, "approve")] * 2


def test_a_split_and_a_merge_under_load_keep_the_order_of_each_key(world: World) -> None:
    keys = [f"key-{number}" for number in range(100)]

    def come_again(amount: float) -> None:
        for key in keys:
            world.send_poison([encoded(prediction(key, amount=amount))], key=key)

    # The job is held until all is there: what the parents hold is then of several batches, and what the children hold fits into one.
    with world.gate.holding(Moment.CONNECT) as reached:
        world.send(predictions("load", 3 * BATCH))
        reached()
        world.send([prediction(key, amount=1.0) for key in keys])
        shards = world.kinesis.list_shards(StreamName=world.stream)["Shards"]
        first = shards[0]["HashKeyRange"]
        middle = (int(first["StartingHashKey"]) + int(first["EndingHashKey"])) // 2
        world.kinesis.split_shard(
            StreamName=world.stream, ShardToSplit=shards[0]["ShardId"], NewStartingHashKey=str(middle)
        )
        come_again(2.0)
        children = [
            shard["ShardId"]
            for shard in world.kinesis.list_shards(StreamName=world.stream)["Shards"]
            if shard.get("ParentShardId") == shards[0]["ShardId"]
        ]
        world.kinesis.merge_shards(
            StreamName=world.stream, ShardToMerge=children[1], AdjacentShardToMerge=shards[1]["ShardId"]
        )
        come_again(3.0)
        time.sleep(RESHARD_CHECK_S)  # the job will look for new shards before it goes on
    world.send(predictions("more load", 500))
    world.settle()
    kept = "select distinct amount::float from fraud.fraud_predictions where transaction_id like 'key-%'"
    assert world.warehouse.query(kept) == [(1.0,)]


@pytest.fixture(scope="module")
def second(world: World) -> Job:
    """Another job on the stream, which has no checkpoint yet."""
    job = world.another_job("second")
    job.start()
    return job


def test_a_job_without_its_checkpoint_reads_all_again_even_beside_another(world: World, second: Job) -> None:
    world.send(predictions("for both", 500))
    world.settle(second)
    world.settle()
    assert world.warehouse.one("select count(distinct query_id) from fraud.stream_batches") == 2


def test_a_batch_that_the_warehouse_refuses_ends_the_job(world: World, second: Job) -> None:
    refuse = f"alter table fraud.stream_batches add constraint not_the_second check (query_id <> '{second.query_id}')"
    world.warehouse.query(f"{refuse} not valid")
    world.send(predictions("for the first", 10))
    wait_until(lambda: second.exit_code is not None, explain=lambda: second.log[-5000:])
    assert second.exit_code == 1
    assert "StreamFailedError: SinkError: PostgreSQL refused batch" in second.log.splitlines()[-1]
    world.settle()


def test_a_stream_that_is_made_anew_ends_the_job_which_says_so(world: World) -> None:
    world.kinesis.delete_stream(StreamName=world.stream)
    world.kinesis.create_stream(StreamName=world.stream, ShardCount=1)
    wait_until(lambda: world.job.exit_code is not None, explain=lambda: world.job.log[-5000:])
    assert world.job.exit_code == 1
    assert f"cannot read Kinesis stream '{world.stream}'" in world.job.log
