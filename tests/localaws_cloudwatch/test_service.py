"""CloudWatch through boto3: metrics out of log lines, alarms that reach a queue, logs; over restarts, kills and a full disk."""

import json
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import httpx
import pytest
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError
from localaws import processes
from localaws.cloudwatch.service import CloudWatch
from localaws.rotation import RotatedLog
from localaws.wire import ACCOUNT_ID

from tests.aws_shapes import problems
from tests.conftest import ASK, free_port

if TYPE_CHECKING:
    import subprocess

REGION = "eu-west-1"
ENV = {
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
}
DEV = [{"Name": "stage", "Value": "dev"}]


class Server:
    """One service as a process that can be killed and started again on the same port."""

    def __init__(self, folder: Path, health: str, *command: str, **env: str) -> None:
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._health = self.url + health
        self._command = [argument.replace("{port}", str(self._port)) for argument in (sys.executable, "-m", *command)]
        self._env = {**os.environ, **ENV, **env}
        self._log = folder / f"{command[0]}.txt"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = processes.spawn(self._command, env=self._env, log_path=self._log)
        process = self.process

        def answers() -> bool:
            assert process.poll() is None, self.log
            try:
                return ASK.get(self._health).status_code == 200
            except httpx.HTTPError:
                return False

        wait_until(answers)

    def stop(self) -> None:
        if self.process is not None:
            processes.end(self.process, grace_s=10)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    @property
    def log(self) -> str:
        return self._log.read_text()


class World:
    """CloudWatch beside moto, with a state folder whose logs it follows."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        (self.state / "logs").mkdir(parents=True)
        self.moto = Server(folder, "/moto-api/", "moto.server", "-H", "127.0.0.1", "-p", "{port}")
        self.service = Server(
            folder,
            "/_health",
            "localaws.cloudwatch",
            "--port",
            "{port}",
            "--state",
            str(self.state),
            AWS_ENDPOINT_URL=self.moto.url,
        )
        self.cloudwatch = self.client("cloudwatch", self.service.url)

    def client(self, name: str, url: str | None = None) -> Any:
        config = Config(retries={"max_attempts": 0})
        return boto3.client(  # type: ignore[call-overload]  # its overloads want a literal name
            name,
            endpoint_url=url or self.moto.url,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=config,
        )

    def topic_with_queue(self, name: str) -> tuple[str, Callable[[], list[dict[str, Any]]]]:
        """Return a topic's ARN, and a function that takes what reached a queue that is subscribed to it."""
        sns, sqs = self.client("sns"), self.client("sqs")
        topic = sns.create_topic(Name=name)["TopicArn"]
        queue = sqs.create_queue(QueueName=name)["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)

        def take() -> list[dict[str, Any]]:
            found = []
            while messages := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", []):
                for message in messages:
                    found.append(json.loads(json.loads(message["Body"])["Message"]))
                    sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
            return found

        return topic, take

    def sum_of(self, metric: str, *, statistic: str = "Sum") -> float:
        now = datetime.now(UTC)
        query = {
            "Id": "a",
            "MetricStat": {
                "Metric": {"Namespace": "shop", "MetricName": metric, "Dimensions": DEV},
                "Period": 3600,
                "Stat": statistic,
            },
        }
        answer = self.cloudwatch.get_metric_data(
            MetricDataQueries=[query], StartTime=now - timedelta(hours=2), EndTime=now + timedelta(hours=1)
        )
        return float(sum(answer["MetricDataResults"][0]["Values"]))

    def events(self, group: str) -> list[str]:
        logs = self.client("logs")
        try:
            streams = logs.describe_log_streams(logGroupName=group)["logStreams"]
        except logs.exceptions.ResourceNotFoundException:
            return []
        return [
            event["message"]
            for stream in streams
            for event in logs.get_log_events(
                logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True
            )["events"]
        ]


def wait_until(is_so: Callable[[], Any], *, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def await_sum(world: World, metric: str, *, above: float) -> None:
    wait_until(lambda: world.sum_of(metric) > above)


def await_events(world: World, group: str) -> list[str]:
    wait_until(lambda: world.events(group))
    return world.events(group)


def await_messages(take: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []

    def came() -> bool:
        messages.extend(take())
        return bool(messages)

    wait_until(came)
    return messages


def line(metric: str, value: float, *, resolution: int = 60) -> bytes:
    directive = {
        "Namespace": "shop",
        "Dimensions": [["stage"]],
        "Metrics": [{"Name": metric, "Unit": "Count", "StorageResolution": resolution}],
    }
    envelope = {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]}
    return json.dumps({"_aws": envelope, "stage": "dev", metric: value}).encode() + b"\n"


def alarm_on(metric: str, **changed: Any) -> dict[str, Any]:
    alarm = {
        "AlarmName": metric,
        "Namespace": "shop",
        "MetricName": metric,
        "Dimensions": DEV,
        "Statistic": "Maximum",
        "Period": 1,
        "EvaluationPeriods": 1,
        "Threshold": 10,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "ignore",
    }
    return {**alarm, **changed}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("cloudwatch"))
    try:
        made.moto.start()
        made.service.start()
        yield made
    finally:
        made.service.stop()
        made.moto.stop()


def test_lines_of_a_rotated_log_count_once_each(world: World) -> None:
    log = RotatedLog(world.state / "logs" / "rotated.log", max_bytes=2000)
    for _ in range(5):
        for _ in range(10):
            log.write(line("Rotated", 1))
        await_sum(world, "Rotated", above=world.sum_of("Rotated"))
    wait_until(lambda: world.sum_of("Rotated") == 50)
    assert len(list((world.state / "logs").glob("rotated.log*"))) == 4
    log.close()


def test_a_broken_line_is_named_and_the_others_count(world: World) -> None:
    with (world.state / "logs" / "broken.log").open("ab") as log:
        log.write(
            line("Broken", 1) + line("Broken", 0).replace(b": 0}", b': "x"}') + b'{"_aws": cut\n' + line("Broken", 2)
        )
        log.write(b"the rest of this line comes later")
    wait_until(lambda: world.sum_of("Broken") == 3)
    assert "broken.log: a line is left out" in world.service.log


def test_nothing_is_counted_twice_when_the_service_is_killed(world: World) -> None:
    log = RotatedLog(world.state / "logs" / "killed.log")
    for count in range(1, 4):
        for _ in range(200):
            log.write(line("Killed", 1))
        await_sum(world, "Killed", above=200 * (count - 1))
        world.service.kill()
        log.write(line("Killed", 0))
        world.service.start()
    wait_until(lambda: world.sum_of("Killed") == 600)
    wait_until(lambda: world.sum_of("Killed", statistic="SampleCount") == 603)
    log.close()


def test_an_alarm_reaches_the_queue_and_says_so_when_it_is_over(world: World) -> None:
    topic, take = world.topic_with_queue("fires")
    world.cloudwatch.put_metric_alarm(**alarm_on("Fires", AlarmActions=[topic], OKActions=[topic]))
    (alarm,) = world.cloudwatch.describe_alarms(AlarmNames=["Fires"])["MetricAlarms"]
    assert alarm["StateValue"] == "INSUFFICIENT_DATA"
    log = RotatedLog(world.state / "logs" / "fires.log")
    messages: list[dict[str, Any]] = []

    def said(state: str, value: float) -> bool:
        log.write(line("Fires", value, resolution=1))
        messages.extend(take())
        return any(message["NewStateValue"] == state for message in messages)

    wait_until(lambda: said("ALARM", 11))
    assert messages[0]["AlarmName"] == "Fires"
    assert messages[0]["Trigger"]["MetricName"] == "Fires"
    messages.clear()
    wait_until(lambda: said("OK", 1))
    (alarm,) = world.cloudwatch.describe_alarms(AlarmNames=["Fires"])["MetricAlarms"]
    assert alarm["StateValue"] == "OK"
    summaries = [
        item["HistorySummary"]
        for item in world.cloudwatch.describe_alarm_history(AlarmName="Fires")["AlarmHistoryItems"]
    ]
    assert "Alarm updated from OK to ALARM" in summaries or "Alarm updated from INSUFFICIENT_DATA to ALARM" in summaries
    assert f"Successfully executed action {topic}" in summaries
    log.close()


def test_an_alarm_with_its_actions_off_changes_and_tells_nobody(world: World) -> None:
    topic, take = world.topic_with_queue("quiet")
    world.cloudwatch.put_metric_alarm(**alarm_on("Quiet", AlarmActions=[topic]))
    world.cloudwatch.disable_alarm_actions(AlarmNames=["Quiet"])
    world.cloudwatch.set_alarm_state(AlarmName="Quiet", StateValue="ALARM", StateReason="a test")
    (alarm,) = world.cloudwatch.describe_alarms(AlarmNames=["Quiet"])["MetricAlarms"]
    assert (alarm["StateValue"], alarm["StateReason"]) == ("ALARM", "a test")
    world.cloudwatch.enable_alarm_actions(AlarmNames=["Quiet"])
    world.cloudwatch.set_alarm_state(AlarmName="Quiet", StateValue="OK", StateReason="a test")
    world.cloudwatch.set_alarm_state(AlarmName="Quiet", StateValue="ALARM", StateReason="another")
    messages = await_messages(take)
    assert [message["NewStateReason"] for message in messages] == ["another"]


def test_alarms_and_data_outlive_the_process(world: World) -> None:
    world.cloudwatch.put_metric_alarm(**alarm_on("Kept"))
    world.cloudwatch.put_metric_data(
        Namespace="shop", MetricData=[{"MetricName": "Kept", "Dimensions": DEV, "Values": [1, 2], "Counts": [3, 1]}]
    )
    world.service.kill()
    world.service.start()
    assert world.sum_of("Kept") == 5
    (alarm,) = world.cloudwatch.describe_alarms(AlarmNames=["Kept"])["MetricAlarms"]
    assert alarm["Threshold"] == 10


def test_a_topic_that_cannot_be_told_holds_up_no_other_alarm_and_is_told_later(world: World) -> None:
    absent = f"arn:aws:sns:{REGION}:{ACCOUNT_ID}:absent-yet"
    topic, take = world.topic_with_queue("there")
    world.cloudwatch.put_metric_alarm(**alarm_on("Held", AlarmActions=[absent]))
    world.cloudwatch.put_metric_alarm(**alarm_on("Goes", AlarmActions=[topic]))
    world.cloudwatch.set_alarm_state(AlarmName="Held", StateValue="ALARM", StateReason="told in the end")
    wait_until(lambda: "telling the topics: alarm Held" in world.service.log)
    world.cloudwatch.set_alarm_state(AlarmName="Goes", StateValue="ALARM", StateReason="told at once")
    assert [message["NewStateReason"] for message in await_messages(take)] == ["told at once"]
    _, take_later = world.topic_with_queue("absent-yet")
    assert await_messages(take_later)[0]["NewStateReason"] == "told in the end"


def test_logs_of_services_jobs_endpoints_and_runs_are_where_aws_has_them(world: World) -> None:
    (world.state / "status.json").write_text(
        json.dumps({"services": {"api": {"log_group": "/aws/lambda/api"}, "web": {"log_group": None}}})
    )
    files = {
        "logs/api.log": "/aws/lambda/api",
        "logs/web.log": "/localaws/web",
        "sagemaker/jobs/job-1/train.log": "/aws/sagemaker/TrainingJobs",
        "sagemaker/endpoints/model-1/serve.log": "/aws/sagemaker/Endpoints/model-1",
        "glue/runs/jr_1/output.log": "/aws-glue/jobs/output",
        "glue/runs/jr_1/error.log": "/aws-glue/jobs/error",
    }
    (world.state / "sagemaker/jobs/job-1/input/config").mkdir(parents=True)
    for name in files:
        path = world.state / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"first of {name}\n\nsecond of {name}\nunfinished")
    for name, group in files.items():
        assert await_events(world, group) == [f"first of {name}", f"second of {name}"]
    streams = world.client("logs").describe_log_streams(logGroupName="/aws/sagemaker/TrainingJobs")["logStreams"]
    assert re.fullmatch(r"job-1/algo-1-\d+", streams[0]["logStreamName"])


def test_a_new_cloudwatch_logs_gets_all_lines_again(world: World) -> None:
    (world.state / "logs" / "again.log").write_text("here\n")
    wait_until(lambda: world.events("/localaws/again") == ["here"])
    world.moto.kill()
    with (world.state / "logs" / "again.log").open("a") as log:
        log.write("there\n")
    world.moto.start()
    wait_until(lambda: world.events("/localaws/again") == ["here", "there"])


def test_a_long_line_becomes_several_events(world: World) -> None:
    (world.state / "logs" / "long.log").write_text("a" * 600_000 + "\nshort\n")
    wait_until(lambda: "short" in world.events("/localaws/long"))
    assert "".join(world.events("/localaws/long")) == "a" * 600_000 + "short"


def test_on_a_full_disk_nothing_is_acknowledged_and_log_lines_count_later(world: World) -> None:
    """A limit on the size of its files is a full disk to the process."""

    def put() -> None:
        world.cloudwatch.put_metric_data(
            Namespace="shop", MetricData=[{"MetricName": "Full", "Value": 1, "Dimensions": DEV}]
        )

    for _ in range(100):  # the journal is larger than what else the service writes then
        put()
    assert world.service.process is not None
    pid = world.service.process.pid
    size_bytes = (world.state / "cloudwatch" / "journal.jsonl").stat().st_size
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size_bytes, -1))
    with pytest.raises(ClientError, match="nothing was stored") as caught:
        put()
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    (world.state / "logs" / "full.log").write_bytes(line("Full", 10))
    wait_until(lambda: "following the logs" in world.service.log)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (-1, -1))
    wait_until(lambda: world.sum_of("Full") == 110)
    world.service.kill()
    world.service.start()
    assert world.sum_of("Full") == 110


def test_each_action_answers_as_its_model_says(world: World) -> None:
    """A real client parses every answer; an action without a case here fails the test."""
    client, now = world.cloudwatch, datetime.now(UTC)
    metric = {"Namespace": "shop", "MetricName": "Walk"}
    span = {"StartTime": now - timedelta(hours=1), "EndTime": now + timedelta(hours=1)}
    cases: dict[str, tuple[dict[str, Any], dict[str, Any] | None]] = {
        "PutMetricData": (
            {"Namespace": "shop", "MetricData": [{"MetricName": "Walk", "Value": 2, "Unit": "Count"}]},
            {"Namespace": "shop", "MetricData": [{"MetricName": "Walk", "Value": float("nan")}]},
        ),
        "ListMetrics": (metric, {"NextToken": "x"}),
        "GetMetricStatistics": (
            {**metric, **span, "Period": 60, "Statistics": ["Sum"], "ExtendedStatistics": ["p90"]},
            {**metric, **span, "Period": 61, "Statistics": ["Sum"]},
        ),
        "GetMetricData": (
            {"MetricDataQueries": [{"Id": "a", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "p50"}}], **span},
            {"MetricDataQueries": [{"Id": "a", "Expression": "b + 1"}], **span},
        ),
        "PutMetricAlarm": (alarm_on("Walk", Dimensions=[]), alarm_on("Walk", DatapointsToAlarm=9)),
        "SetAlarmState": (
            {"AlarmName": "Walk", "StateValue": "ALARM", "StateReason": "walk"},
            {"AlarmName": "absent", "StateValue": "ALARM", "StateReason": "walk"},
        ),
        "DescribeAlarms": ({"AlarmNamePrefix": "Wa"}, {"NextToken": "x"}),
        "DescribeAlarmHistory": ({"AlarmName": "Walk"}, {"NextToken": "x"}),
        "DisableAlarmActions": ({"AlarmNames": ["Walk"]}, None),
        "EnableAlarmActions": ({"AlarmNames": ["Walk"]}, None),
        "DeleteAlarms": ({"AlarmNames": ["Walk"]}, {"AlarmNames": ["Walk", "absent"]}),
    }
    known = CloudWatch(region=REGION, state_dir=world.state / "other", sns=object, shipper=None)  # type: ignore[arg-type]
    assert set(cases) == set(known.actions())
    raw: dict[str, Any] = {}

    def keep(http_response: Any, model: Any, **_: Any) -> None:
        raw[model.name] = http_response.status_code, json.loads(http_response.content), model.output_shape

    client.meta.events.register("after-call.cloudwatch", keep)
    answers = {}
    for name, (right, wrong) in cases.items():
        method = getattr(client, xform_name(name))
        answers[name] = method(**right)
        status, document, shape = raw[name]
        assert status == 200
        assert (list(problems(shape, document, name)) if shape else document) in ([], {}), name
        if wrong is not None:
            with pytest.raises(ClientError):
                method(**wrong)
            assert 400 <= raw[name][0] < 500, name
    client.meta.events.unregister("after-call.cloudwatch", keep)
    assert answers["ListMetrics"]["Metrics"] == [{**metric, "Dimensions": []}]
    (datapoint,) = answers["GetMetricStatistics"]["Datapoints"]
    assert (datapoint["Sum"], datapoint["Unit"], datapoint["ExtendedStatistics"]) == (2.0, "Count", {"p90": 2.0})
    assert answers["GetMetricData"]["MetricDataResults"][0]["Values"] == [2.0]
    assert answers["DescribeAlarms"]["MetricAlarms"][0]["AlarmName"] == "Walk"


@pytest.mark.parametrize(
    ("datum", "problem"),
    [
        ({"Value": 1, "Values": [1]}, "one of Value, Values and StatisticValues"),
        ({}, "one of Value, Values and StatisticValues"),
        ({"Values": [1, 2], "Counts": [1]}, "of the same size"),
        ({"Values": []}, "at least one value"),
        ({"Value": 1, "Timestamp": datetime(2020, 1, 1, tzinfo=UTC)}, "past two weeks"),
        ({"Value": 1, "StorageResolution": 5}, "StorageResolution must be 1 or 60"),
        ({"StatisticValues": {"SampleCount": 0, "Sum": 0, "Minimum": 0, "Maximum": 0}}, "at least one value"),
    ],
)
def test_a_datum_that_is_not_valid_is_refused_by_name(world: World, datum: dict[str, Any], problem: str) -> None:
    data = [{"MetricName": "Refused", "Value": 1}, {"MetricName": "Refused", **datum}]
    with pytest.raises(ClientError, match=rf"MetricData\.member\.2.*{problem}"):
        world.cloudwatch.put_metric_data(Namespace="shop", MetricData=data)
    assert world.cloudwatch.list_metrics(MetricName="Refused")["Metrics"] == []


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"Period": 7}, "Period must be"),
        ({"Statistic": None}, "either Statistic or ExtendedStatistic"),
        ({"ExtendedStatistic": "tm99", "Statistic": None}, "the statistic tm99 does not exist here"),
        ({"ComparisonOperator": "GreaterThanUpperThreshold"}, "ComparisonOperator must be one of"),
        ({"TreatMissingData": "guess"}, "TreatMissingData must be one of"),
        ({"AlarmActions": ["arn:aws:lambda:eu-west-1:1:function:f"]}, "only topics of SNS"),
        ({"ThresholdMetricId": "a"}, "ThresholdMetricId does not exist here"),
        ({"Namespace": None}, "Namespace must be given"),
        ({"EvaluationPeriods": 90_000}, "must not be more than"),
    ],
)
def test_an_alarm_that_could_never_be_evaluated_is_refused(world: World, changed: dict[str, Any], problem: str) -> None:
    alarm = {key: value for key, value in alarm_on("Refused", **changed).items() if value is not None}
    with pytest.raises(ClientError, match=problem):
        world.cloudwatch.put_metric_alarm(**alarm)
    assert world.cloudwatch.describe_alarms(AlarmNames=["Refused"])["MetricAlarms"] == []
