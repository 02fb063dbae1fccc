"""Why a run failed, in the words of the step or the check itself.

Belongs here: reading it from Dagster's events. Does not: telling it to people (``jobs/sensors.py``, ``fraudit_dagster/cli/graph.py``).
"""

from typing import Any

import dagster as dg


def reasons_of(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """Return a line for each blocking check and each step that failed in a run."""
    wanted = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.ASSET_CHECK_EVALUATION}
    events = [
        record.event_log_entry.dagster_event
        for record in instance.get_records_for_run(run_id, of_type=wanted, ascending=True).records
    ]
    return [reason for event in events if event is not None and (reason := reason_of(event))]


def reason_of(event: dg.DagsterEvent) -> str | None:
    """Return why this event is a failure, or None where it is none: ``<step>: ...`` or ``<asset>: check <name>: ...``."""
    if event.event_type == dg.DagsterEventType.STEP_FAILURE:
        error = event.step_failure_data.error
        if error is not None and error.cls_name == "DagsterAssetCheckFailedError":
            return None  # the check has said why
        return f"{event.step_key}: {_told(event.step_failure_data)}"
    if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
        check = event.asset_check_evaluation_data
        if check.blocking and not check.passed:
            return f"{'/'.join(check.asset_key.path)}: check {check.check_name}: {check.description}"
    return None


def _told(failure: Any) -> str:
    """Return what a step said of its failure; else the message of the first error that is not Dagster's own wrapping."""
    if failure.user_failure_data and failure.user_failure_data.description:
        return str(failure.user_failure_data.description)
    error = failure.error
    while error is not None and error.cause is not None and str(error.cls_name).startswith("Dagster"):
        error = error.cause
    if error is None:
        return "no reason given"
    return str(error.message).strip().partition(f"{error.cls_name}: ")[2] or str(error.message).strip()
