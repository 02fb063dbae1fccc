"""Which schedules and sensors run from the start: what each says of itself, and what the deployment names.

Belongs here: switching on. Does not: what they do; which stage names which (``infra/terraform``, `FRAUDIT_AUTOMATION`).
"""

from collections.abc import Collection, Sequence
from copy import copy
from typing import Any

import dagster as dg
from dagster_shared.record import replace

from fraudit_dagster.settings import SettingsError


def switched_on(definitions: Sequence[Any], names: Collection[str]) -> list[Any]:
    """Return schedules or sensors, those that are named created running; a person may still stop them, which is kept.

    Args:
        definitions: Schedules, or sensors.
        names: Of some of them; others are left out of account.
    """
    return [_running(each) if each.name in names else each for each in definitions]


def check_names(names: Collection[str], definitions: Sequence[Any]) -> None:
    """Refuse names that nothing has.

    Raises:
        SettingsError: With every such name, and those that there are.
    """
    known = {each.name for each in definitions}
    if unknown := sorted(set(names) - known):
        raise SettingsError(
            f"FRAUDIT_AUTOMATION: {', '.join(unknown)}: there is no such schedule or sensor; there are {', '.join(sorted(known))}"
        )


def _running(definition: Any) -> Any:
    status: Any = dg.DefaultScheduleStatus.RUNNING
    if isinstance(definition, dg.SensorDefinition):
        status = dg.DefaultSensorStatus.RUNNING
    elif not isinstance(
        definition, dg.ScheduleDefinition
    ):  # of a job by partitions: a record until the graph is put together
        return replace(definition, default_status=status)
    made = copy(definition)
    made._default_status = status  # noqa: SLF001 - Dagster's with_attributes replaces jobs and metadata alone
    return made
