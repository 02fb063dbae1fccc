"""Arrays to draw an evaluation from: precision over recall, calibration, scores, cost over the threshold.

Belongs here: what is drawn. Does not: drawing it (``figures.py``), single figures (``evaluation.py``), choosing thresholds
(``policy.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fraudit_dagster.costs import decision_costs
from fraudit_dagster.evaluation import NORMAL_95, checked

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from fraudit_dagster.costs import Costs

    Floats = NDArray[np.float64]

HISTOGRAM_BINS = 50
LOWEST_PROBABILITY = 1e-5
"""Probabilities are shown on a logarithmic scale from here on; lower ones count as this."""
BINS_PER_DECADE = 2
COST_POINTS = RANK_POINTS = 400


@dataclass(frozen=True, slots=True)
class PrecisionRecall:
    """The precision-recall curve.

    Attributes:
        recall: x, from 1 down to 0; at most ``RANK_POINTS`` of them.
        precision: y; same shape.
        prevalence: Precision of a score that knows nothing.
    """

    recall: Floats
    precision: Floats
    prevalence: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Predicted probability beside the share of frauds, in the bins that hold rows.

    Attributes:
        predicted: x: the mean probability of each bin.
        observed: y: the share of frauds in it.
        low: Lower end of the 95 % interval of ``observed``.
        high: Upper end of it; above 0 even where a bin holds no fraud.
        transactions: The weight of each bin.
    """

    predicted: Floats
    observed: Floats
    low: Floats
    high: Floats
    transactions: Floats


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many transactions have which score.

    Attributes:
        edges: The bins' limits, one more than there are bins.
        good: Good transactions in each bin (weighted).
        fraud: Frauds in each bin (weighted).
    """

    edges: Floats
    good: Floats
    fraud: Floats


@dataclass(frozen=True, slots=True)
class CostCurve:
    """What one threshold alone would cost, per transaction.

    Attributes:
        threshold: Probabilities, rising.
        review: Cost of reviewing from each threshold on and blocking nothing; same shape.
        block: Cost of blocking from each threshold on and reviewing nothing; same shape.
        nothing: Cost of approving everything.
    """

    threshold: Floats
    review: Floats
    block: Floats
    nothing: float


def precision_recall(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> PrecisionRecall:
    """Precision over recall as the threshold rises.

    Args:
        labels: 1 for a fraud, else 0; shape (rows,).
        scores: Shape (rows,).
        weights: Transactions that each row stands for; None: one each.

    Raises:
        EvaluationError: The arrays cannot be judged.
    """
    from sklearn.metrics import precision_recall_curve

    label, score, weight = checked(labels, scores, weights)
    precision, recall, _ = precision_recall_curve(label, score, sample_weight=weight, drop_intermediate=True)
    shown = np.unique(np.linspace(0, recall.size - 1, min(recall.size, RANK_POINTS)).round().astype(int))
    return PrecisionRecall(recall[shown], precision[shown], float(weight[label == 1].sum() / weight.sum()))


def calibration(labels: ArrayLike, proba: ArrayLike, weights: ArrayLike | None = None) -> Calibration:
    """Share of frauds by predicted probability, in bins of equal width on a logarithmic scale.

    The interval is that of a Poisson count, by Byar's approximation (Breslow and Day, "Statistical Methods in Cancer Research"
    II, IARC 1987, formula 2.13).

    Args:
        labels: 1 for a fraud, else 0; shape (rows,).
        proba: 0 to 1; shape (rows,).
        weights: Transactions that each row stands for; None: one each.

    Raises:
        EvaluationError: The arrays cannot be judged.
    """
    label, p, weight = checked(labels, proba, weights)
    decades = -int(np.log10(LOWEST_PROBABILITY))
    edges = np.logspace(-decades, 0, decades * BINS_PER_DECADE + 1)
    place = np.searchsorted(edges[:-1], p, side="right")
    transactions, promised, frauds = (
        np.bincount(place, values, edges.size).astype(np.float64) for values in (weight, weight * p, weight * label)
    )
    held = transactions > 0
    transactions, promised, frauds = transactions[held], promised[held], frauds[held]
    low, high = _poisson_interval(frauds)
    return Calibration(
        predicted=promised / transactions,
        observed=frauds / transactions,
        low=low / transactions,
        high=np.minimum(high / transactions, 1.0),
        transactions=transactions,
    )


def histogram(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None, *, probability: bool
) -> Histogram:
    """Count good transactions and frauds by score.

    Args:
        labels: 1 for a fraud, else 0; shape (rows,).
        scores: Shape (rows,).
        weights: Transactions that each row stands for; None: one each.
        probability: The score is one: bins of equal width on a logarithmic scale; else on a linear one.

    Raises:
        EvaluationError: The arrays cannot be judged.
    """
    label, score, weight = checked(labels, scores, weights)
    if probability:
        edges = np.logspace(np.log10(LOWEST_PROBABILITY), 0, HISTOGRAM_BINS + 1)
        score = np.clip(score, LOWEST_PROBABILITY, 1)
    else:
        edges = np.histogram_bin_edges(score, HISTOGRAM_BINS)
    good, fraud = (np.histogram(score[label == c], edges, weights=weight[label == c])[0] for c in (0, 1))
    return Histogram(edges, good, fraud)


def cost_curve(
    labels: ArrayLike, proba: ArrayLike, amount: ArrayLike, weights: ArrayLike | None = None, *, costs: Costs
) -> CostCurve:
    """What a single threshold would cost per transaction, wherever it lies.

    Args:
        labels: 1 for a fraud, else 0; shape (rows,).
        proba: Calibrated probabilities; shape (rows,).
        amount: Money at stake; shape (rows,).
        weights: Transactions that each row stands for; None: one each.
        costs: What decisions cost.

    Raises:
        PolicyError: The arrays do not fit each other, or a class is absent.
    """
    by_decision, weight = decision_costs(labels, amount, weights, costs=costs)
    p = np.asarray(proba, np.float64)
    order = np.argsort(p, kind="stable")
    threshold = np.logspace(np.log10(LOWEST_PROBABILITY), 0, COST_POINTS)
    below = np.searchsorted(p[order], threshold, side="left")
    sums = {name: np.append(0.0, np.cumsum(cost[order])) for name, cost in by_decision.items()}
    flagged = {name: sums["approve"][below] + sums[name][-1] - sums[name][below] for name in ("review", "block")}
    total = float(weight.sum())
    return CostCurve(threshold, flagged["review"] / total, flagged["block"] / total, float(sums["approve"][-1]) / total)


def _poisson_interval(counts: Floats) -> tuple[Floats, Floats]:
    """Lower and upper ends of the 95 % intervals of Poisson counts."""
    some, next_count = np.maximum(counts, 1e-9), counts + 1
    low = some * np.maximum(1 - 1 / (9 * some) - NORMAL_95 / (3 * np.sqrt(some)), 0) ** 3
    high = next_count * (1 - 1 / (9 * next_count) + NORMAL_95 / (3 * np.sqrt(next_count))) ** 3
    return low, high
