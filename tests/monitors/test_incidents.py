"""What people are told of a signal's ticks: each incident once when it opens, once when it is over, and no storm."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from fraudit_dagster.incidents import REPEAT, UNTOLD, Component, Memory, Message, advance
from fraudit_dagster.monitoring import Signal, Verdict

NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
TABLE = Component("warehouse/fraud_predictions", "http://dagster/assets/warehouse/fraud_predictions")
VERDICTS = {"g": Verdict.GOOD, "b": Verdict.BAD, "u": Verdict.UNKNOWN}


def told(ticks: str, *, bad_ticks: int = 2) -> dict[int, str]:
    """What is told after which tick (from 1), for a signal whose ticks are given as letters; the cursor is written and read each time."""
    cursor, before, found = None, 0, {}
    for number, tick in enumerate(ticks, 1):
        memory = Memory.read(cursor)
        signal = Signal("fresh", VERDICTS[tick], "rows are missing", bad_ticks=bad_ticks)
        now = NOON + timedelta(seconds=30 * number)
        memory = advance(memory, [signal], component=TABLE, now=now)
        if len(memory.untold) > before:
            found[number] = memory.untold[-1].subject.removeprefix(f"fraudit: {TABLE.name} ").removesuffix(": fresh")
            before = len(memory.untold)
        cursor = memory.written()
    return found


OPENED, OVER, FLAPPING = "is not well", "is well again", "is flapping"


@pytest.mark.parametrize(
    ("ticks", "expected"),
    [
        ("gggg", {}),
        ("gbg", {}),
        ("gbb", {3: OPENED}),
        ("bb", {2: OPENED}),
        ("gbbbbbbbb", {3: OPENED}),
        ("gbbg", {3: OPENED}),
        ("gbbgg", {3: OPENED, 5: OVER}),
        ("gbbgggg", {3: OPENED, 5: OVER}),
        ("gbubugug", {4: OPENED, 8: OVER}),
    ],
)
def test_two_bad_ticks_open_an_incident_and_two_good_ones_end_it(ticks: str, expected: dict[int, str]) -> None:
    assert told(ticks) == expected


def test_a_dead_job_is_told_at_its_first_bad_tick() -> None:
    assert told("gbgg", bad_ticks=1) == {2: OPENED, 4: OVER}


def test_what_alternates_is_flapping_and_told_once() -> None:
    assert told("g" + "bg" * 100) == {5: FLAPPING}


def test_what_comes_and_goes_slowly_is_no_storm() -> None:
    assert told("bbgg" * 50) == {2: OPENED, 4: OVER, 6: OPENED, 8: OVER, 9: FLAPPING}


def test_flapping_is_over_after_ten_good_ticks() -> None:
    assert told("gbgbg" + "g" * 30) == {5: FLAPPING, 14: OVER}


def test_what_flapped_and_then_stays_bad_is_told() -> None:
    assert told("gbgb" + "g" + "b" * 30) == {5: FLAPPING, 15: OPENED}


def test_what_has_settled_may_flap_again() -> None:
    assert told("gbgbg" + "g" * 9 + "bgbg") == {5: FLAPPING, 14: OVER, 18: FLAPPING}


def memory_after(*signals: Signal, memory: Memory | None = None) -> Memory:
    for number in range(2):
        now = NOON + timedelta(seconds=30 * number)
        memory = advance(memory or Memory(), signals, component=TABLE, now=now)
    assert memory is not None
    return memory


def bad(name: str, says: str) -> Signal:
    return Signal(name, Verdict.BAD, says)


def test_signals_that_change_at_once_are_one_message_which_says_what_since_when_and_where_to_look() -> None:
    memory = memory_after(
        bad("fresh", "rows are missing"), bad("quarantine", "9 of 20"), Signal("x", Verdict.GOOD, "fine")
    )
    (message,) = memory.untold
    assert message.subject == "fraudit: warehouse/fraud_predictions is not well: fresh, quarantine"
    assert "fresh: rows are missing (bad since 2026-11-25 12:00:00 UTC)" in message.text
    assert "quarantine: 9 of 20" in message.text
    assert "fine" not in message.text
    assert message.text.endswith(TABLE.url)


def test_a_second_signal_is_told_though_the_first_is_known() -> None:
    memory = memory_after(bad("fresh", "late"))
    memory = memory_after(bad("fresh", "late"), bad("quarantine", "much"), memory=memory)
    assert [message.subject.partition(": ")[2] for message in memory.untold] == [
        "warehouse/fraud_predictions is not well: fresh",
        "warehouse/fraud_predictions is not well: quarantine",
    ]


def test_only_so_many_messages_wait_for_a_topic() -> None:
    messages = [Message(subject=str(number), text="") for number in range(UNTOLD + 5)]
    memory = Memory().with_untold(messages)
    assert [message.subject for message in memory.untold] == [str(number) for number in range(5, UNTOLD + 5)]


def test_dagster_is_shown_what_changed_at_once_and_what_did_not_now_and_then() -> None:
    good, gone = Signal("fresh", Verdict.GOOD, ""), bad("fresh", "")
    assert Memory().must_show([good], now=NOON)
    memory = Memory().with_shown([good], now=NOON)
    assert not memory.must_show([good], now=NOON + REPEAT / 2)
    assert memory.must_show([gone], now=NOON + REPEAT / 2)
    assert memory.must_show([good], now=NOON + REPEAT)


@pytest.mark.parametrize(
    "cursor", [None, "", "jr_0123", "[]", '{"incidents": 7}', '{"incidents": {"fresh": {"state": "purple"}}}']
)
def test_a_cursor_that_is_not_understood_is_an_empty_memory(cursor: str | None) -> None:
    assert Memory.read(cursor) == Memory()


def test_a_cursor_of_a_version_with_other_fields_keeps_what_is_known() -> None:
    document = json.loads(memory_after(bad("fresh", "late")).written())
    del document["shown"], document["repairs"]
    memory = Memory.read(json.dumps({**document, "a_later_field": 1}))
    assert memory.incidents["fresh"].state == "open"
