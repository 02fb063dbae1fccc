"""Traffic made from a table is in time order, repeatable, and such as the API takes."""

import uuid
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fraudit_dagster.simulation import Drift, Feedback, Order, SimulatedEvent, SimulationError, plan_events

END = datetime(2026, 11, 23, 12, tzinfo=UTC)
START = END - timedelta(days=2)


@dataclass(frozen=True)
class Columns:
    """What a contract says of a table."""

    inputs: tuple[str, ...] = ("Time", "V1", "Amount")
    label: str = "Class"
    amount: str = "Amount"
    time: str | None = "Time"


def table(rows: int = 400) -> pd.DataFrame:
    random = np.random.default_rng(1)
    frame = pd.DataFrame({"Time": random.permutation(rows) * 10.0, "V1": random.normal(size=rows), "Amount": 9.99})
    return frame.assign(Class=(frame.index % 50 == 0).astype(int))


def plan(
    frame: pd.DataFrame,
    *,
    columns: Columns | None = None,
    events: int = 100,
    seed: int = 7,
    run: str = "r",
    order: Order = "time",
    feedback: Feedback | None = None,
    drift: Drift | None = None,
) -> list[SimulatedEvent]:
    columns = columns or Columns()
    return list(
        plan_events(
            frame,
            columns,
            run_id=run,
            seed=seed,
            events=events,
            start=START,
            end=END,
            order=order,
            feedback=feedback,
            drift=drift,
        )
    )


def occurred_at(event: SimulatedEvent) -> datetime:
    return datetime.fromisoformat(event.body["metadata"]["timestamp"])


def test_the_time_of_the_table_becomes_ours() -> None:
    frame = table()
    events = plan(frame)
    times = [occurred_at(event) for event in events]
    assert (times[0], times[-1]) == (START, END)
    assert times == sorted(times)
    assert [event.clock for event in events] == pytest.approx(times, abs=timedelta(milliseconds=1))
    seconds = frame["Time"].to_numpy()[[event.row for event in events]]
    ours = np.array([(time - START) / timedelta(days=2) for time in times])
    assert ours == pytest.approx((seconds - seconds[0]) / (seconds[-1] - seconds[0]), abs=1e-6)


def inputs(event: SimulatedEvent) -> list[float]:
    return [float(cell) for cell in event.body["data"].split(",")]


def test_a_drift_moves_the_inputs_from_its_moment_on_and_nothing_else() -> None:
    frame, told = table(), Feedback(0.5, timedelta(hours=1))
    usual, changed = plan(frame, feedback=told), plan(frame, feedback=told, drift=Drift(2.0, from_share=0.25))
    spread = float(np.std(frame["V1"]))
    for before, after in zip(usual, changed, strict=True):
        assert before.body["metadata"] == after.body["metadata"]
        assert before.feedback == after.feedback
        time, v1, amount = inputs(before)
        has_set_in = occurred_at(after) >= START + timedelta(hours=12)
        assert inputs(after) == ([time, v1 + 2.0 * spread, amount * 3.0] if has_set_in else [time, v1, amount])
    assert any(occurred_at(event) < START + timedelta(hours=12) for event in changed)


@pytest.mark.parametrize(
    ("shift", "from_share"), [(0.0, 0.5), (-1.0, 0.5), (float("nan"), 0.5), (1.0, 1.0), (1.0, -0.1)]
)
def test_what_is_no_drift_is_refused(shift: float, from_share: float) -> None:
    with pytest.raises(SimulationError, match="a shift is above 0"):
        Drift(shift, from_share)


def test_an_event_is_a_row_and_says_so() -> None:
    frame = table()
    for event in plan(frame):
        row = frame.iloc[event.row]
        assert [float(cell) for cell in event.body["data"].split(",")] == row[["Time", "V1", "Amount"]].tolist()
        assert event.body["metadata"]["transaction_id"] == event.transaction_id
        assert event.body["metadata"]["run_id"] == "r"


def test_ids_belong_to_run_and_row_so_that_equal_rows_differ() -> None:
    frame = pd.concat([table(50)] * 2)
    ids = {event.row: event.transaction_id for event in plan(frame)}
    assert len(set(ids.values())) == len(frame)
    assert all(uuid.UUID(an_id).version == 5 for an_id in ids.values())
    assert ids == {event.row: event.transaction_id for event in plan(frame, seed=8)}
    assert not set(ids.values()) & {event.transaction_id for event in plan(frame, run="another")}


def test_a_seed_makes_one_plan() -> None:
    frame = table()
    assert plan(frame) == plan(frame)
    assert plan(frame) != plan(frame, seed=8)


def test_no_row_is_sent_twice_before_all_have_been() -> None:
    rows = [event.row for event in plan(table(30), events=75)]
    assert sorted(rows[:30]) == sorted(rows[30:60]) == list(range(30))
    assert len(set(rows[60:])) == 15


def test_more_events_than_rows_are_laps_with_new_ids_and_later_times() -> None:
    events = plan(table(30), events=75)
    assert len({event.transaction_id for event in events}) == 75
    assert {event.transaction_id for event in events[:30]} == {
        event.transaction_id for event in plan(table(30), events=30)
    }
    times = [occurred_at(event) for event in events]
    assert times == sorted(times)
    assert (times[0], times[-1]) == (START, END)


def test_shuffled_is_the_same_time_in_another_sequence() -> None:
    frame = table()
    events = plan(frame, order="shuffled", events=len(frame))
    by_time = plan(frame, events=len(frame))
    times = [occurred_at(event) for event in events]
    assert times != sorted(times)
    assert {(event.row, time) for event, time in zip(events, times, strict=True)} == {
        (event.row, occurred_at(event)) for event in by_time
    }
    clocks = [event.clock for event in events]
    assert clocks == sorted(clocks)
    assert plan(frame, order="shuffled") == plan(frame, order="shuffled")


def labels(events: list[SimulatedEvent]) -> dict[str, Any]:
    """What is said of each transaction, by id."""
    return {event.transaction_id: event.feedback for event in events if event.feedback is not None}


@pytest.mark.parametrize("order", ["time", "shuffled"])
def test_the_label_is_the_tables_and_comes_after_its_transaction(order: Order) -> None:
    frame = table(2000)
    events = plan(frame, events=2000, order=order, feedback=Feedback(1.0, timedelta(hours=6)))
    assert len(labels(events)) == 2000
    for event in events:
        assert event.feedback is not None
        body = event.feedback.body
        labelled_at = datetime.fromisoformat(body["labelled_at"])
        assert body["transaction_id"] == event.transaction_id
        assert body["label"] == frame["Class"].iloc[event.row]
        assert labelled_at >= occurred_at(event)
        delay = labelled_at - occurred_at(event)
        assert event.feedback.due - event.clock == pytest.approx(delay, abs=timedelta(milliseconds=2))
        assert event.feedback.comes == (labelled_at <= END) or abs(labelled_at - END) < timedelta(milliseconds=2)
    assert {label.comes for label in labels(events).values()} == {True, False}


def test_who_says_it_and_how_late() -> None:
    events = plan(table(4000), events=4000, feedback=Feedback(1.0, timedelta(hours=6)))
    delays: dict[tuple[str, int], list[float]] = defaultdict(list)
    for event in events:
        assert event.feedback is not None
        body = event.feedback.body
        delays[body["source"], body["label"]].append((event.feedback.due - event.clock) / timedelta(hours=1))
    assert set(delays) == {(s, 1) for s in ("chargeback", "customer", "analyst")} | {("analyst", 0), ("customer", 0)}
    assert np.median(delays["chargeback", 1]) == pytest.approx(6.0, rel=0.4)
    assert np.median(delays["customer", 0]) == pytest.approx(1.5, rel=0.15)
    assert np.median(delays["analyst", 0]) == pytest.approx(0.3, rel=0.15)


def test_feedback_is_seeded_has_its_share_and_changes_no_transaction() -> None:
    frame, feedback = table(2000), Feedback(0.25, timedelta(hours=1))
    events = plan(frame, events=2000, feedback=feedback)
    assert events == plan(frame, events=2000, feedback=feedback)
    assert len(labels(events)) == pytest.approx(500, rel=0.15)
    assert [event.body for event in events] == [event.body for event in plan(frame, events=2000)]
    assert not labels(plan(frame, events=2000))


@pytest.mark.parametrize(("share", "hours"), [(1.1, 1), (-0.1, 1), (0.5, 0)])
def test_feedback_that_cannot_be(share: float, hours: int) -> None:
    with pytest.raises(SimulationError, match="between 0 and 1"):
        Feedback(share, timedelta(hours=hours))


def test_customers_have_habits() -> None:
    by_user: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in plan(table(2000), events=2000):
        by_user[event.body["metadata"]["user_id"]].append(event.body["metadata"])
    assert len(by_user) == 100
    at_home = 0
    for seen in by_user.values():
        assert len({metadata["ip_address"] for metadata in seen}) == 1
        assert len({metadata["device_info"]["os_version"] for metadata in seen}) == 1
        countries = [metadata["geo"]["country"] for metadata in seen]
        at_home += max(countries.count(country) for country in countries)
    assert at_home > 0.9 * 2000


@pytest.mark.parametrize("unit", ["ns", "s"])
def test_the_time_may_be_a_timestamp_that_no_model_sees(unit: str) -> None:
    frame = table()
    frame["at"] = (pd.Timestamp("2013-09-01") + pd.to_timedelta(frame["Time"], unit="s")).astype(f"datetime64[{unit}]")
    columns = Columns(inputs=("V1", "Amount"), time="at")
    assert [event.row for event in plan(frame, columns=columns)] == [event.row for event in plan(frame)]


def test_without_a_time_the_order_of_the_table_counts() -> None:
    rows = [event.row for event in plan(table(), columns=Columns(time=None))]
    assert rows == sorted(rows)


@pytest.mark.parametrize(
    ("frame", "changes", "message"),
    [
        (table().drop(columns=["V1", "Class"]), {}, "lacks the columns V1, Class"),
        (table().head(0), {}, "0 rows"),
        (table(), {"events": 0}, "0 events"),
        (table(), {"start": END, "end": START}, "must not be after"),
        (table(), {"start": START.replace(tzinfo=None), "end": END}, "need an offset"),
    ],
)
def test_what_cannot_be_planned(frame: pd.DataFrame, changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"run_id": "r", "seed": 1, "events": 10, "start": START, "end": END, **changes}
    with pytest.raises(SimulationError, match=message):
        plan_events(frame, Columns(), **arguments)


def test_a_row_without_a_time_is_refused() -> None:
    frame = table()
    frame.loc[3, "Time"] = np.nan
    with pytest.raises(SimulationError, match="'Time' lacks"):
        plan(frame, events=len(frame))
