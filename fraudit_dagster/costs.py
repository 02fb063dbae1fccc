"""What decisions cost, and whether one policy costs more than another.

Belongs here: money. Does not: choosing thresholds (``policy.py``).

What a transaction costs, in the currency of the amounts, with the settings of ``Costs``:

========  ==============================  ==========================
decision  a fraud                         a good transaction
========  ==============================  ==========================
approve   its amount x ``lost_share``     0
review    ``review_cost``                 ``review_cost``
block     0                               ``false_block_cost``
========  ==============================  ==========================

The analyst is taken to be right.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from fraudit_dagster.evaluation import EvaluationError, checked

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

Decision = Literal["approve", "review", "block"]


class PolicyError(ValueError):
    """Thresholds, a calibration or decisions cannot be had from these scores; the message says why."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What decisions cost.

    Attributes:
        review_cost: An analyst's look at one transaction.
        false_block_cost: A good customer who was blocked: the fee that is lost, the call, the annoyance.
        lost_share: Share of an approved fraud's amount that is lost, 0 to 1 (liability shifts and recoveries lower it).
    """

    review_cost: float = 5.0
    false_block_cost: float = 25.0
    lost_share: float = 1.0

    def __post_init__(self) -> None:
        if not (self.review_cost >= 0 and self.false_block_cost >= 0 and 0 <= self.lost_share <= 1):
            raise PolicyError(f"costs must be at least 0, and lost_share 0 to 1: {self}")


@dataclass(frozen=True, slots=True)
class CostComparison:
    """Cost of a challenger's decisions minus that of the champion's, per transaction, on the same rows.

    Attributes:
        cost_difference: On the rows as they are; below 0 where the challenger is cheaper.
        cost_interval: The 95 % interval, lower and upper end.
        probability_dearer: Share of the resamples in which the challenger costs more.
    """

    cost_difference: float
    cost_interval: tuple[float, float]
    probability_dearer: float

    def as_dict(self) -> dict[str, float | tuple[float, float]]:
        """Every figure by its name."""
        return asdict(self)


def all_approved(rows: int) -> NDArray[np.str_]:
    """The decisions of a shop without a model; shape (rows,)."""
    return np.full(rows, "approve")


def cost_of(
    decisions: ArrayLike, labels: ArrayLike, amount: ArrayLike, weights: ArrayLike | None = None, *, costs: Costs
) -> float:
    """What decisions cost (weighted sum over the rows); see ``row_costs``.

    Raises:
        PolicyError: The arrays do not fit each other, a decision is unknown, or a class is absent.
    """
    return float(row_costs(decisions, labels, amount, weights, costs=costs).sum())


def row_costs(
    decisions: ArrayLike, labels: ArrayLike, amount: ArrayLike, weights: ArrayLike | None = None, *, costs: Costs
) -> Floats:
    """What the decision on each row costs, times its weight; shape (rows,).

    Args:
        decisions: ``approve``, ``review`` or ``block``; shape (rows,).
        labels: 1 for a fraud, else 0; shape (rows,).
        amount: Money at stake; shape (rows,).
        weights: Transactions that each row stands for; None: one each.
        costs: What decisions cost.

    Raises:
        PolicyError: The arrays do not fit each other, a decision is unknown, or a class is absent.
    """
    decision = np.asarray(decisions)
    by_decision, _ = decision_costs(labels, amount, weights, costs=costs)
    if unknown := sorted(set(np.unique(decision).tolist()) - set(by_decision)):
        raise PolicyError(f"decisions must be approve, review or block, found {unknown[:3]}")
    if decision.shape != by_decision["approve"].shape:
        raise PolicyError(f"shapes differ: decisions {decision.shape}, labels {by_decision['approve'].shape}")
    taken: Floats = np.select([decision == name for name in by_decision], list(by_decision.values()))
    return taken


def decision_costs(
    labels: ArrayLike, amount: ArrayLike, weights: ArrayLike | None = None, *, costs: Costs
) -> tuple[dict[Decision, Floats], Floats]:
    """What each decision would cost on each row, times its weight, and the weights; all of shape (rows,).

    Raises:
        PolicyError: The arrays do not fit each other, or a class is absent.
    """
    money = np.asarray(amount, np.float64)
    label, _, weight = rows_of(labels, np.zeros(np.shape(labels)), weights)
    if money.shape != label.shape or not np.isfinite(money).all():
        raise PolicyError(f"amounts must be finite, one for each of {label.size} rows; their shape is {money.shape}")
    by_decision: dict[Decision, Floats] = {
        "approve": weight * label * money * costs.lost_share,
        "review": weight * costs.review_cost,
        "block": weight * (1 - label) * costs.false_block_cost,
    }
    return by_decision, weight


def flagged(decisions: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> dict[str, float]:
    """What decisions flag: ``share_flagged`` of the transactions, and ``precision`` and ``recall`` of what is flagged.

    Args:
        decisions: All but ``approve`` are flagged; shape (rows,).
        labels: 1 for a fraud, else 0; shape (rows,).
        weights: Transactions that each row stands for; None: one each.

    Raises:
        PolicyError: The arrays do not fit each other, or a class is absent.
    """
    caught = np.asarray(decisions) != "approve"
    label, _, weight = rows_of(labels, caught, weights)
    marked, frauds = float(weight[caught].sum()), float(weight[caught & (label == 1)].sum())
    return {
        "share_flagged": marked / float(weight.sum()),
        "precision_of_flagged": frauds / marked if marked else 0.0,
        "recall_of_flagged": frauds / float(weight[label == 1].sum()),
    }


def compare_costs(
    champion: ArrayLike, challenger: ArrayLike, transactions: float, *, resamples: int = 1000, seed: int = 0
) -> CostComparison:
    """Compare what two policies' decisions cost by a paired bootstrap over the rows.

    Each resample draws the rows anew as Poisson(1) counts, for both alike; rows that cost both the same cannot differ and
    are left out of the drawing.

    Args:
        champion: Its cost on each row, as ``row_costs`` gives it; shape (rows,).
        challenger: The same of the challenger, on the same rows.
        transactions: That the rows stand for: the sum of their weights.
        resamples: How often to draw.
        seed: Of the draws.
    """
    change = (np.asarray(challenger, np.float64) - np.asarray(champion, np.float64)) / transactions
    differing = change[change != 0]
    rng = np.random.default_rng(seed)
    drawn = np.array([rng.poisson(1.0, differing.size) @ differing for _ in range(resamples)])
    low, high = np.quantile(drawn, [0.025, 0.975])
    return CostComparison(
        cost_difference=float(change.sum()),
        cost_interval=(float(low), float(high)),
        probability_dearer=float((drawn > 0).mean()),
    )


def rows_of(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None) -> tuple[NDArray[np.int8], Floats, Floats]:
    """Labels, scores and weights as arrays of one length that can be decided on.

    Raises:
        PolicyError: The arrays do not fit each other, or a class is absent.
    """
    try:
        return checked(labels, scores, weights)
    except EvaluationError as error:
        raise PolicyError(str(error)) from error
