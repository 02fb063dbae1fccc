"""What the requests of CloudWatch must be: checks beyond those of the service model.

Belongs here: refusing, and turning a datum into a measurement. Does not: what is done with it (``service``).
"""

import math
import re
from collections.abc import Iterator
from typing import Any

from localaws.cloudwatch import alarms
from localaws.cloudwatch.metrics import HIGH_RESOLUTION_S, MINUTE_S, NO_UNIT, STATISTICS, Measurement, Metric, Summary
from localaws.wire import AwsError

MAX_PAST_S = 14 * 86_400
MAX_FUTURE_S = 2 * 3600
MAX_EVALUATED_S = 86_400
"""CloudWatch allows seven days for periods of an hour or more; data is kept for one day here."""
SHORT_PERIODS_S = (1, 5, 10, 20, 30)
NOT_HERE = (
    *("Metrics", "ThresholdMetricId", "EvaluationWindow", "WarmUpConfiguration", "EvaluationCriteria"),
    *("EvaluationInterval", "ActionConfiguration"),
)
_PERCENTILE = re.compile(r"p(\d{1,2}(\.\d{0,10})?|100)")

Params = dict[str, Any]


def _invalid(message: str) -> AwsError:
    return AwsError("InvalidParameterValue", message)


def read_measurement(namespace: str, datum: Params, where: str, now_s: float) -> Measurement:
    """Check a datum of a put, and return it.

    Raises:
        AwsError: It is not valid; the message names its member.
    """
    moment_s = datum["Timestamp"].timestamp() if "Timestamp" in datum else now_s
    if not now_s - MAX_PAST_S <= moment_s <= now_s + MAX_FUTURE_S:
        raise _invalid(f"{where}.Timestamp must be within the past two weeks and the next two hours")
    resolution_s = datum.get("StorageResolution", MINUTE_S)
    if resolution_s not in {HIGH_RESOLUTION_S, MINUTE_S}:
        raise _invalid(f"{where}.StorageResolution must be 1 or 60")
    given = [name for name in ("Value", "Values", "StatisticValues") if name in datum]
    if len(given) != 1:
        raise AwsError(
            "InvalidParameterCombination",
            f"{where} must have one of Value, Values and StatisticValues, and has {given}",
        )
    if "StatisticValues" in datum:
        sums = datum["StatisticValues"]
        is_one_value = sums["Minimum"] == sums["Maximum"]
        histogram = {sums["Minimum"]: sums["SampleCount"]} if is_one_value else {}
        summary = Summary(sums["SampleCount"], sums["Sum"], sums["Minimum"], sums["Maximum"], histogram)
    else:
        values = datum["Values"] if "Values" in datum else [datum["Value"]]
        counts = datum.get("Counts", [1.0] * len(values))
        if len(counts) != len(values):
            raise _invalid(f"{where}.Values and {where}.Counts must be of the same size")
        summary = Summary.of(map(float, values), map(float, counts))
    if summary.count <= 0:
        raise _invalid(f"{where}: there must be at least one value")
    dimensions = tuple(sorted((item["Name"], item["Value"]) for item in datum.get("Dimensions", [])))
    return Measurement(
        Metric(namespace, datum["MetricName"], dimensions),
        datum.get("Unit", NO_UNIT),
        math.floor(moment_s / resolution_s) * resolution_s,
        resolution_s,
        summary,
    )


def check_period(period_s: int) -> None:
    """Refuse a period, in seconds, that CloudWatch does not have.

    Raises:
        AwsError: It is none.
    """
    if period_s not in SHORT_PERIODS_S and (period_s < MINUTE_S or period_s % MINUTE_S):
        shorter = ", ".join(map(str, SHORT_PERIODS_S))
        raise _invalid(f"Period must be {shorter} or a multiple of 60 seconds, not {period_s}")


def check_statistic(name: str) -> None:
    """Refuse the name of a statistic that does not exist here.

    Raises:
        AwsError: It is none.
    """
    if name not in STATISTICS and not _PERCENTILE.fullmatch(name):
        raise _invalid(
            f"the statistic {name} does not exist here: {', '.join(STATISTICS)} and percentiles such as p99 do"
        )


def check_alarm(params: Params) -> None:
    """Refuse an alarm that could never be evaluated.

    Raises:
        AwsError: Names what is wrong with it.
    """
    problem = next(_alarm_problems(params), None)
    if problem is not None:
        raise AwsError("ValidationError", f"alarm {params['AlarmName']}: {problem}")
    check_statistic(alarms.statistic_of(params))
    check_period(params["Period"])


def _alarm_problems(params: Params) -> Iterator[str]:
    absent = [name for name in ("MetricName", "Namespace", "Period", "Threshold") if name not in params]
    yield from (f"{name} does not exist here: an alarm watches one metric" for name in NOT_HERE if name in params)
    yield from (f"{name} must be given" for name in absent)
    if ("Statistic" in params) == ("ExtendedStatistic" in params):
        yield "either Statistic or ExtendedStatistic must be given"
    for name, known in (("ComparisonOperator", alarms.COMPARISONS), ("TreatMissingData", alarms.TREATMENTS)):
        if name in params and params[name] not in known:
            yield f"{name} must be one of {', '.join(known)}, not {params[name]}"
    periods: int = params["EvaluationPeriods"]
    if not 1 <= int(params.get("DatapointsToAlarm", periods)) <= periods:
        yield "DatapointsToAlarm must be from 1 to EvaluationPeriods"
    if params["Period"] * periods > MAX_EVALUATED_S:
        yield f"Period times EvaluationPeriods must not be more than {MAX_EVALUATED_S} seconds"
    actions = [(members, arn) for members in alarms.ACTIONS.values() for arn in params.get(members, [])]
    for members, arn in actions:
        if not arn.startswith("arn:aws:sns:"):
            yield f"{members}: only topics of SNS can be told here, not {arn}"
