"""Metrics count each row with its weight, and a comparison of two models says how sure it is."""

import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from fraudit_dagster.evaluation import (
    EvaluationError,
    _Ranking,
    calibration_problem,
    compare,
    confusion,
    evaluate,
    reliability,
)

LABELS = np.array([0, 0, 1, 0, 1, 0, 0, 1])
SCORES = np.array([0.1, 0.2, 0.9, 0.8, 0.7, 0.3, 0.4, 0.35])


def many(rows: int, frauds: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and a score that tells frauds well but not perfectly."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(rows, int)
    labels[rng.choice(rows, frauds, replace=False)] = 1
    return labels, 1 / (1 + np.exp(-(rng.normal(size=rows) + 4 * labels - 4)))


def test_metrics_of_eight_transactions() -> None:
    metrics = evaluate(LABELS, SCORES, k=2)
    assert metrics.average_precision == pytest.approx((1 / 1 + 2 / 3 + 3 / 5) / 3)
    assert metrics.roc_auc == pytest.approx((5 + 4 + 3) / 15)
    assert metrics.recall_at_1pct_fpr == pytest.approx(1 / 3)
    assert metrics.precision_at_k == 0.5
    assert metrics.prevalence == 3 / 8
    assert metrics.as_dict()["k"] == 2


def test_a_weight_stands_for_that_many_transactions() -> None:
    labels, scores = many(400, 40)
    weights = np.where(labels == 1, 1, 5)
    repeated = evaluate(np.repeat(labels, weights), np.repeat(scores, weights), k=50).as_dict()
    weighted = evaluate(labels, scores, weights, k=50).as_dict()
    for name in repeated.keys() - {"rows"}:
        assert weighted[name] == pytest.approx(repeated[name]), name


def test_precision_at_k_takes_the_mean_of_a_tie_that_k_cuts() -> None:
    assert evaluate([1, 0, 1, 0], [0.9, 0.5, 0.5, 0.1], k=2).precision_at_k == pytest.approx((1 + 0.5) / 2)
    assert evaluate([1, 0], [0.9, 0.1], k=100).precision_at_k == 0.5


def test_confusion_at_a_threshold() -> None:
    table = confusion(LABELS, SCORES, np.where(LABELS == 1, 1.0, 20.0), threshold=0.7)
    assert (table.true_positives, table.false_positives) == (2, 20)
    assert (table.false_negatives, table.true_negatives) == (1, 80)
    assert table.recall_and_precision == pytest.approx((2 / 3, 2 / 22))
    assert confusion(LABELS, SCORES, threshold=2).recall_and_precision == (0, 0)


def honest(rows: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn with the probabilities that are given: rare, as fraud is."""
    rng = np.random.default_rng(seed)
    proba = rng.beta(0.02, 4, rows)
    return (rng.random(rows) < proba).astype(int), proba


def test_honest_probabilities_promise_as_many_frauds_as_there_are() -> None:
    labels, proba = honest(50_000)
    found = reliability(labels, proba)
    assert found.observed == labels.sum()
    assert found.ratio_low < 1 < found.ratio_high
    assert found.ratio == pytest.approx(found.expected / found.observed)
    assert reliability(labels, proba / 2).ratio == pytest.approx(found.ratio / 2)
    assert calibration_problem(found.as_dict()) is None


def test_the_interval_of_the_ratio_holds_the_truth_as_often_as_it_says() -> None:
    hits = 0
    for seed in range(200):
        labels, proba = honest(8_000, seed=seed)
        rng = np.random.default_rng(1_000 + seed)
        kept = (labels == 1) | (rng.random(labels.size) < 1 / 20)
        weights = np.where(labels == 1, 1.0, 20.0)
        found = reliability(labels[kept], proba[kept], weights[kept])
        hits += found.ratio_low <= 1 <= found.ratio_high
    assert 0.85 <= hits / 200 <= 1


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        pytest.param(lambda p: np.minimum(10 * p, 1), "times as many", id="ten times too high"),
        pytest.param(lambda p: p / 10, "times as many", id="ten times too low"),
        pytest.param(lambda p: np.full(p.size, p.mean()), "do not tell frauds", id="constant"),
        pytest.param(lambda p: p[np.argsort(np.argsort(-p))], "do not tell frauds", id="shuffled"),
        pytest.param(lambda p: p.mean() * (1 - p), "do not tell frauds", id="inverted"),
    ],
)
def test_what_is_no_probability_is_found_out(spoil: Callable[[np.ndarray], np.ndarray], problem: str) -> None:
    labels, proba = honest(40_000)
    assert problem in str(calibration_problem(reliability(labels, spoil(proba)).as_dict()))


def test_certain_frauds_do_not_hide_that_the_doubtful_ones_are_promised_ten_times_too_often() -> None:
    rng = np.random.default_rng(0)
    labels, proba = honest(40_000)
    labels, proba = np.append(labels, np.ones(400, int)), np.append(proba, rng.uniform(0.95, 1, 400))
    assert calibration_problem(reliability(labels, proba).as_dict()) is None
    spoilt = reliability(labels, np.minimum(10 * proba, 1))
    assert spoilt.ratio_low < 3, "the whole says nothing"
    assert "below 0.5 promise" in str(calibration_problem(spoilt.as_dict()))


def test_with_a_single_fraud_the_ratio_says_little_and_is_not_held_against_the_model() -> None:
    labels = np.zeros(1_000, int)
    labels[0] = 1
    proba = np.where(labels == 1, 0.9, 0.004)
    found = reliability(labels, proba)
    assert found.ratio > 4
    assert calibration_problem(found.as_dict()) is None


@given(
    rows=st.lists(
        st.tuples(st.booleans(), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.integers(0, 3)),
        min_size=1,
        max_size=40,
    )
)
def test_resampled_average_precision_is_scikit_learns(rows: list[tuple[bool, float, int]]) -> None:
    labels, scores, drawn = (np.array(column) for column in zip(*rows, strict=True))
    ours = _Ranking.of(scores, labels.astype(np.int8)).average_precision(drawn.astype(float))
    if not (labels * drawn).any():
        assert np.isnan(ours)
    else:
        assert ours == pytest.approx(average_precision_score(labels, scores, sample_weight=drawn))


def test_a_model_is_not_worse_than_itself() -> None:
    labels, scores = many(5_000, 50)
    comparison = compare(scores, scores, labels, resamples=50)
    assert comparison.difference == 0
    assert comparison.interval == (0, 0)
    assert comparison.probability_worse == 0


def test_a_spoilt_challenger_is_worse_and_the_margin_forgives() -> None:
    labels, scores = many(5_000, 100)
    spoilt = scores + np.random.default_rng(1).normal(0, 0.3, scores.size)
    comparison = compare(scores, spoilt, labels, resamples=200)
    assert comparison.interval[0] < comparison.difference < comparison.interval[1] < 0
    assert comparison.mean_difference == pytest.approx(comparison.difference, abs=0.03)
    assert comparison.probability_worse == 1.0
    assert compare(scores, spoilt, labels, resamples=200, margin=1.0).probability_worse == 0
    assert compare(spoilt, scores, labels, resamples=200).probability_worse == 0


def test_a_comparison_is_repeatable_and_quick() -> None:
    labels, champion = many(42_000, 70, seed=1)
    challenger = champion + np.random.default_rng(2).normal(0, 0.01, champion.size)
    started = time.process_time()
    first = compare(champion, challenger, labels, resamples=200, seed=3)
    assert time.process_time() - started < 6
    assert first == compare(champion, challenger, labels, resamples=200, seed=3)


@pytest.mark.parametrize(
    ("labels", "scores", "weights", "message"),
    [
        pytest.param([0, 0], [0.1, 0.2], None, "0 of 2 rows are frauds", id="no frauds"),
        pytest.param([1, 1], [0.1, 0.2], None, "2 of 2 rows are frauds", id="only frauds"),
        pytest.param([0, 2], [0.1, 0.2], None, r"labels must be 0 or 1, found \[2\]", id="label"),
        pytest.param([0, 1], [0.1, np.nan], None, "1 of 2 scores are not finite", id="score"),
        pytest.param([0, 1], [0.1], None, r"shapes differ: labels \(2,\), scores \(1,\)", id="length"),
        pytest.param([0, 1], [0.1, 0.2], [1, 0], "weights must be finite and above 0", id="weight"),
    ],
)
def test_what_cannot_be_judged_is_refused(labels: list, scores: list, weights: list | None, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        evaluate(labels, scores, weights)
