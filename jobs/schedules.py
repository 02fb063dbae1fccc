"""What runs by the clock. Schedules are created stopped: a deployment switches on what it wants."""

from datetime import timedelta

import dagster as dg

from assets.analytics import DAYS, LABEL_AGES
from jobs.clean_up import clean_up
from jobs.jobs import ARCHIVE, BOOTSTRAP, DAILY, PERFORMANCE
from jobs.relearn import same_table
from resources.project import Project
from resources.records import RecordError, RecordIOManager
from resources.warehouse import Warehouse

DROPPED = "select day from fraud.archived_days where dropped_at is not null"


@dg.schedule(
    job=BOOTSTRAP,
    cron_schedule="0 3 * * 1",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Every Monday at 03:00 UTC: fraud changes. The table that was taken last, with what was archived since where the contract "
    "learns from the archive; a model that is no worse takes over.",
)
def weekly_retrain(io_manager: dg.ResourceParam[RecordIOManager]) -> dg.RunRequest | dg.SkipReason:
    """Request ``bootstrap`` on the same table."""
    try:
        return dg.RunRequest(run_config=same_table(io_manager))
    except RecordError as error:
        return dg.SkipReason(str(error))


DAILY_CLEAN_UP = dg.ScheduleDefinition(
    name="daily_clean_up",
    job=clean_up,
    cron_schedule="0 4 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Every day at 04:00 UTC: endpoints cost money by the hour.",
)
DAILY_TABLES = dg.build_schedule_from_partitioned_job(DAILY, hour_of_day=1, minute_of_hour=30)


@dg.schedule(
    job=PERFORMANCE,
    cron_schedule="45 1 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Every day at 01:45 UTC: the days whose labels have reached one of the ages at which performance is told.",
)
def performance_by_label_age(
    context: dg.ScheduleEvaluationContext, warehouse: Warehouse
) -> list[dg.RunRequest] | dg.SkipReason:
    """Request ``performance`` for each day that was over as long ago as one of the ages; the newest is in ``daily``.

    A day whose rows were dropped keeps its figures.

    Raises:
        WarehouseError: Which days were dropped could not be read.
    """
    yesterday = context.scheduled_execution_time.date() - timedelta(days=1)
    days = {age: yesterday - timedelta(days=age) for age in LABEL_AGES if age}
    dropped = {row["day"] for row in warehouse.query(DROPPED)}
    requests = [
        dg.RunRequest(run_key=f"{day}+{age}", partition_key=day.isoformat())
        for age, day in days.items()
        if day >= DAYS.start.date() and day not in dropped
    ]
    return requests or dg.SkipReason("no day of these ages is in the warehouse")


@dg.schedule(
    job=ARCHIVE,
    cron_schedule="0 2 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Every day at 02:00 UTC, where the contract learns from the archive: the day whose labels are known by now is archived "
    "anew with them, and so is learnt from.",
)
def archive_matured(context: dg.ScheduleEvaluationContext, project: Project) -> dg.RunRequest | dg.SkipReason:
    """Request ``archive`` for the day that was over as long ago as the contract says."""
    learns = project.contract.learn_from_archive
    if learns is None:
        return dg.SkipReason(f"the contract {project.contract.name!r} does not learn from the archive")
    day = context.scheduled_execution_time.date() - timedelta(days=learns.label_age_days + 1)
    if day < DAYS.start.date():
        return dg.SkipReason(f"{day} is before the first day that there is")
    return dg.RunRequest(run_key=day.isoformat(), partition_key=day.isoformat())


SCHEDULES = [weekly_retrain, DAILY_CLEAN_UP, DAILY_TABLES, performance_by_label_age, archive_matured]
