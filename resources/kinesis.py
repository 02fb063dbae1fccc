"""Amazon Kinesis Data Streams, as the graph watches it. The API writes to the stream and the Spark job reads it.

Belongs here: the state of the stream, reading all of it, and putting back what the API could not put. Does not: what a record means.
"""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from resources.aws import BRIEF, AwsError, client, translated

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient


RECORDS_LIMIT = 500
"""Records of one request: https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html"""
REQUEST_LIMIT_BYTES = 5 * 2**20
"""Data and partition keys of one request together."""
RECORD_LIMIT_BYTES = 2**20
"""Data and partition key of one record of this project's stream."""
PUT_ATTEMPTS = 8
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0


@dataclass(frozen=True, slots=True)
class Record:
    """What is put on a stream."""

    data: bytes
    partition_key: str

    @property
    def size(self) -> int:
        """Bytes, as Kinesis counts them."""
        return len(self.data) + len(self.partition_key.encode())


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """What a stream keeps of a record."""

    shard_id: str
    sequence_number: str
    data: bytes


class KinesisError(AwsError):
    """Kinesis refused a request or could not be reached; the message names the stream."""


class Kinesis(dg.ConfigurableResource):
    """The stream of scored transactions."""

    region: str = Field(description="AWS region.")
    stream_name: str = Field(description="Name of the stream.", examples=["fraud-predictions-stream"])
    brief: bool = Field(default=False, description=BRIEF)

    @cached_property
    def _client(self) -> "KinesisClient":
        kinesis: KinesisClient = client("kinesis", region=self.region, brief=self.brief)
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

    def records(self) -> Iterator[StoredRecord]:
        """Yield all that the stream keeps, shard by shard, each up to its end of the moment.

        Raises:
            KinesisError: There is no such stream, or Kinesis could not be reached.
        """
        with translated(KinesisError, f"read stream {self.stream_name!r}"):
            pages = self._client.get_paginator("list_shards").paginate(StreamName=self.stream_name)
            for shard_id in [shard["ShardId"] for page in pages for shard in page["Shards"]]:
                iterator = self._client.get_shard_iterator(
                    StreamName=self.stream_name, ShardId=shard_id, ShardIteratorType="TRIM_HORIZON"
                )["ShardIterator"]
                while iterator:
                    answer = self._client.get_records(ShardIterator=iterator)
                    for record in answer["Records"]:
                        yield StoredRecord(shard_id, record["SequenceNumber"], record["Data"])
                    at_end = not answer["Records"] and answer.get("MillisBehindLatest", 0) == 0
                    iterator = "" if at_end else answer.get("NextShardIterator", "")

    def put(self, records: Sequence[Record]) -> list[str | None]:
        """Put records on the stream; those that Kinesis does not take are tried again, each time after a longer pause.

        Args:
            records: At most ``RECORDS_LIMIT`` of them and ``REQUEST_LIMIT_BYTES``.

        Returns:
            For each record, in order: None where it is on the stream, else the error code of the last attempt.

        Raises:
            KinesisError: Kinesis refused all of them at once, or could not be reached. It may have some all the same.
        """
        refused: list[str | None] = [""] * len(records)
        for attempt in range(PUT_ATTEMPTS):
            left = [index for index, code in enumerate(refused) if code is not None]
            if not left:
                break
            if attempt:
                pause_s = min(FIRST_PAUSE_S * 2 ** (attempt - 1), LONGEST_PAUSE_S)
                time.sleep(random.uniform(pause_s / 2, pause_s))  # noqa: S311 - so that several do not come at once
            with translated(KinesisError, f"put records on stream {self.stream_name!r}"):
                answer = self._client.put_records(
                    StreamName=self.stream_name,
                    Records=[{"Data": records[i].data, "PartitionKey": records[i].partition_key} for i in left],
                )
            for index, result in zip(left, answer["Records"], strict=True):
                refused[index] = result.get("ErrorCode")
        return refused
