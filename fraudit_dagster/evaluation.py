"""How good is a score, and is one model worse than another?

Metrics of scores against labels, every row counted with its sampling weight, so that figures on an under-sampled table
compare with those on the full one. What a decision costs is ``policy.py``; arrays to draw from are ``curves.py``.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

MAX_FALSE_POSITIVE_RATE = 0.01
ALERTS = 100
MAX_RATIO = 3.0
"""Most times as many frauds, or as few, as probabilities may promise: far beyond a drift of the prevalence, far below a score
that is no probability."""
MAX_DOUBTFUL_RATIO = 2.0
"""The same below one half, upwards: on real and synthetic transactions honest models stayed below 1, ten-fold ones above 2.6."""
HALF = 0.5
NORMAL_95 = 1.959964


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

    @property
    def recall_and_precision(self) -> tuple[float, float]:
        """Share of the frauds that reach the threshold, and share of frauds among what reaches it (0 where nothing does)."""
        flagged = self.true_positives + self.false_positives
        recall = self.true_positives / (self.true_positives + self.false_negatives)
        return recall, self.true_positives / flagged if flagged else 0.0


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
class Reliability:
    """Whether a probability is one: the frauds it promises beside those that there are.

    Attributes:
        expected: Frauds that the probabilities promise (weighted).
        observed: Frauds that there are (weighted).
        ratio: Expected over observed: 1 where the probability is calibrated on the whole.
        ratio_low: Lower end of the 95 % interval of ``ratio``.
        ratio_high: Upper end of it.
        doubtful_ratio: The same among the transactions of a probability below one half, where a score that promises too much
            is not hidden by the frauds that are certain anyway.
        doubtful_ratio_low: Lower end of the 95 % interval of ``doubtful_ratio``.
        roc_auc_low: Lower end of the 95 % interval of the ROC-AUC: above 0.5 where the probability tells frauds at all.
    """

    expected: float
    observed: float
    ratio: float
    ratio_low: float
    ratio_high: float
    doubtful_ratio: float
    doubtful_ratio_low: float
    roc_auc_low: float

    def as_dict(self) -> dict[str, float]:
        """Every figure by its name."""
        return asdict(self)


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


def reliability(labels: ArrayLike, proba: ArrayLike, weights: ArrayLike | None = None) -> Reliability:
    """Judge whether probabilities promise as many frauds as there are.

    The interval of the ratio is that of its logarithm, by the delta method: the frauds are a Poisson count, and a row that
    stands for w transactions adds the variance of having drawn it with chance 1/w (Horvitz and Thompson, 1952). That of the
    ROC-AUC is Hanley and McNeil's ("The meaning and use of the area under a ROC curve", Radiology 143, 1982), with as many
    rows as the weights are worth.

    Args:
        labels: 1 for a fraud, else 0; shape (rows,).
        proba: Calibrated probabilities, 0 to 1; shape (rows,).
        weights: Transactions that each row stands for; None: one each.

    Raises:
        EvaluationError: See there.
    """
    from sklearn.metrics import roc_auc_score

    label, p, weight = checked(labels, proba, weights)
    fraud = label == 1
    doubtful = p < HALF
    ratio, spread = _promised_per_fraud(label, p, weight)
    doubtful_ratio, doubtful_spread = _promised_per_fraud(label[doubtful], p[doubtful], weight[doubtful])
    area = float(roc_auc_score(label, p, sample_weight=weight))
    return Reliability(
        expected=float((p * weight).sum()),
        observed=float(weight[fraud].sum()),
        ratio=ratio,
        ratio_low=ratio / spread,
        ratio_high=ratio * spread,
        doubtful_ratio=doubtful_ratio,
        doubtful_ratio_low=doubtful_ratio / doubtful_spread,
        roc_auc_low=area - NORMAL_95 * _area_deviation(area, _worth(weight[fraud]), _worth(weight[~fraud])),
    )


def calibration_problem(found: Mapping[str, float]) -> str | None:
    """Say why probabilities may not decide, or None where nothing speaks against it.

    Thresholds are chosen by cost, which is only right for probabilities. Three things are asked, each beyond its noise: that
    they promise at most ``MAX_RATIO`` times as many frauds as there are, more or fewer; below one half at most
    ``MAX_DOUBTFUL_RATIO`` times as many; and that frauds get higher ones than good transactions, which a constant and an
    inverted probability do not.

    Args:
        found: ``Reliability.as_dict()`` on rows that nothing was fitted on.
    """
    interval = f"95 % interval {found['ratio_low']:.2g} to {found['ratio_high']:.2g}"
    if found["ratio_low"] > MAX_RATIO or found["ratio_high"] < 1 / MAX_RATIO:
        return (
            f"its probabilities promise {found['expected']:,.1f} frauds where there are {found['observed']:,.0f}: "
            f"{found['ratio']:.2g} times as many ({interval}), and 1/{MAX_RATIO:g} to {MAX_RATIO:g} times is allowed"
        )
    if found["doubtful_ratio_low"] > MAX_DOUBTFUL_RATIO:
        return (
            f"its probabilities below {HALF} promise {found['doubtful_ratio']:.2g} times as many frauds as there are (95 % interval "
            f"from {found['doubtful_ratio_low']:.2g} on), and {MAX_DOUBTFUL_RATIO:g} times is allowed"
        )
    if found["roc_auc_low"] <= HALF:
        return (
            "its probabilities do not tell frauds from good transactions: the ROC-AUC may be as low as "
            f"{found['roc_auc_low']:.2f}, and a coin has {HALF}"
        )
    return None


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


def _promised_per_fraud(label: NDArray[np.int8], p: Floats, weight: Floats) -> tuple[float, float]:
    """Frauds promised over frauds there are (at least one), and the factor of its 95 % interval to either side."""
    expected, frauds = float((p * weight).sum()), weight[label == 1]
    if expected == 0:
        return 0.0, 1.0
    observed = max(float(frauds.sum()), 1.0)
    drawing = float((weight * np.maximum(weight - 1, 0) * p**2).sum())
    deviation = math.sqrt(max(float((frauds**2).sum()), 1.0) / observed**2 + drawing / expected**2)
    return expected / observed, math.exp(NORMAL_95 * deviation)


def _worth(weight: Floats) -> float:
    """How many rows of equal weight say as much as these (Kish's effective sample size)."""
    return float(weight.sum() ** 2 / (weight**2).sum())


def _area_deviation(area: float, frauds: float, good: float) -> float:
    """Standard deviation of a ROC-AUC (Hanley and McNeil 1982, formula 1)."""
    two_frauds, two_good = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (frauds - 1) * (two_frauds - area**2) + (good - 1) * (two_good - area**2)
    return math.sqrt(max(variance, 0.0) / (frauds * good))


def _precision_at(label: NDArray[np.int8], score: Floats, weight: Floats, *, k: int) -> float:
    """Precision among the ``k`` highest scores; of a run of equal scores that ``k`` cuts, its mean."""
    frauds, flagged = _Ranking.of(score, label).cumulated(weight)
    alerts = min(float(k), float(flagged[-1]))
    return float(np.interp(alerts, np.append(0.0, flagged), np.append(0.0, frauds)) / alerts)
