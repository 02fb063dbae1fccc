"""A migrated warehouse that is emptied for each test, and what is stored in it."""

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from psycopg2.extras import execute_values

from tests.warehouse.conftest import Place, migrated, new_place

__all__ = ["migrated", "new_place"]

TODAY = datetime.now(UTC).date()
"""Labels come of age by the clock of the database, so that days are counted from now."""
TABLES = ("fraud_predictions", "fraud_labels", "daily_fraud_summary", "daily_model_performance", "daily_feature_drift")


@pytest.fixture
def place(migrated: Place) -> Place:
    """The warehouse of this suite, without a row."""
    migrated.run(f"truncate {', '.join(f'fraud.{table}' for table in TABLES)}")
    return migrated


def ago(days: int) -> date:
    """That many days before today."""
    return TODAY - timedelta(days=days)


def at(day: date, hour: float = 12) -> datetime:
    """A moment of a UTC day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(hours=hour)


def decide(place: Place, transaction_id: str, moment: datetime, **columns: Any) -> None:
    """Store a transaction that was approved unless the columns say otherwise."""
    decide_all(place, [{"transaction_id": transaction_id, "occurred_at": moment, **columns}])


def decide_all(place: Place, decided: Sequence[dict[str, Any]]) -> None:
    """Store transactions that say the same columns, each at least its id and its moment."""
    rows = [
        {
            "event_id": "00000000-0000-4000-8000-000000000000",
            "scored_at": row["occurred_at"],
            "stored_at": row["occurred_at"] + timedelta(seconds=1),
            "user_id": "u",
            "source": "Web",
            "country": "NL",
            "hour": 1,
            "weekday": 1,
            "amount": 10,
            "amount_band": "10-50",
            "contract": "creditcard",
            "manifest_version": "m1",
            "classifier_version": "7",
            "features": [0.0],
            "fraud_proba": 0.1,
            "anomaly_score": 1.0,
            "decision": "approve",
            **row,
        }
        for row in decided
    ]
    _insert(place, "fraud_predictions", list(rows[0]), [list(row.values()) for row in rows])


def label(place: Place, transaction_id: str, value: int, moment: datetime, *, source: str = "chargeback") -> None:
    """Store what somebody said of a transaction."""
    label_all(place, [(transaction_id, source, value, moment)])


def label_all(place: Place, labels: Sequence[tuple[str, str, int, datetime]]) -> None:
    """Store what was said: transaction, source, label, moment."""
    _insert(place, "fraud_labels", ["transaction_id", "source", "label", "labelled_at"], labels)


def _insert(place: Place, table: str, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with closing(place.connect()) as connection, connection, connection.cursor() as cursor:
        execute_values(cursor, f"insert into fraud.{table} ({', '.join(names)}) values %s", rows)  # noqa: S608 - of the tests


def rows_of(place: Place, table: str, columns: str = "*") -> list[tuple[Any, ...]]:
    """The rows of a daily table, without the moment that they were computed at."""
    names = [
        name
        for (name,) in place.run(
            "select column_name from information_schema.columns where table_schema = 'fraud' and table_name = %s "
            "and column_name <> 'computed_at' order by ordinal_position",
            (table,),
        )
    ]
    wanted = ", ".join(names) if columns == "*" else columns
    return place.run(f"select {wanted} from fraud.{table} order by {', '.join(names[:4])}")  # noqa: S608 - of the tests


def run(
    asset: dg.AssetsDefinition, days: Sequence[date], *, resources: dict[str, Any], raise_on_error: bool = True
) -> dg.ExecuteInProcessResult:
    """Materialize the days from the first to the last in one run, as a backfill does."""
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            [asset],
            instance=instance,
            resources=resources,
            raise_on_error=raise_on_error,
            tags={
                "dagster/asset_partition_range_start": str(days[0]),
                "dagster/asset_partition_range_end": str(days[-1]),
            },
        )


def shown(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """The metadata of the newest materialization, as the UI gets it."""
    event = result.get_asset_materialization_events()[-1]
    return {name: value.value for name, value in event.materialization.metadata.items()}
