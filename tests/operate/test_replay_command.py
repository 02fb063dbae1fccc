"""``fraudit replay dead-letters``: every event is on the stream, byte for byte, before its object is gone."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fraudit_dagster.cli.errors import CommandError
from fraudit_dagster.cli.replay import Outcome, replay
from resources.kinesis import Kinesis, KinesisError, Record
from resources.storage import Storage
from tests.operate.conftest import REGION, Deployment, fraudit, said


class Bucket:
    """The dead letters of a deployment, and its stream."""

    def __init__(self, deployment: Deployment, boto: Callable[[str], Any]) -> None:
        self.s3, self.kinesis = boto("s3"), boto("kinesis")
        self.name, self.stream = deployment.bucket, deployment.stream
        self.prefix = f"s3://{self.name}/dead-letters/"
        self.storage = Storage(region=REGION, data_bucket=self.name, stream_bucket=self.name, model_bucket=self.name)

    def add(self, body: bytes, *, day: str = "2026-11-23") -> str:
        """Write a dead letter and return its key."""
        key = f"dead-letters/{day}/{uuid.uuid4()}.jsonl"
        self.s3.put_object(Bucket=self.name, Key=key, Body=body)
        return key

    def letters(self) -> set[str]:
        """Keys of the dead letters that are there."""
        return {
            item["Key"]
            for item in self.s3.list_objects_v2(Bucket=self.name, Prefix="dead-letters/").get("Contents", [])
        }

    def records(self) -> list[tuple[str, bytes]]:
        """Partition key and data of everything on the stream, without order."""
        found = []
        for shard in self.kinesis.list_shards(StreamName=self.stream)["Shards"]:
            at = self.kinesis.get_shard_iterator(
                StreamName=self.stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )["ShardIterator"]
            answer = self.kinesis.get_records(ShardIterator=at, Limit=10_000)
            found += [(record["PartitionKey"], record["Data"]) for record in answer["Records"]]
        return sorted(found)


@pytest.fixture
def bucket(deployment: Deployment, boto: Callable[[str], Any]) -> Bucket:
    return Bucket(deployment, boto)


def event(number: int = 0) -> bytes:
    """A prediction, as far as it matters here, with bytes that a JSON library would write otherwise."""
    return f'{{"type": "prediction",  "user_id":"user-{number}", "city": "K\u00f8benhavn", "amount": 1.10}}'.encode()


LABEL = b'{"type":"label","transaction_id":"t-1","label":1}'


def test_events_are_on_the_stream_byte_for_byte_and_their_objects_gone(bucket: Bucket) -> None:
    bucket.add(event())
    bucket.add(LABEL, day="2026-11-24")
    table = said("replay", "dead-letters")
    assert bucket.records() == [("t-1", LABEL), ("user-0", event())]
    assert bucket.letters() == set()
    assert [line.split()[1:4:2] for line in table.splitlines() if "found" in line or "put" in line] == [
        ["found", "2"],
        ["put", "2"],
    ]


def test_the_events_of_one_request_are_the_lines_of_one_object(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fraudit_dagster.cli.replay.RECORDS_LIMIT", 7)
    of_a_batch = [event(number) for number in range(20)]
    bucket.add(b"\n".join(of_a_batch))
    bucket.add(LABEL)
    kinesis, outcome = Kinesis(region=REGION, stream_name=bucket.stream), Outcome()
    list(replay(bucket.storage, kinesis, bucket.prefix, outcome=outcome, dry_run=False))
    assert outcome == Outcome(found=2, put=21)
    assert sorted(data for _, data in bucket.records()) == sorted([*of_a_batch, LABEL])
    assert bucket.letters() == set()


def test_a_day_is_replayed_alone(bucket: Bucket) -> None:
    bucket.add(event())
    other = bucket.add(LABEL, day="2026-11-24")
    said("replay", "dead-letters", "--day", "2026-11-23")
    assert bucket.records() == [("user-0", event())]
    assert bucket.letters() == {other}
    assert fraudit("replay", "dead-letters", "--day", "yesterday").exit_code == 2


def test_a_dry_run_changes_nothing(bucket: Bucket) -> None:
    keys = {bucket.add(event()), bucket.add(b"rubbish")}
    done = fraudit("replay", "dead-letters", "--dry-run")
    assert "would be put" in done.stdout
    assert "kept: not an event" in done.stdout
    assert (bucket.records(), bucket.letters()) == ([], keys)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not an event"),
        (b"\xff{", "not an event"),
        (b"[1]", "not an event"),
        (b'{"type": "prediction"}', "not an event"),
        (b'{"type": "other", "user_id": "u"}', "not an event"),
        (b'{"type": "prediction", "user_id": 7}', "no partition key"),
        (b'{"type": "prediction", "user_id": "' + b"u" * 257 + b'"}', "no partition key"),
        (b'{"type": "prediction", "user_id": "u", "x": "' + b"x" * 2**20 + b'"}', "larger than Kinesis takes"),
        (LABEL + b"\n{", "not an event"),
    ],
)
def test_what_is_no_event_is_kept_and_named_and_stops_nothing(bucket: Bucket, body: bytes, reason: str) -> None:
    key = bucket.add(body)
    bucket.add(event())
    done = fraudit("replay", "dead-letters")
    assert isinstance(done.exception, CommandError)
    assert "some dead letters are kept: 1 of" in str(done.exception)
    assert f"kept s3://{bucket.name}/{key}: {reason}" in done.stderr
    assert (bucket.records(), bucket.letters()) == ([("user-0", event())], {key})


def test_nothing_to_replay_is_no_error(bucket: Bucket) -> None:
    bucket.s3.put_object(Bucket=bucket.name, Key="dead-letters/", Body=b"")  # as the console shows a folder
    said("replay", "dead-letters")
    assert bucket.records() == []


def test_more_than_one_page_and_one_request_hold_are_all_replayed(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fraudit_dagster.cli.replay.RECORDS_LIMIT", 7)
    events = bucket.storage._client.meta.events
    events.register("before-parameter-build.s3.ListObjectsV2", lambda params, **_: params.update(MaxKeys=10))
    for number in range(45):
        bucket.add(event(number))
    kinesis, outcome = Kinesis(region=REGION, stream_name=bucket.stream), Outcome()
    assert list(replay(bucket.storage, kinesis, bucket.prefix, outcome=outcome, dry_run=False)) == [""] * 7
    assert outcome == Outcome(found=45, put=45)
    assert bucket.records() == sorted((f"user-{number}", event(number)) for number in range(45))
    assert bucket.letters() == set()


def test_events_that_are_too_large_for_one_request_together_take_several(bucket: Bucket) -> None:
    large = [event(number)[:-1] + b', "note": "' + b"x" * 900_000 + b'"}' for number in range(7)]
    for body in large:
        bucket.add(body)
    said("replay", "dead-letters")
    assert bucket.records() == sorted((f"user-{number}", body) for number, body in enumerate(large))


class Moody(Kinesis):
    """A stream that refuses what ``moods`` says, put by put: a set of partition keys, or an exception."""

    def put(self, records: Any) -> list[str | None]:
        """Refuse some; the others are put."""
        mood = next(MOODS)
        if isinstance(mood, BaseException):
            raise mood
        refused = ["ProvisionedThroughputExceededException" if r.partition_key in mood else None for r in records]
        super().put([record for record, code in zip(records, refused, strict=True) if code is None])
        return list(refused)


MOODS: Iterator[Any] = iter(())


def replayed(bucket: Bucket, *moods: Any) -> Outcome:
    """What becomes of the dead letters where Kinesis has moods."""
    global MOODS  # noqa: PLW0603 - a resource of Dagster holds settings only
    MOODS = iter(moods)
    outcome = Outcome()
    kinesis = Moody(region=REGION, stream_name=bucket.stream)
    list(replay(bucket.storage, kinesis, bucket.prefix, outcome=outcome, dry_run=False))
    return outcome


def test_what_kinesis_goes_on_refusing_is_kept_with_its_reason(bucket: Bucket) -> None:
    bucket.add(event(1))
    kept = bucket.add(event(2))
    outcome = replayed(bucket, {"user-2"})
    assert (outcome.found, outcome.put, dict(outcome.kept)) == (2, 1, {"ProvisionedThroughputExceededException": 1})
    assert (bucket.records(), bucket.letters()) == ([("user-1", event(1))], {kept})


def test_an_object_of_which_kinesis_refuses_one_event_is_kept_whole(bucket: Bucket) -> None:
    kept = bucket.add(event(1) + b"\n" + event(2))
    outcome = replayed(bucket, {"user-2"})
    assert (outcome.put, outcome.kept.total()) == (1, 1)
    assert (bucket.records(), bucket.letters()) == ([("user-1", event(1))], {kept})


def test_a_kinesis_that_takes_nothing_ends_it_with_everything_kept(bucket: Bucket) -> None:
    keys = {bucket.add(event(1)), bucket.add(event(2))}
    with pytest.raises(CommandError, match="takes none"):
        replayed(bucket, {"user-1", "user-2"})
    with pytest.raises(KinesisError):
        replayed(bucket, KinesisError("cannot put", code="Unreachable"))
    assert (bucket.records(), bucket.letters()) == ([], keys)


def test_interrupted_and_run_again_nothing_is_lost(bucket: Bucket) -> None:
    class Interrupted(Storage):
        def delete(self, uris: Any) -> None:  # noqa: ARG002 - the moment between the stream and S3
            raise KeyboardInterrupt

    keys = {bucket.add(event(number)) for number in range(3)}
    storage = Interrupted(region=REGION, data_bucket=bucket.name, stream_bucket=bucket.name, model_bucket=bucket.name)
    kinesis, outcome = Kinesis(region=REGION, stream_name=bucket.stream), Outcome()
    with pytest.raises(KeyboardInterrupt):
        list(replay(storage, kinesis, bucket.prefix, outcome=outcome, dry_run=False))
    assert bucket.letters() == keys
    said("replay", "dead-letters")
    assert bucket.letters() == set()
    assert bucket.records() == sorted([(f"user-{number}", event(number)) for number in range(3)] * 2)


def test_an_object_that_somebody_else_took_is_no_error(bucket: Bucket) -> None:
    class Late(Storage):
        def read(self, uri: str) -> bytes:
            bucket.s3.delete_object(Bucket=bucket.name, Key=uri.split("/", 3)[3])
            return super().read(uri)

    bucket.add(event())
    storage = Late(region=REGION, data_bucket=bucket.name, stream_bucket=bucket.name, model_bucket=bucket.name)
    kinesis, outcome = Kinesis(region=REGION, stream_name=bucket.stream), Outcome()
    list(replay(storage, kinesis, bucket.prefix, outcome=outcome, dry_run=False))
    assert outcome == Outcome(found=1, gone=1)


def test_records_that_kinesis_refuses_in_part_are_put_again_and_only_they(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resources.kinesis.FIRST_PAUSE_S", 0.0)
    sent: list[int] = []

    class Partly(Kinesis):
        @property
        def _client(self) -> Any:
            return self

        def put_records(self, *, StreamName: str, Records: list[Any]) -> Any:  # noqa: N803 - as boto3 has it
            sent.append(len(Records))
            answer = bucket.kinesis.put_records(StreamName=StreamName, Records=Records[1:] or Records)
            refused = [{"ErrorCode": "InternalFailure", "ErrorMessage": "?"}] if Records[1:] else []
            return {"Records": [*refused, *answer["Records"]]}

    records = [Record(event(number), f"user-{number}") for number in range(3)]
    assert Partly(region=REGION, stream_name=bucket.stream).put(records) == [None, None, None]
    assert sent == [3, 1]
    assert bucket.records() == sorted((f"user-{number}", event(number)) for number in range(3))
