"""From candidates to what serves: endpoints, registry, manifest.

Belongs here: deploying, approving, switching. Does not: how good a candidate is (``assets/evaluation.py``).

A candidate gets endpoints of its own that nobody calls. It is judged through them, and only ``serving/manifest`` lets it serve:
the gate is there alone, so it holds whichever way the asset is materialized.
"""

from datetime import UTC, datetime

import dagster as dg

from assets.evaluation import score
from assets.failures import hopeless
from fraudit_dagster.contract import Contract
from fraudit_dagster.manifest import ManifestError, build_manifest
from fraudit_dagster.records import Evaluation, Promotion, Registration, ServedModel, TrainedModel
from resources.manifests import Manifests
from resources.project import Project
from resources.sagemaker import EndpointError, SageMaker
from resources.storage import PreconditionError

GOLDEN_TOLERANCE = 1e-6
"""How far an endpoint's answer may be from the recorded one: beyond rounding, it is another model."""


def _endpoint(model: TrainedModel, sagemaker: SageMaker) -> dg.MaterializeResult[ServedModel]:
    name = sagemaker.deploy(
        algorithm=model.algorithm, version=model.version, image=model.image, artifact_uri=model.artifact_uri
    )
    record = ServedModel(algorithm=model.algorithm, endpoint=name, package_arn=model.package_arn, version=model.version)
    return dg.MaterializeResult(value=record, metadata={"endpoint": name, "model_version": model.version})


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
    kinds={"sagemaker"},
    code_version="1",
)
def registration(
    context: dg.AssetExecutionContext, project: Project, sagemaker: SageMaker, judged: Evaluation
) -> dg.MaterializeResult[Registration]:
    """The model registry's word on the candidates: approved, rejected, or waiting for a person.

    A candidate that is worse than the champion is rejected, and its endpoints are deleted.
    """
    worse = judged.champion is not None and judged.champion["worse"]
    if worse:
        status, reason = "Rejected", "worse than the champion on the same rows"
    elif project.automatic_approval:
        status, reason = "Approved", "no worse than the champion" if judged.champion else "the first model"
    else:
        status, reason = "PendingManualApproval", "a person approves here"
    for algorithm, served in judged.candidates.items():
        properties = {key: f"{value:.6g}" for key, value in judged.models[algorithm].items()}
        sagemaker.set_approval(served.package_arn, status=status, reason=reason, properties=properties)
        if worse:
            sagemaker.delete_endpoint(served.endpoint)
    context.log.info("%s: %s", status, reason)
    record = Registration.model_validate({"status": status, "reason": reason, "evaluation": judged})
    return dg.MaterializeResult(value=record, metadata={"status": status, "reason": reason})


@dg.asset(
    key=["serving", "manifest"],
    ins={"registered": dg.AssetIn(["model", "registration"])},
    kinds={"s3", "json"},
    code_version="1",
)
def manifest(
    context: dg.AssetExecutionContext,
    project: Project,
    manifests: Manifests,
    sagemaker: SageMaker,
    registered: Registration,
) -> dg.MaterializeResult[Promotion]:
    """The one object that says which endpoints serve and how their scores become decisions. Writing it is the promotion.

    The gate: the registry has approved both models, the candidate is no worse than the champion, and both endpoints answer the
    golden rows as recorded. Then one conditional write switches everything at once.
    """
    judged = registered.evaluation
    with hopeless(GateError, EndpointError, ManifestError, PreconditionError):
        champion = manifests.current()
        _pass_gate(judged, project.contract, sagemaker)
        document = build_manifest(
            project.contract,
            judged,
            now=datetime.now(UTC),
            run_id=context.run.run_id,
            code_version=project.code_version,
        )
        manifests.switch(document, away_from=champion)
    context.log.info("serving %s", document["manifest_version"])
    record = Promotion(
        manifest_version=document["manifest_version"], uri=manifests.uri, created_at=document["created_at"]
    )
    return dg.MaterializeResult(
        value=record,
        data_version=dg.DataVersion(document["manifest_version"]),
        metadata={
            "manifest_version": document["manifest_version"],
            "uri": dg.MetadataValue.url(manifests.uri),
            "fraud_classifier": judged.candidates["xgboost"].endpoint,
            "anomaly_detector": judged.candidates["random_cut_forest"].endpoint,
            "policy": dg.MetadataValue.json(judged.policy),
        },
    )


class GateError(RuntimeError):
    """A candidate may not serve; the message says why. What serves goes on serving."""


def _pass_gate(judged: Evaluation, contract: Contract, sagemaker: SageMaker) -> None:
    """Raise ``GateError`` unless the candidates may serve."""
    for algorithm, served in judged.candidates.items():
        if (status := sagemaker.approval(served.package_arn)) != "Approved":
            raise GateError(f"{algorithm} version {served.version} is {status} in the registry; the champion stays")
    if judged.champion is not None and judged.champion["worse"]:
        raise GateError("the candidate is worse than the champion on the same rows; the champion stays")
    _ask_golden_rows(judged, contract, sagemaker)


def _ask_golden_rows(judged: Evaluation, contract: Contract, sagemaker: SageMaker) -> None:
    import numpy as np
    import pandas as pd

    from fraudit_dagster.policy import apply_calibration

    rows = pd.DataFrame(
        [[float(cell) for cell in row["data"].split(",")] for row in judged.golden], columns=list(contract.inputs)
    )
    scores = score(rows, contract, candidates=judged.candidates, sagemaker=sagemaker)
    answered = {
        "pred_proba": apply_calibration(judged.calibration, scores["xgboost"]),
        "score": scores["random_cut_forest"],
    }
    for key, values in answered.items():
        recorded = np.array([row[key] for row in judged.golden])
        if not np.allclose(values, recorded, rtol=0, atol=GOLDEN_TOLERANCE):
            gap = float(np.max(np.abs(values - recorded)))
            raise GateError(
                f"the endpoints answer the golden rows with another {key} than recorded (by up to {gap:.3g}); the champion stays"
            )


ASSETS = [endpoint_xgboost, endpoint_random_cut_forest, registration, manifest]
