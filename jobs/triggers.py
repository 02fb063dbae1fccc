"""What became known later asks for a retraining: transactions that are others than the training's, and frauds that are missed.

Belongs here: the two sensors, and reading the daily tables for them. Does not: what is reason enough
(``fraudit_dagster/retraining.py``, ``fraudit_dagster/drift.py``), on which table (``jobs/relearn.py``), whether a new model serves (the gate, ``assets/serving.py``).
Both are created stopped: whether numbers alone may start a retraining is for a deployment to say.
"""

import json
from datetime import date

import dagster as dg

from assets.evaluation import evaluation_uri
from fraudit_dagster.drift import drifted
from fraudit_dagster.retraining import Requested, has_fallen
from jobs.jobs import BOOTSTRAP
from jobs.relearn import same_table
from resources.manifests import Current, Manifests
from resources.records import RecordIOManager
from resources.storage import Storage
from resources.warehouse import Warehouse

RECALL_MARGIN = 0.05
"""Of the recall on the test part that may be lost."""
NOTHING_SERVES = "nothing serves yet"

NEWEST_DRIFT = """
select day, feature, rows, psi, ks
from fraud.daily_feature_drift
where
    contract = %(contract)s
    and manifest_version = %(manifest_version)s
    and day = (
        select max(day) from fraud.daily_feature_drift
        where contract = %(contract)s and manifest_version = %(manifest_version)s
    )
"""
KNOWN_FRAUDS = """
with known as (
    select
        day,
        frauds,
        true_positives,
        row_number() over (partition by day order by label_age_days desc) as place
    from fraud.daily_model_performance
    where
        contract = %(contract)s
        and classifier_version = %(classifier_version)s
        and day >= current_date - 28
)
select max(day) as day, sum(frauds)::bigint as frauds, sum(true_positives)::bigint as caught
from known
where place = 1
"""


@dg.sensor(
    job=BOOTSTRAP,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Retrains when the newest day of analytics/daily_feature_drift differs from what the champion was trained on. At most "
    "once a week for one champion; the gate decides what serves.",
)
def retrain_on_drift(
    context: dg.SensorEvaluationContext,
    warehouse: Warehouse,
    manifests: Manifests,
    io_manager: dg.ResourceParam[RecordIOManager],
) -> dg.SensorResult | dg.SkipReason:
    """Request ``bootstrap`` on the same table where a feature or a score of the newest day has drifted.

    Raises:
        WarehouseError: The table could not be read.
        StorageError: The manifest could not be read.
    """
    current = manifests.current()
    if current is None:
        return dg.SkipReason(NOTHING_SERVES)
    asked = {"contract": current.document["contract"]["name"], "manifest_version": current.version}
    rows = warehouse.query(NEWEST_DRIFT, asked)
    if not rows:
        return dg.SkipReason(f"no day of {current.version} has been compared with its training yet")
    day = rows[0]["day"]
    moved = drifted(rows)
    if not moved:
        return dg.SkipReason(f"{day}: no feature has drifted")
    return _request(context, current, day, io_manager, why=f"{day}: drifted: {', '.join(moved)}")


@dg.sensor(
    job=BOOTSTRAP,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Retrains when the champion flags fewer of the known frauds of the last 28 days than it did on its test part, by more "
    "than chance explains. At most once a week for one champion; the gate decides what serves.",
)
def retrain_on_performance(
    context: dg.SensorEvaluationContext,
    warehouse: Warehouse,
    manifests: Manifests,
    storage: Storage,
    io_manager: dg.ResourceParam[RecordIOManager],
) -> dg.SensorResult | dg.SkipReason:
    """Request ``bootstrap`` on the same table where the recall of what is known by now is below what the evaluation promised.

    Raises:
        WarehouseError: The table could not be read.
        StorageError: The manifest or its evaluation could not be read.
    """
    current = manifests.current()
    if current is None:
        return dg.SkipReason(NOTHING_SERVES)
    versions = {role: current.document[role]["model_version"] for role in ("fraud_classifier", "anomaly_detector")}
    (known,) = warehouse.query(
        KNOWN_FRAUDS,
        {"contract": current.document["contract"]["name"], "classifier_version": versions["fraud_classifier"]},
    )
    if not known["frauds"]:
        return dg.SkipReason(f"no fraud of the last 28 days is known that {current.version} decided on")
    uri = evaluation_uri(storage, classifier=versions["fraud_classifier"], detector=versions["anomaly_detector"])
    promised = float(json.loads(storage.read(uri))["fused"]["recall_of_flagged"])
    found = f"{known['caught']} of {known['frauds']} known frauds were flagged, {promised:.0%} on the test part"
    if not has_fallen(caught=known["caught"], frauds=known["frauds"], promised_recall=promised, margin=RECALL_MARGIN):
        return dg.SkipReason(found)
    return _request(context, current, known["day"], io_manager, why=found)


def _request(
    context: dg.SensorEvaluationContext, current: Current, day: date, records: RecordIOManager, *, why: str
) -> dg.SensorResult | dg.SkipReason:
    before = Requested.read(context.cursor)
    if before is not None and before.still_rests(current.version, day):
        return dg.SkipReason(f"{why}; a retraining was asked for on what was known of {before.day}")
    context.log.info(why)
    asked = Requested(current.version, day)
    request = dg.RunRequest(
        run_key=f"{current.version}@{day}", run_config=same_table(records), tags={"fraudit/reason": why[:255]}
    )
    return dg.SensorResult(run_requests=[request], cursor=asked.written())


TRIGGERS = [retrain_on_drift, retrain_on_performance]
