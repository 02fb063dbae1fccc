"""What runs by the clock. Schedules are created stopped: a deployment switches on what it wants."""

import dagster as dg

from jobs.clean_up import clean_up
from jobs.jobs import DAILY, RETRAIN

WEEKLY_RETRAIN = dg.ScheduleDefinition(
    name="weekly_retrain",
    job=RETRAIN,
    cron_schedule="0 3 * * 1",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Every Monday at 03:00 UTC: fraud changes, and a model that is no worse takes over.",
)
DAILY_CLEAN_UP = dg.ScheduleDefinition(
    name="daily_clean_up",
    job=clean_up,
    cron_schedule="0 4 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Every day at 04:00 UTC: endpoints cost money by the hour.",
)
DAILY_TABLES = dg.build_schedule_from_partitioned_job(DAILY, hour_of_day=1, minute_of_hour=30)

SCHEDULES = [WEEKLY_RETRAIN, DAILY_CLEAN_UP, DAILY_TABLES]
