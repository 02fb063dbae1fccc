"""When a dead job is started again: at once, then after longer and longer pauses, and not for ever."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from fraudit_dagster.repairs import LIMIT, PAUSES, WINDOW, Repairs, Step, next_step, seen_running

NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
WISHED = NOON - timedelta(days=1)
TICK = timedelta(seconds=30)


def dead_for(ticks: int, repairs: Repairs | None = None, *, start: datetime = NOON) -> tuple[Repairs, list[Step]]:
    """A job that stays dead for so many ticks."""
    found = []
    repairs = repairs or Repairs()
    for number in range(ticks):
        now = start + number * TICK
        repairs, step = next_step(repairs, wished_at=WISHED, now=now)
        repairs = Repairs.model_validate_json(repairs.model_dump_json())
        found.append(step)
    return repairs, found


def test_attempts_come_at_once_and_after_half_a_minute_one_two_and_four() -> None:
    _, steps = dead_for(40)
    starts = [number * TICK for number, step in enumerate(steps) if step is Step.START]
    pauses = [later - earlier for earlier, later in pairwise(starts)]
    assert starts[0] == timedelta(0)
    assert pauses == [timedelta(seconds=30), timedelta(minutes=1), timedelta(minutes=2), timedelta(minutes=4)]


def test_after_five_in_an_hour_it_is_given_up_once_and_stays_so() -> None:
    repairs, steps = dead_for(500)
    assert steps.count(Step.START) == LIMIT == len(PAUSES) == 5
    assert steps.count(Step.GIVE_UP) == 1
    assert set(steps[steps.index(Step.GIVE_UP) + 1 :]) == {Step.STAY}
    assert repairs.gave_up


def test_attempts_of_more_than_an_hour_ago_do_not_count() -> None:
    repairs, _ = dead_for(8)
    later = NOON + 8 * TICK + WINDOW
    repairs, steps = dead_for(1, repairs, start=later)
    assert steps == [Step.START]
    assert len(repairs.attempts) == 1
    assert repairs.count == 5


def test_a_run_that_dies_again_soon_is_started_after_a_pause() -> None:
    repairs, _ = dead_for(1)
    repairs = seen_running(repairs)
    _, steps = dead_for(2, repairs, start=NOON + timedelta(seconds=10))
    assert steps == [Step.WAIT, Step.START]


def test_a_new_wish_forgets_what_was_tried() -> None:
    repairs, _ = dead_for(500)
    repairs, step = next_step(repairs, wished_at=NOON, now=NOON + timedelta(hours=5))
    assert step is Step.START
    assert (repairs.gave_up, repairs.count) == (False, 1)


def test_a_job_that_somebody_got_running_is_repaired_again() -> None:
    repairs = seen_running(dead_for(500)[0])
    _, steps = dead_for(1, repairs, start=NOON + timedelta(hours=5))
    assert steps == [Step.START]


def test_each_attempt_of_a_wish_has_a_number_of_its_own() -> None:
    repairs, counts = Repairs(), []
    for number in range(4):
        repairs, step = next_step(repairs, wished_at=WISHED, now=NOON + number * timedelta(minutes=40))
        assert step is Step.START
        counts.append(repairs.count)
    assert counts == [1, 2, 3, 4]


def test_what_was_tried_is_said_for_an_hour() -> None:
    repairs, _ = dead_for(2)
    said = repairs.tried(now=NOON + timedelta(minutes=1))
    assert said == "start requested at 12:00:00, 12:00:30 UTC (2 of at most 5 within an hour)"
    assert repairs.tried(now=NOON + timedelta(hours=2)) == ""
