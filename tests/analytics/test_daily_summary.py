"""Transactions of a day by source and country, and days of which there are none."""

from datetime import timedelta

import dagster as dg
import pytest

from assets.analytics import daily_fraud_summary, daily_model_performance
from assets.drift import daily_feature_drift
from tests.analytics.conftest import ago, at, decide, rows_of, run, shown
from tests.warehouse.conftest import Place


def test_the_ui_shows_each_day_and_says_which_have_no_transactions(place: Place) -> None:
    decide(place, "t-1", at(ago(3), 0), amount=5)
    decide(place, "t-2", at(ago(3), 23.9), amount=7, decision="block", country=None)
    decide(place, "t-3", at(ago(2), 24), decision="review")  # the first moment of the day after
    result = run(daily_fraud_summary, [ago(3), ago(2), ago(1)], resources={"warehouse": place.warehouse("analyst")})
    found = shown(result)
    assert found["dagster/row_count"] == 3
    assert found["transactions"] == 3
    assert found["days_without_transactions"] == 1
    assert [(row.data["day"], row.data["transactions"], row.data["amount"]) for row in found["by_day"].records] == [
        (str(ago(1)), 1, 10),
        (str(ago(3)), 2, 12),
    ]
    assert rows_of(place, "daily_fraud_summary", "day, country, blocked, delay_p95_ms") == [
        (ago(3), "NL", 0, 1000),
        (ago(3), "ZZ", 1, 1000),
        (ago(1), "NL", 0, 1000),
    ]


def test_a_day_without_transactions_has_no_row_and_is_no_error(place: Place) -> None:
    decide(place, "t", at(ago(3)))
    for day in (ago(3), ago(3) + timedelta(days=1)):
        result = run(daily_fraud_summary, [day], resources={"warehouse": place.warehouse("analyst")})
    assert shown(result)["dagster/row_count"] == 0
    assert shown(result)["by_day"] == "no transactions"
    assert [row[0] for row in rows_of(place, "daily_fraud_summary")] == [ago(3)]


@pytest.mark.parametrize(
    "asset", [daily_fraud_summary, daily_model_performance, daily_feature_drift], ids=lambda asset: asset.key.path[-1]
)
def test_the_ui_shows_the_columns_that_the_table_has(place: Place, asset: dg.AssetsDefinition) -> None:
    shown_columns = [column.name for column in asset.metadata_by_key[asset.key]["dagster/column_schema"].columns]
    there = place.run(
        "select column_name from information_schema.columns where table_schema = 'fraud' and table_name = %s "
        "order by ordinal_position",
        (asset.key.path[-1],),
    )
    assert shown_columns == [name for (name,) in there]
