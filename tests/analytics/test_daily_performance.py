"""What decisions were worth, by what was known how long after: of labels that come late, contradict each other, or do not come."""

from contextlib import closing
from datetime import date, timedelta
from typing import Any

import dagster as dg
import numpy as np
import pytest

from assets.analytics import LABEL_AGES, daily_model_performance
from fraudit_dagster.evaluation import evaluate
from resources.secrets import Secrets
from resources.warehouse import Warehouse
from tests.analytics.conftest import ago, at, decide, decide_all, label, label_all, rows_of, run, shown
from tests.operate.conftest import REGION
from tests.warehouse.conftest import Place

OLD = ago(100)
"""All ages have elapsed."""


def judge(place: Place, *days: date) -> dg.ExecuteInProcessResult:
    return run(daily_model_performance, days or [OLD], resources={"warehouse": place.warehouse("analyst")})


def by_age(place: Place, columns: str) -> dict[int, Any]:
    return {row[0]: row[1:] for row in rows_of(place, "daily_model_performance", f"label_age_days, {columns}")}


def test_a_day_is_judged_by_what_was_known_at_each_age(place: Place) -> None:
    end = at(OLD + timedelta(days=1), 0)
    for number, (decision, labelled_after) in enumerate(
        [("block", timedelta(days=-0.5)), ("approve", timedelta(days=3)), ("review", timedelta(days=40))]
    ):
        decide(place, f"t-{number}", at(OLD), decision=decision, amount=10**number)
        label(place, f"t-{number}", 1, end + labelled_after)
    decide(place, "good", at(OLD), decision="review")
    label(place, "good", 0, end + timedelta(days=7))
    judge(place)
    found = by_age(
        place,
        "transactions, labelled, frauds, true_positives, false_positives, amount_saved::float, amount_lost::float",
    )
    assert found == {
        0: (4, 1, 1, 1, 0, 1, 0),
        1: (4, 1, 1, 1, 0, 1, 0),
        7: (4, 2, 2, 1, 0, 1, 10),
        14: (4, 3, 2, 1, 1, 1, 10),
        30: (4, 3, 2, 1, 1, 1, 10),
        60: (4, 4, 3, 2, 1, 101, 10),
        90: (4, 4, 3, 2, 1, 101, 10),
    }
    precision, recall = by_age(place, "precision, recall")[90]
    assert (precision, recall) == (pytest.approx(2 / 3), pytest.approx(2 / 3))


@pytest.mark.parametrize(("days", "ages"), [(1, [0]), (2, [0, 1]), (8, [0, 1, 7]), (31, [0, 1, 7, 14, 30])])
def test_an_age_that_the_labels_have_not_reached_has_no_row(place: Place, days: int, ages: list[int]) -> None:
    decide(place, "t", at(ago(days)))
    judge(place, ago(days))
    assert list(by_age(place, "labelled")) == ages


def test_today_is_not_judged(place: Place) -> None:
    decide(place, "t", at(ago(0), 0))
    run(daily_model_performance, [ago(1)], resources={"warehouse": place.warehouse("analyst")})
    place.warehouse("analyst").replace_days(
        "daily_model_performance", start=at(ago(0), 0), end=at(ago(-1), 0), ages=list(LABEL_AGES)
    )
    assert rows_of(place, "daily_model_performance") == []


def test_the_average_precision_is_that_of_the_evaluation_also_where_scores_are_equal(place: Place) -> None:
    random = np.random.default_rng(0)
    labels = (random.random(60) < 0.3).astype(int)
    scores = np.round(np.clip(labels * 0.3 + random.random(60) * 0.7, 0, 1), 1)
    names = [f"t-{number}" for number in range(60)]
    decide_all(
        place,
        [
            {"transaction_id": name, "occurred_at": at(OLD), "fraud_proba": score}
            for name, score in zip(names, scores.tolist(), strict=True)
        ],
    )
    label_all(
        place, [(name, "analyst", truth, at(OLD, 13)) for name, truth in zip(names, labels.tolist(), strict=True)]
    )
    decide(place, "unknown", at(OLD), fraud_proba=1.0)
    decide(place, "unscored", at(OLD), fraud_proba=None, decision="review")
    label(place, "unscored", 1, at(OLD, 13))
    judge(place)
    assert len(set(scores)) < len(scores) / 4
    expected = evaluate(labels, scores).average_precision
    assert by_age(place, "labelled, frauds, average_precision")[0] == (
        61,
        labels.sum() + 1,
        pytest.approx(expected, rel=1e-12),
    )


@pytest.mark.parametrize("truth", [0, 1])
def test_labels_of_one_class_have_no_average_precision(place: Place, truth: int) -> None:
    decide(place, "t", at(OLD))
    label(place, "t", truth, at(OLD, 13))
    judge(place)
    assert by_age(place, "precision, recall, average_precision")[90] == (None, 0 if truth else None, None)


def test_of_labels_that_contradict_the_latest_counts_as_of_then(place: Place) -> None:
    end = at(OLD + timedelta(days=1), 0)
    decide(place, "t", at(OLD), decision="block")
    label(place, "t", 1, end - timedelta(hours=1), source="customer")
    label(place, "t", 0, end + timedelta(days=3), source="analyst")
    label(place, "t", 1, end + timedelta(days=20), source="chargeback")
    result = judge(place)
    found = by_age(place, "labelled, frauds, contradicted")
    assert found[0] == found[1] == (1, 1, 0)
    assert found[7] == found[14] == (1, 0, 1)
    assert found[30] == found[90] == (1, 1, 1)
    assert shown(result)["contradicted"] == 1


def test_of_labels_of_one_moment_a_chargeback_counts_before_an_analyst_before_a_customer(place: Place) -> None:
    for number, (sources, kept) in enumerate(
        [(("chargeback", "analyst"), "chargeback"), (("customer", "analyst"), "analyst")]
    ):
        decide(place, f"t-{number}", at(OLD))
        for source in sources:
            label(place, f"t-{number}", int(source == kept), at(OLD, 13), source=source)
    judge(place)
    assert by_age(place, "labelled, frauds, contradicted")[0] == (2, 2, 2)


def test_sources_that_agree_do_not_contradict(place: Place) -> None:
    decide(place, "t", at(OLD))
    label(place, "t", 1, at(OLD, 13), source="customer")
    label(place, "t", 1, at(OLD, 14), source="analyst")
    judge(place)
    assert by_age(place, "labelled, contradicted")[0] == (1, 0)


def test_a_day_without_labels_has_rows_that_say_so_and_one_without_transactions_none(place: Place) -> None:
    decide(place, "t", at(OLD), decision="review")
    judge(place)
    assert by_age(place, "transactions, labelled, precision, recall, amount_saved::float")[0] == (1, 0, None, None, 0)
    result = judge(place, OLD + timedelta(days=1))
    assert shown(result)["dagster/row_count"] == 0
    assert shown(result)["by_day"] == "no transactions"


def test_labels_that_do_not_come_are_warned_of(place: Place) -> None:
    decide(place, "t", at(OLD))
    decide(place, "young", at(ago(5)))

    def warned(day: date) -> tuple[bool, str | None]:
        (check,) = judge(place, day).get_asset_check_evaluations()
        assert check.severity == dg.AssetCheckSeverity.WARN
        return not check.passed, check.description

    assert warned(ago(5))[0] is False
    assert warned(OLD) == (True, f"no label after 30 days: {OLD}")
    label(place, "t", 0, at(OLD, 13))
    assert warned(OLD)[0] is False


def test_a_classifier_that_changes_at_noon_is_judged_by_itself(place: Place) -> None:
    for number, hour in enumerate([11.9, 12, 12.1]):
        decide(place, f"t-{number}", at(OLD, hour), classifier_version="7" if hour < 12 else "8", decision="block")
    decide(place, "unasked", at(OLD), classifier_version=None, fraud_proba=None)
    label(place, "t-1", 1, at(OLD, 13))
    judge(place)
    assert rows_of(place, "daily_model_performance", "classifier_version, transactions, true_positives")[::7] == [
        ("7", 1, 0),
        ("8", 2, 1),
        ("none", 1, 0),
    ]


def test_midnight_belongs_to_the_day_that_begins(place: Place) -> None:
    midnight = at(OLD + timedelta(days=1), 0)
    for name, moment in {
        "first": at(OLD, 0),
        "last": midnight - timedelta(microseconds=1),
        "next": midnight,
    }.items():
        decide(place, name, moment)
    label(place, "first", 1, midnight - timedelta(microseconds=1))
    label(place, "last", 1, midnight)  # at the end of the day, and so not before it
    judge(place)
    found = by_age(place, "transactions, labelled")
    assert found[0] == (2, 1)
    assert found[1] == (2, 2)


def test_thirty_days_in_one_run_are_the_same_twice_and_leave_the_days_around(place: Place) -> None:
    moments = {f"t-{number}": at(ago(40 + number)) for number in range(32)}
    decide_all(
        place,
        [{"transaction_id": name, "occurred_at": moment, "decision": "block"} for name, moment in moments.items()],
    )
    label_all(place, [(name, "analyst", 1, moment) for name, moment in moments.items()])
    days = [ago(number) for number in range(70, 40, -1)]
    result = judge(place, *days)
    assert len(result.get_asset_materialization_events()) == 30
    once = rows_of(place, "daily_model_performance")
    assert {row[0] for row in once} == set(days)
    judge(place, *days)
    assert rows_of(place, "daily_model_performance") == once
    judge(place, ago(40))
    assert [row for row in rows_of(place, "daily_model_performance") if row[0] != ago(40)] == once


def test_a_warehouse_that_is_too_slow_fails_the_run_and_leaves_the_table(place: Place) -> None:
    decide(place, "t", at(OLD))
    judge(place)
    before = rows_of(place, "daily_model_performance")
    label(place, "t", 1, at(OLD, 13))
    user, password = place.login("analyst")
    slow = Warehouse(
        secrets=Secrets(region=REGION),
        host=place.host,
        port=place.port,
        database=place.name,
        user=user,
        password=password,
        statement_timeout_s=0.5,
    )
    with closing(place.connect()) as other, other.cursor() as rows:
        rows.execute("lock table fraud.fraud_labels in access exclusive mode")
        result = run(daily_model_performance, [OLD], resources={"warehouse": slow}, raise_on_error=False)
    assert not result.success
    error = result.failure_data_for_node("analytics__daily_model_performance")
    assert error is not None
    assert "WarehouseError: canceling statement due to statement timeout" in str(error.error)
    assert rows_of(place, "daily_model_performance") == before
