"""The job ``rollback``: an earlier manifest serves again.

Belongs here: the order of going back. Does not: promoting a candidate (``assets/serving.py``).
"""

import dagster as dg
from pydantic import Field

from assets.failures import hopeless
from assets.serving import golden_obstacles, manifest_metadata
from fraudit_dagster.gate import GateError
from fraudit_dagster.manifest import ROLES, ManifestError, endpoints_of
from fraudit_dagster.records import Algorithm
from resources.manifests import Current, Manifests
from resources.sagemaker import EndpointError, SageMaker
from resources.storage import PreconditionError

MANIFEST = dg.AssetKey(["serving", "manifest"])


class RollbackConfig(dg.Config):
    """Which manifest shall serve again."""

    to: str | None = Field(
        default=None,
        description="Manifest version; none: the newest before the current one whose models are still approved.",
    )


@dg.op(pool="serving", tags={"dagster/compute_kind": "s3"})
def roll_back(
    context: dg.OpExecutionContext, config: RollbackConfig, manifests: Manifests, sagemaker: SageMaker
) -> None:
    """Let an earlier manifest serve again, by the same gate and the same one conditional write as a promotion.

    An endpoint that was retired in the meantime is deployed again from the registry; where ``to`` is what serves, that is all. The
    models that are left are rejected there, so that nothing promotes them again.
    """
    with hopeless(GateError, EndpointError, ManifestError, PreconditionError):
        current = manifests.current()
        if current is None:
            raise GateError("nothing serves, so there is nothing to go back from: run the job bootstrap")
        version = config.to or _version_before(current, manifests=manifests, sagemaker=sagemaker, context=context)
        target = manifests.read(version)
        if target["inputs"] != current.document["inputs"]:
            raise GateError(
                f"{version} asks its clients for other inputs than {current.version}; retrain under its contract"
            )
        for role, algorithm in ROLES.items():
            _deploy(target[role], algorithm, context=context, sagemaker=sagemaker)
        if obstacles := golden_obstacles(target, sagemaker):
            raise GateError(f"{version} may not serve again, and {current.version} stays: {'; '.join(obstacles)}")
        if version == current.version:
            context.log.info("%s serves already, and its endpoints answer as recorded", version)
            return
        # Rejected before the switch: where the switch then fails, the same run again does the same, not one step more.
        for role, algorithm in ROLES.items():
            if current.document[role]["endpoint"] not in endpoints_of(target):
                left = sagemaker.package(algorithm, current.document[role]["model_version"])
                reason = f"rolled back from {current.version} to {version}"
                sagemaker.set_approval(left.arn, status="Rejected", reason=reason, properties={})
        manifests.switch(target, away_from=current)
    context.log.info("serving %s again, in place of %s", version, current.version)
    metadata = {**manifest_metadata(target, manifests), "rolled_back_from": current.version}
    context.log_event(dg.AssetMaterialization(MANIFEST, metadata=metadata, tags={"dagster/data_version": version}))


def _version_before(
    current: Current, *, manifests: Manifests, sagemaker: SageMaker, context: dg.OpExecutionContext
) -> str:
    """Return the newest manifest before the current one that was not itself gone back from."""
    earlier = [version for version in manifests.history() if version < current.version]
    for version in reversed(earlier):
        document = manifests.read(version)
        packages = [sagemaker.package(algorithm, document[role]["model_version"]) for role, algorithm in ROLES.items()]
        if all(package.status == "Approved" for package in packages):
            return version
        context.log.info("%s is passed over: a model of it is no longer approved in the registry", version)
    raise GateError(
        f"none of the {len(earlier)} manifests that served before {current.version} has models that are still approved"
        if earlier
        else f"{current.version} is the first manifest that served: there is none before it"
    )


def _deploy(
    model: dict[str, str], algorithm: Algorithm, *, context: dg.OpExecutionContext, sagemaker: SageMaker
) -> None:
    package = sagemaker.package(algorithm, model["model_version"])
    if package.status != "Approved":
        raise GateError(
            f"{algorithm} version {package.version} is {package.status} in the registry; approve it there first"
        )
    name = sagemaker.deploy(
        algorithm=algorithm, version=package.version, image=package.image, artifact_uri=package.artifact_uri
    )
    context.log.info("endpoint %s is healthy", name)


@dg.job(
    description="An earlier manifest serves again: the one before, or the one that the run config names.",
    # A run whose process is lost is started again by itself; this one may have switched already, and would go back once more.
    tags={"dagster/max_retries": "0"},
)
def rollback() -> None:
    """Run the one step of the job."""
    roll_back()
