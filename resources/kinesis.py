"""Amazon Kinesis Data Streams, as the graph watches it. The API writes to the stream and the Spark job reads it.

Belongs here: the state of the stream. Does not: producing or consuming records.
"""

from functools import cached_property
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from resources.aws import AwsError, client, translated

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient


class KinesisError(AwsError):
    """Kinesis refused a request or could not be reached; the message names the stream."""


class Kinesis(dg.ConfigurableResource):
    """The stream of scored transactions."""

    region: str = Field(description="AWS region.")
    stream_name: str = Field(description="Name of the stream.", examples=["fraud-predictions-stream"])

    @cached_property
    def _client(self) -> "KinesisClient":
        kinesis: KinesisClient = client("kinesis", region=self.region)
        return kinesis

    def summary(self) -> dict[str, str | int]:
        """Return ``status`` (ACTIVE when all is well), ``open_shards`` and ``retention_h``.

        Raises:
            KinesisError: There is no such stream, or Kinesis could not be reached.
        """
        with translated(KinesisError, f"describe stream {self.stream_name!r}"):
            stream = self._client.describe_stream_summary(StreamName=self.stream_name)["StreamDescriptionSummary"]
        return {
            "status": str(stream["StreamStatus"]),
            "open_shards": int(stream["OpenShardCount"]),
            "retention_h": int(stream["RetentionPeriodHours"]),
        }
