"""The jobs that people, schedules and sensors start."""

from typing import Any

import dagster as dg

from jobs.clean_up import clean_up
from jobs.repair import repair_stream_job
from jobs.rollback import rollback

LEARNING = ("dataset", "training", "evaluation", "serving")

BOOTSTRAP = dg.define_asset_job(
    "bootstrap",
    selection=dg.AssetSelection.groups("raw", *LEARNING),
    description="From the raw table to a served manifest: what a new deployment runs first, and new data later.",
)
RETRAIN = dg.define_asset_job(
    "retrain",
    selection=dg.AssetSelection.groups(*LEARNING),
    description="New candidates from the raw table as it stands; they serve only if they are no worse than the champion.",
)
PROMOTE = dg.define_asset_job(
    "promote",
    selection=dg.AssetSelection.assets(["serving", "manifest"]),
    description="The newest registered candidate serves, if the registry has approved it and it passes the gate.",
)
DAILY = dg.define_asset_job(
    "daily",
    selection=dg.AssetSelection.groups("analytics"),
    description="The daily tables of one or more days.",
)
PERFORMANCE = dg.define_asset_job(
    "performance",
    selection=dg.AssetSelection.assets(["analytics", "daily_model_performance"]),
    description="What the decisions of one or more days were worth, by what is known of them by now.",
)
ARCHIVE = dg.define_asset_job(
    "archive",
    selection=dg.AssetSelection.assets(["analytics", "archive"]),
    description="One or more days of the warehouse as files, in place of what was archived of them before.",
)
BACKTEST = dg.define_asset_job(
    "backtest",
    selection=dg.AssetSelection.assets(["model", "backtest"]),
    description="The newest candidate against what serves, on the last archived days.",
)

JOBS: list[Any] = [
    BOOTSTRAP,
    RETRAIN,
    PROMOTE,
    rollback,
    clean_up,
    repair_stream_job,
    DAILY,
    PERFORMANCE,
    ARCHIVE,
    BACKTEST,
]
