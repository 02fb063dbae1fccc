"""Which schedules and sensors run from the start: those that the stage names, besides the monitors."""

import re
from typing import Any

import dagster as dg
import pytest

from fraudit_dagster.definitions import build_defs
from fraudit_dagster.settings import PROJECT_DIR, Settings, SettingsError

TERRAFORM = PROJECT_DIR / "infra" / "terraform"
ALWAYS = {"promote_approved", "alert_on_failure", "watch_api", "watch_stream", "watch_job", "watch_table"}


def running(names: str) -> set[str]:
    definitions = build_defs(Settings.model_validate({"FRAUDIT_AUTOMATION": names}))
    found: list[Any] = [*(definitions.sensors or ()), *(definitions.schedules or ())]
    return {each.name for each in found if each.default_status.value == "RUNNING"}


def named_by(stage: str) -> str:
    """What a stage's file of variables gives to the setting."""
    (listed,) = re.findall(r"^automation = \[([^]]+)\]", (TERRAFORM / f"{stage}.tfvars").read_text(), re.MULTILINE)
    return ",".join(re.findall(r"\w+", listed))


def test_nothing_is_trained_or_deleted_unless_the_deployment_says_so() -> None:
    assert running("") == ALWAYS


def test_a_development_counts_its_days_and_a_person_trains() -> None:
    assert running(named_by("dev")) - ALWAYS == {"daily_schedule", "performance_by_label_age", "daily_clean_up"}


def test_production_trains_by_itself_once_for_one_reason() -> None:
    found = running(named_by("prod"))
    assert found >= {"weekly_retrain", "new_data", "retrain_on_drift", "retrain_on_performance", "archive_matured"}
    assert "automation" not in found, "new_data asks for all of the graph already"


def test_a_schedule_of_partitions_runs_as_it_would_have() -> None:
    named = build_defs(Settings.model_validate({"FRAUDIT_AUTOMATION": "daily_schedule"}))
    schedule = named.resolve_schedule_def("daily_schedule")
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    assert schedule.cron_schedule == build_defs(Settings()).resolve_schedule_def("daily_schedule").cron_schedule


def test_a_name_that_nothing_has_is_refused() -> None:
    with pytest.raises(SettingsError, match="weekly_retraining: there is no such schedule or sensor; there are"):
        build_defs(Settings.model_validate({"FRAUDIT_AUTOMATION": "weekly_retraining, new_data"}))
