"""Daily truth about transactions, decisions and models, from the warehouse.

Belongs here: assets keyed by day that SQL computes. Does not: what happens within the day (``assets/external.py``), comparison with
what a model was trained on (``assets/drift.py``), files of a day (``assets/archive.py``).

A day is the UTC day of ``occurred_at``. Materializing it again replaces its rows; several days are one run, and one transaction.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from assets import columns
from resources.warehouse import Warehouse

DAYS = dg.DailyPartitionsDefinition(start_date="2026-01-01", timezone="UTC")
LABEL_AGES = (0, 1, 7, 14, 30, 60, 90)
"""Days after its end at which a day is judged by the labels that are known: chargebacks come weeks late."""
LATE_AGE = 30
"""Days after which a day without a single label is odd."""
SHOWN_ROWS = 60

SUMMARY = """
select
    day::text,
    sum(transactions)::bigint as transactions,
    sum(amount)::double precision as amount,
    sum(approved)::bigint as approved,
    sum(reviewed)::bigint as reviewed,
    sum(blocked)::bigint as blocked,
    sum(flagged_amount)::double precision as flagged_amount,
    sum(degraded)::bigint as degraded,
    max(delay_p95_ms) as slowest_p95_delay_ms
from fraud.daily_fraud_summary
where day = any(%(days)s::date[])
group by day
order by day desc
"""
PERFORMANCE = """
select
    day::text,
    contract,
    classifier_version as classifier,
    label_age_days,
    transactions,
    labelled,
    contradicted,
    frauds,
    true_positives,
    false_positives,
    precision,
    recall,
    average_precision,
    amount_saved::double precision,
    amount_lost::double precision
from fraud.daily_model_performance
where day = any(%(days)s::date[])
order by day desc, contract, classifier_version, label_age_days desc
"""


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
    """Transactions, decisions, amounts, scores and delays per day, source and country."""
    window = context.partition_time_window
    rows = warehouse.replace_days("daily_fraud_summary", start=window.start, end=window.end)
    days = warehouse.query(SUMMARY, {"days": list(context.partition_keys)})
    empty = sorted(set(context.partition_keys) - {row["day"] for row in days})
    if empty:
        context.log.info("no transactions on %s", ", ".join(empty))
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": rows,
            "transactions": sum(row["transactions"] for row in days),
            "days": len(context.partition_keys),
            "days_without_transactions": len(empty),
            "by_day": shown(days),
        }
    )


@dg.asset(
    key=["analytics", "daily_model_performance"],
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[["warehouse", "fraud_predictions"]],
    kinds={"postgres", "table"},
    code_version="1",
    metadata={
        "dagster/column_schema": columns.of_table("daily_model_performance"),
        "dagster/table_name": "fraud.daily_model_performance",
    },
    check_specs=[
        dg.AssetCheckSpec(
            "labels_are_coming",
            asset=["analytics", "daily_model_performance"],
            description=f"Every day with transactions has labels {LATE_AGE} days later.",
        )
    ],
)
def daily_model_performance(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
    """What the decisions of a day were worth, by what was known 0, 1, 7, 14, 30, 60 and 90 days later.

    All metrics are of the labelled transactions; how many of the day's are labelled stands beside them. Ages that a day has not
    reached yet have no rows: materialize it again then.
    """
    window = context.partition_time_window
    rows = warehouse.replace_days("daily_model_performance", start=window.start, end=window.end, ages=list(LABEL_AGES))
    judged = warehouse.query(PERFORMANCE, {"days": list(context.partition_keys)})
    keyed = {(row["day"], row["contract"], row["classifier"]): row for row in reversed(judged)}
    newest = list(reversed(keyed.values()))  # each day at the highest age of its labels
    late = [row for row in judged if row["label_age_days"] == LATE_AGE]
    unlabelled = sorted({row["day"] for row in late} - {row["day"] for row in late if row["labelled"]})
    transactions = sum(row["transactions"] for row in newest)
    labelled = sum(row["labelled"] for row in newest)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": rows,
            "transactions": transactions,
            "labelled": labelled,
            "labelled_share": labelled / transactions if transactions else 0.0,
            "contradicted": sum(row["contradicted"] for row in newest),
            "amount_saved": sum(row["amount_saved"] for row in newest),
            "amount_lost": sum(row["amount_lost"] for row in newest),
            "by_day": shown(judged if len(context.partition_keys) == 1 else newest),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name="labels_are_coming",
                passed=not unlabelled,
                severity=dg.AssetCheckSeverity.WARN,
                description=f"no label after {LATE_AGE} days: {', '.join(unlabelled)}"
                if unlabelled
                else f"{len(late)} rows of days that are {LATE_AGE} days old have labels",
                metadata={"label_age_days": LATE_AGE, "days_without_labels": len(unlabelled)},
            )
        ],
    )


def shown(rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue | dg.TextMetadataValue:
    """Return the first rows of a query as a table for the UI, or say that there are none."""
    if not rows:
        return dg.MetadataValue.text("no transactions")
    return dg.MetadataValue.table([dg.TableRecord(dict(row)) for row in rows[:SHOWN_ROWS]])


ASSETS = [daily_fraud_summary, daily_model_performance]
