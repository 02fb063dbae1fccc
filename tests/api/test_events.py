"""How hard events are delivered: cut to the limits of Kinesis, sent again within bounds, then dead letters."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from chalicelib.aws import Clients
from chalicelib.events import MAX_RECORD_BYTES, Event, EventStream
from chalicelib.limits import Limits, chunks
from chalicelib.observability import Metrics

from tests.api.conftest import STREAM_BUCKET, World
from tests.api.stand_ins import Kinesis
from tests.conftest import unique

Deliver = Callable[..., list[list[str]]]
LIMITS = Limits(events_s=30, dead_letters_s=30)
IMPATIENT = Limits(events_s=0.3, dead_letters_s=30)


def events(number: int, *, size: int = 0) -> list[Event]:
    made = []
    for _ in range(number):
        name = unique("event")
        data = json.dumps({"event_id": name, "transaction_id": name, "filling": "x" * size}).encode()
        made.append(Event(name, name, name, data))
    return made


@pytest.fixture
def kinesis(world: World) -> Kinesis:
    world.kinesis.calls.clear()
    world.kinesis.records.clear()
    return world.kinesis


@pytest.fixture
def deliver(clients: Clients) -> Deliver:
    def of(sent: list[Event], limits: Limits = LIMITS, bucket: str = STREAM_BUCKET) -> list[list[str]]:
        stream = EventStream(clients.kinesis, clients.s3, Metrics(stage="test"), stream="s", bucket=bucket)
        return stream.deliver(sent, limits)

    return of


def taken(kinesis: Kinesis) -> list[str]:
    return [record["event_id"] for record in kinesis.records]


def test_a_call_holds_at_most_500_records(kinesis: Kinesis, deliver: Deliver) -> None:
    sent = events(1200)
    assert deliver(sent) == [[]] * 1200
    assert kinesis.calls == [500, 500, 200]
    assert taken(kinesis) == [event.event_id for event in sent]


def test_a_call_holds_at_most_5_mib(kinesis: Kinesis, deliver: Deliver) -> None:
    assert deliver(events(12, size=900_000)) == [[]] * 12
    assert kinesis.calls == [5, 5, 2]


def test_pieces_keep_the_order_and_both_limits() -> None:
    sizes = [3, 3, 5, 9, 1, 1, 1, 1]
    pieces = list(chunks(sizes, size_of=int, max_bytes=6, max_items=3))
    assert pieces == [[3, 3], [5], [9], [1, 1, 1], [1]], "what is larger than the limit stands alone"
    assert list(chunks([], size_of=int, max_bytes=6)) == []


def test_an_event_too_large_for_kinesis_keeps_no_other_from_it(
    kinesis: Kinesis, deliver: Deliver, world: World
) -> None:
    before = set(world.dead_letters())
    small, large = events(1), events(1, size=MAX_RECORD_BYTES)
    assert deliver([*large, *small]) == [["events"], []]
    assert taken(kinesis) == [small[0].event_id]
    (key,) = set(world.dead_letters()) - before
    assert world.aws("s3").get_object(Bucket=STREAM_BUCKET, Key=key)["Body"].read() == large[0].data


def test_only_what_was_refused_is_sent_again(kinesis: Kinesis, deliver: Deliver) -> None:
    kinesis.throttled = 7
    sent = events(10)
    assert deliver(sent) == [[]] * 10
    assert kinesis.calls == [10, 7]
    assert sorted(taken(kinesis)) == sorted(event.event_id for event in sent)


def test_attempts_are_bounded(kinesis: Kinesis, deliver: Deliver, world: World) -> None:
    kinesis.throttled = 10**6
    before = set(world.dead_letters())
    sent = events(40)
    assert deliver(sent) == [["events"]] * 40
    assert kinesis.calls == [40] * 4
    (key,) = set(world.dead_letters()) - before
    assert key.endswith(f"/{sent[0].event_id}.jsonl")
    lines = world.aws("s3").get_object(Bucket=STREAM_BUCKET, Key=key)["Body"].read().split(b"\n")
    assert lines == [event.data for event in sent]


@pytest.mark.parametrize(
    ("status", "code", "attempts"),
    [
        (400, "ProvisionedThroughputExceededException", 4),
        (400, "KMSThrottlingException", 4),
        (500, "InternalFailure", 4),
        (503, "ServiceUnavailable", 4),
        (400, "AccessDeniedException", 1),
        (400, "ResourceNotFoundException", 1),
    ],
)
def test_a_refused_call_is_made_again_where_that_can_help(
    kinesis: Kinesis, deliver: Deliver, status: int, code: str, attempts: int
) -> None:
    kinesis.refused_as = (status, code)
    (event,) = events(1)
    assert deliver([event]) == [["events"]]
    assert kinesis.attempts[event.transaction_id] == attempts, "botocore's own retries come not on top"


@pytest.mark.parametrize("delay_s", [1.0, float("inf")])
def test_a_slow_kinesis_holds_up_an_answer_for_a_bounded_time(
    kinesis: Kinesis, deliver: Deliver, delay_s: float
) -> None:
    kinesis.delay_s = delay_s
    (event,) = events(1)
    assert deliver([event], IMPATIENT) == [["events"]]
    assert kinesis.attempts[event.transaction_id] == 1


def test_what_nobody_takes_is_said_and_counted(
    kinesis: Kinesis, deliver: Deliver, capsys: pytest.CaptureFixture[str]
) -> None:
    kinesis.refused_as = (500, "InternalFailure")
    assert deliver(events(2), bucket="no-such-bucket") == [["events", "dead_letters"]] * 2
    lines: list[dict[str, Any]] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (counted,) = [line for line in lines if line.get("code") == "event_lost"]
    assert counted["Errors"] == 2


def test_dead_letters_that_take_too_long_count_as_lost(kinesis: Kinesis, deliver: Deliver) -> None:
    kinesis.refused_as = (400, "AccessDeniedException")
    hasty = Limits(events_s=30, dead_letters_s=0)
    assert deliver(events(1), hasty) == [["events", "dead_letters"]]
