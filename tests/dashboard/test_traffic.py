"""Live traffic: numbers of the chosen range, source and country; nothing, and nothing to be read."""

from datetime import UTC, datetime, timedelta

import pytest

from dashboard.filters import RANGES, up_to
from tests.dashboard.conftest import Visit, metrics, told
from tests.warehouse.conftest import Place, store

DAY = timedelta(days=1)


@pytest.fixture
def traffic(place: Place) -> Place:
    """A hundred transactions of the last minutes: ten of the app, of which one is blocked and two are to be reviewed."""
    now = "now() - interval '2 minutes'"
    store(place, "select 'web-' || n from generate_series(1, 90) as n", now)
    store(place, "select 'app-' || n from generate_series(1, 7) as n", now)
    store(place, "values ('app-8'), ('app-9')", now, decision="review")
    store(place, "values ('app-10')", now, decision="block")
    place.run(
        """
        update fraud.fraud_predictions set source = 'App', country = null, ip_address = '198.18.0.1', user_id = 'somebody'
        where transaction_id like 'app-%'
        """
    )
    return place


@pytest.mark.usefixtures("traffic")
def test_it_shows_what_was_decided(visit: Visit) -> None:
    page = visit()
    assert not page.exception
    found = metrics(page)
    assert (found["Transactions"], found["To review"], found["Blocked"], found["Flagged"]) == ("100", "2", "1", "3.00%")
    assert found["Amount"] == "1,050"
    by_source, by_country, flagged = (table.value for table in page.dataframe)
    assert by_source["transactions"].to_dict() == {"Web": 90, "App": 10}
    assert by_country["transactions"].to_dict() == {"NL": 90, "ZZ": 10}
    assert set(flagged["transaction_id"]) == {"app-8", "app-9", "app-10"}


@pytest.mark.usefixtures("traffic")
def test_it_does_not_tell_who_made_a_transaction(visit: Visit) -> None:
    columns = {column for table in visit().dataframe for column in table.value.columns}
    assert columns.isdisjoint({"ip_address", "user_id", "city", "latitude", "longitude"})


@pytest.mark.usefixtures("traffic")
def test_a_filter_changes_the_numbers(visit: Visit) -> None:
    page = visit()
    page.selectbox(key="source").select("App").run()
    assert metrics(page)["Transactions"] == "10"
    page.selectbox(key="country").select("NL").run()
    assert "No transactions in this range" in told(page)


@pytest.mark.usefixtures("traffic")
def test_a_link_has_the_filters(visit: Visit) -> None:
    page = visit(country="NL", range="1 hour")
    assert metrics(page)["Transactions"] == "90"
    assert page.selectbox(key="range").value == "1 hour"


def test_an_empty_warehouse_says_how_to_fill_it(visit: Visit) -> None:
    assert "make data.generate" in told(visit())


def test_a_warehouse_that_is_away_is_one_message(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PORT", "1")
    page = visit()
    assert not page.exception
    (error,) = page.error
    assert "cannot reach the warehouse" in error.value
    assert "make status" in error.value


def test_settled_days_come_from_the_daily_summary(place: Place, visit: Visit) -> None:
    """Days that were summed up after their end, and whose late events are in, are not counted again."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for days in (1, 5, 6):
        ids = ", ".join(f"('{days}-{number}')" for number in range(3))
        store(place, f"values {ids}", f"timestamptz '{today - days * DAY}'")
    analyst = place.warehouse("analyst")
    analyst.replace_days("daily_fraud_summary", start=today - 5 * DAY, end=today)
    place.run(
        "delete from fraud.fraud_predictions where transaction_id like '5-%'"
    )  # as after the end of its retention
    store(place, "values ('late')", f"timestamptz '{today - DAY}'")
    page = visit(range="7 days")
    assert metrics(page)["Transactions"] == "10"


@pytest.mark.parametrize("name", RANGES)
def test_a_range_is_whole_bars_up_to_now(name: str) -> None:
    now, chosen = datetime(2026, 11, 25, 13, 7, 9, tzinfo=UTC), RANGES[name]
    start, end = up_to(now, chosen)
    assert now <= end < now + chosen.step
    assert (end - start) % chosen.step == timedelta(0)
    assert up_to(end, chosen) == (start, end)


def test_a_day_is_a_utc_day() -> None:
    now = datetime(2026, 11, 25, 13, 7, tzinfo=UTC)
    assert up_to(now, RANGES["7 days"]) == (datetime(2026, 11, 19, tzinfo=UTC), datetime(2026, 11, 26, tzinfo=UTC))
