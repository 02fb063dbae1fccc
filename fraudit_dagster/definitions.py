"""The composition root: the whole graph as one ``Definitions``. Settings become resources in ``resources/deployment.py``."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from assets import analytics, archive, backtest, dataset, drift, evaluation, external, raw, serving, training
from fraudit_dagster.settings import Settings, load_settings
from jobs.automation import automated
from jobs.jobs import JOBS
from jobs.running import check_names, switched_on
from jobs.schedules import SCHEDULES
from jobs.sensors import SENSORS
from jobs.simulated_traffic import simulate_traffic, simulated_traffic
from resources.deployment import build_resources

GROUPS = {
    "raw": [raw],
    "dataset": [dataset],
    "training": [training],
    "evaluation": [evaluation],
    "serving": [serving],
    "external": [external],
    "analytics": [analytics, drift, archive],
    "backtest": [backtest],
}
OWNERS = ["team:fraud"]
PERSONAL_DATA = {"raw", "dataset", "external"}
"""Groups of assets that hold single transactions of people, and are to be protected as such."""


def build_defs(settings: Settings, *, resource_overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Return the graph with resources made from ``settings``; tests replace some of them.

    Raises:
        SettingsError: A schedule or sensor that is to run is none.
    """
    assets: list[Any] = []
    for group, modules in GROUPS.items():
        assets += dg.load_assets_from_modules(modules, group_name=group, include_specs=True)

    def completed(spec: dg.AssetSpec) -> dg.AssetSpec:
        tags = {"personal_data": "yes"} if spec.group_name in PERSONAL_DATA else {}
        links = {"url": dg.MetadataValue.url(settings.chalice_api_url)} if spec.key == external.PREDICT.key else {}
        return automated(
            spec.replace_attributes(owners=OWNERS, tags={**spec.tags, **tags}, metadata={**spec.metadata, **links})
        )

    rate = settings.simulated_traffic
    sensors = [*SENSORS, simulated_traffic(rate)] if rate else SENSORS
    check_names(settings.automation, [*SCHEDULES, *sensors])
    return dg.Definitions(
        assets=[dg.map_asset_specs(completed, [asset])[0] for asset in assets],
        asset_checks=external.CHECKS,
        jobs=[*JOBS, simulate_traffic] if rate else JOBS,
        schedules=switched_on(SCHEDULES, settings.automation),
        sensors=switched_on(sensors, settings.automation),
        resources={**build_resources(settings), **(resource_overrides or {})},
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """Load the graph for Dagster's commands and its UI."""
    return build_defs(load_settings())
