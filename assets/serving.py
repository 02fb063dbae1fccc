"""From candidates to what serves: endpoints, registry, manifest.

Belongs here: deploying, approving, switching. Does not: how good a candidate is (``assets/evaluation.py``), what a candidate must
be to serve (``fraudit_dagster/gate.py``).

A candidate gets endpoints of its own that nobody calls. It is judged through them, and only ``serving/manifest`` lets it serve:
the gate is there alone, so it holds whichever way the asset is materialized.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from assets.failures import hopeless
from fraudit_dagster import gate
from fraudit_dagster.contract import ContractError
from fraudit_dagster.manifest import ROLES, ManifestError, build_manifest, golden_inputs, model_spec, serves
from fraudit_dagster.records import Algorithm, Evaluation, Promotion, Registration, ServedModel, TrainedModel
from resources.manifests import Manifests
from resources.project import Project
from resources.sagemaker import EndpointError, SageMaker
from resources.storage import PreconditionError

FIT_TO_SERVE = dg.AssetCheckSpec(
    "fit_to_serve",
    asset=["model", "registration"],
    blocking=True,
    description="The candidate is good enough to serve: no worse than the champion on the same rows, and calibrated.",
)


def _endpoint(model: TrainedModel, sagemaker: SageMaker) -> dg.MaterializeResult[ServedModel]:
    name = sagemaker.deploy(
        algorithm=model.algorithm, version=model.version, image=model.image, artifact_uri=model.artifact_uri
    )
    record = ServedModel(algorithm=model.algorithm, endpoint=name, package_arn=model.package_arn, version=model.version)
    return dg.MaterializeResult(
        value=record,
        data_version=dg.DataVersion(name),
        metadata={"endpoint": name, "model_version": model.version, "training_job": model.training_job},
    )


@dg.asset(
    key=["endpoint", "xgboost"],
    ins={"model": dg.AssetIn(["model", "xgboost"])},
    kinds={"sagemaker", "xgboost"},
    code_version="1",
)
def endpoint_xgboost(sagemaker: SageMaker, model: TrainedModel) -> dg.MaterializeResult[ServedModel]:
    """The endpoint of the newest classifier. It serves one model version, and nobody calls it before the manifest names it."""
    with hopeless(EndpointError):
        return _endpoint(model, sagemaker)


@dg.asset(
    key=["endpoint", "random_cut_forest"],
    ins={"model": dg.AssetIn(["model", "random_cut_forest"])},
    kinds={"sagemaker"},
    code_version="1",
)
def endpoint_random_cut_forest(sagemaker: SageMaker, model: TrainedModel) -> dg.MaterializeResult[ServedModel]:
    """The endpoint of the newest anomaly detector. It serves one model version, and nobody calls it before the manifest names it."""
    with hopeless(EndpointError):
        return _endpoint(model, sagemaker)


@dg.asset(
    key=["model", "registration"],
    ins={"judged": dg.AssetIn(["model", "evaluation"])},
    check_specs=[FIT_TO_SERVE],
    dagster_type=dg.PythonObjectDagsterType(Registration),
    kinds={"sagemaker"},
    code_version="2",
)
def registration(
    context: dg.AssetExecutionContext, project: Project, sagemaker: SageMaker, judged: Evaluation
) -> dg.MaterializeResult:
    """The model registry's word on the candidates: approved, rejected, or waiting for a person.

    A candidate with a flaw (worse than the champion, not calibrated) is rejected and its endpoints are deleted. One without is
    approved at once, or left for a person to approve in the registry; the sensor `promote_approved` then promotes it.
    """
    flaws = gate.flaws(judged)
    if flaws:
        status, reason = "Rejected", "; ".join(flaws)
    elif project.automatic_approval:
        status, reason = "Approved", "no worse than the champion" if judged.champion else "the first model"
    else:
        status, reason = "PendingManualApproval", "without a flaw; a person approves it in the registry"
    for algorithm, served in judged.candidates.items():
        measured = {key: f"{value:.6g}" for key, value in judged.models[algorithm].items()}
        sagemaker.set_approval(
            served.package_arn,
            status=status,
            reason=reason,
            properties={**measured, "judged_in_run": context.run.run_id, "dataset_sha256": judged.raw_sha256},
        )
        if flaws:
            sagemaker.delete_endpoint(served.endpoint)
    context.log.info("%s: %s", status, reason)
    record = Registration.model_validate({"status": status, "reason": reason, "evaluation": judged})
    return dg.MaterializeResult(
        value=record,
        metadata={
            "status": status,
            "reason": reason,
            **{f"{algorithm}_package": served.package_arn for algorithm, served in judged.candidates.items()},
        },
        check_results=[
            dg.AssetCheckResult(
                check_name=FIT_TO_SERVE.name,
                passed=not flaws,
                description=f"The candidate does not serve: {reason}." if flaws else f"{status}: {reason}.",
                metadata=_compared(judged),
            )
        ],
    )


def _compared(judged: Evaluation) -> dict[str, str | float]:
    """Return the figures that the check stands on."""
    champion = judged.champion or {}
    shown = {
        "average_precision": judged.models["xgboost"].get("average_precision"),
        "average_precision_minus_champions": champion.get("difference"),
        "cost_minus_champions": champion.get("cost_difference"),
        "calibration_ratio": judged.reliability.get("ratio"),
    }
    return {
        "champion": str(champion.get("manifest_version", "none")),
        **{key: float(value) for key, value in shown.items() if value is not None},
    }


@dg.asset(
    key=["serving", "manifest"],
    ins={"registered": dg.AssetIn(["model", "registration"])},
    output_required=False,
    kinds={"s3", "json"},
    code_version="2",
    pool="serving",
)
def manifest(
    context: dg.AssetExecutionContext,
    project: Project,
    manifests: Manifests,
    sagemaker: SageMaker,
    registered: Registration,
) -> Iterator[dg.MaterializeResult[Promotion]]:
    """The one object that says which endpoints serve and how their scores become decisions. Writing it is the promotion.

    The gate: the registry has approved both models, the candidate is no worse than the champion that serves now and calibrated, and
    both endpoints answer the golden rows as recorded. Then one conditional write switches everything at once. A candidate that
    still waits for a person's approval is left waiting, and nothing is materialized.
    """
    judged = registered.evaluation
    with hopeless(gate.GateError, ContractError, EndpointError, ManifestError, PreconditionError):
        champion = manifests.current()
        if champion is not None and serves(champion.document, judged):
            context.log.info("%s serves these models already", champion.version)
            manifests.remember(champion)
            document = champion.document
        else:
            approvals = {name: sagemaker.approval(served.package_arn) for name, served in judged.candidates.items()}
            if waiting := [name for name, status in approvals.items() if status == "PendingManualApproval"]:
                context.log.warning(
                    "%s of %s: not yet approved in the registry; the champion stays",
                    " and ".join(f"version {judged.candidates[name].version}" for name in waiting),
                    " and ".join(waiting),
                )
                return
            serving = champion.version if champion else None
            obstacles = [
                *_rejections(approvals, judged.candidates),
                *gate.flaws(judged),
                *gate.staleness(judged, serving=serving, contract_sha256=project.contract.sha256),
            ]
            _stop_at(obstacles)
            document = build_manifest(
                project.contract,
                judged,
                now=datetime.now(UTC),
                after=max(manifests.history(), default=None),
                run_id=context.run.run_id,
                code_version=project.code_version,
            )
            _stop_at(golden_obstacles(document, sagemaker))
            manifests.switch(document, away_from=champion)
            context.log.info("serving %s", document["manifest_version"])
    yield dg.MaterializeResult(
        value=Promotion(
            manifest_version=document["manifest_version"], uri=manifests.uri, created_at=document["created_at"]
        ),
        data_version=dg.DataVersion(document["manifest_version"]),
        metadata=manifest_metadata(document, manifests),
    )


def manifest_metadata(document: dict[str, Any], manifests: Manifests) -> dict[str, Any]:
    """Return what the UI shows of a manifest that serves."""
    return {
        "manifest_version": document["manifest_version"],
        "uri": dg.MetadataValue.url(manifests.uri),
        "fraud_classifier": document["fraud_classifier"]["endpoint"],
        "anomaly_detector": document["anomaly_detector"]["endpoint"],
        "policy": dg.MetadataValue.json(document["policy"]),
        "lineage": dg.MetadataValue.json(document["lineage"]),
    }


def golden_obstacles(document: dict[str, Any], sagemaker: SageMaker) -> list[str]:
    """Ask a manifest's endpoints its golden rows; return how their answers differ from the recorded ones.

    Raises:
        EndpointError: An endpoint is not there or does not answer.
    """
    from fraudit_dagster.policy import apply_calibration

    rows = golden_inputs(document)
    scores = {
        role: sagemaker.score(document[role]["endpoint"], model_spec(document[role]).apply(rows)) for role in ROLES
    }
    answers = {
        "pred_proba": apply_calibration(
            document["fraud_classifier"]["calibration"], scores["fraud_classifier"]
        ).tolist(),
        "score": scores["anomaly_detector"].tolist(),
    }
    return gate.wrong_golden_answers(document["golden"], answers)


def _rejections(approvals: dict[Algorithm, str], candidates: dict[Algorithm, ServedModel]) -> list[str]:
    return [
        f"{name} version {candidates[name].version} is {status} in the registry"
        for name, status in approvals.items()
        if status != "Approved"
    ]


def _stop_at(obstacles: list[str]) -> None:
    if obstacles:
        raise gate.GateError(f"the candidate may not serve, and the champion stays: {'; '.join(obstacles)}")


ASSETS = [endpoint_xgboost, endpoint_random_cut_forest, registration, manifest]
