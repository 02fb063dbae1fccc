"""A deployment with a data bucket and a warehouse, whose days can be archived. Each test has days of its own."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import dagster as dg
import psycopg2
import pytest

from assets.archive import archive
from fraudit_dagster.contract import SHIPPED_CONTRACT
from jobs.failures import reasons_of
from resources import archive as module
from resources.archive import Archive
from resources.deployment import build_resources
from tests.conftest import unique
from tests.graph.conftest import Deployment, Outcome, new_deployment
from tests.operate.conftest import REGION, said
from tests.warehouse.conftest import Place, new_secrets


@dataclass(frozen=True)
class Archived:
    """The deployment and its database."""

    deployment: Deployment
    place: Place

    @property
    def resource(self) -> Archive:
        """The archive as the graph has it."""
        made: Archive = build_resources(self.deployment.settings)["archive"]
        return made

    def materialize(self, first: str, last: str | None = None, **overrides: Any) -> Outcome:
        """Archive days, in one run as the job does for a range of them."""
        made = {**build_resources(self.deployment.settings), **overrides}
        tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last or first}
        with dg.DagsterInstance.ephemeral() as instance:
            result = dg.materialize(
                [archive],
                instance=instance,
                resources={name: made[name] for name in ("archive", "project")},
                tags=tags,
                raise_on_error=False,
            )
            return Outcome(result.success, "\n".join(reasons_of(instance, result.run_id)), result)


def new_archive(patch: pytest.MonkeyPatch, local_cloud: dict[str, str], **variables: str) -> Archived:
    """Make buckets and a migrated database, and point this process's environment to them."""
    owner = local_cloud["POSTGRES_USER"], local_cloud["POSTGRES_PASSWORD"]
    name = unique("archive").replace("-", "_")
    patch.setenv("AWS_REGION", REGION)
    variables = {"POSTGRES_DB": name, "AWS_REGION": REGION, "FRAUDIT_CONTRACT": str(SHIPPED_CONTRACT), **variables}
    deployment = new_deployment(patch, local_cloud, **variables)
    secrets = new_secrets()
    patch.setenv("FRAUDIT_WAREHOUSE_SECRETS", secrets)
    place = Place(local_cloud["POSTGRES_HOST"], int(local_cloud["POSTGRES_PORT"]), name, secrets, owner)
    with closing(psycopg2.connect(host=place.host, port=place.port, user=owner[0], password=owner[1])) as server:
        server.autocommit = True
        server.cursor().execute(f"create database {name}")
    said("warehouse", "migrate")
    settings = deployment.settings.model_copy(update={"warehouse_secrets": secrets})
    return Archived(Deployment(**{**vars(deployment), "settings": settings}), place)


@pytest.fixture(scope="module")
def archived(local_cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archived]:
    """Empty buckets and an empty warehouse."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "STALL_S", 0.0)
        yield new_archive(patch, local_cloud, FRAUDIT_WORK_DIR=str(tmp_path_factory.mktemp("work")))
