"""Where the training's defaults come from: other hyperparameters, other forests, a model fitted anew, beside ours.

Belongs here: what is tried. Does not: fitting (``benchmarks/quality_models.py``), what the defaults amount to
(``benchmarks/quality.py``).
"""

import os
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from assets.training import RandomCutForestConfig, XGBoostConfig
from benchmarks.quality_data import PER, Means, Rows, Sizes, Values, difference, divide, shown
from benchmarks.quality_models import boost, forest_scores, predict
from benchmarks.report import Table
from fraudit_dagster.costs import Costs, cost_of
from fraudit_dagster.evaluation import evaluate, reliability
from fraudit_dagster.policy import apply_calibration, choose_policy, decide, fit_calibration

COSTS = Costs()
SEARCH_SEED = 100
"""The first division of the search: its choice is not to be judged on the divisions that it was made on."""
LIBRARY = {"lambda": "1", "gamma": "0", "max_delta_step": "0"}
"""XGBoost's own values of what the training leaves alone."""

GRID: Mapping[str, Sequence[str]] = {
    "max_depth": ("3", "4", "6", "8"),
    "eta": ("0.03", "0.05", "0.2", "0.3"),
    "min_child_weight": ("1", "3", "10", "20"),
    "subsample": ("0.5", "1"),
    "colsample_bytree": ("0.5", "1"),
    "lambda": ("0", "5", "10"),
    "gamma": ("0.5", "5"),
    "max_delta_step": ("1", "5"),
    "early_stopping_rounds": ("20", "100"),
}
"""Tried one at a time beside our defaults; all together at random in the second table."""
CLASS_WEIGHT = "class_weight"
CLASS_WEIGHTS = {"square root of the ratio": "0.5", "the full ratio": "1"}
"""Powers of the ratio of good transactions to frauds."""
FORESTS = ((50, 256), (200, 256), (100, 64), (100, 512), (100, 1024), (100, 2048))


def settings(rows: Rows, sizes: Sizes, progress: Progress) -> list[Table]:
    """Try other hyperparameters beside our defaults, on the same divisions."""
    base = XGBoostConfig().hyperparameters(weighted=True)
    ours = {**LIBRARY, **base}
    single = {f"{key} {value}": {key: value} for key, values in GRID.items() for value in values}
    single |= {f"scale_pos_weight: {name}": {CLASS_WEIGHT: power} for name, power in CLASS_WEIGHTS.items()}
    drawn = random.Random(0)  # noqa: S311 - a search, no secret
    together: dict[str, dict[str, str]] = {}
    while len(together) < sizes.random_settings:
        setting = {key: drawn.choice([*values, ours[key]]) for key, values in GRID.items()}
        together[", ".join(f"{key} {value}" for key, value in setting.items())] = setting
    tried: dict[str, dict[str, str]] = {"our defaults": {}, **single, **together}
    task = progress.add_task("hyperparameters", total=len(tried))
    found: dict[str, list[Values]] = {}
    with _pool() as pool:
        for name, changed in tried.items():
            work = partial(_tried, rows, {**base, **changed})
            found[name] = list(pool.map(work, range(SEARCH_SEED, SEARCH_SEED + sizes.search_divisions)))
            progress.advance(task)

    def table(title: str, names: Sequence[str], notes: Sequence[str]) -> Table:
        return Means(
            title,
            ("average precision", "minus our defaults", "ROC-AUC", "rounds"),
            (),
            notes,
            cells=[
                [
                    name,
                    shown(found[name], "average_precision"),
                    difference(found[name], found["our defaults"], "average_precision") if tried[name] else "",
                    shown(found[name], "roc_auc"),
                    f"{np.mean([values['rounds'] for values in found[name]]):.0f}",
                ]
                for name in names
            ],
        )

    best = sorted(together, key=lambda name: -np.mean([v["average_precision"] for v in found[name]]))
    defaults = ", ".join(f"{key} {value}" for key, value in base.items() if key in {*GRID, "num_round"})
    return [
        table(
            "one hyperparameter changed",
            ["our defaults", *single],
            (
                f"{sizes.search_divisions} divisions, other ones than above. Our defaults: {defaults}; the rest as in the library.",
                "scale_pos_weight: good transactions per fraud; all else counts every transaction alike.",
            ),
        ),
        table(
            f"hyperparameters drawn together: the best {min(sizes.shown_settings, len(best))} of {len(best)}",
            best[: sizes.shown_settings],
            ("The best of many is too good by chance: each was judged on the divisions that rank it.",),
        ),
    ]


def _tried(rows: Rows, hyperparameters: Mapping[str, str], seed: int) -> Values:
    parts, matrix = divide(rows, seed=seed), rows.classifier_matrix()
    values: dict[str, Any] = {**hyperparameters, "seed": seed}
    if (power := values.pop(CLASS_WEIGHT, None)) is not None:
        fraud = rows.label[parts.train] == 1
        weight = rows.weight[parts.train]
        values["scale_pos_weight"] = (weight[~fraud].sum() / weight[fraud].sum()) ** float(power)
    booster = boost(rows, matrix, values, train=parts.train, validation=parts.validation)
    scores = predict(booster, matrix[parts.test])
    found = evaluate(rows.label[parts.test], scores, rows.weight[parts.test]).as_dict()
    return {**found, "rounds": booster.num_boosted_rounds()}


def refit(rows: Rows, sizes: Sizes, progress: Progress) -> Table:
    """Compare serving the early-stopped model with one fitted anew on train and validation for as many rounds."""
    task = progress.add_task("refit on train and validation", total=sizes.search_divisions)
    found: dict[str, list[Values]] = {"early-stopped": [], "fitted anew": []}
    with _pool() as pool:
        for pair in pool.map(partial(_refitted, rows), range(SEARCH_SEED, SEARCH_SEED + sizes.search_divisions)):
            for name, values in zip(found, pair, strict=True):
                found[name].append(values)
            progress.advance(task)
    labels = {
        "average_precision": "average precision",
        "roc_auc": "ROC-AUC",
        "cost": f"cost per {PER:,} transactions, at thresholds of the early-stopped model",
        "ratio": "frauds promised per fraud, calibrated by the early-stopped model",
    }
    early, anew = found.values()
    return Means(
        "fitted anew on train and validation, as many rounds as the best one",
        ("early-stopped, as it serves", "fitted anew", "anew - early-stopped"),
        (),
        (
            "Calibration and thresholds need rows that a model has not seen: those of the early-stopped model are all there are.",
        ),
        cells=[
            [label, shown(early, key), shown(anew, key), difference(anew, early, key)] for key, label in labels.items()
        ],
    )


def _refitted(rows: Rows, seed: int) -> tuple[Values, Values]:
    parts, matrix = divide(rows, seed=seed), rows.classifier_matrix()
    hyperparameters: dict[str, Any] = dict(XGBoostConfig(seed=seed).hyperparameters(weighted=True))
    early = boost(rows, matrix, hyperparameters, train=parts.train, validation=parts.validation)
    rounds = {**hyperparameters, "num_round": early.num_boosted_rounds()}
    anew = boost(rows, matrix, rounds, train=np.concatenate([parts.train, parts.validation]), validation=None)
    chosen, judged = parts.validation, parts.test
    raw = predict(early, matrix[chosen])
    calibration = fit_calibration(rows.label[chosen], raw, rows.weight[chosen])
    nothing = np.zeros(raw.size)
    policy = choose_policy(
        rows.label[chosen],
        apply_calibration(calibration, raw),
        nothing,
        rows.amount[chosen],
        rows.weight[chosen],
        costs=COSTS,
    )

    def judge(scores: NDArray[np.float64]) -> Values:
        label, weight = rows.label[judged], rows.weight[judged]
        proba = apply_calibration(calibration, scores)
        taken = decide(proba, np.zeros(proba.size), policy.without_anomaly_score())
        cost = cost_of(taken, label, rows.amount[judged], weight, costs=COSTS)
        return {
            **evaluate(label, scores, weight).as_dict(),
            "cost": PER * cost / float(weight.sum()),
            "ratio": reliability(label, proba, weight).ratio,
        }

    return judge(predict(early, matrix[judged])), judge(predict(anew, matrix[judged]))


def forests(rows: Rows, sizes: Sizes, progress: Progress) -> Table:
    """Try other forests, and other features for them."""
    default = RandomCutForestConfig()
    base = (default.num_trees, default.num_samples_per_tree)
    features = _forest_features(rows)
    (contracts_own, *_) = features
    tried: list[tuple[str, tuple[int, int]]] = [(contracts_own, base), *((contracts_own, size) for size in FORESTS)]
    tried += [(name, base) for name in features if name != contracts_own]
    task = progress.add_task("forests", total=len(tried))
    found: dict[tuple[str, tuple[int, int]], list[Values]] = defaultdict(list)
    for name, (trees, samples) in tried:
        for seed in range(SEARCH_SEED, SEARCH_SEED + sizes.search_divisions):
            parts = divide(rows, seed=seed)
            scores = forest_scores(rows, features[name], parts, trees=trees, samples=samples, seed=seed)
            judged = evaluate(rows.label[parts.test], scores, rows.weight[parts.test])
            found[name, (trees, samples)].append(judged.as_dict())
        progress.advance(task)
    first = found[contracts_own, base]
    return Means(
        "Random Cut Forest",
        ("average precision", "minus our defaults", "ROC-AUC", "minus our defaults"),
        (),
        (
            f"Our defaults: {base[0]} trees of {base[1]} rows. Fitted on rows drawn at the natural prevalence, labels unseen.",
        ),
        cells=[
            [
                f"{trees} trees of {samples} rows, {name}",
                shown(values, "average_precision"),
                difference(values, first, "average_precision") if values is not first else "",
                shown(values, "roc_auc"),
                difference(values, first, "roc_auc") if values is not first else "",
            ]
            for (name, (trees, samples)), values in found.items()
        ],
    )


def _forest_features(rows: Rows) -> dict[str, NDArray[np.float32]]:
    """Return the contract's features, the same without their transforms, and with the time."""
    contract = rows.contract
    raw = rows.table[[feature.column for feature in contract.models.random_cut_forest.features]]
    features = {"features of the contract": rows.detector_matrix(), "without log1p": raw.to_numpy(np.float32)}
    if contract.time in contract.inputs:
        moment = rows.table[[contract.time]].to_numpy(np.float32)
        features["with the time"] = np.column_stack([rows.detector_matrix(), moment])
    return features


def _pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(os.cpu_count())
