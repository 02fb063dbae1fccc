"""From candidates to what serves: endpoints, evaluation, registry, manifest.

Belongs here: the order of judging and switching. Does not: metrics (``fraudit_dagster/evaluation.py``), thresholds
(``fraudit_dagster/policy.py``), pictures (``fraudit_dagster/figures.py``).

A candidate gets endpoints of its own that nobody calls. It is judged through them, and only ``serving/manifest`` lets it serve:
the gate is there alone, so it holds whichever way the asset is materialized.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.failures import hopeless
from fraudit_dagster.contract import Contract, Feature, ModelSpec
from fraudit_dagster.manifest import MANIFEST_KEY, ManifestError, build_manifest, check_manifest
from fraudit_dagster.records import Algorithm, Evaluation, Part, Promotion, Registration, ServedModel, TrainedModel
from resources.project import Project
from resources.sagemaker import EndpointError, SageMaker
from resources.storage import PreconditionError, Storage, StorageError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

GOLDEN_ROWS = 8
GOLDEN_TOLERANCE = 1e-6
"""How far an endpoint's answer may be from the recorded one: beyond rounding, it is another model."""
RESAMPLES = 500
MOST_PROBABLY = 0.5
"""A challenger is worse where it most probably loses more than the margin."""


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
    key=["model", "evaluation"],
    ins={
        "classifier": dg.AssetIn(["endpoint", "xgboost"]),
        "detector": dg.AssetIn(["endpoint", "random_cut_forest"]),
        "train": dg.AssetIn(["dataset", "train"]),
        "validation": dg.AssetIn(["dataset", "validation"]),
        "test": dg.AssetIn(["dataset", "test"]),
    },
    kinds={"python"},
    code_version="1",
)
def evaluation(
    context: dg.AssetExecutionContext,
    project: Project,
    storage: Storage,
    sagemaker: SageMaker,
    classifier: ServedModel,
    detector: ServedModel,
    train: Part,
    validation: Part,
    test: Part,
) -> dg.MaterializeResult[Evaluation]:
    """How the candidates do on transactions that neither has seen, asked through the very endpoints that would serve.

    The validation part chooses the calibration and the thresholds, by least expected cost; the test part judges. Where a
    champion serves, both are compared on the same rows by a paired bootstrap.
    """
    from fraudit_dagster import evaluation as ev
    from fraudit_dagster import figures, policy
    from fraudit_dagster.tables import row_weights

    contract = project.contract
    candidates: dict[Algorithm, ServedModel] = {"xgboost": classifier, "random_cut_forest": detector}
    with project.scratch() as folder:
        tables = {
            name: read_part(part, storage, folder / name)
            for name, part in {"train": train, "validation": validation, "test": test}.items()
        }
    scores = {
        name: _score(tables[name], contract, candidates=candidates, sagemaker=sagemaker)
        for name in ("validation", "test")
    }
    chosen, held_out = tables["validation"], tables["test"]
    labels = {name: tables[name][contract.label].to_numpy() for name in scores}
    weights = {name: row_weights(tables[name], contract) for name in scores}

    calibration = policy.fit_calibration(labels["validation"], scores["validation"]["xgboost"], weights["validation"])
    proba = {name: policy.apply_calibration(calibration, scores[name]["xgboost"]) for name in scores}
    anomaly = {name: scores[name]["random_cut_forest"] for name in scores}
    costs = policy.Costs(review_cost=project.review_cost, false_block_cost=project.false_block_cost)
    rule = policy.choose_policy(
        labels["validation"],
        proba["validation"],
        anomaly["validation"],
        chosen[contract.amount].to_numpy(),
        weights["validation"],
        costs=costs,
    )
    decisions = policy.decide(proba["test"], anomaly["test"], rule)
    amounts = held_out[contract.amount].to_numpy()
    cost = policy.cost_of(decisions, labels["test"], amounts, weights["test"], costs=costs)
    without = policy.cost_of(policy.all_approved(len(decisions)), labels["test"], amounts, weights["test"], costs=costs)
    metrics: dict[Algorithm, dict[str, float]] = {
        "xgboost": ev.evaluate(labels["test"], proba["test"], weights["test"]).as_dict(),
        "random_cut_forest": ev.evaluate(labels["test"], anomaly["test"], weights["test"]).as_dict(),
    }
    champion = _compare(
        held_out,
        contract,
        scores["test"]["xgboost"],
        labels["test"],
        weights["test"],
        margin=project.champion_margin,
        storage=storage,
        sagemaker=sagemaker,
    )
    record = Evaluation(
        models=metrics,
        fused={"expected_cost": float(cost), "cost_without_model": float(without)},
        policy={
            "block_at": rule.block_at,
            "review_at": rule.review_at,
            "anomaly_review_at": rule.anomaly_review_at,
            "when_degraded": "review",
        },
        calibration=calibration,
        medians={column: float(tables["train"][column].median()) for column in contract.inputs},
        golden=_golden(held_out, contract, proba["test"], anomaly["test"]),
        champion=champion,
        candidates=candidates,
        raw_sha256=test.raw_sha256,
    )
    storage.write(
        f"s3://{storage.model_bucket}/evaluation/{classifier.version}-{detector.version}.json",
        record.model_dump_json(indent=1).encode(),
        content_type="application/json",
    )
    context.log.info(
        "average precision %.3f, ROC-AUC %.3f", metrics["xgboost"]["average_precision"], metrics["xgboost"]["roc_auc"]
    )
    curves = ev.curves(labels["test"], proba["test"], weights["test"])
    return dg.MaterializeResult(
        value=record,
        metadata={
            **{f"{name}_{key}": value for name, values in metrics.items() for key, value in values.items()},
            "expected_cost": float(cost),
            "cost_without_model": float(without),
            "policy": dg.MetadataValue.json(record.policy),
            "champion": dg.MetadataValue.json(champion or {}),
            "confusion": dg.MetadataValue.md(figures.confusion_table(decisions, labels["test"], weights["test"])),
            "precision_recall": dg.MetadataValue.md(figures.precision_recall(curves)),
            "calibration": dg.MetadataValue.md(figures.calibration(curves)),
            "scores": dg.MetadataValue.md(figures.score_histogram(curves)),
        },
    )


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
    storage: Storage,
    sagemaker: SageMaker,
    registered: Registration,
) -> dg.MaterializeResult[Promotion]:
    """The one object that says which endpoints serve and how their scores become decisions. Writing it is the promotion.

    The gate: the registry has approved both models, the candidate is no worse than the champion, and both endpoints answer the
    golden rows as recorded. Then one conditional write switches everything at once.
    """
    judged = registered.evaluation
    uri = f"s3://{storage.model_bucket}/{MANIFEST_KEY}"
    with hopeless(GateError, EndpointError, ManifestError, PreconditionError):
        etag = _current_manifest(storage)[1]
        _pass_gate(judged, project.contract, sagemaker)
        document = build_manifest(
            project.contract,
            judged,
            now=datetime.now(UTC),
            run_id=context.run.run_id,
            code_version=project.code_version,
        )
        body = json.dumps(document, indent=1).encode()
        storage.write(
            f"s3://{storage.model_bucket}/serving/manifests/{document['manifest_version']}.json",
            body,
            content_type="application/json",
        )
        storage.write_if(uri, body, etag=etag)
    context.log.info("serving %s", document["manifest_version"])
    record = Promotion(manifest_version=document["manifest_version"], uri=uri, created_at=document["created_at"])
    return dg.MaterializeResult(
        value=record,
        data_version=dg.DataVersion(document["manifest_version"]),
        metadata={
            "manifest_version": document["manifest_version"],
            "uri": dg.MetadataValue.url(uri),
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
    scores = _score(rows, contract, candidates=judged.candidates, sagemaker=sagemaker)
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


def read_part(part: Part, storage: Storage, folder: Path) -> "pd.DataFrame":
    """Return the table of a part, with all columns of the contract."""
    import pyarrow.dataset as ds

    storage.download_folder(part.uri, folder)
    table: pd.DataFrame = ds.dataset(folder, format="parquet").to_table().to_pandas()
    return table


def _score(
    table: "pd.DataFrame", contract: Contract, *, candidates: dict[Algorithm, ServedModel], sagemaker: SageMaker
) -> dict[Algorithm, "np.ndarray"]:
    """Ask both endpoints at the same time."""
    specs: dict[Algorithm, ModelSpec] = {
        "xgboost": contract.models.xgboost,
        "random_cut_forest": contract.models.random_cut_forest,
    }
    with ThreadPoolExecutor(len(specs)) as pool:
        answers = {
            name: pool.submit(sagemaker.score, candidates[name].endpoint, spec.apply(table))
            for name, spec in specs.items()
        }
        return {name: answer.result() for name, answer in answers.items()}


def _golden(
    table: "pd.DataFrame", contract: Contract, proba: "np.ndarray", anomaly: "np.ndarray"
) -> list[dict[str, Any]]:
    """Rows spread over the range of the classifier's score, each with the answers of now."""
    import numpy as np

    order = np.argsort(proba, kind="stable")
    picked = order[np.linspace(0, len(order) - 1, min(GOLDEN_ROWS, len(order))).round().astype(int)]
    inputs = table[list(contract.inputs)].to_numpy(dtype=np.float64)
    return [
        {
            "data": ",".join(repr(float(cell)) for cell in inputs[index]),
            "pred_proba": float(proba[index]),
            "score": float(anomaly[index]),
        }
        for index in picked
    ]


def _current_manifest(storage: Storage) -> tuple[dict[str, Any] | None, str | None]:
    """Return what serves and its entity tag; nothing and None where nothing does yet."""
    try:
        body, etag = storage.read_with_etag(f"s3://{storage.model_bucket}/{MANIFEST_KEY}")
    except StorageError as error:
        if error.code == "NoSuchKey":
            return None, None
        raise
    document: dict[str, Any] = json.loads(body)
    check_manifest(document)
    return document, etag


def _compare(
    table: "pd.DataFrame",
    contract: Contract,
    challenger: "np.ndarray",
    labels: "np.ndarray",
    weights: "np.ndarray",
    *,
    margin: float,
    storage: Storage,
    sagemaker: SageMaker,
) -> dict[str, Any] | None:
    """Compare with the classifier that serves, asked through its endpoint, on the same rows."""
    from fraudit_dagster.evaluation import compare

    champion = _current_manifest(storage)[0]
    if champion is None:
        return None
    model = champion["fraud_classifier"]
    spec = ModelSpec(features=tuple(Feature.model_validate(feature) for feature in model["features"]))
    missing = [feature.column for feature in spec.features if feature.column not in contract.inputs]
    if missing:
        return {
            "manifest_version": champion["manifest_version"],
            "worse": False,
            "not_comparable": f"it wants {', '.join(missing)}",
        }
    scores = sagemaker.score(model["endpoint"], spec.apply(table))
    found = compare(scores, challenger, labels, weights, resamples=RESAMPLES, margin=margin, seed=0)
    return {
        **found.as_dict(),
        "manifest_version": champion["manifest_version"],
        "worse": found.probability_worse > MOST_PROBABLY,
    }


ASSETS = [endpoint_xgboost, endpoint_random_cut_forest, evaluation, registration, manifest]
