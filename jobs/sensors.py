"""What runs because something happened: new data, an approval, a failure. All sensors of the graph are collected here.

Belongs here: reacting to runs and to the registry. Does not: new objects in S3 (``jobs/new_data.py``), conditions of single
assets (``jobs/automation.py``), what runs outside Dagster (``jobs/monitors.py``).
"""

import dagster as dg

from fraudit_dagster.manifest import serves
from fraudit_dagster.records import Registration
from jobs.automation import AUTOMATION
from jobs.failures import reasons_of
from jobs.jobs import PROMOTE
from jobs.monitors import MONITORS
from jobs.new_data import NEW_DATA
from jobs.repair import repair_stream_job
from jobs.triggers import TRIGGERS
from resources.alerts import Alerts
from resources.manifests import Manifests
from resources.records import RecordError, RecordIOManager
from resources.sagemaker import SageMaker

REGISTRATION = dg.AssetKey(["model", "registration"])


@dg.sensor(
    job=PROMOTE,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Promotes the newest candidate once a person has approved it in the model registry. Each approval is tried once.",
)
def promote_approved(
    io_manager: dg.ResourceParam[RecordIOManager], manifests: Manifests, sagemaker: SageMaker
) -> dg.RunRequest | dg.SkipReason:
    """Request ``promote`` where both models of the newest candidate are approved and do not serve yet."""
    try:
        judged = io_manager.load(REGISTRATION, Registration).evaluation
    except RecordError as error:
        return dg.SkipReason(str(error))
    current = manifests.current()
    if current is not None and serves(current.document, judged):
        return dg.SkipReason(f"the newest candidate serves: {current.version}")
    approvals = {name: sagemaker.approval(served.package_arn) for name, served in judged.candidates.items()}
    if set(approvals.values()) != {"Approved"}:
        said = ", ".join(f"{name} is {status}" for name, status in approvals.items())
        return dg.SkipReason(f"the newest candidate does not serve: {said}")
    return dg.RunRequest(run_key="|".join(served.package_arn for served in judged.candidates.values()))


@dg.run_failure_sensor(
    name="alert_on_failure",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="Tells the operations topic of each run that failed: which job, why, and where to look.",
)
def alert_on_failure(context: dg.RunFailureSensorContext, alerts: Alerts) -> dg.SkipReason | None:
    """Publish what failed, in the words that the step gave."""
    run = context.dagster_run
    if run.job_name == repair_stream_job.name:
        return dg.SkipReason("the monitor that asked for the repair tells what became of it")
    reasons = reasons_of(context.instance, run.run_id) or [context.failure_event.message or "no reason given"]
    subject = f"fraudit: {run.job_name} failed"
    if not alerts.tell(subject, message(run.job_name, run.run_id, reasons, url=alerts.dagster_url)):
        return dg.SkipReason("no operations topic is set (OPERATIONS_TOPIC_ARN)")
    return None


def message(job: str, run_id: str, reasons: list[str], *, url: str) -> str:
    """Return the text of an alert."""
    lines = [f"The job {job} failed. What served before goes on serving.", "", *reasons, "", f"{url}/runs/{run_id}"]
    return "\n".join(lines)


SENSORS = [NEW_DATA, promote_approved, alert_on_failure, AUTOMATION, *TRIGGERS, *MONITORS]
