"""``fraudit verify``: nothing is missing, or it is said what."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from fraudit_dagster.cli.errors import CommandError
from tests.operate.conftest import Deployment, boto, deployment, fraudit, said
from tests.stream.conftest import label, prediction
from tests.warehouse.conftest import Place, store
from tests.warehouse.test_replay_quarantine import quarantine, rows_of

__all__ = ["boto", "deployment"]  # fixtures


class World:
    """A stream, the warehouse behind it, and the bucket of the dead letters."""

    def __init__(self, deployment: Deployment, place: Place, boto: Callable[[str], Any]) -> None:
        self.place, self._names = place, deployment
        self._kinesis, self._s3 = boto("kinesis"), boto("s3")

    def put(self, event: dict[str, Any] | bytes) -> str:
        """Put an event on the stream, and return its sequence number."""
        data = event if isinstance(event, bytes) else json.dumps(event).encode()
        answer = self._kinesis.put_record(StreamName=self._names.stream, Data=data, PartitionKey="u")
        return str(answer["SequenceNumber"])

    def quarantine(self, sequence_number: str) -> None:
        """Quarantine a record of the stream."""
        (shard_id,) = {
            shard["ShardId"]
            for shard in self._kinesis.list_shards(StreamName=self._names.stream)["Shards"]
            if any(
                record["SequenceNumber"] == sequence_number
                for record in self._kinesis.get_records(
                    ShardIterator=self._kinesis.get_shard_iterator(
                        StreamName=self._names.stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
                    )["ShardIterator"]
                )["Records"]
            )
        }
        quarantine(self.place, 1, b"raw")
        self.place.run(
            "update fraud.quarantined_events set shard_id = %s, sequence_number = %s", (shard_id, sequence_number)
        )

    def bury(self, *events: dict[str, Any]) -> None:
        """Write a dead letter."""
        body = "\n".join(map(json.dumps, events))
        self._s3.put_object(Bucket=self._names.bucket, Key="dead-letters/2026-11-24/x.jsonl", Body=body)


@pytest.fixture
def world(deployment: Deployment, place: Place, boto: Callable[[str], Any]) -> World:
    return World(deployment, place, boto)


def differs(*words: str) -> str:
    """What the command says where it fails."""
    done = fraudit("verify", "--patience", "0", *words)
    assert isinstance(done.exception, CommandError), done.output
    return str(done.exception)


def test_what_adds_up_is_a_table(world: World) -> None:
    for transaction_id in ("t-1", "t-2", "t-2"):
        world.put(prediction(transaction_id))
    world.put(label("t-1"))
    world.quarantine(world.put(b"{not json"))
    store(world.place, "values ('t-1'), ('t-2')", "now()")
    world.place.run("insert into fraud.fraud_labels values ('t-1', 'chargeback', 1, now())")
    assert rows_of(said("verify", "--answered", "2")) == {
        "client: transactions answered": "2",
        "predictions on Kinesis": "3",
        "predictions of them again": "1",
        "predictions in the warehouse": "2",
        "predictions in quarantine": "0",
        "predictions missing": "0",
        "labels on Kinesis": "1",
        "labels of them again": "0",
        "labels in the warehouse": "1",
        "labels in quarantine": "0",
        "labels missing": "0",
        "no events on Kinesis": "1",
        "no events of them again": "0",
        "no events in the warehouse": "0",
        "no events in quarantine": "1",
        "no events missing": "0",
    }


def test_it_waits_as_long_as_rows_arrive(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    arriving = [f"t-{number}" for number in range(4)]
    for transaction_id in arriving:
        world.put(prediction(transaction_id))
    clock = SimpleNamespace(
        sleep=lambda _: store(world.place, f"values ('{arriving.pop()}')", "now()"), monotonic=lambda: -len(arriving)
    )
    monkeypatch.setattr("fraudit_dagster.cli.verify.time", clock)
    assert rows_of(said("verify", "--patience", "1.5"))["predictions in the warehouse"] == "4"


def test_what_is_missing_is_named(world: World) -> None:
    for number in range(5):
        world.put(prediction(f"t-{number}"))
    store(world.place, "values ('t-0')", "now()")
    assert "4 of type prediction are neither stored nor in quarantine (t-1, t-2, t-3 ...)" in differs()


def test_an_event_in_quarantine_is_not_missing(world: World) -> None:
    world.quarantine(world.put(prediction("t-1", amount="much")))
    assert rows_of(said("verify"))["predictions in quarantine"] == "1"


def test_a_label_that_is_missing_is_named(world: World) -> None:
    world.put(label("t-1"))
    assert "1 of type label" in differs()
    assert "t-1 chargeback" in differs()


def test_a_client_that_counts_otherwise_is_told(world: World) -> None:
    world.put(prediction("t-1"))
    store(world.place, "values ('t-1')", "now()")
    assert "3 were answered, and 1 are on Kinesis or in dead letters" in differs("--answered", "3")


def test_dead_letters_are_known_and_no_good_end(world: World) -> None:
    world.put(prediction("t-1"))
    store(world.place, "values ('t-1')", "now()")
    world.bury(prediction("t-2"), label("t-2"), prediction("t-1"))
    said_so = differs("--answered", "2")
    assert said_so == (
        "the counts differ: 2 are in dead letters only (`fraudit replay dead-letters` puts them on Kinesis)"
    )


def test_a_run_is_counted_alone(world: World) -> None:
    world.put(prediction("t-1", run_id="mine"))
    world.put(prediction("t-2", run_id="another"))
    world.put(label("t-1"))
    world.put(label("t-2"))
    store(world.place, "values ('t-1')", "now()")
    world.place.run("insert into fraud.fraud_labels values ('t-1', 'chargeback', 1, now())")
    table = rows_of(said("verify", "--run", "mine", "--answered", "1"))
    assert (table["predictions on Kinesis"], table["labels on Kinesis"]) == ("1", "1")
