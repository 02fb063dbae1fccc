"""What keeps a candidate from serving, in words."""

from typing import Any

import pytest

from fraudit_dagster.gate import GOLDEN_TOLERANCE, flaws, staleness, wrong_golden_answers
from fraudit_dagster.records import Evaluation
from tests.evaluations import judged

CHAMPION = {
    "manifest_version": "2026-11-01T00:00:00Z-aaaa",
    "worse": False,
    "difference": 0.01,
    "interval": (-0.02, 0.04),
    "margin": 0.02,
}


def with_champion(**changed: Any) -> Evaluation:
    return judged(champion={**CHAMPION, **changed})


def test_a_first_candidate_has_no_flaw() -> None:
    assert flaws(judged(champion=None)) == []


def test_one_that_is_no_worse_has_no_flaw() -> None:
    assert flaws(with_champion()) == []


def test_one_that_is_worse_is_told_by_how_much() -> None:
    (flaw,) = flaws(with_champion(worse=True, difference=-0.1, interval=(-0.15, -0.05)))
    assert "worse than the champion 2026-11-01T00:00:00Z-aaaa" in flaw
    assert "-0.100" in flaw
    assert "-0.150 to -0.050" in flaw


@pytest.mark.parametrize(
    ("champion", "serving", "said"),
    [
        pytest.param(None, None, None, id="a first candidate, and nothing serves"),
        pytest.param("v1", "v1", None, id="compared with what serves"),
        pytest.param(None, "v1", "compared with no champion, but v1 serves", id="somebody was first"),
        pytest.param("v1", "v2", "compared with v1, but v2 serves", id="another was promoted in between"),
        pytest.param("v1", None, "compared with v1, but nothing serves", id="the champion is gone"),
    ],
)
def test_an_evaluation_is_good_for_the_champion_it_was_made_against(
    champion: str | None, serving: str | None, said: str | None
) -> None:
    candidate = judged(champion={**CHAMPION, "manifest_version": champion} if champion else None)
    found = staleness(candidate, serving=serving, contract_sha256=candidate.contract_sha256)
    assert [said is not None and said in reason for reason in found] == [True] * (said is not None)


def test_an_evaluation_is_good_for_the_contract_it_was_made_by() -> None:
    (reason,) = staleness(judged(champion=None), serving=None, contract_sha256="f" * 64)
    assert "contract has changed" in reason


GOLDEN = [{"data": "1", "pred_proba": 0.25, "score": 1.5}, {"data": "2", "pred_proba": 0.5, "score": 2.0}]


def test_golden_rows_answered_as_recorded_but_for_rounding() -> None:
    near = 0.25 + GOLDEN_TOLERANCE / 2
    assert wrong_golden_answers(GOLDEN, {"pred_proba": [near, 0.5], "score": [1.5, 2.0]}) == []


@pytest.mark.parametrize("other", [0.26, float("nan")])
def test_golden_rows_answered_otherwise_are_counted(other: float) -> None:
    (reason,) = wrong_golden_answers(GOLDEN, {"pred_proba": [other, 0.5], "score": [1.5, 2.0]})
    assert "1 of 2 golden rows with another pred_proba" in reason


def test_one_whose_probabilities_are_ten_times_off_is_told_so() -> None:
    off = {
        "expected": 500.0,
        "observed": 50.0,
        "ratio": 10.0,
        "ratio_low": 7.0,
        "ratio_high": 14.0,
        "doubtful_ratio": 10.0,
        "doubtful_ratio_low": 6.0,
        "roc_auc_low": 0.9,
    }
    (flaw,) = flaws(judged(reliability=off))
    assert "promise 500.0 frauds where there are 50" in flaw
