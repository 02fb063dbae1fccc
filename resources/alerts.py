"""Amazon SNS: telling people that something is wrong.

Belongs here: publishing to the operations topic. Does not: what is worth telling (``jobs/``).
"""

from functools import cached_property
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from resources.aws import AwsError, client, translated

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient

SUBJECT_LIMIT = 100
MESSAGE_LIMIT = 8_000
"""Characters; SNS takes 256 kB, an e-mail that is read is shorter."""


class AlertError(AwsError):
    """SNS refused a message or could not be reached; the message names the topic."""


class Alerts(dg.ConfigurableResource):
    """The topic of those who operate fraudit."""

    region: str = Field(description="AWS region.")
    topic_arn: str | None = Field(
        default=None, description="SNS topic that hears what is wrong; none: it is only logged."
    )
    dagster_url: str = Field(default="http://127.0.0.1:3000", description="Of the Dagster UI, for links in messages.")

    @cached_property
    def _client(self) -> "SNSClient":
        sns: SNSClient = client("sns", region=self.region)
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
