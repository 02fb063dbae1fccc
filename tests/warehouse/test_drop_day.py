"""``fraudit warehouse drop-day``: an archived day goes, in small steps, and nothing that its archive does not have."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest

from fraudit_dagster.cli.errors import CommandError
from resources import warehouse as module
from resources.warehouse import WarehouseError
from tests.operate.conftest import fraudit, said
from tests.warehouse.conftest import Place, store

DAY = "2026-08-01"
ARCHIVED_AT = "2026-08-05T00:00:00Z"


@pytest.fixture
def day(place: Place) -> Place:
    """A day with 12 transactions and 2 quarantined events, and its neighbours with one each."""
    store(place, "values ('before')", "'2026-07-31T23:59:59.999999Z'", stored_at="'2026-08-01T00:00:01Z'")
    store(
        place, "select 't-' || n from generate_series(1, 12) as n", f"'{DAY}T00:00:00Z'", stored_at=f"'{DAY}T00:00:01Z'"
    )
    store(place, "values ('after')", "'2026-08-02T00:00:00Z'", stored_at="'2026-08-02T00:00:01Z'")
    for transaction, stored_at in (("t-1", "2026-08-04"), ("t-2", "2026-11-01"), ("after", "2026-08-04")):
        place.run(
            "insert into fraud.fraud_labels values (%s, 'chargeback', 1, %s, %s)", (transaction, stored_at, stored_at)
        )
    for number, arrived_at in enumerate(("2026-07-31T23:59:59Z", f"{DAY}T00:00:00Z", f"{DAY}T23:59:59Z")):
        place.run(
            "insert into fraud.quarantined_events values ('shard', %s, '', 'not_json', '', %s, null, %s)",
            (str(number), arrived_at, arrived_at),
        )
    return place


def archive(place: Place, *, rows: int = 12, quarantined: int = 2) -> None:
    """Say, as the job that archives will, that the day is in files."""
    place.run(
        "insert into fraud.archived_days (day, uri, rows, quarantined, checksum, archived_at) values (%s, %s, %s, %s, 'c0ffee', %s)",
        (DAY, f"s3://bucket/archive/{DAY}/", rows, quarantined, ARCHIVED_AT),
        role="analyst",
    )


def ids(place: Place) -> set[str]:
    return {name for (name,) in place.run("select transaction_id from fraud.fraud_predictions")}


def test_an_archived_day_goes_with_its_labels_and_quarantined_events_and_nothing_else(day: Place) -> None:
    archive(day)
    assert said("warehouse", "drop-day", DAY) == f"{DAY}: 14 rows deleted; they are in s3://bucket/archive/{DAY}/"
    assert ids(day) == {"before", "after"}
    assert day.run("select transaction_id from fraud.fraud_labels order by 1") == [("after",), ("t-2",)]
    assert day.run("select sequence_number from fraud.quarantined_events") == [("0",)]
    assert day.run("select day::text, dropped_at is not null from fraud.archived_days") == [(DAY, True)]
    assert said("warehouse", "drop-day", DAY).startswith(f"{DAY}: 0 rows deleted")


def test_the_daily_figures_of_a_day_that_is_gone_stay(day: Place) -> None:
    first, last = datetime(2026, 7, 31, tzinfo=UTC), datetime(2026, 8, 2, tzinfo=UTC)
    analyst = day.warehouse("analyst")
    assert analyst.replace_days("daily_fraud_summary", start=first, end=last) == 2
    archive(day)
    said("warehouse", "drop-day", DAY)
    with pytest.raises(WarehouseError, match=f"{DAY}: the warehouse has dropped its rows"):
        analyst.replace_days("daily_fraud_summary", start=first, end=last)
    figures = "select day::text, transactions from fraud.daily_fraud_summary order by day"
    assert day.run(figures) == [("2026-07-31", 1), (DAY, 12)]
    assert analyst.replace_days("daily_fraud_summary", start=first, end=first + timedelta(days=1)) == 1


def test_a_day_that_is_not_archived_stays(day: Place) -> None:
    done = fraudit("warehouse", "drop-day", DAY)
    assert isinstance(done.exception, CommandError)
    assert f"{DAY} is not archived" in str(done.exception)
    with pytest.raises(WarehouseError, match=f"the day {DAY} is not archived"):
        list(day.warehouse("analyst").drop_day(date.fromisoformat(DAY)))
    assert len(ids(day)) == 14


@pytest.mark.parametrize(("rows", "quarantined"), [(11, 2), (13, 2), (12, 1)])
def test_an_archive_with_other_counts_is_no_archive(day: Place, rows: int, quarantined: int) -> None:
    archive(day, rows=rows, quarantined=quarantined)
    done = fraudit("warehouse", "drop-day", DAY)
    assert isinstance(done.exception, WarehouseError)
    assert (
        f"the archive of {DAY} has {rows} transactions and {quarantined} quarantined events, the warehouse 12 and 2"
        in str(done.exception)
    )
    assert len(ids(day)) == 14
    assert day.run("select dropped_at from fraud.archived_days") == [(None,)]


def test_a_transaction_that_came_after_the_archive_stays(day: Place) -> None:
    archive(day)
    store(day, "values ('late')", f"'{DAY}T12:00:00Z'")
    said("warehouse", "drop-day", DAY)
    assert ids(day) == {"before", "after", "late"}


def test_an_interrupted_deletion_goes_on_where_it_was(day: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_ROWS", 5)
    archive(day)
    chunks = day.warehouse("analyst").drop_day(date.fromisoformat(DAY))
    assert next(chunks) == 5 + 2
    assert len(ids(day)) == 14 - 5
    assert list(day.warehouse("analyst").drop_day(date.fromisoformat(DAY))) == [5, 2]
    assert ids(day) == {"before", "after"}


def test_each_step_is_a_short_transaction_of_its_own(day: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that VACUUM can follow, and no lock and no snapshot is held for as long as a day takes."""
    monkeypatch.setattr(module, "CHUNK_ROWS", 4)
    archive(day)

    def transactions() -> Iterator[int]:
        for _ in day.warehouse("analyst").drop_day(date.fromisoformat(DAY)):
            assert day.run(
                "select count(*) from pg_stat_activity where usename = 'fraud_analyst' and state like 'idle in%'"
            ) == [(0,)]
            yield len(ids(day))

    assert [more - less for more, less in pairwise([14, *transactions()])] == [4, 4, 4]
