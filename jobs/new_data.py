"""New files in S3 become a new candidate model.

Belongs here: listing the landing prefix and requesting a run. Does not: what counts as new (``fraudit_dagster/arrivals.py``).
"""

from datetime import UTC, datetime

import dagster as dg

from fraudit_dagster.arrivals import decide, landing_uri
from resources.project import Project
from resources.storage import Storage


@dg.sensor(
    job_name="bootstrap",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description=(
        "Trains on all files below the landing prefix once their content has changed and nothing has arrived for a while. "
        "The same bytes again, under any name, ask for nothing. A run that failed is not repeated for the same content."
    ),
)
def new_data(
    context: dg.SensorEvaluationContext, project: Project, storage: Storage
) -> dg.SensorResult | dg.SkipReason:
    """Request ``bootstrap`` on the landing prefix for content that no run was asked for yet.

    Raises:
        StorageError: The listing failed, which is not an empty prefix; the cursor stays as it is.
    """
    prefix = landing_uri(storage.data_bucket, project.landing_folder, project.contract.name)
    decision = decide(
        list(storage.objects(prefix)),
        prefix=prefix,
        now=datetime.now(UTC),
        settle_s=project.landing_settle_s,
        last_content=context.cursor,
    )
    if decision.content is None:
        return dg.SkipReason(decision.reason)
    context.log.info(decision.reason)
    request = dg.RunRequest(
        run_key=f"{prefix}@{decision.content}",
        run_config={"ops": {"raw__transactions": {"config": {"dataset": prefix}}}},
        tags={"fraudit/new_data": decision.content[:12]},
    )
    return dg.SensorResult(run_requests=[request], cursor=decision.content)


NEW_DATA = new_data
