"""Traffic is sent when it is due, latencies count from then, labels follow, and every end of it is a clean one.

Time is the loop's own, and passes only when everybody waits: nothing here depends on the speed of the machine.
"""

import asyncio
import gc
import selectors
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fraudit_dagster.simulation import SimulatedEvent, SimulatedLabel
from fraudit_dagster.traffic import Tally, TrafficReport
from resources.prediction_api import Answer, PredictionApiError
from resources.traffic import SILENT_AT_MOST, Client, drive
from tests.simulation.stand_in import answer

NOW = datetime(2026, 11, 23, tzinfo=UTC)
REFUSED = PredictionApiError("answered 403 forbidden", code="forbidden", status=403)
UNREACHABLE = PredictionApiError("cannot reach it", code="unreachable")
BAD_FIELD = PredictionApiError("answered 400 not_finite (field data.V1)", code="not_finite", status=400)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer instead of waiting for it."""

    class _Selector(selectors.DefaultSelector):
        now = 0.0

        def select(self, timeout: float | None = None) -> Any:
            assert timeout is not None, "everybody waits for somebody else"
            self.now += max(0.0, timeout)
            return super().select(0)

    def __init__(self) -> None:
        self._clock = self._Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


class Payments:
    """An API that takes ``seconds(number)`` for its n-th transaction and answers as it is told."""

    def __init__(self, seconds: Callable[[int], float] = lambda _: 0.0) -> None:
        self.retries = 0
        self.seconds = seconds
        self.errors: dict[str, PredictionApiError] = {}
        self.sent: list[tuple[float, str]] = []
        self.answered: list[str] = []
        self.labels: list[tuple[float, Mapping[str, Any]]] = []
        self.under_way = self.most_under_way = 0

    async def predict(self, body: Mapping[str, Any], /) -> Answer:
        name = body["metadata"]["transaction_id"]
        self.sent.append((asyncio.get_running_loop().time(), name))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(self.seconds(len(self.sent) - 1))
        finally:
            self.under_way -= 1
        if error := self.errors.get(name, self.errors.get("everything")):
            raise error
        self.answered.append(name)
        return Answer.model_validate(answer(name))

    async def feedback(self, body: Mapping[str, Any], /) -> object:
        self.labels.append((asyncio.get_running_loop().time(), body))
        if error := self.errors.get("/feedback"):
            raise error
        return None


def events(
    count: int, *, delay: timedelta | None = None, comes: Callable[[int], bool] = lambda _: True
) -> Iterator[SimulatedEvent]:
    """Transactions "0", "1", ... a minute apart, each with a label after ``delay``."""
    for number in range(count):
        clock = NOW + timedelta(minutes=number)
        label = None
        if delay is not None:
            label = SimulatedLabel(clock + delay, {"transaction_id": str(number), "label": number % 2}, comes(number))
        yield SimulatedEvent(str(number), {"metadata": {"transaction_id": str(number)}}, number, clock, label)


def run(
    client: Client,
    traffic: Iterator[SimulatedEvent],
    *,
    concurrency: int = 512,
    rate: float | None = None,
    watch: Callable[[Tally], object] | None = None,
    interrupt_after_s: float | None = None,
    grace_s: float = 10.0,
) -> TrafficReport:
    async def main() -> TrafficReport:
        task = asyncio.current_task()
        assert task is not None
        if interrupt_after_s is not None:
            asyncio.get_running_loop().call_later(interrupt_after_s, task.cancel)
        return await drive(client, traffic, concurrency=concurrency, rate=rate, watch=watch, grace_s=grace_s)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main())


def test_at_a_rate_each_is_sent_at_its_time_however_late_answers_are() -> None:
    client = Payments(lambda number: 60.0 if number == 3 else 0.01)
    report = run(client, events(200), rate=50)
    assert [at for at, _ in client.sent] == pytest.approx([number / 50 for number in range(200)])
    assert [name for _, name in client.sent] == [str(number) for number in range(200)]
    assert report.max_ms == pytest.approx(60_000)
    assert report.p50_ms == pytest.approx(10, rel=0.01)


def test_at_a_rate_latency_counts_from_the_intended_time() -> None:
    client = Payments(lambda _: 0.5)
    report = run(client, events(11), rate=10, concurrency=1)
    # Number n is due at n/10 s, is sent at n/2 s since the one before it takes half a second, and is answered half a second later.
    assert [at for at, _ in client.sent] == pytest.approx([number / 2 for number in range(11)])
    assert report.max_ms == pytest.approx(500 + 10 * 400)
    assert report.p50_ms == pytest.approx(500 + 5 * 400, rel=0.01)
    assert report.throughput == pytest.approx(11 / 5.5)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_flat_out_as_many_are_under_way_as_may_be(concurrency: int) -> None:
    client = Payments(lambda _: 0.5)
    report = run(client, events(40), concurrency=concurrency)
    assert client.most_under_way == concurrency
    assert report.throughput == pytest.approx(2 * concurrency)
    assert report.max_ms == pytest.approx(500)


def test_answers_and_errors_are_counted_and_told() -> None:
    client = Payments()
    client.errors["7"] = client.errors["8"] = BAD_FIELD
    seen: list[int] = []
    report = run(client, events(20), watch=lambda tally: seen.append(tally.requests))
    assert (report.requests, report.answered, report.failed) == (20, 18, 2)
    assert report.errors == {"not_finite": 2}
    assert report.messages == {"not_finite": str(BAD_FIELD)}
    assert report.decisions == {"approve": 18}
    assert (report.stopped_by, report.interrupted) == (None, False)
    assert seen == list(range(1, 21))


def test_nothing_to_send() -> None:
    report = run(Payments(), events(0))
    assert (report.requests, report.errors, report.p50_ms, report.throughput) == (0, {}, 0.0, 0.0)


def test_a_label_is_sent_when_the_runs_clock_is_there() -> None:
    client = Payments()
    report = run(client, events(60, delay=timedelta(minutes=10)), rate=1)
    assert report.labels == 60
    # A second of the run is a minute of its clock; those due after the last transaction follow it at once.
    assert [at for at, _ in client.labels] == pytest.approx([min(number + 10, 59) for number in range(60)])
    assert [body["transaction_id"] for _, body in client.labels] == [str(number) for number in range(60)]


def test_a_label_never_overtakes_its_transaction() -> None:
    order: list[str] = []

    class Watched(Payments):
        async def feedback(self, body: Mapping[str, Any], /) -> object:
            assert body["transaction_id"] in self.answered
            order.append(body["transaction_id"])
            return await super().feedback(body)

    client = Watched(lambda number: 30.0 if number == 5 else 0.0)
    report = run(client, events(20, delay=timedelta(minutes=2)), rate=1)
    assert report.labels == 20
    assert order == [*map(str, range(5)), *map(str, range(6, 18)), "5", "18", "19"]


def test_what_was_not_answered_gets_no_label_and_what_comes_too_late_is_counted() -> None:
    client = Payments()
    client.errors["3"] = BAD_FIELD
    report = run(client, events(10, delay=timedelta(minutes=1), comes=lambda number: number < 8))
    assert (report.labels, report.labels_to_come) == (7, 2)
    assert {"3", "8", "9"}.isdisjoint(body["transaction_id"] for _, body in client.labels)


def test_labels_that_are_not_accepted_are_counted_apart() -> None:
    client = Payments()
    client.errors["/feedback"] = BAD_FIELD
    report = run(client, events(10, delay=timedelta(minutes=1)))
    assert (report.answered, report.errors, report.label_errors, report.failed) == (10, {}, {"not_finite": 10}, 10)


@pytest.mark.parametrize("rate", [None, 0.01])
def test_a_refused_key_ends_it_at_once_and_says_what_to_do(rate: float | None) -> None:
    client = Payments()
    client.errors["2"] = REFUSED
    report = run(client, events(1000), concurrency=1, rate=rate)
    assert len(client.sent) == 3
    assert (report.answered, report.errors) == (2, {"forbidden": 1})
    assert report.stopped_by is not None
    assert "403 forbidden" in report.stopped_by
    assert "`fraudit keys create" in report.stopped_by
    assert "FRAUDIT_API_KEY" in report.stopped_by


def test_a_dead_api_is_given_up() -> None:
    client = Payments()
    client.errors["everything"] = UNREACHABLE
    report = run(client, events(2000), concurrency=1)
    assert len(client.sent) == SILENT_AT_MOST
    assert report.stopped_by is not None
    assert "CHALICE_API_URL" in report.stopped_by


def test_an_api_that_was_heard_of_is_not() -> None:
    client = Payments()
    client.errors = {str(number): UNREACHABLE for number in range(1, 100)}
    report = run(client, events(200), concurrency=1)
    assert (report.requests, report.errors, report.stopped_by) == (200, {"unreachable": 99}, None)


def test_an_interrupt_lets_what_is_under_way_end_and_reports() -> None:
    client = Payments(lambda _: 3.0)
    report = run(client, events(1000, delay=timedelta(minutes=1)), rate=10, interrupt_after_s=1.05)
    assert report.interrupted
    assert (report.requests, report.answered, report.labels) == (11, 11, 0)
    assert len(client.sent) == 11


def test_an_interrupt_waits_no_longer_than_its_grace() -> None:
    client = Payments(lambda number: 3600.0 if number == 5 else 0.0)
    report = run(client, events(1000), rate=10, interrupt_after_s=1.05, grace_s=2.0)
    assert report.interrupted
    assert (report.answered, report.errors) == (10, {"interrupted": 1})
    assert report.seconds == pytest.approx(3.05)


def test_an_interrupt_while_the_last_answers_are_awaited() -> None:
    client = Payments(lambda _: 5.0)
    report = run(client, events(3), interrupt_after_s=1.0)
    assert (report.interrupted, report.answered) == (True, 3)
    assert report.seconds == pytest.approx(5.0)


def test_an_error_of_the_plan_or_of_ours_is_raised() -> None:
    def broken() -> Iterator[SimulatedEvent]:
        yield from events(3)
        raise ValueError("the table")

    class Broken(Payments):
        async def feedback(self, body: Mapping[str, Any], /) -> object:
            raise ZeroDivisionError(str(body))

    client = Payments(lambda _: 1.0)
    with pytest.raises(ValueError, match="the table"):
        run(client, broken())
    assert client.under_way == 0
    with pytest.raises(ZeroDivisionError):
        run(Broken(), events(1000, delay=timedelta(0)), concurrency=1)


def test_what_was_answered_is_forgotten() -> None:
    def alive() -> int:
        gc.collect()
        return sum(isinstance(thing, SimulatedEvent) for thing in gc.get_objects())

    before, during = alive(), []

    def watch(tally: Tally) -> None:
        if tally.requests % 500 == 0:
            during.append(alive() - before)

    run(Payments(lambda _: 0.1), events(2000), concurrency=8, watch=watch)
    assert len(during) == 4
    assert max(during) <= 8 + 2  # under way, and the one or two that are next
