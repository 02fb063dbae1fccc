"""From scores to decisions: calibration, thresholds by least expected cost, and the rule that applies them.

Pure arithmetic on arrays. The API applies the same rule (``api/``) from the manifest, which is all the two share. What a decision
costs is ``costs.py``. The amounts decide where the thresholds lie; they then hold for every amount.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fraudit_dagster.costs import Costs, PolicyError, cost_of, decision_costs, rows_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

NEVER = 2.0
"""A threshold that no probability reaches: nothing in the validation part earned this decision."""
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Policy:
    """Thresholds, and what they cost on the rows they were chosen on.

    Attributes:
        review_at: Review from this calibrated probability on; ``NEVER`` (2.0): no probability leads to a review.
        block_at: Block from this calibrated probability on, at least ``review_at``; ``NEVER``: none leads to a block.
        anomaly_review_at: Review from this anomaly score on; None: the anomaly score takes no part.
        expected_cost: Cost of these decisions (weighted sum over the rows).
        cost_without_model: Cost of approving everything (weighted sum over the rows).
    """

    review_at: float
    block_at: float
    anomaly_review_at: float | None
    expected_cost: float
    cost_without_model: float

    @classmethod
    def from_manifest(cls, thresholds: Mapping[str, Any]) -> Self:
        """Return the policy of a serving manifest; what it cost is not written there, and is NaN here."""
        unknown = float("nan")
        return cls(thresholds["review_at"], thresholds["block_at"], thresholds["anomaly_review_at"], unknown, unknown)

    def as_dict(self) -> dict[str, float | None]:
        """Every figure by its name."""
        return asdict(self)

    def without_anomaly_score(self) -> Self:
        """Return the same thresholds on the probability, where the anomaly score takes no part."""
        return replace(self, anomaly_review_at=None)


def choose_policy(
    labels: ArrayLike,
    fraud_proba: ArrayLike,
    anomaly_score: ArrayLike,
    amount: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    costs: Costs,
    seed: int = 0,
) -> Policy:
    """Choose the thresholds of least expected cost.

    The probabilities say what each decision costs on average (``least_cost_thresholds``); the rows say how much a fraud puts
    at stake. A search for the pair that happens to be cheapest on these rows hangs on a handful of frauds, and cost more on
    others (``docs/quality.md``). The anomaly score may then send more rows to review, if that lowers the cost on rows other
    than those its threshold was chosen on. Where all this costs more on the rows than approving everything, so it is.

    Args:
        labels: 1 for a fraud, else 0; shape (rows,).
        fraud_proba: Calibrated probabilities, 0 to 1; shape (rows,).
        anomaly_score: Shape (rows,).
        amount: Money at stake; shape (rows,).
        weights: Transactions that each row stands for; None: one each.
        costs: What decisions cost.
        seed: Of the folds on which the anomaly score is tried.

    Raises:
        PolicyError: The arrays do not fit each other, a value is out of range, or a class is absent.
    """
    label, p, weight = rows_of(labels, fraud_proba, weights)
    _check_probabilities(p)
    _, anomaly, _ = rows_of(labels, anomaly_score, weights)
    by_decision, _ = decision_costs(label, amount, weight, costs=costs)
    without_model = float(by_decision["approve"].sum())
    review_at, block_at = least_cost_thresholds(without_model / float(weight[label == 1].sum()), costs)

    approved = p < review_at
    change = (by_decision["review"] - by_decision["approve"])[approved]
    anomaly_review_at = None
    if _helps_on_otherrows_of(anomaly[approved], change, seed=seed):
        anomaly_review_at = _cheapest_threshold(anomaly[approved], change)

    policy = Policy(review_at, block_at, anomaly_review_at, 0.0, without_model)
    cost = cost_of(decide(p, anomaly, policy), label, amount, weight, costs=costs)
    if cost > without_model:
        return Policy(NEVER, NEVER, None, without_model, without_model)
    return replace(policy, expected_cost=cost)


def least_cost_thresholds(stake: float, costs: Costs) -> tuple[float, float]:
    """Return the probabilities from which on a review, and a block, cost least on average.

    At probability p, approving costs p x stake, a review its fee, a block (1 - p) x the cost of a false one (C. Elkan, "The
    Foundations of Cost-Sensitive Learning", IJCAI 2001, with a third decision). Where a review is never the cheapest, both
    are where a block becomes cheaper than approving.

    Args:
        stake: What an approved fraud costs on average.
        costs: What decisions cost.
    """
    if stake <= 0:
        return NEVER, NEVER
    review_at = costs.review_cost / stake
    block_at = 1 - costs.review_cost / costs.false_block_cost if costs.false_block_cost else 0.0
    if review_at < block_at:
        return review_at, block_at
    either = costs.false_block_cost / (stake + costs.false_block_cost)
    return either, either


def decide(fraud_proba: ArrayLike, anomaly_score: ArrayLike, policy: Policy) -> NDArray[np.str_]:
    """Decide on each row: ``approve``, ``review`` or ``block``; shape (rows,).

    Args:
        fraud_proba: Calibrated probabilities; shape (rows,).
        anomaly_score: Shape (rows,).
        policy: The thresholds.

    Raises:
        PolicyError: A score is not a number: such a row must not be approved for that.
    """
    p, anomaly = np.asarray(fraud_proba, np.float64), np.asarray(anomaly_score, np.float64)
    if np.isnan(p).any() or np.isnan(anomaly).any():
        raise PolicyError(f"{np.count_nonzero(np.isnan(p) | np.isnan(anomaly))} of {p.size} rows have no score")
    unusual = np.zeros(p.shape, bool) if policy.anomaly_review_at is None else anomaly >= policy.anomaly_review_at
    decisions: NDArray[np.str_] = np.select(
        [p >= policy.block_at, (p >= policy.review_at) | unusual], ["block", "review"], "approve"
    )
    return decisions


def fit_calibration(
    labels: ArrayLike, fraud_proba: ArrayLike, weights: ArrayLike | None = None, *, seed: int = 0
) -> dict[str, Any]:
    """Fit an isotonic calibration, and keep it only if it lowers the log loss on rows it was not fitted on.

    Each step of the isotonic fit is drawn together in its centre (Oron and Flournoy, "Centered Isotonic Regression",
    Statistics in Biopharmaceutical Research 9, 2017), so that the map rises strictly from (0, 0) to (1, 1): the order of
    the scores, and with it every ranking metric, stays as it was.

    Args:
        labels: 1 for a fraud, else 0; shape (rows,).
        fraud_proba: The model's probabilities; shape (rows,).
        weights: Transactions that each row stands for; None: one each.
        seed: Of the folds.

    Returns:
        As the serving manifest writes it: ``{"kind": "none" | "isotonic", "x": [...], "y": [...]}``, both rising from 0
        to 1, with straight lines between the points; without points for ``none``.

    Raises:
        PolicyError: The arrays do not fit each other, a value is out of range, or a class is absent.
    """
    from sklearn.metrics import log_loss
    from sklearn.model_selection import StratifiedKFold

    label, p, weight = rows_of(labels, fraud_proba, weights)
    _check_probabilities(p)
    folds = min(FOLDS, int(label.sum()), int((1 - label).sum()))
    if folds < 2:  # noqa: PLR2004 - one part to fit on, one to judge on
        return _uncalibrated()
    calibrated = np.empty_like(p)
    for fit, held_out in StratifiedKFold(folds, shuffle=True, random_state=seed).split(p, label):
        calibrated[held_out] = apply_calibration(_isotonic(label[fit], p[fit], weight[fit]), p[held_out])
    before, after = (log_loss(label, q, sample_weight=weight) for q in (p, calibrated))
    return _isotonic(label, p, weight) if after < before else _uncalibrated()


def apply_calibration(calibration: Mapping[str, Any], fraud_proba: ArrayLike) -> Floats:
    """Calibrated probabilities; same shape.

    Args:
        calibration: As ``fit_calibration`` gives it and the manifest holds it.
        fraud_proba: The model's probabilities, any shape.

    Raises:
        PolicyError: The kind is not one that is made here.
    """
    p = np.asarray(fraud_proba, np.float64)
    match calibration["kind"]:
        case "none":
            return p
        case "isotonic":
            calibrated: Floats = np.interp(p, calibration["x"], calibration["y"])
            return calibrated
        case other:
            raise PolicyError(f"calibration kind {other!r} is neither none nor isotonic")


def _check_probabilities(p: Floats) -> None:
    if p.min() < 0 or p.max() > 1:
        raise PolicyError(f"probabilities must lie within 0 and 1, found {p.min():g} to {p.max():g}")


def _between(ordered: Floats, cut: int) -> float:
    """A threshold halfway between the rows below the cut and those above it."""
    if cut == 0:
        return 0.0
    if cut == ordered.size:
        return NEVER
    low, high = float(ordered[cut - 1]), float(ordered[cut])
    middle = (low + high) / 2
    return middle if low < middle else high


def _cheapest_threshold(score: Floats, change: Floats) -> float | None:
    """The threshold from which on reviewing saves most, or None where it never saves; ``change`` is money by row."""
    order = np.argsort(score, kind="stable")
    ordered = score[order]
    from_here_on = np.cumsum(change[order][::-1])[::-1]
    cuts = np.flatnonzero(np.diff(ordered, prepend=-np.inf))
    if cuts.size == 0 or from_here_on[cuts].min() >= 0:
        return None
    cut = int(cuts[np.argmin(from_here_on[cuts])])
    return float(ordered[0]) if cut == 0 else _between(ordered, cut)


def _helps_on_otherrows_of(score: Floats, change: Floats, *, seed: int) -> bool:
    fold = np.random.default_rng(seed).permutation(score.size) % FOLDS
    total = 0.0
    for held_out in (fold == number for number in range(FOLDS)):
        threshold = _cheapest_threshold(score[~held_out], change[~held_out])
        if threshold is not None:
            total += float(change[held_out & (score >= threshold)].sum())
    return total < 0


def _uncalibrated() -> dict[str, Any]:
    return {"kind": "none", "x": [], "y": []}


def _isotonic(label: NDArray[np.int8], p: Floats, weight: Floats) -> dict[str, Any]:
    from sklearn.isotonic import IsotonicRegression

    # Two half-transactions keep every block off 0 and 1, as the targets of J. Platt, "Probabilistic Outputs for Support
    # Vector Machines" (1999) do.
    score = np.append(p, [p.min(), p.max()])
    mass = np.append(weight, [0.5, 0.5])
    fitted = IsotonicRegression().fit(score, np.append(label, [1, 0]), mass).predict(score)
    height, block = np.unique(fitted, return_inverse=True)
    centre = np.bincount(block, score * mass) / np.bincount(block, mass)
    x, y = centre.tolist(), height.tolist()
    if x[0] > 0:
        x, y = [0.0, *x], [0.0, *y]
    if x[-1] < 1:
        x, y = [*x, 1.0], [*y, 1.0]
    return {"kind": "isotonic", "x": x, "y": y}
