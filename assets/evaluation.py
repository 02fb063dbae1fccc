"""How good the candidates are: asked through the very endpoints that would serve, on transactions that they have not seen.

Belongs here: which rows are scored and what is compared. Does not: metrics (``fraudit_dagster/evaluation.py``), thresholds
(``fraudit_dagster/policy.py``), pictures (``fraudit_dagster/figures.py``), what follows from it (``assets/serving.py``).
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from fraudit_dagster.contract import Contract, Feature, ModelSpec
from fraudit_dagster.records import Algorithm, Evaluation, Part, ServedModel
from resources.manifests import Manifests
from resources.project import Project
from resources.sagemaker import SageMaker
from resources.storage import Storage

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

GOLDEN_ROWS = 8
RESAMPLES = 500
MOST_PROBABLY = 0.5
"""A challenger is worse where it most probably loses more than the margin."""


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
    manifests: Manifests,
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
        name: score(tables[name], contract, candidates=candidates, sagemaker=sagemaker)
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
        manifests=manifests,
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
        contract_sha256=contract.sha256,
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


def read_part(part: Part, storage: Storage, folder: Path) -> "pd.DataFrame":
    """Return the table of a part, with all columns of the contract."""
    import pyarrow.dataset as ds

    storage.download_folder(part.uri, folder)
    table: pd.DataFrame = ds.dataset(folder, format="parquet").to_table().to_pandas()
    return table


def score(
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


def _compare(
    table: "pd.DataFrame",
    contract: Contract,
    challenger: "np.ndarray",
    labels: "np.ndarray",
    weights: "np.ndarray",
    *,
    margin: float,
    manifests: Manifests,
    sagemaker: SageMaker,
) -> dict[str, Any] | None:
    """Compare with the classifier that serves, asked through its endpoint, on the same rows."""
    from fraudit_dagster.evaluation import compare

    serving = manifests.current()
    if serving is None:
        return None
    champion = serving.document
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


ASSETS = [evaluation]
