"""What runs outside Dagster and is watched by it: the API, the stream, the stream's job, the table it fills.

Belongs here: declaring them, with a check for each signal, and how long without a heartbeat is too long. Does not: looking at them
(``resources/watch.py``), doing so every half minute (``jobs/monitors.py``), repairing (``jobs/repair.py``).

Each is materialized, as a heartbeat, only while everything watched of it is well. So one that is not, and one that nobody looks at any
more, becomes stale by itself.
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta

import dagster as dg

from assets import columns
from fraudit_dagster.monitoring import Signal, Verdict
from resources.watch import Watch

HEARTBEATS = dg.FreshnessPolicy.time_window(fail_window=timedelta(minutes=6), warn_window=timedelta(minutes=4))

PREDICT = dg.AssetSpec(
    ["api", "predict"],
    deps=[["serving", "manifest"]],
    description="The HTTP API that scores a transaction and decides: approve, review or block. Chalice, on Lambda behind API Gateway.",
    kinds={"lambda", "python"},
    freshness_policy=HEARTBEATS,
)
TRANSACTIONS = dg.AssetSpec(
    ["stream", "transactions"],
    deps=[PREDICT],
    description="Every scored transaction as an event, in a Kinesis data stream.",
    kinds={"kinesis"},
    metadata={"dagster/column_schema": columns.of_event("event-prediction.v1")},
    freshness_policy=HEARTBEATS,
)
JOB = dg.AssetSpec(
    ["stream", "job"],
    deps=[TRANSACTIONS],
    description="The Spark stream on AWS Glue that stores each event once.",
    kinds={"glue", "spark"},
    freshness_policy=HEARTBEATS,
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
    freshness_policy=HEARTBEATS,
)


def _specs(asset: dg.AssetSpec, **descriptions: str) -> list[dg.AssetCheckSpec]:
    return [dg.AssetCheckSpec(name, asset=asset.key, description=says) for name, says in descriptions.items()]


def results(asset_key: dg.AssetKey, signals: Sequence[Signal]) -> Iterator[dg.AssetCheckResult]:
    """Yield the result of each signal's check; one that is neither good nor bad yet is a warning."""
    for signal in signals:
        yield dg.AssetCheckResult(
            asset_key=asset_key,
            check_name=signal.name,
            passed=signal.verdict is Verdict.GOOD,
            severity=dg.AssetCheckSeverity.ERROR if signal.verdict is Verdict.BAD else dg.AssetCheckSeverity.WARN,
            description=signal.says,
            metadata=dict(signal.facts),
        )


@dg.multi_asset_check(
    name="look_at_api",
    specs=_specs(
        PREDICT,
        answers="The API answers, and serves a manifest.",
        latency="Predictions are answered in time; without any, /health is.",
        errors="Few requests fail for reasons of the API's own.",
    ),
)
def look_at_api(watch: Watch) -> Iterator[dg.AssetCheckResult]:
    """Look at the API now."""
    yield from results(PREDICT.key, watch.api().signals)


@dg.multi_asset_check(
    name="look_at_stream",
    specs=_specs(
        TRANSACTIONS,
        active="The stream takes records.",
        iterator_age="Its reader is not far behind.",
        dead_letters="It has taken every event of late.",
    ),
)
def look_at_stream(watch: Watch) -> Iterator[dg.AssetCheckResult]:
    """Look at the Kinesis stream now."""
    yield from results(TRANSACTIONS.key, watch.stream().signals)


@dg.multi_asset_check(
    name="look_at_job",
    specs=_specs(
        JOB,
        running="The job runs if it is to, and does not if it was stopped on purpose.",
        reports="It gets on: it reports each batch, and each look at an empty stream.",
    ),
)
def look_at_job(watch: Watch) -> Iterator[dg.AssetCheckResult]:
    """Look at the stream job now."""
    yield from results(JOB.key, watch.job().signals)


@dg.multi_asset_check(
    name="look_at_table",
    specs=_specs(
        PREDICTIONS,
        fresh="What was scored is stored in time; where nothing was scored, nothing is missed.",
        quarantine="Few events are none.",
    ),
)
def look_at_table(watch: Watch) -> Iterator[dg.AssetCheckResult]:
    """Look at the table of predictions now."""
    yield from results(PREDICTIONS.key, watch.table().signals)


ASSETS = [PREDICT, TRANSACTIONS, JOB, PREDICTIONS]
CHECKS = [look_at_api, look_at_stream, look_at_job, look_at_table]
