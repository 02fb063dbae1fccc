"""When an alarm is in which state, and what is said of it: plain functions of an alarm and the data of its metric.

Belongs here: comparing, missing data, the reason's words, the notification's content. Does not: time passing, storing, sending
(``service``).

An alarm looks at its last N complete periods. As CloudWatch does, it looks back two periods more, and takes the most recent N periods
that hold data; where there are fewer, those that are missing are filled as ``TreatMissingData`` says. See
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html.
"""

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

from localaws.cloudwatch.metrics import NO_UNIT, Metric

LOOK_BACK_PERIODS = 2

COMPARISONS: Mapping[str, tuple[Callable[[float, float], bool], str]] = {
    "GreaterThanThreshold": (operator.gt, "greater than"),
    "GreaterThanOrEqualToThreshold": (operator.ge, "greater than or equal to"),
    "LessThanThreshold": (operator.lt, "less than"),
    "LessThanOrEqualToThreshold": (operator.le, "less than or equal to"),
}
TREATMENTS = ("missing", "ignore", "breaching", "notBreaching")
REGION_NAMES = {"eu-west-1": "EU (Ireland)", "us-east-1": "US East (N. Virginia)"}

Alarm = dict[str, Any]
"""A metric alarm as DescribeAlarms shows it."""


class State(StrEnum):
    """What an alarm is in."""

    OK = "OK"
    ALARM = "ALARM"
    INSUFFICIENT_DATA = "INSUFFICIENT_DATA"


ACTIONS = {
    State.OK: "OKActions",
    State.ALARM: "AlarmActions",
    State.INSUFFICIENT_DATA: "InsufficientDataActions",
}


class Verdict(NamedTuple):
    """An alarm's state, and why."""

    state: State
    reason: str


def metric_of(alarm: Alarm) -> Metric:
    """Return the metric that an alarm watches."""
    dimensions = sorted((item["Name"], item["Value"]) for item in alarm.get("Dimensions", []))
    return Metric(alarm["Namespace"], alarm["MetricName"], tuple(dimensions))


def statistic_of(alarm: Alarm) -> str:
    """Return the statistic that an alarm compares."""
    return str(alarm.get("Statistic") or alarm["ExtendedStatistic"])


def judge(alarm: Alarm, values: Sequence[float | None]) -> Verdict:
    """Say in which state an alarm is.

    Args:
        alarm: The alarm, in its present state.
        values: Its statistic in each period of the evaluation range, the oldest first; None where there is no data.
    """
    wanted: int = alarm["EvaluationPeriods"]
    needed: int = alarm.get("DatapointsToAlarm", wanted)
    known = [value for value in values if value is not None][-wanted:]
    compare, words = COMPARISONS[alarm["ComparisonOperator"]]
    breaching = [value for value in known if compare(value, alarm["Threshold"])]
    missing = wanted - len(known)
    treatment = alarm.get("TreatMissingData", "missing")
    if not known and treatment == "missing":
        return Verdict(State.INSUFFICIENT_DATA, f"Insufficient Data: {missing} datapoints were unknown.")
    match treatment:
        case "breaching":
            count = len(breaching) + missing
        case "missing":
            count, needed = len(breaching), min(needed, len(known))
        case "ignore" if len(breaching) < needed <= len(breaching) + missing:
            return Verdict(State(alarm["StateValue"]), alarm["StateReason"])
        case _:
            count = len(breaching)
    state = State.ALARM if count >= needed else State.OK
    shown = ", ".join(f"{value:g}" for value in known)
    filled = f" and {missing} missing datapoints treated as [{treatment}]" if missing else ""
    was = "were" if state is State.ALARM else "were not"
    reason = (
        f"Threshold Crossed: {len(known)} datapoints [{shown}]{filled} {was} {words} the threshold ({alarm['Threshold']:g}), "
        f"{needed} out of {wanted} needed."
    )
    return Verdict(state, reason)


def notification(alarm: Alarm, *, old: State, region: str, account: str) -> tuple[str, str]:
    """Return the subject and the message (JSON) that CloudWatch sends to a topic when an alarm has changed its state."""
    place = REGION_NAMES.get(region, region)
    trigger = {
        "MetricName": alarm["MetricName"],
        "Namespace": alarm["Namespace"],
        "StatisticType": "Statistic" if "Statistic" in alarm else "ExtendedStatistic",
        "Statistic": statistic_of(alarm).upper() if "Statistic" in alarm else statistic_of(alarm),
        "Unit": None if alarm.get("Unit", NO_UNIT) == NO_UNIT else alarm["Unit"],
        "Dimensions": [{"value": item["Value"], "name": item["Name"]} for item in alarm.get("Dimensions", [])],
        "Period": alarm["Period"],
        "EvaluationPeriods": alarm["EvaluationPeriods"],
        "DatapointsToAlarm": alarm.get("DatapointsToAlarm", alarm["EvaluationPeriods"]),
        "ComparisonOperator": alarm["ComparisonOperator"],
        "Threshold": alarm["Threshold"],
        "TreatMissingData": alarm.get("TreatMissingData", "missing"),
        "EvaluateLowSampleCountPercentile": alarm.get("EvaluateLowSampleCountPercentile", ""),
    }
    message = {
        "AlarmName": alarm["AlarmName"],
        "AlarmDescription": alarm.get("AlarmDescription"),
        "AWSAccountId": account,
        "AlarmConfigurationUpdatedTimestamp": _iso(alarm["AlarmConfigurationUpdatedTimestamp"]),
        "NewStateValue": alarm["StateValue"],
        "NewStateReason": alarm["StateReason"],
        "StateChangeTime": _iso(alarm["StateUpdatedTimestamp"]),
        "Region": place,
        "AlarmArn": alarm["AlarmArn"],
        "OldStateValue": old.value,
        **{members: alarm.get(members, []) for members in ACTIONS.values()},
        "Trigger": trigger,
    }
    return f'{alarm["StateValue"]}: "{alarm["AlarmName"]}" in {place}'[:100], json.dumps(message)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "+0000"
