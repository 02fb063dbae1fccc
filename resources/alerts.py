"""Amazon SNS: telling people that something is wrong, and who is told.

Belongs here: publishing to the operations topic, subscriptions of any topic. Does not: what is worth telling (``jobs/``).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from resources.aws import BRIEF, AwsError, client, translated

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient

SUBJECT_LIMIT = 100
MESSAGE_LIMIT = 8_000
"""Characters; SNS takes 256 kB, an e-mail that is read is shorter."""


class AlertError(AwsError):
    """SNS refused a request or could not be reached; the message names the topic."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """Who is told what is published to a topic.

    Attributes:
        protocol: ``email``, ``https``, ``sqs``, or another of SNS.
        endpoint: Address, URL or ARN.
        confirmed: Whether SNS sends anything yet.
    """

    protocol: str
    endpoint: str
    confirmed: bool


class Alerts(dg.ConfigurableResource):
    """The topic of those who operate fraudit, and who is subscribed to topics."""

    region: str = Field(description="AWS region.")
    topic_arn: str | None = Field(
        default=None, description="SNS topic that hears what is wrong; none: it is only logged."
    )
    dagster_url: str = Field(default="http://127.0.0.1:3000", description="Of the Dagster UI, for links in messages.")
    brief: bool = Field(default=False, description=BRIEF)

    @cached_property
    def _client(self) -> "SNSClient":
        sns: SNSClient = client("sns", region=self.region, brief=self.brief)
        return sns

    def tell(self, subject: str, message: str) -> bool:
        """Publish a message; return whether there is a topic to tell.

        Args:
            subject: One line; what SNS does not take in one (other than printable ASCII, more than 100 characters) is dropped.
            message: As people shall read it.

        Raises:
            AlertError: SNS refused it or could not be reached.
        """
        if self.topic_arn is None:
            return False
        printable = "".join(character for character in subject if " " <= character <= "~")
        with translated(AlertError, f"publish to {self.topic_arn}"):
            self._client.publish(
                TopicArn=self.topic_arn, Subject=printable[:SUBJECT_LIMIT], Message=message[:MESSAGE_LIMIT]
            )
        return True

    def subscribe(self, topic_arn: str, *, protocol: str, endpoint: str) -> Subscription:
        """Subscribe an endpoint to a topic; one that is subscribed stays so, one that has not confirmed is asked again.

        Raises:
            AlertError: There is no such topic, SNS refused the endpoint, or it could not be reached.
        """
        with translated(AlertError, f"subscribe {endpoint} to {topic_arn}"):
            arn = self._client.subscribe(
                TopicArn=topic_arn, Protocol=protocol, Endpoint=endpoint, ReturnSubscriptionArn=False
            )["SubscriptionArn"]
        return Subscription(protocol, endpoint, confirmed=_is_arn(arn))

    def subscriptions(self, topic_arn: str) -> Iterator[Subscription]:
        """Yield the subscriptions of a topic.

        Raises:
            AlertError: There is no such topic, or SNS could not be reached; perhaps after some subscriptions.
        """
        with translated(AlertError, f"list the subscriptions of {topic_arn}"):
            for page in self._client.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic_arn):
                for found in page["Subscriptions"]:
                    confirmed = _is_arn(found["SubscriptionArn"])
                    yield Subscription(found["Protocol"], found["Endpoint"], confirmed=confirmed)


def _is_arn(answer: str) -> bool:
    """Whether SNS gave a subscription a name: until it is confirmed it says ``pending confirmation`` in its place."""
    return answer.startswith("arn:")
