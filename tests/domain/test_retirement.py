"""Which endpoints may go: nobody asks them, nobody will go back to them, no one is about to approve them."""

from datetime import UTC, datetime, timedelta

import pytest

from fraudit_dagster.retirement import SUPERSEDED_AFTER, Deployed, Retirement, due

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=3)


def xgb(version: int, approval: str = "Approved", *, created_at: datetime = LONG_AGO) -> Deployed:
    return Deployed(f"xgb-{version}", "xgboost", version, approval, created_at)


def retired(*deployed: Deployed, switched_at: datetime | None = LONG_AGO, **names: set[str]) -> list[Retirement]:
    known = {"serving": {"xgb-5"}, "kept": {"xgb-4", "xgb-5"}, "served": {"xgb-3", "xgb-4", "xgb-5"}} | names
    return due(deployed, switched_at=switched_at, now=NOW, **known)


def names(found: list[Retirement]) -> set[str]:
    return {item.name for item in found}


def test_what_serves_and_what_served_before_it_stay() -> None:
    assert retired(xgb(5), xgb(4)) == []


def test_what_serves_stays_even_where_it_was_rolled_back_to_and_is_long_out_of_the_last_two() -> None:
    assert retired(xgb(2), serving={"xgb-2"}, served={"xgb-2", "xgb-4", "xgb-5"}) == []


def test_what_served_before_that_goes() -> None:
    (found,) = retired(xgb(5), xgb(4), xgb(3))
    assert (found.name, found.superseded) == ("xgb-3", False)
    assert "last 2" in found.reason


@pytest.mark.parametrize(("age_s", "expected"), [(59, set()), (60, set()), (61, {"xgb-3"})])
def test_it_stays_as_long_as_an_old_copy_of_the_manifest_may_be_gone_by(age_s: float, expected: set[str]) -> None:
    assert names(retired(xgb(3), xgb(5), switched_at=NOW - timedelta(seconds=age_s))) == expected


def test_a_rejected_candidate_goes_at_once() -> None:
    assert names(retired(xgb(6, "Rejected", created_at=NOW), xgb(5), switched_at=NOW)) == {"xgb-6"}


def test_a_rejected_model_that_a_rollback_left_stays_for_as_long_as_it_is_one_of_the_last() -> None:
    assert retired(xgb(5, "Rejected"), xgb(4), serving={"xgb-4"}) == []


@pytest.mark.parametrize("approval", ["PendingManualApproval", "Approved"])
def test_the_newest_candidate_waits_for_as_long_as_it_takes(approval: str) -> None:
    assert retired(xgb(6, approval), xgb(5)) == []


def test_a_candidate_that_a_newer_one_has_overtaken_goes_and_is_said_to_be_superseded() -> None:
    (found,) = retired(xgb(6, "PendingManualApproval"), xgb(7, "PendingManualApproval", created_at=NOW), xgb(5))
    assert (found.name, found.superseded) == ("xgb-6", True)
    assert "version 7" in found.reason


def test_a_candidate_of_a_run_that_may_still_be_under_way_stays() -> None:
    young = NOW - SUPERSEDED_AFTER
    assert retired(xgb(6, "PendingManualApproval", created_at=young), xgb(7, "PendingManualApproval")) == []


def test_versions_count_within_an_algorithm() -> None:
    forest = Deployed("rcf-9", "random_cut_forest", 9, "PendingManualApproval", LONG_AGO)
    assert retired(xgb(6, "PendingManualApproval"), forest) == []


def test_before_anything_serves_the_rejected_go() -> None:
    assert names(retired(xgb(1, "Rejected"), switched_at=None, serving=set(), kept=set(), served=set())) == {"xgb-1"}
