"""Thresholds cost least on the rows they are chosen on; the rule is the serving manifest's."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudit_dagster.contract import load_contract
from fraudit_dagster.costs import (
    Costs,
    PolicyError,
    all_approved,
    compare_costs,
    cost_of,
    flagged,
    row_costs,
)
from fraudit_dagster.evaluation import evaluate, reliability
from fraudit_dagster.policy import (
    NEVER,
    Policy,
    apply_calibration,
    choose_policy,
    decide,
    fit_calibration,
    least_cost_thresholds,
)
from fraudit_dagster.tables import read_table, row_weights

REAL_SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "creditcard_sample.parquet"
COSTS = Costs(review_cost=5, false_block_cost=25)


def test_the_rule() -> None:
    policy = Policy(review_at=0.2, block_at=0.8, anomaly_review_at=3.0, expected_cost=0, cost_without_model=0)
    proba = [0.1, 0.2, 0.8, 0.1, 0.9]
    anomaly = [1.0, 1.0, 1.0, 3.0, 9.0]
    assert decide(proba, anomaly, policy).tolist() == ["approve", "review", "block", "review", "block"]


def test_without_a_threshold_the_anomaly_score_takes_no_part() -> None:
    policy = Policy(review_at=0.2, block_at=NEVER, anomaly_review_at=None, expected_cost=0, cost_without_model=0)
    assert decide([0.1, 1.0], [1e9, 1e9], policy).tolist() == ["approve", "review"]


def test_a_row_without_a_score_is_never_approved_for_that() -> None:
    policy = Policy(0.2, 0.8, None, 0, 0)
    with pytest.raises(PolicyError, match="1 of 2 rows have no score"):
        decide([0.1, np.nan], [1.0, 1.0], policy)


def test_what_decisions_cost() -> None:
    labels, amounts = [1, 0, 1, 0, 1, 0], [100, 10, 200, 10, 300, 10]
    decisions = ["approve", "approve", "review", "review", "block", "block"]
    assert cost_of(decisions, labels, amounts, costs=COSTS) == 100 + 5 + 5 + 25
    assert cost_of(decisions, labels, amounts, [1, 2, 1, 2, 1, 2], costs=COSTS) == 100 + 5 + 10 + 50
    half = Costs(review_cost=5, false_block_cost=25, lost_share=0.5)
    assert cost_of(all_approved(6), labels, amounts, costs=half) == 300
    with pytest.raises(PolicyError, match=r"found \['aprove'\]"):
        cost_of(["aprove"] * 6, labels, amounts, costs=COSTS)


def test_what_decisions_flag() -> None:
    found = flagged(["approve", "review", "block", "approve"], [0, 0, 1, 1], [10, 20, 1, 1])
    assert found == {
        "share_flagged": pytest.approx(21 / 32),
        "precision_of_flagged": pytest.approx(1 / 21),
        "recall_of_flagged": 0.5,
    }
    assert flagged(["approve", "approve"], [0, 1])["precision_of_flagged"] == 0


def test_a_dearer_policy_is_told_from_a_cheaper_one_and_from_itself() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(2_000) < 0.05).astype(int)
    amounts, weights = np.full(2_000, 100.0), np.where(labels == 1, 1.0, 20.0)
    good = row_costs(np.where(labels == 1, "block", "approve"), labels, amounts, weights, costs=COSTS)
    bad = row_costs(np.where(rng.random(2_000) < 0.5, "approve", "review"), labels, amounts, weights, costs=COSTS)
    dearer = compare_costs(good, bad, weights.sum(), resamples=200)
    assert dearer.cost_difference == pytest.approx((bad.sum() - good.sum()) / weights.sum())
    assert 0 < dearer.cost_interval[0] < dearer.cost_difference < dearer.cost_interval[1]
    assert dearer.probability_dearer == 1
    assert compare_costs(bad, good, weights.sum(), resamples=200).probability_dearer == 0
    same = compare_costs(good, good, weights.sum(), resamples=20)
    assert (same.cost_difference, same.cost_interval, same.probability_dearer) == (0, (0, 0), 0)


def test_a_policy_is_read_from_a_manifest_and_can_leave_the_anomaly_score_out() -> None:
    policy = Policy.from_manifest(
        {"review_at": 0.2, "block_at": 0.8, "anomaly_review_at": 3.0, "when_degraded": "review"}
    )
    assert decide([0.1, 0.3], [4.0, 1.0], policy).tolist() == ["review", "review"]
    assert decide([0.1, 0.3], [4.0, 1.0], policy.without_anomaly_score()).tolist() == ["approve", "review"]


def row() -> st.SearchStrategy[tuple]:
    return st.tuples(
        st.booleans(),
        st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9, 1.0]),
        st.sampled_from([0.0, 4.0, 40.0, 400.0]),
        st.sampled_from([1.0, 20.0]),
    )


@settings(deadline=None)
@given(
    stake=st.floats(0, 500),
    review_cost=st.floats(0, 50),
    false_block_cost=st.floats(0, 500),
    p=st.floats(0, 1),
)
def test_no_decision_is_cheaper_on_average(stake: float, review_cost: float, false_block_cost: float, p: float) -> None:
    costs = Costs(review_cost=review_cost, false_block_cost=false_block_cost)
    review_at, block_at = least_cost_thresholds(stake, costs)
    assert 0 <= review_at <= block_at <= NEVER
    (decision,) = decide([p], [0], Policy(review_at, block_at, None, 0, 0)).tolist()
    average = {"approve": p * stake, "review": review_cost, "block": (1 - p) * false_block_cost}
    assert average[decision] == pytest.approx(min(average.values()), abs=1e-6)


def test_the_stake_is_the_mean_amount_of_a_fraud_with_what_is_not_recovered() -> None:
    labels, proba, amounts = [0, 0, 1, 1], [0.01, 0.02, 0.9, 0.95], [900.0, 900.0, 50.0, 150.0]
    everything = choose_policy(labels, proba, np.zeros(4), amounts, costs=COSTS)
    assert (everything.review_at, everything.block_at) == pytest.approx((5 / 100, 1 - 5 / 25))
    half = Costs(review_cost=5, false_block_cost=25, lost_share=0.5)
    assert choose_policy(labels, proba, np.zeros(4), amounts, costs=half).review_at == pytest.approx(5 / 50)
    weighted = choose_policy(labels, proba, np.zeros(4), amounts, [20, 20, 3, 1], costs=COSTS)
    assert weighted.review_at == pytest.approx(5 / 75)


@settings(deadline=None)
@given(rows=st.lists(row(), min_size=2, max_size=25).filter(lambda rows: len({r[0] for r in rows}) == 2))
def test_a_policy_never_costs_more_than_no_model_on_the_rows_it_was_chosen_on(rows: list[tuple]) -> None:
    labels, proba, amounts, weights = (np.array(column) for column in zip(*rows, strict=True))
    anomaly = np.zeros(labels.size)
    policy = choose_policy(labels, proba, anomaly, amounts, weights, costs=COSTS)
    assert policy.expected_cost <= policy.cost_without_model
    decided = cost_of(decide(proba, anomaly, policy), labels, amounts, weights, costs=COSTS)
    assert policy.expected_cost == pytest.approx(decided)


def test_a_perfect_score_blocks_every_fraud_at_no_cost() -> None:
    labels = np.array([0] * 50 + [1] * 5)
    policy = choose_policy(labels, labels * 0.98 + 0.01, np.ones(55), np.full(55, 80.0), costs=COSTS)
    assert 0.01 < policy.block_at < 0.99
    assert policy.expected_cost == 0
    assert policy.cost_without_model == 400


def test_where_a_review_costs_more_than_frauds_nothing_is_reviewed() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(500) < 0.1).astype(int)
    policy = choose_policy(
        labels, rng.random(500), rng.random(500), np.full(500, 2.0), costs=Costs(review_cost=9, false_block_cost=99)
    )
    assert "review" not in decide(rng.random(500), rng.random(500), policy)
    assert policy.anomaly_review_at is None


def test_the_anomaly_score_joins_where_it_finds_what_the_classifier_misses() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(5_000) < 0.02).astype(int)
    missed = (labels == 1) & (rng.random(5_000) < 0.5)
    proba = np.where((labels == 1) & ~missed, 0.95, rng.random(5_000) * 0.02)
    amounts = np.full(5_000, 100.0)
    telling = rng.normal(1, 0.1, 5_000) + 2 * missed
    with_anomaly = choose_policy(labels, proba, telling, amounts, costs=COSTS)
    assert with_anomaly.anomaly_review_at is not None
    assert 1.3 < with_anomaly.anomaly_review_at < 3
    without = choose_policy(labels, proba, rng.normal(1, 0.1, 5_000), amounts, costs=COSTS)
    assert without.anomaly_review_at is None
    assert with_anomaly.expected_cost < without.expected_cost


def overconfident(rows: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    truth = rng.beta(0.3, 6, rows)
    return (rng.random(rows) < truth).astype(int), truth**0.4


def test_calibration_mends_a_score_that_promises_too_much() -> None:
    labels, proba = overconfident(8_000)
    calibration = fit_calibration(labels, proba)
    assert calibration["kind"] == "isotonic"
    assert len(calibration["x"]) < 200
    for axis in ("x", "y"):
        assert calibration[axis][0] == 0
        assert calibration[axis][-1] == 1
        assert (np.diff(calibration[axis]) > 0).all()

    calibrated = apply_calibration(calibration, proba)
    assert reliability(labels, proba).ratio > 1.5
    assert reliability(labels, calibrated).ratio == pytest.approx(1, abs=0.02)


def test_calibration_keeps_the_order_of_the_scores() -> None:
    labels, proba = overconfident(8_000)
    calibrated = apply_calibration(fit_calibration(labels, proba), proba)
    assert evaluate(labels, calibrated).average_precision == pytest.approx(evaluate(labels, proba).average_precision)
    np.testing.assert_array_equal(np.argsort(calibrated, kind="stable"), np.argsort(proba, kind="stable"))


def test_a_score_that_is_only_0_or_1_becomes_the_rate_behind_it() -> None:
    labels = np.array([0] * 90 + [1] * 10 + [0] * 10 + [1] * 10)
    proba = np.array([0.0] * 100 + [1.0] * 20)
    calibration = fit_calibration(labels, proba)
    assert calibration["x"] == [0, 1]
    assert calibration["y"] == pytest.approx([0.1, 0.5], abs=0.02)


def test_an_honest_score_is_left_alone() -> None:
    rng = np.random.default_rng(5)
    proba = rng.beta(0.3, 6, 1_000)
    labels = (rng.random(proba.size) < proba).astype(int)
    assert fit_calibration(labels, proba) == {"kind": "none", "x": [], "y": []}
    np.testing.assert_array_equal(apply_calibration({"kind": "none", "x": [], "y": []}, proba), proba)


def test_one_fraud_is_too_few_to_calibrate_by() -> None:
    assert fit_calibration([0, 0, 1], [0.1, 0.2, 0.9])["kind"] == "none"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(lambda: Costs(review_cost=-1), "costs must be at least 0", id="negative cost"),
        pytest.param(lambda: Costs(lost_share=2), "lost_share 0 to 1", id="share"),
        pytest.param(lambda: choose_policy([0, 0], [0, 1], [0, 1], [1, 1], costs=COSTS), "0 of 2 rows", id="no frauds"),
        pytest.param(lambda: choose_policy([0, 1], [0, 1], [0, 1], [1], costs=COSTS), "amounts must", id="amounts"),
        pytest.param(
            lambda: cost_of(["block"], [0, 1], [1, 1], costs=COSTS), "shapes differ: decisions", id="decisions"
        ),
        pytest.param(lambda: fit_calibration([0, 1], [0, np.inf]), "1 of 2 scores are not finite", id="infinite"),
        pytest.param(lambda: fit_calibration([0, 1], [-3, 7]), "within 0 and 1, found -3 to 7", id="no probability"),
        pytest.param(lambda: apply_calibration({"kind": "beta"}, [0.5]), "'beta' is neither", id="unknown calibration"),
    ],
)
def test_what_cannot_be_decided_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        call()


def test_on_real_transactions_the_policy_saves_money_on_rows_it_has_not_seen() -> None:
    if not REAL_SAMPLE.exists():
        pytest.skip(f"the real sample is not at {REAL_SAMPLE}")
    import xgboost as xgb

    contract = load_contract()
    table = read_table(REAL_SAMPLE, contract).sort_values("Time")
    labels, weights = table["Class"].to_numpy(), row_weights(table, contract)
    matrix, amounts = contract.models.xgboost.apply(table), table["Amount"].to_numpy()
    fit, choose, test = np.split(np.arange(len(table)), [7_300, 11_000])
    model = xgb.XGBClassifier(n_estimators=60, max_depth=5, learning_rate=0.1, n_jobs=2)
    model.fit(matrix[fit], labels[fit], sample_weight=weights[fit])
    raw = model.predict_proba(matrix)[:, 1]

    proba = apply_calibration(fit_calibration(labels[choose], raw[choose], weights[choose]), raw)
    nothing = np.zeros(len(table))
    policy = choose_policy(
        labels[choose], proba[choose], nothing[choose], amounts[choose], weights[choose], costs=COSTS
    )
    decisions = decide(proba[test], nothing[test], policy)
    cost = cost_of(decisions, labels[test], amounts[test], weights[test], costs=COSTS)
    assert cost < 0.6 * cost_of(all_approved(test.size), labels[test], amounts[test], weights[test], costs=COSTS)
