"""What follows by itself where automation is switched on: everything made from the raw table, when the table has really changed.

Belongs here: automation conditions and the sensor that evaluates them. Does not: jobs by the clock (``jobs/schedules.py``).
"""

import dagster as dg

LEARNING_GROUPS = frozenset({"dataset", "training", "evaluation", "serving"})

ON_CHANGE = (
    dg.AutomationCondition.eager()
    # A plain eager() fires at every materialization above it; the same table again has the same data version.
    .replace("newly_updated", dg.AutomationCondition.data_version_changed())
    # A blocking check holds only within its own run.
    & dg.AutomationCondition.all_deps_blocking_checks_passed()
).with_label("what it is made from has changed, and is fit")

AUTOMATION = dg.AutomationConditionSensorDefinition(
    "automation",
    target=dg.AssetSelection.groups(*LEARNING_GROUPS),
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=30,
    description="Remakes what is made from the raw table, step by step, when the table that was materialized is another one.",
)


def automated(spec: dg.AssetSpec) -> dg.AssetSpec:
    """Give the assets that are learnt from the raw table their condition; others stay as they are."""
    if spec.group_name not in LEARNING_GROUPS:
        return spec
    return spec.replace_attributes(automation_condition=ON_CHANGE)
