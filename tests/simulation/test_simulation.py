"""Traffic made from a table is in time order, repeatable, and such as the API takes."""

import uuid
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fraudit_dagster.simulation import SimulatedEvent, SimulationError, plan_events

END = datetime(2026, 11, 23, 12, tzinfo=UTC)
START = END - timedelta(days=2)


@dataclass(frozen=True)
class Columns:
    """What a contract says of a table."""

    inputs: tuple[str, ...] = ("Time", "V1", "Amount")
    label: str = "Class"
    time: str | None = "Time"


def table(rows: int = 400) -> pd.DataFrame:
    random = np.random.default_rng(1)
    frame = pd.DataFrame({"Time": random.permutation(rows) * 10.0, "V1": random.normal(size=rows), "Amount": 9.99})
    return frame.assign(Class=(frame.index % 50 == 0).astype(int))


def plan(
    frame: pd.DataFrame, *, columns: Columns | None = None, events: int = 100, seed: int = 7, run: str = "r"
) -> list[SimulatedEvent]:
    columns = columns or Columns()
    return list(plan_events(frame, columns, run_id=run, seed=seed, events=events, start=START, end=END))


def occurred_at(event: SimulatedEvent) -> datetime:
    return datetime.fromisoformat(event.body["metadata"]["timestamp"])


def test_the_time_of_the_table_becomes_ours() -> None:
    frame = table()
    events = plan(frame)
    times = [occurred_at(event) for event in events]
    assert (times[0], times[-1]) == (START, END)
    assert times == sorted(times)
    seconds = frame["Time"].to_numpy()[[event.row for event in events]]
    ours = np.array([(time - START) / timedelta(days=2) for time in times])
    assert ours == pytest.approx((seconds - seconds[0]) / (seconds[-1] - seconds[0]), abs=1e-6)


def test_an_event_is_a_row_and_says_so() -> None:
    frame = table()
    for event in plan(frame):
        row = frame.iloc[event.row]
        assert event.label == row["Class"]
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


def test_no_row_is_sent_twice_and_no_more_than_there_are() -> None:
    rows = [event.row for event in plan(table(30), events=1000)]
    assert sorted(rows) == list(range(30))


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
