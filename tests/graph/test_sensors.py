"""What runs because something happened, and who is told when it fails."""

import json
from typing import Any

import dagster as dg
import pytest

from fraudit_dagster.definitions import build_defs
from fraudit_dagster.settings import Settings
from jobs.automation import AUTOMATION
from jobs.sensors import alert_on_failure
from resources.alerts import AlertError, Alerts
from tests.conftest import free_port, unique

RAW = dg.AssetKey(["raw", "transactions"])
PARTS = {dg.AssetKey(["dataset", part]) for part in ("train", "validation", "test")}


@dg.op
def breaks() -> None:
    """Fail as a step of ours does."""
    raise dg.Failure(description="the table has no frauds", allow_retries=False)


@dg.job
def doomed() -> None:
    """Run the one step."""
    breaks()


@pytest.fixture
def topic(local_cloud: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> tuple[str, Any]:
    """The ARN of a topic, and a function that returns what a queue behind it has heard."""
    import boto3

    for name, value in local_cloud.items():
        monkeypatch.setenv(name, value)
    sns, sqs = boto3.client("sns"), boto3.client("sqs")
    arn = sns.create_topic(Name=unique("operations"))["TopicArn"]
    queue = sqs.create_queue(QueueName=unique("operations"))["QueueUrl"]
    queue_arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=queue_arn)

    def heard() -> list[dict[str, Any]]:
        messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", [])
        return [json.loads(message["Body"]) for message in messages]

    return arn, heard


def fail_and_tell(alerts: Alerts) -> tuple[str, Any]:
    with dg.DagsterInstance.ephemeral() as instance:
        result = doomed.execute_in_process(instance=instance, raise_on_error=False)
        run = instance.get_run_by_id(result.run_id)
        assert run is not None
        (failure,) = [event for event in result.all_events if event.event_type == dg.DagsterEventType.RUN_FAILURE]
        with dg.build_run_status_sensor_context(
            sensor_name="alert_on_failure",
            dagster_instance=instance,
            dagster_run=run,
            dagster_event=failure,
            resources={"alerts": alerts},
        ).for_run_failure() as context:
            return result.run_id, alert_on_failure(context)


def test_a_failed_run_is_told_with_its_reason_and_where_to_look(topic: tuple[str, Any]) -> None:
    arn, heard = topic
    run_id, _ = fail_and_tell(Alerts(region="eu-west-1", topic_arn=arn, dagster_url="http://dagster.example"))
    (message,) = heard()
    assert message["Subject"] == "fraudit: doomed failed"
    assert "breaks: the table has no frauds" in message["Message"]
    assert f"http://dagster.example/runs/{run_id}" in message["Message"]


def test_without_a_topic_the_tick_says_so() -> None:
    _, answer = fail_and_tell(Alerts(region="eu-west-1"))
    assert "OPERATIONS_TOPIC_ARN" in str(answer.skip_message)


def test_a_subject_that_sns_would_refuse_is_made_one_that_it_takes(topic: tuple[str, Any]) -> None:
    arn, heard = topic
    assert Alerts(region="eu-west-1", topic_arn=arn).tell("é\n" + "x" * 200, "text")
    (message,) = heard()
    assert message["Subject"] == "x" * 100


def test_a_topic_that_does_not_exist_is_named(topic: tuple[str, Any]) -> None:
    arn, _ = topic
    with pytest.raises(AlertError, match=r"cannot publish to .*-gone"):
        Alerts(region="eu-west-1", topic_arn=f"{arn}-gone").tell("subject", "text")


def test_an_sns_that_cannot_be_reached_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(AlertError) as caught:
        Alerts(region="eu-west-1", topic_arn="arn:aws:sns:eu-west-1:123456789012:t").tell("subject", "text")
    assert caught.value.code == "Unreachable"


class Automation:
    """The conditions of the whole graph, evaluated tick by tick without running anything."""

    def __init__(self) -> None:
        self.definitions = build_defs(Settings())
        self.instance = dg.DagsterInstance.ephemeral()
        self.cursor: Any = None

    def raw_is(self, version: str, *, fit: bool = True) -> None:
        """Say that the raw table was materialized, and checked."""
        self.made(RAW, version)
        check = dg.AssetCheckEvaluation(asset_key=RAW, check_name="fit_to_train", passed=fit, blocking=True)
        self.instance.report_runless_asset_event(check)

    def made(self, key: dg.AssetKey, version: str) -> None:
        self.instance.report_runless_asset_event(dg.AssetMaterialization(key, tags={"dagster/data_version": version}))

    def tick(self) -> set[dg.AssetKey]:
        """Evaluate once and return what is requested."""
        result = dg.evaluate_automation_conditions(
            self.definitions, instance=self.instance, asset_selection=AUTOMATION.asset_selection, cursor=self.cursor
        )
        self.cursor = result.cursor
        return {
            key for key in self.definitions.resolve_asset_graph().get_all_asset_keys() if result.get_num_requested(key)
        }


@pytest.fixture
def automation() -> Automation:
    """A graph whose raw table and parts are there, and which has settled."""
    made = Automation()
    made.raw_is("a")
    for key in made.definitions.resolve_asset_graph().get_all_asset_keys() - {RAW}:
        made.made(key, "a")
    for _ in range(3):
        made.tick()
    return made


def test_a_table_with_other_content_is_split_anew(automation: Automation) -> None:
    automation.raw_is("b")
    assert automation.tick() >= PARTS


def test_the_same_table_again_requests_nothing(automation: Automation) -> None:
    automation.raw_is("a")
    assert automation.tick() == set()


def test_a_table_that_is_not_fit_requests_nothing(automation: Automation) -> None:
    automation.raw_is("b", fit=False)
    assert automation.tick() == set()


def test_only_what_is_learnt_is_automated() -> None:
    graph = build_defs(Settings()).resolve_asset_graph()
    groups = {graph.get(key).group_name for key in graph.get_all_asset_keys() if graph.get(key).automation_condition}
    assert groups == {"dataset", "training", "evaluation", "serving"}


def test_every_sensor_says_whether_it_runs_by_itself() -> None:
    stopped, running = dg.DefaultSensorStatus.STOPPED, dg.DefaultSensorStatus.RUNNING
    assert {sensor.name: sensor.default_status for sensor in build_defs(Settings()).sensors or ()} == {
        "automation": stopped,
        "new_data": stopped,
        "retrain_on_drift": stopped,
        "retrain_on_performance": stopped,
        "promote_approved": running,
        "alert_on_failure": running,
        "watch_api": running,
        "watch_stream": running,
        "watch_job": running,
        "watch_table": running,
    }
