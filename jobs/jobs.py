"""The jobs that people, schedules and sensors start."""

import dagster as dg

BOOTSTRAP = dg.define_asset_job(
    "bootstrap",
    selection=dg.AssetSelection.groups("raw", "dataset", "training", "evaluation", "serving"),
    description="From the raw table to a served manifest: what a new deployment runs first.",
)
RETRAIN = dg.define_asset_job(
    "retrain",
    selection=dg.AssetSelection.groups("dataset", "training", "evaluation", "serving"),
    description="New candidates from the raw table as it stands; they serve only if they are no worse than the champion.",
)
DAILY = dg.define_asset_job(
    "daily",
    selection=dg.AssetSelection.groups("analytics"),
    description="The daily tables of one or more days.",
)

JOBS = [BOOTSTRAP, RETRAIN, DAILY]
