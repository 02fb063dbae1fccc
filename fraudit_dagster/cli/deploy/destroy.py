"""``fraudit deploy destroy`` and ``empty-bucket``: the way back out of an account.

Belongs here: what refuses, what would be lost, and what makes way. Does not: removing resources, which is Terraform's.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fraudit_dagster.cli.deploy import terraform
from fraudit_dagster.cli.deploy.changes import Change
from fraudit_dagster.cli.deploy.consent import require_consent
from fraudit_dagster.cli.deploy.infrastructure import planned, require_state_of
from fraudit_dagster.cli.deploy.outputs import Outputs, read_outputs
from fraudit_dagster.cli.errors import CommandError
from fraudit_dagster.settings import PROJECT_DIR
from resources.leavings import Leavings

BUCKETS = ("SPARK_DATA_BUCKET", "SPARK_STREAMING_BUCKET", "MODEL_BUCKET")


def changes(stage: str, *, yes: bool, project: Path = PROJECT_DIR) -> Iterator[Change]:
    """Yield the end of a deployment, once nothing is in its way.

    Raises:
        CommandError: Something would refuse, or go on costing: the message has all of it, each with the command that makes way. Or
            Terraform cannot destroy, or nobody consented.
        LeavingsError: AWS could not be asked.
    """
    require_state_of(stage, project)
    state = json.loads(terraform.output_of("show", "-json", project=project))
    resources = list(_resources(state.get("values", {}).get("root_module", {})))
    if not resources:
        return
    outputs = read_outputs(project=project)
    if in_the_way := list(_in_the_way(resources, outputs, stage)):
        raise CommandError(
            "nothing was removed, since this is in the way:\n" + "\n".join(f"- {it}" for it in in_the_way)
        )
    yield from planned(stage, "-destroy", yes=yes, project=project)


def _resources(module: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from module.get("resources", [])
    for child in module.get("child_modules", []):
        yield from _resources(child)


def _in_the_way(resources: list[Mapping[str, Any]], outputs: Outputs, stage: str) -> Iterator[str]:
    leavings = Leavings(region=outputs.region)
    for resource in resources:
        kind, values = resource["type"], resource["values"]
        if kind == "aws_db_instance" and values["deletion_protection"]:
            name = values["identifier"]
            yield (
                f"database {name} is protected, and holds every prediction: keep a copy by `aws rds create-db-snapshot "
                f"--db-instance-identifier {name} --db-snapshot-identifier {name}-last`, then `protected = false` in "
                f"{stage}.tfvars and `make tf.apply STAGE={stage}`"
            )
        if kind == "aws_s3_bucket" and next(leavings.versions(values["bucket"]), None):
            name = values["bucket"]
            yield f"bucket {name} holds objects or old versions: `fraudit deploy empty-bucket {name}` deletes them for good"
        if kind == "aws_ecr_repository" and (count := leavings.images(values["name"])):
            name = values["name"]
            yield f"repository {name} holds {count} images: `aws ecr delete-repository --force --repository-name {name}`"
    for name in leavings.endpoints(outputs.settings["FRAUDIT_SOLUTION_PREFIX"]):
        yield (
            f"endpoint {name} was made by the graph, not by Terraform, and would go on costing: "
            f"`aws sagemaker delete-endpoint --endpoint-name {name}`"
        )


def emptying(outputs: Outputs, bucket: str, *, yes: bool) -> Iterator[Change]:
    """Yield the end of everything in a bucket of this deployment, old versions too.

    Raises:
        CommandError: It is none of this deployment's, or nobody consented.
        LeavingsError: S3 refused, or could not be reached.
    """
    ours = [outputs.settings[name] for name in BUCKETS if name in outputs.settings]
    if bucket not in ours:
        raise CommandError(f"{bucket} is no bucket of this deployment, which has {', '.join(ours)}")
    leavings = Leavings(region=outputs.region)
    count = sum(len(page) for page in leavings.versions(bucket))
    if count:

        def empty() -> str:
            require_consent(bucket, doing=f"delete {count:,} objects and old versions for good", yes=yes)
            return f"{leavings.empty(bucket):,} deleted"

        yield Change(f"all of bucket {bucket}", f"{count:,} objects and old versions", None, empty)
