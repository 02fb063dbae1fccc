"""How far transactions are from what a model was trained on, and what counts as too far."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from fraudit_dagster.drift import KS_LIMIT, LEAST_ROWS, PSI_LIMIT, Tally, drifted, profile_of

RANDOM = np.random.default_rng(0)
TRAINED_ON = RANDOM.lognormal(3, 1.2, 20_000)


def compared(known: ArrayLike, later: ArrayLike, weights: ArrayLike | None = None) -> tuple[float, float]:
    """Distances of later values, which come in two batches, from those that are known."""
    tally = Tally.of(profile_of(known, weights))
    for batch in np.array_split(np.asarray(later, float), 2):
        tally.add(batch)
    psi, ks = tally.distances()
    return psi if psi is not None else np.nan, ks if ks is not None else np.nan


def test_rows_of_the_same_kind_are_near_and_moved_ones_far() -> None:
    psi, ks = compared(TRAINED_ON, RANDOM.lognormal(3, 1.2, 5_000))
    assert psi < 0.01
    assert ks < 0.03
    psi, ks = compared(TRAINED_ON, RANDOM.lognormal(4, 1.2, 5_000))
    assert psi > PSI_LIMIT
    assert ks > KS_LIMIT


@pytest.mark.parametrize("shift", [0, 0.1, 0.5, 2])
def test_the_distance_is_that_of_kolmogorov_and_smirnov_up_to_a_hundredth(shift: float) -> None:
    from scipy.stats import ks_2samp  # 2.5 s, which each process of a test run would spend to collect this file

    later = RANDOM.lognormal(3 + shift, 1, 3_000)
    exact = ks_2samp(TRAINED_ON, later).statistic
    assert exact - 0.0101 < compared(TRAINED_ON, later)[1] <= exact + 1e-9


def test_the_index_is_the_one_of_the_literature() -> None:
    """Ten bins of a tenth each; a tenth moved from the first to the last."""
    known = np.arange(1_000.0)
    later = np.where(known < 100, known + 900, known)
    by_hand = (1e-4 - 0.1) * np.log(1e-4 / 0.1) + (0.2 - 0.1) * np.log(0.2 / 0.1)
    assert compared(known, later)[0] == pytest.approx(by_hand)


def test_a_value_that_many_rows_share_is_on_one_side_of_each_edge() -> None:
    zeros = np.where(RANDOM.random(20_000) < 0.7, 0, TRAINED_ON)
    profile = profile_of(zeros)
    assert 0.0 not in profile.edges
    # The last digit of a computation moves nothing.
    assert compared(zeros, zeros + 1e-12) == pytest.approx((0, 0), abs=1e-9)
    assert compared(zeros, np.where(RANDOM.random(20_000) < 0.4, 0, TRAINED_ON))[0] > PSI_LIMIT


@pytest.mark.parametrize("moved_to", [-1.0, 0.5, 2.0])
def test_a_constant_that_becomes_another_is_seen(moved_to: float) -> None:
    assert compared(np.ones(100), np.ones(50)) == (0, 0)
    assert compared(np.ones(100), np.full(50, moved_to))[1] == 1


def test_a_flag_that_is_set_more_often_is_seen() -> None:
    def flags(share: float) -> Any:
        return RANDOM.random(5_000) < share

    assert max(compared(flags(0.3), flags(0.3))) < 0.03
    assert compared(flags(0.3), flags(0.6))[0] > PSI_LIMIT


def test_missing_values_that_come_or_go_are_drift_of_the_index() -> None:
    holes = np.where(RANDOM.random(20_000) < 0.3, np.nan, TRAINED_ON)
    assert profile_of(holes).missing == pytest.approx(0.3, abs=0.02)
    assert compared(holes, holes) == pytest.approx((0, 0), abs=1e-9)
    assert compared(TRAINED_ON, holes)[0] > PSI_LIMIT
    assert compared(holes, TRAINED_ON)[0] > PSI_LIMIT
    psi, ks = compared(TRAINED_ON, [np.nan] * 10)
    assert psi > PSI_LIMIT
    assert np.isnan(ks)


def test_a_profile_counts_rows_with_their_weight() -> None:
    fraud = RANDOM.random(20_000) < 0.5
    under_sampled = np.where(fraud, TRAINED_ON + 1_000, TRAINED_ON)
    natural = np.concatenate([TRAINED_ON, TRAINED_ON[:20] + 1_000])
    assert compared(under_sampled, natural)[0] > PSI_LIMIT
    assert compared(under_sampled, natural, np.where(fraud, 1, 1_000))[0] < 0.01


def test_without_values_there_is_no_edge() -> None:
    assert profile_of([np.nan, np.nan]).missing == 1
    assert profile_of([]).edges == ()


def test_where_there_is_nothing_to_compare_values_are_only_counted() -> None:
    for profile in (None, profile_of([np.nan])):
        tally = Tally.of(profile)
        tally.add(np.array([1.0, 2.0, np.nan]))
        assert (tally.rows, tally.missing, tally.mean) == (3, 1, 1.5)
        assert tally.distances() == (None, None)
    nothing = Tally.of(profile_of([1.0]))
    assert (nothing.rows, nothing.mean, nothing.distances()) == (0, None, (None, None))


def row(feature: str, *, psi: float | None = 0.0, ks: float | None = 0.0, rows: int = LEAST_ROWS) -> dict[str, Any]:
    return {"feature": feature, "rows": rows, "psi": psi, "ks": ks}


def test_what_reaches_a_limit_has_drifted_the_farthest_first() -> None:
    rows = [
        row("by its index", psi=PSI_LIMIT),
        row("by its distance", ks=KS_LIMIT),
        row("far", psi=3.0),
        row("near", psi=PSI_LIMIT - 0.001, ks=KS_LIMIT - 0.001),
        row("few", psi=3.0, rows=LEAST_ROWS - 1),
        row("not compared", psi=None, ks=None),
    ]
    assert drifted(rows) == ["far", "by its index", "by its distance"]
    assert drifted([]) == []
