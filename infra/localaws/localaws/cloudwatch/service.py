"""The actions of CloudWatch, and the loop that follows logs and evaluates alarms.

Belongs here: requests and answers, when an alarm is looked at, telling a topic. Does not: statistics (``metrics``), verdicts
(``alarms``), files (``journal``, ``logs``), the wire (``localaws.wire``).

A change of an alarm's state is kept on disk once its topics were told: a process that is killed in between tells them again.
"""

import asyncio
import logging
import math
import signal
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from localaws.cloudwatch import alarms, embedded, logs
from localaws.cloudwatch.alarms import ACTIONS, Alarm, State
from localaws.cloudwatch.journal import Entry, Journal
from localaws.cloudwatch.logs import Cursor, Shipper
from localaws.cloudwatch.metrics import Measurement, Metric, MetricStore
from localaws.cloudwatch.requests import Params, check_alarm, check_period, check_statistic, read_measurement
from localaws.wire import ACCOUNT_ID, Action, AwsError

ROUND_S = 1.0
EVALUATION_DELAY_S = 2.0
"""A period is judged this long after its end, when the log lines of its last second were read."""
FORGET_EVERY_S = 60.0
TELL_FOR_S = 300.0
"""How long a topic that cannot be told is tried again."""
SNS_TIMEOUT_S = 5
SNS_ATTEMPTS = 2
MAX_DATAPOINTS = 1_440
MAX_HISTORY = 1_000
PAGE_SIZE = 500
_ALARM_TIMES = ("AlarmConfigurationUpdatedTimestamp", "StateUpdatedTimestamp", "StateTransitionedTimestamp")

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Change:
    """A change of an alarm's state whose topics are still to be told; ``before`` is the alarm as it was."""

    alarm: Alarm
    before: Alarm
    topics: list[str]
    until_s: float


class CloudWatch:
    """The metrics and alarms of one account and region.

    Args:
        region: The region in ARNs.
        state_dir: Folder of all services' state; its own is in ``cloudwatch/``.
        sns: Makes the client of SNS.
        shipper: Ships the logs.
        clock: Returns seconds since the epoch.
    """

    def __init__(
        self,
        *,
        region: str,
        state_dir: Path,
        sns: Callable[[], Any],
        shipper: Shipper,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._region = region
        self._state_dir = state_dir
        self._sns = sns
        self._shipper = shipper
        self._clock = clock
        self._journal = Journal(state_dir / "cloudwatch" / "journal.jsonl")
        self._metrics = MetricStore()
        self._alarms: dict[str, Alarm] = {}
        self._history: deque[Params] = deque(maxlen=MAX_HISTORY)
        self._changes: list[_Change] = []
        self._cursors: dict[str, Cursor] = {}
        self._complained: dict[str, str] = {}
        for entry in self._journal.read():
            self._replay(entry)

    def actions(self) -> dict[str, Action]:
        """Return the handlers by action."""
        return {
            "PutMetricData": self.put_metric_data,
            "GetMetricStatistics": self.get_metric_statistics,
            "GetMetricData": self.get_metric_data,
            "ListMetrics": self.list_metrics,
            "PutMetricAlarm": self.put_metric_alarm,
            "DescribeAlarms": self.describe_alarms,
            "DescribeAlarmHistory": self.describe_alarm_history,
            "DeleteAlarms": self.delete_alarms,
            "SetAlarmState": self.set_alarm_state,
            "EnableAlarmActions": self.enable_alarm_actions,
            "DisableAlarmActions": self.disable_alarm_actions,
        }

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Follow logs and evaluate alarms while the service lives."""
        rounds = asyncio.create_task(self._rounds())
        rounds.add_done_callback(_end_with)
        yield
        rounds.cancel()
        await asyncio.wait([rounds])

    # --- metrics ---

    def put_metric_data(self, params: Params) -> Params:
        """Take in measurements; all, or none where one is not valid."""
        if "EntityMetricData" in params:
            raise AwsError("InvalidParameterValue", "EntityMetricData does not exist here")
        now_s = self._clock()
        data = [
            read_measurement(params["Namespace"], datum, f"MetricData.member.{number}", now_s)
            for number, datum in enumerate(params.get("MetricData", []), 1)
        ]
        self._take_in(embedded.summed(data), {})
        return {}

    def get_metric_statistics(self, params: Params) -> Params:
        """Return statistics of one metric, a data point for each period that holds data."""
        names = [*params.get("Statistics", []), *params.get("ExtendedStatistics", [])]
        if not names:
            raise AwsError("MissingParameter", "Statistics or ExtendedStatistics must be given")
        points = self._points(params, params, params["Period"], params["StartTime"], params["EndTime"])
        if len(points) > MAX_DATAPOINTS:
            raise AwsError(
                "InvalidParameterCombination",
                f"You have requested {len(points)} datapoints, which exceeds the limit of {MAX_DATAPOINTS}. "
                "Increase Period or bring StartTime and EndTime nearer to each other.",
            )
        for name in params.get("ExtendedStatistics", []):
            check_statistic(name)
        datapoints = []
        for point in points:
            found = {name: point.summary.statistic(name) for name in names}
            plain = {name: found[name] for name in params.get("Statistics", [])}
            extended = {name: found[name] for name in params.get("ExtendedStatistics", []) if found[name] is not None}
            datapoints.append(
                {
                    "Timestamp": datetime.fromtimestamp(point.start_s, UTC),
                    **plain,
                    **({"ExtendedStatistics": extended} if extended else {}),
                    "Unit": point.unit,
                }
            )
        return {"Label": params["MetricName"], "Datapoints": datapoints}

    def get_metric_data(self, params: Params) -> Params:
        """Return one statistic of each of several metrics."""
        is_descending = params.get("ScanBy", "TimestampDescending") == "TimestampDescending"
        results = []
        for query in params["MetricDataQueries"]:
            if "MetricStat" not in query:
                raise AwsError("ValidationError", f"query {query['Id']}: only MetricStat exists here, no expressions")
            wanted = query["MetricStat"]
            check_statistic(wanted["Stat"])
            points = self._points(wanted["Metric"], wanted, wanted["Period"], params["StartTime"], params["EndTime"])
            found = [
                (datetime.fromtimestamp(point.start_s, UTC), value)
                for point in (reversed(points) if is_descending else points)
                if (value := point.summary.statistic(wanted["Stat"])) is not None
            ]
            if query.get("ReturnData", True):
                results.append(
                    {
                        "Id": query["Id"],
                        "Label": query.get("Label", f"{wanted['Metric'].get('MetricName', '')} {wanted['Stat']}"),
                        "Timestamps": [moment for moment, _ in found],
                        "Values": [value for _, value in found],
                        "StatusCode": "Complete",
                    }
                )
        return {"MetricDataResults": results, "Messages": []}

    def list_metrics(self, params: Params) -> Params:
        """List the metrics that have data, page by page."""
        wanted = params.get("Dimensions", [])
        found = [
            metric
            for metric in self._metrics.metrics()
            if params.get("Namespace") in {None, metric.namespace}
            and params.get("MetricName") in {None, metric.name}
            and all(_has(metric, item["Name"], item.get("Value")) for item in wanted)
        ]
        page, token = _page(found, params, PAGE_SIZE)
        return {
            "Metrics": [
                {
                    "Namespace": metric.namespace,
                    "MetricName": metric.name,
                    "Dimensions": [{"Name": name, "Value": value} for name, value in metric.dimensions],
                }
                for metric in page
            ],
            "NextToken": token,
        }

    # --- alarms ---

    def put_metric_alarm(self, params: Params) -> Params:
        """Make an alarm, or change one; its state stays until it is next looked at."""
        check_alarm(params)
        name, now = params["AlarmName"], self._now()
        known = self._alarms.get(name)
        alarm = {
            "ActionsEnabled": True,
            **{members: [] for members in ACTIONS.values()},
            "Dimensions": [],
            **{key: value for key, value in params.items() if key != "Tags"},
            "AlarmArn": f"arn:aws:cloudwatch:{self._region}:{ACCOUNT_ID}:alarm:{name}",
            "AlarmConfigurationUpdatedTimestamp": now,
            "StateValue": known["StateValue"] if known else State.INSUFFICIENT_DATA.value,
            "StateReason": known["StateReason"] if known else "Unchecked: Initial alarm creation",
            "StateUpdatedTimestamp": known["StateUpdatedTimestamp"] if known else now,
            "StateTransitionedTimestamp": known["StateTransitionedTimestamp"] if known else now,
        }
        self._keep(self._told(alarm))
        self._alarms[name] = alarm
        done = "updated" if known else "created"
        self._note(name, "ConfigurationUpdate", f'Alarm "{name}" {done}')
        return {}

    def describe_alarms(self, params: Params) -> Params:
        """List alarms by name, page by page."""
        names, kinds = params.get("AlarmNames"), params.get("AlarmTypes", ["MetricAlarm"])
        found = [
            alarm
            for name, alarm in sorted(self._alarms.items())
            if (names is None or name in names)
            and name.startswith(params.get("AlarmNamePrefix", ""))
            and params.get("StateValue") in {None, alarm["StateValue"]}
            and _acts_on(alarm, params.get("ActionPrefix", ""))
            and "MetricAlarm" in kinds
        ]
        page, token = _page(found, params, params.get("MaxRecords", 50))
        return {"MetricAlarms": page, "CompositeAlarms": [], "NextToken": token}

    def describe_alarm_history(self, params: Params) -> Params:
        """List what happened to alarms, the newest first, page by page."""
        name, kind = params.get("AlarmName"), params.get("HistoryItemType")
        after, before = params.get("StartDate"), params.get("EndDate")
        found = [
            item
            for item in self._history
            if name in {None, item["AlarmName"]}
            and kind in {None, item["HistoryItemType"]}
            and (after is None or item["Timestamp"] >= after)
            and (before is None or item["Timestamp"] <= before)
        ]
        if params.get("ScanBy") != "TimestampAscending":
            found.reverse()
        page, token = _page(found, params, params.get("MaxRecords", 100))
        return {"AlarmHistoryItems": page, "NextToken": token}

    def delete_alarms(self, params: Params) -> Params:
        """Forget alarms; where one is not there, none is deleted."""
        names = params["AlarmNames"]
        for name in names:
            self._alarm(name)
        for name in names:
            self._keep({"gone": name})
            self._alarms.pop(name, None)
        self._changes = [change for change in self._changes if change.alarm["AlarmName"] in self._alarms]
        return {}

    def set_alarm_state(self, params: Params) -> Params:
        """Put an alarm into a state until it is next looked at, as for a test of its actions."""
        reason_data = params.get("StateReasonData")
        if reason_data is not None:
            try:
                orjson.loads(reason_data)
            except orjson.JSONDecodeError as error:
                raise AwsError("InvalidFormat", f"StateReasonData is not JSON: {error}") from error
        alarm = self._alarm(params["AlarmName"])
        self._enter(alarm, State(params["StateValue"]), params["StateReason"], reason_data=reason_data)
        return {}

    def enable_alarm_actions(self, params: Params) -> Params:
        """Let alarms tell their topics."""
        return self._switch_actions(params["AlarmNames"], {"ActionsEnabled": True})

    def disable_alarm_actions(self, params: Params) -> Params:
        """Keep alarms from telling their topics."""
        return self._switch_actions(params["AlarmNames"], {"ActionsEnabled": False})

    def _switch_actions(self, names: list[str], change: Params) -> Params:
        for name in names:
            if name in self._alarms:
                alarm = {**self._alarms[name], **change}
                self._keep(self._told(alarm))
                self._alarms[name] = alarm
        return {}

    # --- the loop ---

    async def _rounds(self) -> None:
        forgot_s = 0.0
        while True:
            await self._round("following the logs", self._follow)
            await self._round("shipping the logs", lambda: asyncio.to_thread(self._shipper.ship))
            self.evaluate()
            await self._round("telling the topics", self._tell)
            if time.monotonic() - forgot_s > FORGET_EVERY_S:
                forgot_s = time.monotonic()
                self._metrics.forget(self._clock())
                await self._round("compacting the journal", self._compact)
            await asyncio.sleep(ROUND_S)

    async def _round(self, what: str, work: Callable[[], Any]) -> None:
        """Do one part of a round; what is amiss is logged when it begins and when it is over, and tried again in the next."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            await work()
        except (OSError, AwsError, BotoCoreError, ClientError) as error:
            if self._complained.get(what) != str(error):
                self._complained[what] = str(error)
                _log.warning("%s: %s; trying again", what, error)
        else:
            if self._complained.pop(what, None):
                _log.info("%s: works again", what)

    async def _follow(self) -> None:
        """Take in the embedded metrics of all logs; each line counts once, also when this process is killed in between."""
        for source in await asyncio.to_thread(list, logs.sources(self._state_dir)):
            name = str(source.path)
            for piece in await asyncio.to_thread(list, logs.follow(source, self._cursors.get(name))):
                measurements = embedded.summed(self._read_lines(piece.lines, name))
                if measurements:
                    self._take_in(measurements, {name: piece.cursor})
                else:
                    self._cursors[name] = piece.cursor
        self._cursors = logs.living(self._cursors)

    def _read_lines(self, lines: Iterable[bytes], name: str) -> Iterator[Measurement]:
        for line in lines:
            try:
                yield from embedded.read_line(line)
            except embedded.EmbeddedMetricError as error:
                _log.warning("%s: a line is left out: %s", name, error)

    def evaluate(self) -> None:
        """Bring every alarm into the state that its data asks for."""
        now_s = self._clock() - EVALUATION_DELAY_S
        for alarm in list(self._alarms.values()):
            period_s = alarm["Period"]
            last_s = math.floor(now_s / period_s) * period_s
            periods = alarm["EvaluationPeriods"] + alarms.LOOK_BACK_PERIODS
            points = self._metrics.points(
                alarms.metric_of(alarm),
                unit=alarm.get("Unit"),
                period_s=period_s,
                start_s=last_s - periods * period_s,
                end_s=last_s,
            )
            known = {point.start_s: point.summary.statistic(alarms.statistic_of(alarm)) for point in points}
            values = [known.get(last_s - back * period_s) for back in range(periods, 0, -1)]
            verdict = alarms.judge(alarm, values)
            if verdict.state != alarm["StateValue"]:
                data = {"version": "1.0", "recentDatapoints": [value for value in values if value is not None]}
                self._enter(alarm, verdict.state, verdict.reason, reason_data=orjson.dumps(data).decode())

    def _enter(self, alarm: Alarm, state: State, reason: str, *, reason_data: str | None) -> None:
        """Put an alarm into a state, and see to its topics being told."""
        name, now, old = alarm["AlarmName"], self._now(), State(alarm["StateValue"])
        changed = {
            **alarm,
            "StateValue": state.value,
            "StateReason": reason,
            "StateReasonData": reason_data,
            "StateUpdatedTimestamp": now,
            "StateTransitionedTimestamp": now,
        }
        self._alarms[name] = changed
        if old is state:
            return
        _log.info("alarm %s: %s -> %s: %s", name, old, state, reason)
        self._note(name, "StateUpdate", f"Alarm updated from {old} to {state}")
        topics = list(alarm[ACTIONS[state]]) if alarm["ActionsEnabled"] else []
        self._changes.append(_Change(changed, alarm, topics, time.monotonic() + TELL_FOR_S))

    async def _tell(self) -> None:
        """Tell the topics of all changes, those of one alarm in their order, and keep each change that was told.

        Raises:
            OSError: Some topics could not be told; those of other alarms were.
        """
        waiting: dict[str, str] = {}
        for change in list(self._changes):
            name = change.alarm["AlarmName"]
            if name not in waiting and (problem := await self._tell_one(change)):
                waiting[name] = problem
        if waiting:
            raise OSError("; ".join(f"alarm {name}: {problem}" for name, problem in sorted(waiting.items())))

    async def _tell_one(self, change: _Change) -> str:
        """Tell the topics of a change and keep it; return why one could not be told and is to be tried again."""
        name = change.alarm["AlarmName"]
        while change.topics:
            topic = change.topics[0]
            try:
                await asyncio.to_thread(self._publish, topic, change)
            except _TellError as error:
                if time.monotonic() < change.until_s:
                    return str(error)
                self._note(name, "Action", f"Failed to execute action {topic}: {error}")
                _log.error("alarm %s: %s could not be told: %s", name, topic, error)
            else:
                self._note(name, "Action", f"Successfully executed action {topic}")
            change.topics.pop(0)
        if name in self._alarms:
            self._keep({"alarm": _plain({**self._alarms[name], **_state_of(change.alarm)})})
        self._changes = [other for other in self._changes if other is not change]
        return ""

    def _publish(self, topic: str, change: _Change) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        subject, message = alarms.notification(
            change.alarm, old=State(change.before["StateValue"]), region=self._region, account=ACCOUNT_ID
        )
        try:
            self._sns().publish(TopicArn=topic, Subject=subject, Message=message)
        except (BotoCoreError, ClientError) as error:
            raise _TellError(str(error)) from error

    def compact(self) -> None:
        """Write the journal anew where it has grown.

        Raises:
            OSError: It could not be written; the old one stays.
        """
        if self._journal.is_large:
            self._journal.replace(self._entries())

    async def _compact(self) -> None:
        self.compact()

    # --- what is kept ---

    def _told(self, alarm: Alarm) -> Entry:
        """Return what is kept of an alarm: in the state that its topics know of, so that an untold change is found again."""
        untold = next((other for other in self._changes if other.alarm["AlarmName"] == alarm["AlarmName"]), None)
        return {"alarm": _plain(alarm if untold is None else {**alarm, **_state_of(untold.before)})}

    def _take_in(self, measurements: list[Measurement], cursors: dict[str, Cursor]) -> None:
        self._keep(_taken_in(measurements, cursors))
        self._metrics.add(measurements)
        self._cursors |= cursors

    def _keep(self, entry: Entry) -> None:
        try:
            self._journal.append(entry)
        except OSError as error:
            raise AwsError("InternalServiceError", f"nothing was stored: {error}", status=500) from error

    def _entries(self) -> Iterator[Entry]:
        """Return the entries that make up all that is kept."""
        yield _taken_in([], self._cursors)
        yield from map(self._told, self._alarms.values())
        yield from (_taken_in([measurement], {}) for measurement in self._metrics.measurements())

    def _replay(self, entry: Entry) -> None:
        try:
            match entry:
                case {"alarm": dict(alarm)}:
                    times = {key: datetime.fromisoformat(alarm[key]) for key in _ALARM_TIMES}
                    self._alarms[alarm["AlarmName"]] = {**alarm, **times}
                case {"gone": str(name)}:
                    self._alarms.pop(name, None)
                case {"data": list(data)}:
                    self._metrics.add([Measurement.from_json(item) for item in data])
                    self._cursors |= {name: Cursor(*cursor) for name, cursor in entry.get("cursors", {}).items()}
        except (KeyError, ValueError, TypeError) as error:
            _log.warning("an entry of the journal is left out: %r", error)

    def _alarm(self, name: str) -> Alarm:
        if name not in self._alarms:
            raise AwsError("ResourceNotFound", f"Alarm {name} does not exist", status=404)
        return self._alarms[name]

    def _note(self, name: str, kind: str, summary: str) -> None:
        item = {
            "AlarmName": name,
            "AlarmType": "MetricAlarm",
            "Timestamp": self._now(),
            "HistoryItemType": kind,
            "HistorySummary": summary,
        }
        self._history.append(item)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

    def _points(self, metric: Params, selection: Params, period_s: int, start: datetime, end: datetime) -> list[Any]:
        if start >= end:
            raise AwsError("InvalidParameterCombination", "StartTime must be before EndTime.")
        check_period(period_s)
        for name in ("Namespace", "MetricName"):
            if name not in metric:
                raise AwsError("MissingParameter", f"{name} must be given")
        dimensions = sorted((item["Name"], item["Value"]) for item in metric.get("Dimensions", []))
        return self._metrics.points(
            Metric(metric["Namespace"], metric["MetricName"], tuple(dimensions)),
            unit=selection.get("Unit"),
            period_s=period_s,
            start_s=start.timestamp(),
            end_s=end.timestamp(),
        )


class _TellError(Exception):
    """A topic could not be told; the message says why."""


def _end_with(rounds: asyncio.Task[None]) -> None:
    """End the process where a bug ended the loop: alarms that are not evaluated must not look healthy."""
    if not rounds.cancelled() and rounds.exception() is not None:
        _log.error("the loop ended by a bug", exc_info=rounds.exception())
        signal.raise_signal(signal.SIGTERM)


def _taken_in(measurements: Iterable[Measurement], cursors: Mapping[str, Cursor]) -> Entry:
    return {
        "data": [measurement.to_json() for measurement in measurements],
        "cursors": {name: list(cursor) for name, cursor in cursors.items()},
    }


def _acts_on(alarm: Alarm, prefix: str) -> bool:
    return not prefix or any(arn.startswith(prefix) for members in ACTIONS.values() for arn in alarm[members])


def _has(metric: Metric, name: str, value: str | None) -> bool:
    return any(key == name and value in {None, found} for key, found in metric.dimensions)


def _page(items: list[Any], params: Params, size: int) -> tuple[list[Any], str | None]:
    token = params.get("NextToken", "0")
    if not token.isdecimal():
        raise AwsError("InvalidNextToken", f"NextToken {token!r} is not one of this service's")
    start = int(token)
    return items[start : start + size], str(start + size) if start + size < len(items) else None


def _state_of(alarm: Alarm) -> Alarm:
    return {key: value for key, value in alarm.items() if key.startswith("State")}


def _plain(alarm: Alarm) -> Alarm:
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in alarm.items()}
