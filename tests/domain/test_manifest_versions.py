"""Manifest versions sort in the order of their promotions."""

from datetime import UTC, datetime, timedelta

from fraudit_dagster.manifest import new_version

NOON = datetime(2026, 11, 24, 12, 0, 0, 900_000, tzinfo=UTC)


def test_a_version_is_a_moment_and_a_random_part() -> None:
    assert new_version(NOON).startswith("2026-11-24T12:00:00Z-")


def test_a_version_sorts_after_the_one_before_it() -> None:
    first = new_version(NOON)
    second = new_version(NOON, after=first)
    third = new_version(NOON - timedelta(hours=1), after=second)
    assert first < second < third
    assert second.startswith("2026-11-24T12:00:01Z-")


def test_a_later_version_is_the_moment_it_was_made() -> None:
    assert new_version(NOON + timedelta(days=1), after=new_version(NOON)).startswith("2026-11-25T12:00:00Z-")
