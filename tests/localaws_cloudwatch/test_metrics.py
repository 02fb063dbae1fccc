"""Statistics of what was measured, what a log line holds, and what an alarm makes of them."""

import json
from typing import Any

import numpy as np
import pytest
from localaws.cloudwatch.alarms import State, judge, notification
from localaws.cloudwatch.embedded import EmbeddedMetricError, read_line, summed
from localaws.cloudwatch.metrics import Measurement, Metric, MetricStore, Summary

LATENCY = Metric("shop", "Latency", (("stage", "dev"),))


def measured(start_s: int, *values: float, resolution_s: int = 60, metric: Metric = LATENCY) -> Measurement:
    return Measurement(metric, "Milliseconds", start_s, resolution_s, Summary.of(values, [1.0] * len(values)))


def points(store: MetricStore, period_s: int, start_s: float, end_s: float, unit: str | None = None) -> list[Any]:
    found = store.points(LATENCY, unit=unit, period_s=period_s, start_s=start_s, end_s=end_s)
    return [(point.start_s, point.summary.count, point.summary.total) for point in found]


def test_statistics_are_exact_and_percentiles_to_half_a_percent() -> None:
    values = np.random.default_rng(0).lognormal(3, 1, 4999)
    summary = Summary.of(values.tolist(), [1.0] * len(values))
    assert summary.statistic("SampleCount") == 4999
    assert summary.statistic("Sum") == pytest.approx(values.sum())
    assert summary.statistic("Average") == pytest.approx(values.mean())
    assert (summary.statistic("Minimum"), summary.statistic("Maximum")) == (values.min(), values.max())
    for percent in (0.1, 50, 90, 99, 99.9, 100):
        expected = np.percentile(values, percent, method="inverted_cdf")
        assert summary.statistic(f"p{percent}") == pytest.approx(expected, rel=0.005)


def test_counts_weigh() -> None:
    summary = Summary.of([1.0, 10.0], [99.0, 1.0])
    assert summary.statistic("Average") == pytest.approx(1.09)
    assert (summary.statistic("p99"), summary.statistic("p99.9")) == (1.0, 10.0)


def test_sums_alone_have_no_percentile() -> None:
    summary = Summary(2, 30, 10, 20)
    summary.merge(Summary.of([5.0], [1.0]))
    assert summary.statistic("Average") == pytest.approx(35 / 3)
    assert summary.statistic("p50") is None


def test_periods_begin_at_multiples_of_their_length() -> None:
    store = MetricStore()
    store.add([measured(60, 1, 2), measured(120, 3), measured(300, 4), measured(60, 5)])
    assert points(store, 60, 0, 1000) == [(60, 3, 8), (120, 1, 3), (300, 1, 4)]
    assert points(store, 120, 130, 1000) == [(120, 1, 3), (240, 1, 4)]
    assert points(store, 60, 0, 300) == [(60, 3, 8), (120, 1, 3)]
    assert points(store, 60, 0, 1000, unit="Count") == []
    assert points(store, 60, 0, 1e9) == points(store, 60, 0, 1000)


def test_what_came_by_the_second_counts_for_its_minute_too() -> None:
    store = MetricStore()
    store.add([measured(61, 1, resolution_s=1), measured(62, 2, resolution_s=1), measured(60, 4)])
    assert points(store, 60, 0, 120) == [(60, 3, 7)]
    assert points(store, 1, 0, 120) == [(61, 1, 1), (62, 1, 2)]
    assert points(store, 10, 0, 120) == [(60, 2, 3)]


def test_all_that_is_kept_makes_the_same_store_again() -> None:
    store = MetricStore()
    store.add([measured(61, 1, 2, resolution_s=1), measured(60, 4), measured(7200, 9)])
    again = MetricStore()
    again.add(Measurement.from_json(json.loads(json.dumps(item.to_json()))) for item in store.measurements())
    for period_s in (1, 60):
        assert again.points(LATENCY, unit=None, period_s=period_s, start_s=0, end_s=9000) == store.points(
            LATENCY, unit=None, period_s=period_s, start_s=0, end_s=9000
        )


def test_the_old_is_forgotten() -> None:
    store = MetricStore()
    day_s = 86_400
    store.add([measured(60, 1, resolution_s=1), measured(day_s, 2, resolution_s=1)])
    store.forget(day_s + 10_000)
    assert points(store, 60, 0, 2 * day_s) == [(day_s, 1, 2)]
    store.forget(3 * day_s)
    assert store.metrics() == []


def embedded_line(**changed: Any) -> bytes:
    directive = {
        "Namespace": "shop",
        "Dimensions": [["stage"], ["stage", "model"]],
        "Metrics": [{"Name": "Latency", "Unit": "Milliseconds"}, {"Name": "Hits", "StorageResolution": 1}],
    }
    document = {
        "_aws": {"Timestamp": 61_500, "CloudWatchMetrics": [directive]},
        "stage": "dev",
        "model": "a",
        "Latency": [1, 2.5],
        "Hits": 3,
    }
    return json.dumps({**document, **changed}).encode()


def test_a_line_holds_each_metric_for_each_set_of_dimensions() -> None:
    found = {(item.metric.name, len(item.metric.dimensions)): item for item in read_line(embedded_line())}
    assert set(found) == {("Latency", 1), ("Latency", 2), ("Hits", 1), ("Hits", 2)}
    latency, hits = found["Latency", 2], found["Hits", 1]
    assert latency.metric.dimensions == (("model", "a"), ("stage", "dev"))
    assert (latency.unit, latency.start_s, latency.resolution_s) == ("Milliseconds", 60, 60)
    assert (latency.summary.count, latency.summary.total) == (2, 3.5)
    assert (hits.unit, hits.start_s, hits.resolution_s, hits.summary.total) == ("None", 61, 1, 3)


@pytest.mark.parametrize("line", [b"", b"plain text", b'{"level": "INFO"}', b'he said "_aws" aloud', b'["_aws"]'])
def test_other_lines_hold_none(line: bytes) -> None:
    assert read_line(line) == []


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        pytest.param({"Latency": None}, "Latency|NoneType", id="no number"),
        pytest.param({"Latency": []}, "Latency", id="no value"),
        pytest.param({"_aws": {"Timestamp": 1}}, "CloudWatchMetrics", id="no directive"),
        pytest.param({"_aws": 1}, "subscriptable", id="no envelope"),
    ],
)
def test_a_line_that_says_it_holds_metrics_and_does_not_is_told(changed: dict[str, Any], problem: str) -> None:
    with pytest.raises(EmbeddedMetricError, match=problem):
        read_line(embedded_line(**changed))


def test_measurements_of_one_minute_are_put_together() -> None:
    (one,) = summed([measured(60, 1), measured(60, 2), measured(60, 3)])
    assert (one.summary.count, one.summary.total) == (3, 6)


ALARM = {
    "AlarmName": "slow",
    "Namespace": "shop",
    "MetricName": "Latency",
    "Statistic": "Average",
    "Period": 60,
    "EvaluationPeriods": 3,
    "Threshold": 10.0,
    "ComparisonOperator": "GreaterThanThreshold",
    "StateValue": "OK",
    "StateReason": "as it was",
}


@pytest.mark.parametrize(
    ("data", "missing", "ignore", "breaching", "not_breaching"),
    [
        # The table of CloudWatch's documentation for 3 of 3; X breaches, 0 does not, - is missing.
        pytest.param("0-X-X", "OK", "OK", "OK", "OK", id="enough data"),
        pytest.param("0----", "OK", "OK", "OK", "OK", id="one good one"),
        pytest.param("-----", "INSUFFICIENT_DATA", "kept", "ALARM", "OK", id="none"),
        pytest.param("0XX-X", "ALARM", "ALARM", "ALARM", "ALARM", id="three bad ones"),
        pytest.param("--X--", "ALARM", "kept", "ALARM", "OK", id="one bad one"),
    ],
)
def test_missing_data_is_treated_as_asked(
    data: str, missing: str, ignore: str, breaching: str, not_breaching: str
) -> None:
    values = [{"X": 11.0, "0": 1.0, "-": None}[sign] for sign in data]
    expected = {"missing": missing, "ignore": ignore, "breaching": breaching, "notBreaching": not_breaching}
    for treatment, state in expected.items():
        for before in State:
            verdict = judge({**ALARM, "StateValue": before.value, "TreatMissingData": treatment}, values)
            assert verdict.state == (before if state == "kept" else state), treatment


@pytest.mark.parametrize(
    ("operator", "value", "state"),
    [
        ("GreaterThanThreshold", 10, "OK"),
        ("GreaterThanOrEqualToThreshold", 10, "ALARM"),
        ("LessThanThreshold", 10, "OK"),
        ("LessThanOrEqualToThreshold", 10, "ALARM"),
        ("LessThanThreshold", 9.9, "ALARM"),
    ],
)
def test_the_threshold_is_compared_as_asked(operator: str, value: float, state: str) -> None:
    assert judge({**ALARM, "ComparisonOperator": operator}, [value] * 5).state == state


def test_m_out_of_n() -> None:
    alarm = {**ALARM, "DatapointsToAlarm": 2}
    assert judge(alarm, [99, 99, 1, 11, 12]).state == "ALARM"
    verdict = judge(alarm, [99, 99, 1, 1, 12])
    assert verdict.state == "OK"
    assert verdict.reason == (
        "Threshold Crossed: 3 datapoints [1, 1, 12] were not greater than the threshold (10), 2 out of 3 needed."
    )


def test_a_notification_says_what_where_and_why() -> None:
    from datetime import UTC, datetime

    moment = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    alarm = {
        **ALARM,
        "StateValue": "ALARM",
        "AlarmArn": "arn:aws:cloudwatch:eu-west-1:1:alarm:slow",
        "AlarmConfigurationUpdatedTimestamp": moment,
        "StateUpdatedTimestamp": moment,
        "Dimensions": [{"Name": "stage", "Value": "dev"}],
        "AlarmActions": ["arn:aws:sns:eu-west-1:1:ops"],
    }
    subject, message = notification(alarm, old=State.OK, region="eu-west-1", account="1")
    content = json.loads(message)
    assert subject == 'ALARM: "slow" in EU (Ireland)'
    assert (content["OldStateValue"], content["NewStateValue"]) == ("OK", "ALARM")
    assert content["StateChangeTime"] == "2026-11-24T12:00:00.000+0000"
    assert content["Trigger"]["Dimensions"] == [{"name": "stage", "value": "dev"}]
    assert content["Trigger"]["Threshold"] == 10
