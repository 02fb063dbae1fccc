"""How good the candidates are: asked through the very endpoints that would serve, on transactions that they have not seen.

Belongs here: which part chooses, which one judges, and what is shown. Does not: asking endpoints (``assets/scoring.py``,
``assets/champion.py``), metrics (``fraudit_dagster/evaluation.py``), thresholds
(``fraudit_dagster/policy.py``), pictures (``fraudit_dagster/figures.py``), what follows from it (``assets/serving.py``).
"""

from typing import TYPE_CHECKING

import dagster as dg

from assets.champion import ask_champion, compare_with_champion, find_champion
from assets.failures import refuse_unfit
from assets.scoring import Scored, golden_rows, score_part, scorers_of
from fraudit_dagster.manifest import evaluation_key
from fraudit_dagster.records import (
    Algorithm,
    CostOfThreshold,
    Evaluation,
    Part,
    PrecisionOverRecall,
    Ranking,
    ServedModel,
)
from resources.manifests import Manifests
from resources.project import Project
from resources.sagemaker import SageMaker
from resources.storage import Storage

if TYPE_CHECKING:
    import numpy as np

    from fraudit_dagster.policy import Policy


SHOWN_METRICS = ("average_precision", "roc_auc", "recall_at_1pct_fpr", "precision_at_k")


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
    code_version="5",
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
    from fraudit_dagster import costs as money
    from fraudit_dagster import curves, figures, policy
    from fraudit_dagster import evaluation as ev
    from fraudit_dagster.drift import profile_of

    for name, part in {"train": train, "validation": validation, "test": test}.items():
        refuse_unfit(f"dataset/{name}", part.flaws)
    contract = project.contract
    costs = money.Costs(
        review_cost=project.review_cost, false_block_cost=project.false_block_cost, lost_share=project.lost_share
    )
    candidates: dict[Algorithm, ServedModel] = {"xgboost": classifier, "random_cut_forest": detector}
    scorers = scorers_of(candidates, contract)
    champion = find_champion(manifests, contract)
    with project.scratch() as folder:
        storage.download_folder(validation.uri, folder / "validation")
        storage.download_folder(test.uri, folder / "test")
        chosen_on = score_part(folder / "validation", contract, scorers, sagemaker)
        judged_on = score_part(folder / "test", contract, scorers, sagemaker)
        champion_scores, champion = ask_champion(champion, folder / "test", contract, sagemaker)

        calibration = policy.fit_calibration(chosen_on.label, chosen_on.scores["xgboost"], chosen_on.weight)
        proba = policy.apply_calibration(calibration, judged_on.scores["xgboost"])
        anomaly = judged_on.scores["random_cut_forest"]
        golden = golden_rows(folder / "test", contract, proba, anomaly)
    chosen_proba = policy.apply_calibration(calibration, chosen_on.scores["xgboost"])
    rule = policy.choose_policy(
        chosen_on.label,
        chosen_proba,
        chosen_on.scores["random_cut_forest"],
        chosen_on.amount,
        chosen_on.weight,
        costs=costs,
    )
    decisions = policy.decide(proba, anomaly, rule)
    spent = curves.cost_curve(chosen_on.label, chosen_proba, chosen_on.amount, chosen_on.weight, costs=costs)

    def cost(taken: "np.ndarray") -> float:
        return money.cost_of(taken, judged_on.label, judged_on.amount, judged_on.weight, costs=costs)

    fused = {
        "expected_cost": cost(decisions),
        "cost_without_model": cost(money.all_approved(len(decisions))),
        "cost_without_anomaly_score": cost(policy.decide(proba, anomaly, rule.without_anomaly_score())),
        **money.flagged(decisions, judged_on.label, judged_on.weight),
    }
    metrics: dict[Algorithm, dict[str, float]] = {
        "xgboost": ev.evaluate(judged_on.label, proba, judged_on.weight).as_dict(),
        "random_cut_forest": ev.evaluate(judged_on.label, anomaly, judged_on.weight).as_dict(),
    }
    reliability = ev.reliability(judged_on.label, proba, judged_on.weight).as_dict()
    compared = compare_with_champion(
        champion,
        champion_scores,
        judged_on,
        decisions=decisions,
        margin=project.champion_margin,
        costs=costs,
    )
    record = Evaluation(
        models=metrics,
        fused=fused,
        reliability=reliability,
        policy={
            "block_at": rule.block_at,
            "review_at": rule.review_at,
            "anomaly_review_at": rule.anomaly_review_at,
            "when_degraded": "review",
        },
        calibration=calibration,
        medians={column: train.medians[column] for column in contract.inputs},
        golden=golden,
        champion=compared,
        candidates=candidates,
        raw_sha256=test.raw_sha256,
        contract_sha256=contract.sha256,
        score_profiles={
            "fraud_proba": profile_of(proba, judged_on.weight),
            "anomaly_score": profile_of(anomaly, judged_on.weight),
        },
        cost_curve=CostOfThreshold(
            threshold=tuple(spent.threshold),
            review=tuple(spent.review),
            block=tuple(spent.block),
            nothing=spent.nothing,
            chosen=rule.expected_cost / float(chosen_on.weight.sum()),
        ),
        precision_over_recall=_ranking(judged_on, proba, rule),
    )
    storage.write(
        evaluation_uri(storage, classifier=classifier.version, detector=detector.version),
        record.model_dump_json(indent=1).encode(),
        content_type="application/json",
    )
    context.log.info(
        "average precision %.3f, ROC-AUC %.3f", metrics["xgboost"]["average_precision"], metrics["xgboost"]["roc_auc"]
    )
    return dg.MaterializeResult(
        value=record,
        metadata={
            "report": _report(record, judged_on, proba, rule, chosen_rows=chosen_on.label.size),
            "confusion": dg.MetadataValue.md(figures.confusion_table(decisions, judged_on.label, judged_on.weight)),
            **fused,
            **{key: metrics["xgboost"][key] for key in ("rows", "frauds", "prevalence")},
            **{f"{name}_{key}": metrics[name][key] for name in metrics for key in SHOWN_METRICS},
            "calibration_ratio": reliability["ratio"],
            "calibration_ratio_low": reliability["ratio_low"],
            "calibration_ratio_high": reliability["ratio_high"],
            "calibration_problem": ev.calibration_problem(reliability) or "none",
            "policy": dg.MetadataValue.json(record.policy),
            "champion": dg.MetadataValue.json(compared or {}),
            **{
                f"champion_{key}": compared[key]
                for key in ("difference", "probability_worse", "cost_difference", "probability_dearer")
                if compared is not None and key in compared
            },
        },
    )


def evaluation_uri(storage: Storage, *, classifier: str, detector: str) -> str:
    """Return where the evaluation of two model versions is kept."""
    return f"s3://{storage.model_bucket}/{evaluation_key(classifier=classifier, detector=detector)}"


def _ranking(judged_on: Scored, proba: "np.ndarray", rule: "Policy") -> PrecisionOverRecall:
    """Return how well both models rank the test part, and where the thresholds lie on it."""
    from fraudit_dagster import curves
    from fraudit_dagster.evaluation import confusion
    from fraudit_dagster.policy import NEVER

    label, weight = judged_on.label, judged_on.weight
    models: dict[Algorithm, Ranking] = {}
    scores: dict[Algorithm, np.ndarray] = {**judged_on.scores, "xgboost": proba}
    for name, score in scores.items():
        ranked = curves.precision_recall(label, score, weight)
        models[name] = Ranking(
            recall=tuple(ranked.recall), precision=tuple(ranked.precision), prevalence=ranked.prevalence
        )
    points = {
        name: confusion(label, proba, weight, threshold=at).recall_and_precision
        for name, at in (("review", rule.review_at), ("block", rule.block_at))
        if at < NEVER
    }
    return PrecisionOverRecall(models=models, points=points)


def _report(
    record: Evaluation, judged_on: Scored, proba: "np.ndarray", rule: "Policy", *, chosen_rows: int
) -> dg.MarkdownMetadataValue:
    """Draw both models and the decision on the test part, and what thresholds cost on the validation part."""
    from fraudit_dagster import curves, figures

    label, weight, anomaly = judged_on.label, judged_on.weight, judged_on.scores["random_cut_forest"]
    rows = f"{label.size:,} test rows"
    drawn = [
        figures.calibration(curves.calibration(label, proba, weight), rows=rows),
        figures.scores(
            curves.histogram(label, proba, weight, probability=True),
            curves.histogram(label, anomaly, weight, probability=False),
            rule,
            rows=rows,
        ),
    ]
    if record.cost_curve is not None:
        thresholds = {"review": rule.review_at, "block": rule.block_at}
        drawn.insert(0, figures.cost(record.cost_curve, thresholds, rows=f"{chosen_rows:,} validation rows"))
    if record.precision_over_recall is not None:
        drawn.insert(0, figures.precision_recall(record.precision_over_recall, rows=rows))
    # The UI opens a long text in a window of its own: all pictures in one, so that they are one click away.
    return dg.MetadataValue.md("\n\n".join(picture.markdown() for picture in drawn))


ASSETS = [evaluation]
