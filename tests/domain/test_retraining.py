"""When what became known later asks for a retraining."""

from datetime import date

import pytest

from fraudit_dagster.retraining import Requested, has_fallen, wilson_upper

DAY = date(2026, 11, 20)


def test_the_interval_is_wilsons() -> None:
    # By hand for 8 of 10: (0.8 + 0.19208 + 1.96 * sqrt(0.016 + 0.0096040)) / 1.38416
    assert wilson_upper(8, 10) == pytest.approx(0.9433191)
    assert wilson_upper(10, 10) == pytest.approx(1.0)
    assert wilson_upper(0, 10) == pytest.approx(0.2775402)
    assert wilson_upper(0, 0) == 1.0


@pytest.mark.parametrize(
    ("caught", "frauds", "fallen"),
    [
        (80, 100, False),  # as promised
        (70, 100, False),  # lower, and within chance
        (50, 100, True),
        (5, 10, False),  # the same share, of few
        (0, 0, False),  # nothing known yet
        (1, 3, False),
        (0, 10, True),
    ],
)
def test_recall_has_fallen_where_chance_and_the_margin_do_not_explain_it(
    caught: int, frauds: int, *, fallen: bool
) -> None:
    assert has_fallen(caught=caught, frauds=frauds, promised_recall=0.8, margin=0.1) is fallen


def test_the_same_champion_is_asked_about_again_after_a_week_and_another_at_once() -> None:
    asked = Requested("m1", DAY)
    assert asked.still_rests("m1", date(2026, 11, 26))
    assert not asked.still_rests("m1", date(2026, 11, 27))
    assert not asked.still_rests("m2", DAY)


def test_a_cursor_comes_back_and_one_that_is_not_ours_is_none() -> None:
    asked = Requested("m1", DAY)
    assert Requested.read(asked.written()) == asked
    for cursor in (None, "", "7", "[]", '{"day": "2026-11-20"}', '{"manifest_version": "m", "day": "soon"}'):
        assert Requested.read(cursor) is None
