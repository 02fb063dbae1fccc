"""What is drawn adds up to the rows it is drawn from."""

import numpy as np
import pytest

from fraudit_dagster.costs import Costs, all_approved, cost_of
from fraudit_dagster.curves import calibration, cost_curve, histogram, precision_recall

COSTS = Costs(review_cost=5, false_block_cost=25)
LABELS = np.array([0] * 1_900 + [1] * 100)
WEIGHTS = np.where(LABELS == 1, 1.0, 20.0)
AMOUNTS = np.random.default_rng(1).gamma(1, 80, 2_000)
PROBA = np.clip(np.random.default_rng(0).beta(0.1, 4, 2_000) + 0.5 * LABELS, 0, 1)


def test_precision_over_recall_ends_at_every_fraud_found() -> None:
    drawn = precision_recall(LABELS, PROBA, WEIGHTS)
    assert drawn.recall[0] == 1
    assert drawn.recall[-1] == 0
    assert drawn.precision.shape == drawn.recall.shape
    assert drawn.prevalence == 100 / (100 + 1_900 * 20)


def test_calibration_bins_hold_every_transaction_and_every_fraud() -> None:
    drawn = calibration(LABELS, PROBA, WEIGHTS)
    assert drawn.transactions.sum() == WEIGHTS.sum()
    assert (drawn.observed * drawn.transactions).sum() == pytest.approx(100)
    assert (drawn.predicted * drawn.transactions).sum() == pytest.approx((PROBA * WEIGHTS).sum())
    assert (np.diff(drawn.predicted) > 0).all()
    assert (drawn.low <= drawn.observed).all()
    assert (drawn.observed <= drawn.high).all()
    assert (drawn.high > 0).all()


@pytest.mark.parametrize(
    ("count", "low", "high"), [(0, 0, 3.689), (1, 0.025, 5.572), (10, 4.795, 18.39), (100, 81.36, 121.6)]
)
def test_the_interval_of_a_bin_is_that_of_a_poisson_count(count: int, low: float, high: float) -> None:
    """Exact values: Garwood 1936."""
    rows = 10_000
    labels = np.arange(rows) < count
    drawn = calibration(np.append(labels, 1).astype(int), np.append(np.full(rows, 0.02), 1.0))
    assert drawn.low[0] * rows == pytest.approx(low, rel=0.02, abs=0.03)
    assert drawn.high[0] * rows == pytest.approx(high, rel=0.02)


@pytest.mark.parametrize("probability", [True, False])
def test_a_histogram_holds_every_transaction(probability: bool) -> None:
    drawn = histogram(LABELS, PROBA, WEIGHTS, probability=probability)
    assert drawn.fraud.sum() == 100
    assert drawn.good.sum() == 1_900 * 20
    assert drawn.edges.size == drawn.good.size + 1


def test_the_cost_of_one_threshold_is_that_of_the_decisions_it_makes() -> None:
    drawn = cost_curve(LABELS, PROBA, AMOUNTS, WEIGHTS, costs=COSTS)
    total = WEIGHTS.sum()
    nothing = cost_of(all_approved(LABELS.size), LABELS, AMOUNTS, WEIGHTS, costs=COSTS)
    assert drawn.nothing == pytest.approx(nothing / total)
    for index in (0, 100, 250, 399):
        for name, curve in (("review", drawn.review), ("block", drawn.block)):
            decisions = np.where(drawn.threshold[index] <= PROBA, name, "approve")
            expected = cost_of(decisions, LABELS, AMOUNTS, WEIGHTS, costs=COSTS) / total
            assert curve[index] == pytest.approx(expected)
