"""How good is a score, and is one model worse than another?

Metrics of scores against labels, every row counted with its sampling weight, so that figures on an under-sampled table
compare with those on the full one. What a decision costs is ``policy.py``; drawing is ``assets/``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

MAX_FALSE_POSITIVE_RATE = 0.01
ALERTS = 100
HISTOGRAM_BINS = 50
CALIBRATION_BINS = 10


class EvaluationError(ValueError):
    """Scores cannot be judged: lengths differ, a value is not finite, or one of the classes is absent."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """How well a score ranks frauds above good transactions.

    Attributes:
        rows: Rows judged.
        frauds: Rows with label 1.
        prevalence: Weighted share of frauds: the average precision of a score that knows nothing.
        average_precision: Area under the precision-recall curve, as a step function (scikit-learn's definition).
        roc_auc: Chance that a fraud scores above a good transaction.
        recall_at_1pct_fpr: Share of frauds found where at most 1 % of good transactions are flagged.
        precision_at_k: Share of frauds among the ``k`` highest scores; ``k`` counts transactions, not rows.
        k: The number of alerts that ``precision_at_k`` allows.
    """

    rows: int
    frauds: int
    prevalence: float
    average_precision: float
    roc_auc: float
    recall_at_1pct_fpr: float
    precision_at_k: float
    k: int

    def as_dict(self) -> dict[str, float]:
        """Every figure by its name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Confusion:
    """Transactions by label and by whether their score reaches a threshold (weighted)."""

    threshold: float
    true_positives: float
    false_positives: float
    false_negatives: float
    true_negatives: float

    def as_dict(self) -> dict[str, float]:
        """Every figure by its name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Average precision of a challenger minus that of the champion, on the same rows.

    Attributes:
        difference: On the rows as they are.
        mean_difference: Mean over the resamples.
        interval: The 95 % interval, lower and upper end.
        probability_worse: Share of the resamples in which the challenger loses more than the margin.
        margin: The loss that is tolerated.
    """

    difference: float
    mean_difference: float
    interval: tuple[float, float]
    probability_worse: float
    margin: float

    def as_dict(self) -> dict[str, float | tuple[float, float]]:
        """Every figure by its name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Curves:
    """Arrays to draw from.

    Attributes:
        recall: Precision-recall curve, x; from 1 down to 0.
        precision: Precision-recall curve, y; same shape.
        predicted: Calibration, x: the mean score of each bin that holds rows.
        observed: Calibration, y: the share of frauds in it.
        transactions: Calibration: the weight of it.
        edges: Histogram: the bins' limits, one more than there are bins.
        good: Histogram: weighted good transactions in each bin.
        fraud: Histogram: weighted frauds in each bin.
    """

    recall: Floats
    precision: Floats
    predicted: Floats
    observed: Floats
    transactions: Floats
    edges: Floats
    good: Floats
    fraud: Floats


def evaluate(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None, *, k: int = ALERTS) -> Metrics:
    """Judge a score; a higher one means more suspicious.

    Args:
        labels: 1 for a fraud, else 0; shape (rows,).
        scores: Any real scale; shape (rows,).
        weights: Transactions that each row stands for; None: one each.
        k: Alerts that can be looked at.

    Raises:
        EvaluationError: See there.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

    label, score, weight = checked(labels, scores, weights)
    false_positive_rate, recall, _ = roc_curve(label, score, sample_weight=weight)
    return Metrics(
        rows=label.size,
        frauds=int(label.sum()),
        prevalence=float(weight[label == 1].sum() / weight.sum()),
        average_precision=float(average_precision_score(label, score, sample_weight=weight)),
        roc_auc=float(roc_auc_score(label, score, sample_weight=weight)),
        recall_at_1pct_fpr=float(recall[false_positive_rate <= MAX_FALSE_POSITIVE_RATE].max()),
        precision_at_k=_precision_at(label, score, weight, k=k),
        k=k,
    )


def confusion(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None, *, threshold: float) -> Confusion:
    """Count what a threshold flags (score >= threshold) and what it lets pass.

    Raises:
        EvaluationError: See there.
    """
    from sklearn.metrics import confusion_matrix

    label, score, weight = checked(labels, scores, weights)
    table = confusion_matrix(label, score >= threshold, sample_weight=weight)
    true_negatives, false_positives, false_negatives, true_positives = table.ravel().tolist()
    return Confusion(threshold, true_positives, false_positives, false_negatives, true_negatives)


def expected_to_observed(labels: ArrayLike, proba: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Frauds that the probabilities promise, per fraud that there is: 1 where they are calibrated on the whole.

    Raises:
        EvaluationError: See there.
    """
    label, p, weight = checked(labels, proba, weights)
    return float((p * weight).sum() / weight[label == 1].sum())


def compare(
    champion_scores: ArrayLike,
    challenger_scores: ArrayLike,
    labels: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    resamples: int = 1000,
    margin: float = 0.0,
    seed: int = 0,
) -> Comparison:
    """Compare two models by a paired bootstrap of their average precision.

    Each resample draws the rows anew, for both models alike, as Poisson(1) counts (the large-sample form of drawing with
    replacement; Chamandy et al., "Estimating Uncertainty for Massive Data Streams", Google 2012). The rows are sorted
    once; a resample is then two cumulative sums per model.

    Args:
        champion_scores: Shape (rows,).
        challenger_scores: Shape (rows,), of the same rows.
        labels: Shape (rows,).
        weights: Shape (rows,); None: one each.
        resamples: How often to draw.
        margin: Loss of average precision that does not count as worse.
        seed: Of the draws.

    Raises:
        EvaluationError: See there.
    """
    label, champion, weight = checked(labels, champion_scores, weights)
    _, challenger, _ = checked(labels, challenger_scores, weights)
    rankings = [_Ranking.of(score, label) for score in (champion, challenger)]
    rng = np.random.default_rng(seed)

    def difference(drawn: Floats) -> float:
        before, after = (ranking.average_precision(drawn) for ranking in rankings)
        return after - before

    differences = np.array([difference(weight * rng.poisson(1.0, weight.size)) for _ in range(resamples)])
    # A resample without any fraud says nothing; with a handful of frauds it happens.
    differences = differences[np.isfinite(differences)]
    low, high = np.quantile(differences, [0.025, 0.975])
    return Comparison(
        difference=difference(weight),
        mean_difference=float(differences.mean()),
        interval=(float(low), float(high)),
        probability_worse=float((differences < -margin).mean()),
        margin=margin,
    )


def curves(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> Curves:
    """Arrays for the precision-recall curve, the calibration (of a probability) and the histogram of scores.

    Raises:
        EvaluationError: See there.
    """
    from sklearn.metrics import precision_recall_curve

    label, score, weight = checked(labels, scores, weights)
    precision, recall, _ = precision_recall_curve(label, score, sample_weight=weight, drop_intermediate=True)
    edges = np.histogram_bin_edges(score, HISTOGRAM_BINS)
    good, fraud = (np.histogram(score[label == c], edges, weights=weight[label == c])[0] for c in (0, 1))

    place = np.clip((score * CALIBRATION_BINS).astype(np.int64), 0, CALIBRATION_BINS - 1)
    transactions, promised, observed = (
        np.bincount(place, values, CALIBRATION_BINS).astype(np.float64)
        for values in (weight, weight * score, weight * label)
    )
    held = transactions > 0
    return Curves(
        recall=recall,
        precision=precision,
        predicted=promised[held] / transactions[held],
        observed=observed[held] / transactions[held],
        transactions=transactions[held],
        edges=edges,
        good=good,
        fraud=fraud,
    )


def checked(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None) -> tuple[NDArray[np.int8], Floats, Floats]:
    """Labels, scores and weights as arrays of one length that can be judged.

    Raises:
        EvaluationError: See there.
    """
    label, score = np.asarray(labels), np.asarray(scores, np.float64)
    weight = np.ones(label.shape) if weights is None else np.asarray(weights, np.float64)
    if label.ndim != 1 or not label.shape == score.shape == weight.shape:
        raise EvaluationError(f"shapes differ: labels {label.shape}, scores {score.shape}, weights {weight.shape}")
    if not np.isfinite(score).all():
        raise EvaluationError(f"{np.count_nonzero(~np.isfinite(score))} of {score.size} scores are not finite")
    if not (np.isfinite(weight).all() and (weight > 0).all()):
        raise EvaluationError("weights must be finite and above 0")
    if not np.isin(label, (0, 1)).all():
        raise EvaluationError(f"labels must be 0 or 1, found {sorted(set(label.tolist()) - {0, 1})[:3]}")
    frauds = np.count_nonzero(label)
    if frauds in (0, label.size):
        raise EvaluationError(f"{frauds} of {label.size} rows are frauds: both classes are needed")
    return label.astype(np.int8), score, weight


@dataclass(frozen=True, slots=True)
class _Ranking:
    """Rows from the highest score down; ``ends`` are the last places of runs of equal scores, ``fraud`` the labels."""

    order: NDArray[np.int64]
    ends: NDArray[np.int64]
    fraud: Floats

    @classmethod
    def of(cls, score: Floats, label: NDArray[np.int8]) -> _Ranking:
        order = np.argsort(-score, kind="stable")
        ends = np.append(np.flatnonzero(np.diff(score[order])), score.size - 1)
        return cls(order, ends, label[order].astype(np.float64))

    def cumulated(self, weight: Floats) -> tuple[Floats, Floats]:
        """Weight of the frauds, and of all rows, at or above each distinct score."""
        weight = weight[self.order]
        return np.cumsum(weight * self.fraud)[self.ends], np.cumsum(weight)[self.ends]

    def average_precision(self, weight: Floats) -> float:
        frauds, flagged = self.cumulated(weight)
        if frauds[-1] == 0:
            return float("nan")
        found = np.diff(frauds, prepend=0.0)
        some = found > 0
        return float((found[some] * frauds[some] / flagged[some]).sum() / frauds[-1])


def _precision_at(label: NDArray[np.int8], score: Floats, weight: Floats, *, k: int) -> float:
    """Precision among the ``k`` highest scores; of a run of equal scores that ``k`` cuts, its mean."""
    frauds, flagged = _Ranking.of(score, label).cumulated(weight)
    alerts = min(float(k), float(flagged[-1]))
    return float(np.interp(alerts, np.append(0.0, flagged), np.append(0.0, frauds)) / alerts)
