"""Daily truth about transactions, decisions and models, from the warehouse.

Belongs here: assets keyed by day. Does not: what happens within the day (``assets/external.py``).
"""

import dagster as dg

from assets import columns
from resources.warehouse import Warehouse

DAYS = dg.DailyPartitionsDefinition(start_date="2026-01-01", timezone="UTC")


@dg.asset(
    key=["analytics", "daily_fraud_summary"],
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[["warehouse", "fraud_predictions"]],
    kinds={"postgres", "table"},
    code_version="1",
    metadata={
        "dagster/column_schema": columns.of_table("daily_fraud_summary"),
        "dagster/table_name": "fraud.daily_fraud_summary",
    },
)
def daily_fraud_summary(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
    """Transactions, decisions and amounts per day, source and country.

    A day is the UTC day of ``occurred_at``. Materializing a day again replaces it.
    """
    window = context.partition_time_window
    rows = warehouse.replace_days("daily_fraud_summary", start=window.start, end=window.end)
    return dg.MaterializeResult(metadata={"dagster/row_count": rows, "days": len(context.partition_keys)})


ASSETS = [daily_fraud_summary]
