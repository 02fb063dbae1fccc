"""What runs outside Dagster and is watched by it: the API, the stream, the stream's job, the table it fills.

Belongs here: declaring them, and checks of how they are now. Does not: starting or repairing them.
"""

from datetime import UTC, datetime, timedelta

import dagster as dg

from assets import columns
from resources.glue import Glue
from resources.kinesis import Kinesis
from resources.prediction_api import PredictionApi, PredictionApiError
from resources.warehouse import Warehouse

PREDICT = dg.AssetSpec(
    ["api", "predict"],
    deps=[["serving", "manifest"]],
    description="The HTTP API that scores a transaction and decides: approve, review or block. Chalice, on Lambda behind API Gateway.",
    kinds={"lambda", "python"},
)
TRANSACTIONS = dg.AssetSpec(
    ["stream", "transactions"],
    deps=[PREDICT],
    description="Every scored transaction as an event, in a Kinesis data stream.",
    kinds={"kinesis"},
    metadata={"dagster/column_schema": columns.of_event("event-prediction.v1")},
)
JOB = dg.AssetSpec(
    ["stream", "job"],
    deps=[TRANSACTIONS],
    description="The Spark stream on AWS Glue that stores each event once.",
    kinds={"glue", "spark"},
)
PREDICTIONS = dg.AssetSpec(
    ["warehouse", "fraud_predictions"],
    deps=[JOB],
    description="One row per scored transaction, in PostgreSQL.",
    kinds={"postgres", "table"},
    metadata={
        "dagster/column_schema": columns.of_table("fraud_predictions"),
        "dagster/table_name": "fraud.fraud_predictions",
    },
)


@dg.asset_check(asset=PREDICT.key)
def answers(prediction_api: PredictionApi) -> dg.AssetCheckResult:
    """The API answers, and serves a manifest."""
    try:
        health = prediction_api.health()
    except PredictionApiError as error:
        return dg.AssetCheckResult(passed=False, description=str(error))
    return dg.AssetCheckResult(passed=health.status == "ok", metadata={"status": health.status})


@dg.asset_check(asset=TRANSACTIONS.key)
def active(kinesis: Kinesis) -> dg.AssetCheckResult:
    """The stream takes records."""
    summary = kinesis.summary()
    return dg.AssetCheckResult(passed=summary["status"] == "ACTIVE", metadata=summary)


@dg.asset_check(asset=JOB.key)
def running(glue: Glue) -> dg.AssetCheckResult:
    """The newest run of the job is running."""
    run = glue.latest_run()
    state = run["JobRunState"] if run else "never started"
    return dg.AssetCheckResult(
        passed=state == "RUNNING", metadata={"state": state, "error": (run or {}).get("ErrorMessage", "")}
    )


@dg.asset_check(asset=PREDICTIONS.key)
def fresh(warehouse: Warehouse) -> dg.AssetCheckResult:
    """A transaction was stored in the last hour."""
    (row,) = warehouse.query("SELECT max(stored_at) AS newest FROM fraud.fraud_predictions")
    age = datetime.now(UTC) - row["newest"] if row["newest"] else None
    metadata = {"newest": dg.MetadataValue.timestamp(row["newest"])} if row["newest"] else {"newest": "no row"}
    return dg.AssetCheckResult(
        passed=age is not None and age < timedelta(hours=1), severity=dg.AssetCheckSeverity.WARN, metadata=metadata
    )


ASSETS = [PREDICT, TRANSACTIONS, JOB, PREDICTIONS]
CHECKS = [answers, active, running, fresh]
