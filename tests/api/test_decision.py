"""The decision table, and calibration in front of it."""

import pytest
from chalicelib.decision import Decision, Policy
from chalicelib.manifest import Calibration

POLICY = Policy(block_at=0.8, review_at=0.2, anomaly_review_at=3.0, when_degraded=Decision.REVIEW)
STRICT = Policy(block_at=0.8, review_at=0.2, anomaly_review_at=3.0, when_degraded=Decision.BLOCK)


@pytest.mark.parametrize(
    ("probability", "anomaly", "decision"),
    [
        pytest.param(0.19, 2.9, "approve", id="both low"),
        pytest.param(0.2, 0.0, "review", id="review_at itself"),
        pytest.param(0.79, 0.0, "review", id="below block_at"),
        pytest.param(0.8, 0.0, "block", id="block_at itself"),
        pytest.param(0.0, 3.0, "review", id="anomaly_review_at itself"),
        pytest.param(0.0, 99.0, "review", id="an anomaly alone never blocks"),
        pytest.param(0.9, 99.0, "block", id="both high"),
        pytest.param(None, 0.0, "review", id="no classifier: never approved"),
        pytest.param(None, 99.0, "review", id="no classifier, strange"),
        pytest.param(0.0, None, "review", id="no detector: never approved"),
        pytest.param(0.9, None, "block", id="no detector, sure fraud"),
    ],
)
def test_decide(probability: float | None, anomaly: float | None, decision: str) -> None:
    assert POLICY.decide(probability=probability, anomaly=anomaly) == decision


@pytest.mark.parametrize(("probability", "anomaly"), [(None, 0.0), (0.0, None), (0.5, None)])
def test_when_degraded_may_be_stricter(probability: float | None, anomaly: float | None) -> None:
    assert STRICT.decide(probability=probability, anomaly=anomaly) == "block"


@pytest.mark.parametrize(
    ("score", "probability"),
    [(-1.0, 0.1), (0.0, 0.1), (0.25, 0.15), (0.5, 0.6), (0.75, 0.75), (1.0, 0.9), (2.0, 0.9)],
)
def test_calibration_interpolates_between_knots(score: float, probability: float) -> None:
    """A step in x takes its upper value, as scikit-learn's isotonic regression does; beyond the ends it is flat."""
    assert Calibration(x=(0.0, 0.5, 0.5, 1.0), y=(0.1, 0.2, 0.6, 0.9)).apply(score) == pytest.approx(probability)


def test_no_calibration_is_the_identity() -> None:
    assert Calibration((), ()).apply(0.37) == 0.37


def test_an_anomaly_score_without_a_threshold_takes_no_part() -> None:
    policy = Policy(block_at=0.8, review_at=0.2, anomaly_review_at=None, when_degraded=Decision.REVIEW)
    assert policy.decide(probability=0.1, anomaly=99.0) == Decision.APPROVE
