"""How good the models and the decisions are, and where the training's defaults come from: mean and interval over random divisions.

Measured on a table that is given (``--dataset``), or on a synthetic one, which is said. Every division is stratified, 70/15/15, with
rows that repeat each other on one side; every row counts with its weight, in training and in every figure. The models of the first
tables are trained and asked through the embedded SageMaker, as the graph does it; the search uses the same library, version and
parameters without a container. The search has divisions of its own, so that its choice is not judged on the divisions it was made on.
"""

import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from assets.training import RandomCutForestConfig, XGBoostConfig
from benchmarks.quality_data import (
    PER,
    Means,
    Parts,
    Rows,
    Sizes,
    Values,
    difference,
    divide,
    interval,
    natural_sample,
    rows_of,
    shown,
)
from benchmarks.quality_models import Cloud, channel, cloud
from benchmarks.quality_settings import forests, refit, settings
from benchmarks.report import Report, Table
from fraudit_dagster.costs import Costs, all_approved, cost_of, flagged
from fraudit_dagster.evaluation import evaluate, reliability
from fraudit_dagster.policy import NEVER, Policy, apply_calibration, choose_policy, decide, fit_calibration

COSTS = Costs()
HALF = 0.5
SEARCHED_LIMITS = 60
TOOK_PART = "the anomaly score took part"
NO_MODEL = "no model: everything approved"
AT_HALF = "XGBoost, block from 0.5 on"
SEARCHED = "XGBoost at the pair that was cheapest on the validation part"
BEST = "XGBoost at its best thresholds"
PLAIN = {"objective": "binary:logistic", "num_round": "100", "csv_weights": "1"}
"""XGBoost with its library's own defaults: nothing is set but what it learns and for how long."""
ROW_METRICS = {
    "average_precision": "average precision",
    "roc_auc": "ROC-AUC",
    "recall_at_1pct_fpr": "recall at 1 % false-positive rate",
    "precision_at_k": "precision among the 100 highest",
}


def run(*, quick: bool, progress: Progress, dataset: Path | None = None) -> Report:
    """Measure models, decisions and settings."""
    sizes = Sizes.quick() if quick else Sizes()
    with rows_of(dataset, quick=quick) as rows, tempfile.TemporaryDirectory() as folder:
        tables = [
            *_models_and_decisions(rows, sizes, Path(folder), progress),
            *settings(rows, sizes, progress),
            refit(rows, sizes, progress),
            forests(rows, sizes, progress),
        ]
    frauds = int(rows.label.sum())
    about = (
        f"{rows.name}: {len(rows.table):,} rows that stand for {rows.weight.sum():,.0f} transactions, {frauds} frauds"
    )
    return Report(
        name="quality" if dataset else "quality_synthetic",
        title=f"Measured on {about}",
        packages=("fraudit", "xgboost", "scikit-learn", "numpy"),
        tables=tables,
    )


def _models_and_decisions(rows: Rows, sizes: Sizes, folder: Path, progress: Progress) -> list[Table]:
    """Judge both models and their decisions, beside plain XGBoost and beside no model."""
    task = progress.add_task("models through SageMaker", total=sizes.divisions)
    quality: dict[str, list[Values]] = defaultdict(list)
    money: dict[str, list[float]] = defaultdict(list)
    decided: list[Values] = []
    with cloud(folder) as aws:
        for seed in range(sizes.divisions):
            parts = divide(rows, seed=seed)
            scores = _scores(aws, rows, parts, seed=seed)
            labels, weights = rows.label[parts.test], rows.weight[parts.test]
            for name, by_part in scores.items():
                quality[name].append(evaluate(labels, by_part["test"], weights).as_dict())
            costs, about = _decisions(rows, parts, scores)
            for name, cost in costs.items():
                money[name].append(cost)
            decided.append(about)
            progress.advance(task)
    ours, plain, forest = quality
    models = Means(
        "models, on the test part",
        ("XGBoost, our defaults", "XGBoost, its own defaults", "ours - its own", "Random Cut Forest"),
        (),
        (
            f"{sizes.divisions} random divisions; mean and 95 % interval, corrected for divisions that share rows (Nadeau and Bengio 2003).",
            "XGBoost's own defaults: 100 rounds, nothing else set, no early stopping.",
            f"Ours has the higher average precision in {_wins(_values(quality[ours]), _values(quality[plain]))} divisions.",
        ),
        cells=[
            [
                label,
                shown(quality[ours], key),
                shown(quality[plain], key),
                difference(quality[ours], quality[plain], key),
                shown(quality[forest], key),
            ]
            for key, label in ROW_METRICS.items()
        ],
    )
    base = money[BEST]
    spent = Means(
        f"what the decisions cost, per {PER:,} transactions of the test part",
        ("cost", "share of no model's", f"minus {BEST}"),
        (),
        (
            f"A review costs {COSTS.review_cost:g}, a blocked good customer {COSTS.false_block_cost:g}, an approved fraud its amount.",
            "Calibration and thresholds come from the validation part, the cost from the test part.",
            f"{BEST}: cheaper than the searched pair in {_wins(money[SEARCHED], base)} divisions.",
            f"{BEST}: cheaper than blocking from 0.5 on in {_wins(money[AT_HALF], base)} divisions.",
            "The fused decision is the graph's: the anomaly score takes part where it lowered the cost on held-out validation rows.",
        ),
        cells=[
            [
                name,
                interval(values),
                f"{np.mean(values) / np.mean(money[NO_MODEL]):.0%}",
                "" if name == BEST else interval(np.subtract(values, base).tolist(), signed=True),
            ]
            for name, values in money.items()
        ],
    )
    decisions = Means(
        "the fused decision",
        ("mean",),
        (),
        (
            f"The anomaly score took part in {sum(values[TOOK_PART] for values in decided):.0f} of {len(decided)} divisions.",
        ),
        cells=[[name, shown(decided, name)] for name in decided[0] if name != TOOK_PART],
    )
    return [models, spent, decisions]


def _scores(aws: Cloud, rows: Rows, parts: Parts, *, seed: int) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Return scores of the validation and the test part by model: ours, plain XGBoost, the forest."""
    seen, anomalous = rows.classifier_matrix(), rows.detector_matrix()
    train, validation = (channel(rows, seen, part) for part in (parts.train, parts.validation))
    asked = {"validation": seen[parts.validation], "test": seen[parts.test]}
    sample = natural_sample(rows, parts.train, seed=seed)
    return {
        "ours": aws.scores(
            "xgboost",
            XGBoostConfig(seed=seed).hyperparameters(weighted=True),
            {"train": train, "validation": validation},
            asked,
        ),
        "plain": aws.scores("xgboost", PLAIN, {"train": train}, asked),
        "forest": aws.scores(
            "random_cut_forest",
            RandomCutForestConfig().hyperparameters(features=anomalous.shape[1]),
            {"train": anomalous[sample].astype(np.float64)},
            {"validation": anomalous[parts.validation], "test": anomalous[parts.test]},
        ),
    }


def _values(found: Sequence[Values]) -> list[float]:
    return [values["average_precision"] for values in found]


def _wins(values: Sequence[float], others: Sequence[float]) -> str:
    """Return in how many divisions the first value is greater."""
    return f"{sum(one > other for one, other in zip(values, others, strict=True))} of {len(values)}"


def _searched(
    rows: Rows, parts: Parts, calibration: Mapping[str, Any], raw: Mapping[str, NDArray[np.float64]]
) -> NDArray[np.str_]:
    """Decide on the test part by the pair of thresholds that would have cost least on the validation part."""
    chosen = parts.validation
    proba = apply_calibration(calibration, raw["validation"])
    limits = [*np.unique(np.quantile(proba, 1 - np.geomspace(1e-4, 0.2, SEARCHED_LIMITS))), NEVER]

    def decided(review_at: float, block_at: float, p: NDArray[np.float64]) -> NDArray[np.str_]:
        return decide(p, np.zeros(p.size), Policy(review_at, block_at, None, 0.0, 0.0))

    def cost(pair: tuple[float, float]) -> float:
        taken = decided(*pair, proba)
        return cost_of(taken, rows.label[chosen], rows.amount[chosen], rows.weight[chosen], costs=COSTS)

    best = min(((review, block) for review in limits for block in limits if review <= block), key=cost)
    return decided(*best, apply_calibration(calibration, raw["test"]))


def _decisions(
    rows: Rows, parts: Parts, scores: Mapping[str, Mapping[str, NDArray[np.float64]]]
) -> tuple[Values, Values]:
    """Return the cost per 1,000 transactions of each way to decide, and what the fused decision does."""
    chosen, judged = parts.validation, parts.test
    raw, anomaly = scores["ours"], scores["forest"]
    calibration = fit_calibration(rows.label[chosen], raw["validation"], rows.weight[chosen])
    proba = apply_calibration(calibration, raw["test"])
    policy = choose_policy(
        rows.label[chosen],
        apply_calibration(calibration, raw["validation"]),
        anomaly["validation"],
        rows.amount[chosen],
        rows.weight[chosen],
        costs=COSTS,
    )
    fused = decide(proba, anomaly["test"], policy)
    decisions = {
        NO_MODEL: all_approved(judged.size),
        "XGBoost with its own defaults, block from 0.5 on": np.where(
            scores["plain"]["test"] >= HALF, "block", "approve"
        ),
        AT_HALF: np.where(raw["test"] >= HALF, "block", "approve"),
        BEST: decide(proba, anomaly["test"], policy.without_anomaly_score()),
        "fused: XGBoost and the anomaly score": fused,
        SEARCHED: _searched(rows, parts, calibration, raw),
    }
    total = float(rows.weight[judged].sum())
    costs = {
        name: PER / total * cost_of(taken, rows.label[judged], rows.amount[judged], rows.weight[judged], costs=COSTS)
        for name, taken in decisions.items()
    }
    found = reliability(rows.label[judged], proba, rows.weight[judged])
    marked = flagged(fused, rows.label[judged], rows.weight[judged])
    return costs, {
        "share of the transactions that are flagged, %": 100 * marked["share_flagged"],
        "precision of what is flagged": marked["precision_of_flagged"],
        "recall of what is flagged": marked["recall_of_flagged"],
        "frauds promised by the calibrated probability per fraud": found.ratio,
        TOOK_PART: float(policy.anomaly_review_at is not None),
    }
