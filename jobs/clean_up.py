"""The job ``clean_up``: endpoints that nobody needs any more are deleted.

Belongs here: asking what there is, and deleting. Does not: which ones are due (``fraudit_dagster/retirement.py``).
"""

from datetime import UTC, datetime

import dagster as dg

from fraudit_dagster.manifest import endpoints_of
from fraudit_dagster.retirement import KEPT_MANIFESTS, Deployed, due
from resources.manifests import Manifests
from resources.sagemaker import SageMaker, SageMakerError


@dg.op(pool="serving", tags={"dagster/compute_kind": "sagemaker"})
def retire_endpoints(context: dg.OpExecutionContext, manifests: Manifests, sagemaker: SageMaker) -> None:
    """Delete endpoints of rejected, superseded and long replaced models; those of the last two manifests stay."""
    current = manifests.current()
    documents = [manifests.read(version) for version in manifests.history()]
    there = [endpoint for endpoint in sagemaker.endpoints() if endpoint.status != "Deleting"]
    deployed = []
    for endpoint in there:
        try:
            approval = sagemaker.package(endpoint.algorithm, endpoint.version).status
        except SageMakerError as error:
            context.log.warning("endpoint %s is left alone: %s", endpoint.name, error)
            continue
        deployed.append(
            Deployed(endpoint.name, endpoint.algorithm, int(endpoint.version), approval, endpoint.created_at)
        )
    retirements = due(
        deployed,
        serving=endpoints_of(current.document) if current else (),
        kept={name for document in documents[-KEPT_MANIFESTS:] for name in endpoints_of(document)},
        served={name for document in documents for name in endpoints_of(document)},
        switched_at=manifests.switched_at(),
        now=datetime.now(UTC),
    )
    by_name = {endpoint.name: endpoint for endpoint in there}
    for retirement in retirements:
        context.log.info("deleting endpoint %s: %s", retirement.name, retirement.reason)
        sagemaker.delete_endpoint(retirement.name)
        if retirement.superseded:
            endpoint = by_name[retirement.name]
            package = sagemaker.package(endpoint.algorithm, endpoint.version)
            sagemaker.set_approval(package.arn, status="Rejected", reason=retirement.reason, properties={})
    context.add_output_metadata({"endpoints": len(there), "deleted": [item.name for item in retirements]})


@dg.job(description="Deletes the endpoints of rejected, superseded and long replaced models.")
def clean_up() -> None:
    """Run the one step of the job."""
    retire_endpoints()
