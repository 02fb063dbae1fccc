"""What runs by the clock. Schedules are created stopped: a deployment switches on what it wants."""

import dagster as dg

from jobs.jobs import DAILY, RETRAIN

WEEKLY_RETRAIN = dg.ScheduleDefinition(job=RETRAIN, cron_schedule="0 3 * * 1", execution_timezone="UTC")
DAILY_TABLES = dg.build_schedule_from_partitioned_job(DAILY, hour_of_day=1, minute_of_hour=30)

SCHEDULES = [WEEKLY_RETRAIN, DAILY_TABLES]
