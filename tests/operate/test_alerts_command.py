"""``fraudit alerts``: who is told of what. SNS itself asks an address to confirm; moto takes it at its word."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from fraudit_dagster.cli.errors import CommandError
from resources.alerts import Alerts, Subscription
from tests.operate.conftest import REGION, Deployment, fraudit, said

pytestmark = pytest.mark.usefixtures("deployment")


@pytest.fixture
def queue(deployment: Deployment, boto: Callable[[str], Any]) -> tuple[str, str]:
    """URL and ARN of a queue."""
    sqs = boto("sqs")
    url = sqs.create_queue(QueueName=deployment.stream)["QueueUrl"]
    return url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def test_a_queue_hears_what_is_published_to_the_topic(
    deployment: Deployment, boto: Callable[[str], Any], queue: tuple[str, str]
) -> None:
    url, arn = queue
    assert said("alerts", "subscribe", "sqs", arn, "--topic", "operations").startswith(f"{arn}: subscribed")
    Alerts(region=REGION, topic_arn=deployment.operations_topic).tell("Late", "The stream is late")
    (message,) = boto("sqs").receive_message(QueueUrl=url, WaitTimeSeconds=2)["Messages"]
    assert json.loads(message["Body"])["Message"] == "The stream is late"


def test_subscribing_twice_is_one_subscription(queue: tuple[str, str]) -> None:
    for words in (("email", "fraud@example.com"), ("https", "https://example.com/hook"), ("sqs", queue[1])):
        for _ in range(2):
            said("alerts", "subscribe", *words, "--topic", "fraud")
    found = json.loads(said("alerts", "list", "--json"))
    assert sorted((each["topic"], each["protocol"], each["endpoint"]) for each in found) == [
        ("fraud", "email", "fraud@example.com"),
        ("fraud", "https", "https://example.com/hook"),
        ("fraud", "sqs", queue[1]),
    ]
    assert "fraud@example.com" in said("alerts", "list")


def test_who_subscribes_an_address_is_told_that_it_must_be_confirmed() -> None:
    assert "before it is followed" in said("alerts", "subscribe", "email", "a@example.com", "--topic", "fraud")


def test_what_has_not_been_confirmed_is_said(deployment: Deployment) -> None:
    class Unconfirmed(Alerts):
        """SNS as it is on AWS, where nobody has followed the link yet."""

        @property
        def _client(self) -> Any:
            answer = {"SubscriptionArn": "pending confirmation"}
            return type("Sns", (), {"subscribe": lambda _, **_words: answer})()

    made = Unconfirmed(region=REGION).subscribe(deployment.fraud_topic, protocol="email", endpoint="a@example.com")
    assert made == Subscription("email", "a@example.com", confirmed=False)


@pytest.mark.parametrize(
    ("protocol", "endpoint", "words"),
    [
        ("email", "nobody", "an e-mail address"),
        ("https", "http://example.com", "a URL, like https://"),
        ("sqs", "my-queue", "the ARN of a queue"),
    ],
)
def test_an_endpoint_of_another_kind_is_refused(protocol: str, endpoint: str, words: str) -> None:
    done = fraudit("alerts", "subscribe", protocol, endpoint, "--topic", "fraud")
    assert isinstance(done.exception, CommandError)
    assert f"{endpoint!r} is not {words}" in str(done.exception)


def test_a_topic_that_is_not_set_or_not_there_is_named(monkeypatch: pytest.MonkeyPatch, deployment: Deployment) -> None:
    monkeypatch.setenv("ALERTS_TOPIC_ARN", "")
    done = fraudit("alerts", "subscribe", "email", "a@example.com", "--topic", "fraud")
    assert str(done.exception) == "no topic for fraud: set ALERTS_TOPIC_ARN to its ARN"
    monkeypatch.setenv("ALERTS_TOPIC_ARN", f"{deployment.fraud_topic}-gone")
    done = fraudit("alerts", "list")
    assert f"cannot list the subscriptions of {deployment.fraud_topic}-gone" in str(done.exception)
