"""A batch, the buffer before it and the wait for it are bounded, whatever the backlog; and one bad shard does not stall the others."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from fraudit_stream import kinesis_ahead
from fraudit_stream.kinesis_ahead import ReadAhead, Taken
from fraudit_stream.kinesis_api import ExpiredError, KinesisSourceError, KinesisStream, Page, PassingError, patiently

from .conftest import REGION

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

ALL = 1_000_000
LONG_S = 30.0


def put(kinesis: "KinesisClient", stream: str, shard: int, *data: bytes) -> None:
    """Put records on the first or the second of two shards."""
    hash_key = str(shard << 127)
    records = [{"Data": each, "PartitionKey": "any", "ExplicitHashKey": hash_key} for each in data]
    assert kinesis.put_records(StreamName=stream, Records=records)["FailedRecordCount"] == 0  # type: ignore[arg-type]


@contextmanager
def reading(stream: KinesisStream) -> Iterator[ReadAhead]:
    ahead = ReadAhead(stream, start="TRIM_HORIZON")
    ahead.follow(dict.fromkeys(stream.shards()))
    yield ahead
    ahead.stop()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("kinesis")]


def rows(taken: list[Taken]) -> list[int]:
    """The number of rows of each shard, in the order of their ids."""
    return [sum(batch.num_rows for batch in each.batches) for each in sorted(taken, key=lambda each: each.shard_id)]


def data(taken: list[Taken], shard: int) -> list[bytes]:
    one = sorted(taken, key=lambda each: each.shard_id)[shard]
    return [value for batch in one.batches for value in batch.column("data").to_pylist()]


def test_a_batch_holds_so_many_records_and_each_shard_has_its_share(kinesis: "KinesisClient", stream: str) -> None:
    put(kinesis, stream, 0, *(b"%d" % number for number in range(100)))
    put(kinesis, stream, 1, b"a", b"b", b"c")
    with reading(KinesisStream(stream, region=REGION)) as ahead:
        ahead.gather(rows=ALL, timeout_s=LONG_S)
        batches = [ahead.take(10) for _ in range(11)]
    assert [rows(taken) for taken in batches] == [[7, 3], *[[10, 0]] * 9, [3, 0]]
    assert [value for taken in batches for value in data(taken, 0)] == [b"%d" % number for number in range(100)]


def test_what_waits_is_bounded_whatever_the_backlog(
    kinesis: "KinesisClient", stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinesis_ahead, "BUFFER_BYTES", 3 * 2**20)
    monkeypatch.setattr(kinesis_ahead, "ANSWER_BYTES", 2**20)
    monkeypatch.setattr(kinesis_ahead, "PACE_S", 0.0)
    monkeypatch.setattr("fraudit_stream.kinesis_api.RECORDS_PER_CALL", 8)
    for shard in (0, 1):
        for _ in range(12):
            put(kinesis, stream, shard, *[b"x" * 100_000] * 8)
    sizes, count = [], 0
    with reading(KinesisStream(stream, region=REGION)) as ahead:
        while count < 2 * 12 * 8:
            ahead.gather(rows=ALL, timeout_s=LONG_S)
            taken = ahead.take(ALL)
            sizes.append(sum(batch.nbytes for each in taken for batch in each.batches))
            count += sum(rows(taken))
    assert max(sizes) <= 3 * 2**20
    assert len(sizes) > 5


class _Hanging(KinesisStream):
    """A stream whose first shard does not answer."""

    def __init__(self, name: str, answer: threading.Event) -> None:
        super().__init__(name, region=REGION)
        self._answer = answer

    def page(self, shard_id: str, iterator: str) -> Page:
        if shard_id.endswith("0"):
            self._answer.wait(LONG_S)
        return super().page(shard_id, iterator)


def test_a_batch_waits_no_longer_than_it_may(kinesis: "KinesisClient", stream: str) -> None:
    put(kinesis, stream, 0, b"late")
    put(kinesis, stream, 1, b"in time")
    answer = threading.Event()
    with reading(_Hanging(stream, answer)) as ahead:
        ahead.gather(rows=ALL, timeout_s=0.5)
        assert rows(ahead.take(ALL)) == [0, 1]
        answer.set()
        ahead.gather(rows=ALL, timeout_s=LONG_S)
        assert rows(ahead.take(ALL)) == [1, 0]


class _Failing(KinesisStream):
    """A stream whose first shard fails so many times."""

    def __init__(self, name: str, *errors: Exception) -> None:
        super().__init__(name, region=REGION)
        self.errors = list(errors)

    def page(self, shard_id: str, iterator: str) -> Page:
        if shard_id.endswith("0") and self.errors:
            raise self.errors.pop()
        return super().page(shard_id, iterator)


def wait_for_rows(ahead: ReadAhead, is_enough: Callable[[list[int]], bool]) -> list[int]:
    deadline_s, total = time.monotonic() + LONG_S, [0, 0]
    while not is_enough(total):
        assert time.monotonic() < deadline_s, total
        ahead.gather(rows=ALL, timeout_s=LONG_S)
        total = [before + new for before, new in zip(total, rows(ahead.take(ALL)), strict=True)]
    return total


@pytest.mark.parametrize(
    "error", [PassingError("throttled"), ExpiredError("five minutes")], ids=["throttled", "expired"]
)
def test_a_shard_that_fails_for_a_while_is_left_alone_and_loses_nothing(
    kinesis: "KinesisClient", stream: str, error: Exception
) -> None:
    put(kinesis, stream, 0, b"a", b"b")
    put(kinesis, stream, 1, b"c")
    failing = _Failing(stream, *[error] * 1_000)
    with reading(failing) as ahead:
        assert wait_for_rows(ahead, lambda total: total[1] == 1) == [0, 1]
        failing.errors.clear()
        assert wait_for_rows(ahead, lambda total: total[0] == 2) == [2, 0]


def test_a_throttled_stream_is_not_taken_for_an_idle_one(
    kinesis: "KinesisClient", stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(kinesis, stream, 0, b"a")
    with reading(_Failing(stream, *[PassingError("throttled")] * 2)) as ahead:
        ahead.gather(rows=ALL, timeout_s=LONG_S)
        assert rows(ahead.take(ALL)) == [1, 0]
    monkeypatch.setattr(kinesis_ahead, "OUTAGE_S", 0.0)
    with (
        reading(_Failing(stream, PassingError("throttled"))) as ahead,
        pytest.raises(KinesisSourceError, match="gave nothing of shardId-000000000000 for 0 s"),
    ):
        ahead.gather(rows=ALL, timeout_s=LONG_S)


def test_an_error_that_does_not_pass_is_raised_where_records_are_asked_for(stream: str) -> None:
    with (
        reading(_Failing(stream, KinesisSourceError("no access"))) as ahead,
        pytest.raises(KinesisSourceError, match="no access"),
    ):
        ahead.gather(rows=ALL, timeout_s=LONG_S)


@pytest.mark.usefixtures("aws")
def test_a_kinesis_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fraudit_stream.kinesis_api.OUTAGE_S", 1.0)
    nowhere = KinesisStream("any", region=REGION, endpoint_url="http://127.0.0.1:9")
    with pytest.raises(KinesisSourceError, match=r"did not answer for 1 s: .*Could not connect"):
        patiently(nowhere.shards)
