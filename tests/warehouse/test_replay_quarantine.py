"""``fraudit replay quarantine``: what is an event by now becomes a row, once; the rest stays, with its reason of now."""

import json
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, get_args, get_type_hints

import pytest
from fraudit_stream import events, replay
from fraudit_stream.database import SinkError

from fraudit_dagster.cli.app import replay_quarantine
from tests.operate.conftest import fraudit, said
from tests.stream.conftest import label, prediction
from tests.warehouse.conftest import Place

NOW = datetime.now(UTC)


def quarantine(
    place: Place, number: int, event: dict[str, Any] | bytes, *, reason: str = "invalid", arrived_at: datetime = NOW
) -> None:
    """Put an event into quarantine, as the rules of another day have."""
    raw = event if isinstance(event, bytes) else json.dumps(event).encode()
    place.run(
        "insert into fraud.quarantined_events (shard_id, sequence_number, raw, reason, detail, arrived_at) "
        "values ('shardId-000000000000', %s, %s, %s, 'of then', %s)",
        (f"49{number:054}", raw, reason, arrived_at),
    )


def state(place: Place) -> list[tuple[Any, ...]]:
    """Reason, detail and whether it was replayed of each quarantined event, in their order."""
    return place.run(
        "select reason, detail, replayed_at is not null from fraud.quarantined_events order by sequence_number"
    )


def rows_of(table: str) -> dict[str, str]:
    cells = [line.strip("│|").replace("│", "|").split("|") for line in table.splitlines() if "│" in line]
    return {name.strip(): number.strip() for name, number in cells}


def test_what_is_an_event_by_now_becomes_a_row_and_the_rest_stays(place: Place) -> None:
    quarantine(place, 1, prediction("t-1"), reason="unknown_version")
    quarantine(place, 2, label("t-1"), reason="unknown_type")
    quarantine(place, 3, b"{not json", reason="unknown_type")
    quarantine(place, 4, prediction("t-1", amount=1.0))
    assert rows_of(said("replay", "quarantine")) == {
        "found": "4",
        "stored": "2",
        "stored already": "0",
        "kept: conflict": "1",
        "kept: not_json": "1",
    }
    assert place.run("select transaction_id, amount::text from fraud.fraud_predictions") == [("t-1", "149.62")]
    assert place.run("select label from fraud.fraud_labels") == [(1,)]
    first, second, third, fourth = state(place)
    assert first == ("unknown_version", "of then", True)
    assert second == ("unknown_type", "of then", True)
    assert third[0] == "not_json"
    assert third[1] != "of then"
    assert fourth == ("conflict", "transaction_id is stored with other content", False)
    assert not third[2]
    assert rows_of(said("replay", "quarantine")) == {
        "found": "1",
        "stored": "0",
        "stored already": "0",
        "kept: not_json": "1",
    }


def test_an_event_that_is_stored_already_is_replayed_and_no_second_row(place: Place) -> None:
    event = prediction("t-1")
    quarantine(place, 1, event)
    quarantine(place, 2, event)
    assert rows_of(said("replay", "quarantine")) == {"found": "2", "stored": "1", "stored already": "1"}
    assert [replayed for *_, replayed in state(place)] == [True, True]


def test_conflicts_are_for_a_person_to_settle(place: Place) -> None:
    quarantine(place, 1, prediction("t-1"), reason="conflict")
    assert rows_of(said("replay", "quarantine"))["found"] == "0"
    assert fraudit("replay", "quarantine", "--reason", "conflict").exit_code == 2
    assert state(place) == [("conflict", "of then", False)]


def test_a_reason_is_replayed_alone(place: Place) -> None:
    quarantine(place, 1, prediction("t-1"), reason="invalid")
    quarantine(place, 2, prediction("t-2"), reason="unknown_version")
    said("replay", "quarantine", "--reason", "unknown_version")
    assert place.run("select transaction_id from fraud.fraud_predictions") == [("t-2",)]


def test_every_reason_but_conflict_can_be_named() -> None:
    named, _ = get_args(get_type_hints(replay_quarantine)["reason"])
    assert set(get_args(named)) == replay.REPLAYABLE


def test_a_dry_run_says_what_would_be_and_changes_nothing(place: Place) -> None:
    quarantine(place, 1, prediction("t-1"))
    quarantine(place, 2, b"")
    found = rows_of(said("replay", "quarantine", "--dry-run"))
    assert found == {"found": "2", "would be stored": "1", "stored already": "0", "kept: not_json": "1"}
    assert place.run("select count(*) from fraud.fraud_predictions") == [(0,)]
    assert state(place) == [("invalid", "of then", False)] * 2


def test_a_time_is_judged_as_of_the_arrival_and_only_a_wider_window_lets_it_in(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived_at = NOW - timedelta(days=200)
    times = {"occurred_at": (arrived_at - timedelta(days=100)).isoformat(), "scored_at": arrived_at.isoformat()}
    quarantine(place, 1, prediction("t-1", **times), reason="outside_window", arrived_at=arrived_at)
    times["occurred_at"] = arrived_at.isoformat()
    quarantine(place, 2, prediction("t-2", **times), arrived_at=arrived_at)
    assert rows_of(said("replay", "quarantine")) == {
        "found": "2", "stored": "1", "stored already": "0", "kept: outside_window": "1"
    }  # fmt: skip
    assert place.run("select transaction_id from fraud.fraud_predictions") == [("t-2",)]
    monkeypatch.setattr(events, "OLDEST", timedelta(days=120))
    assert rows_of(said("replay", "quarantine", "--reason", "outside_window"))["stored"] == "1"


def test_more_events_than_one_transaction_takes_are_all_replayed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "EVENTS_AT_ONCE", 3)
    for number in range(8):
        quarantine(place, number, prediction(f"t-{number}") if number % 2 else b"poison")
    chunks = list(replay.replay(place.database(), reasons=replay.REPLAYABLE, dry_run=False))
    assert [chunk.events for chunk in chunks] == [3, 3, 2]
    assert place.run("select count(*) from fraud.fraud_predictions") == [(4,)]
    assert replay.waiting(place.database(), reasons=replay.REPLAYABLE) == 4


def test_row_and_mark_are_of_one_transaction(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    quarantine(place, 1, prediction("t-1"))
    monkeypatch.setattr(replay, "_OUTCOME", "select 1/0")
    with pytest.raises(SinkError, match="PostgreSQL refused a replay: division by zero"):
        list(replay.replay(place.database(), reasons=replay.REPLAYABLE, dry_run=False))
    assert place.run("select count(*) from fraud.fraud_predictions") == [(0,)]
    assert state(place) == [("invalid", "of then", False)]


def test_two_replays_at_once_take_each_event_once(place: Place) -> None:
    for number in range(20):
        quarantine(place, number, prediction(f"t-{number}"))
    found: list[int] = []

    def run() -> None:
        chunks = replay.replay(place.database(), reasons=replay.REPLAYABLE, dry_run=False)
        found.append(sum(chunk.rows + chunk.duplicates for chunk in chunks))

    with closing(place.connect()) as other:  # holds both up, so that they meet
        other.cursor().execute("lock table fraud.quarantined_events")
        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        other.rollback()
    for thread in threads:
        thread.join()
    assert sorted(found) == [0, 20]
