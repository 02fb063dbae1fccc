"""Kinesis by boto3, as the source needs it: shards, iterators, pages of records, and which failures pass.

Belongs here: each call, its errors in our words, and waiting for a Kinesis that is away. Does not: what is read when
(``kinesis_ahead``), offsets and batches (``kinesis_source``).
"""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import pyarrow as pa
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_kinesis.type_defs import RecordTypeDef, ShardTypeDef

TRIM_HORIZON = "TRIM_HORIZON"

RECORDS_PER_CALL = 10_000  # GetRecords' own limit
CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 15.0
CONNECTIONS = 16
OUTAGE_S = 300.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 5.0

# Beside these, what has a status of 500 and more. ResourceInUseException: the stream is being made.
_PASSING = frozenset(
    {
        "KMSThrottlingException",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ResourceInUseException",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
    }
)

_Answer = TypeVar("_Answer")
_log = logging.getLogger(__name__)


class KinesisSourceError(RuntimeError):
    """The stream could not be read; the message names the stream and says why."""


class PassingError(Exception):
    """Kinesis is throttling, or away: the same call may be answered later."""


class ExpiredError(Exception):
    """A shard iterator was not used for five minutes."""


@dataclass(frozen=True, slots=True)
class Page:
    """What one GetRecords answered.

    Attributes:
        records: In the columns of the source; None where there were none.
        last: Sequence number of the last record, or None.
        following: The next iterator; empty at the end of a closed shard.
        is_caught_up: Nothing more was there to read.
    """

    records: "pa.RecordBatch | None"
    last: str | None
    following: str
    is_caught_up: bool


class KinesisStream:
    """One stream. Can be pickled before its first call.

    Args:
        name: Of the stream.
        region: AWS region.
        endpoint_url: Empty leaves the address to boto3 and its environment.
    """

    def __init__(self, name: str, *, region: str, endpoint_url: str = "") -> None:
        self.name = name
        self._region = region
        self._endpoint_url = endpoint_url

    def shards(self) -> "dict[str, ShardTypeDef]":
        """Return all shards whose records are kept, open or closed, by id.

        Raises:
            PassingError: Try again later.
            KinesisSourceError: There is no such stream, or it may not be read.
        """

        def pages() -> "dict[str, ShardTypeDef]":
            answers = self._client.get_paginator("list_shards").paginate(StreamName=self.name)
            return {shard["ShardId"]: shard for answer in answers for shard in answer["Shards"]}

        return self._call(pages)

    def iterator(self, shard_id: str, *, after: str | None, start: str) -> str:
        """Return an iterator behind the record ``after``, or where that is None, at ``start``.

        Args:
            shard_id: The shard.
            after: A sequence number, or None.
            start: ``TRIM_HORIZON`` or seconds since 1970.

        Raises:
            PassingError: Try again later.
            KinesisSourceError: The shard is gone, or never held that record.
        """
        where: dict[str, Any]
        if after is not None:
            where = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": after}
        elif start == TRIM_HORIZON:
            where = {"ShardIteratorType": TRIM_HORIZON}
        else:
            where = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": float(start)}

        def ask() -> str:
            try:
                answer = self._client.get_shard_iterator(StreamName=self.name, ShardId=shard_id, **where)
            except self._client.exceptions.InvalidArgumentException as error:
                if after is None:
                    raise
                raise KinesisSourceError(
                    f"shard {shard_id} of {self.name!r} does not know the place in the checkpoint: {error}. "
                    "A stream that was made anew needs a new checkpoint; the warehouse still takes no transaction twice"
                ) from error
            return answer["ShardIterator"]

        return self._call(ask)

    def page(self, shard_id: str, iterator: str) -> Page:
        """Read on: up to 10,000 records or 10 MB.

        Raises:
            ExpiredError: The iterator was not used for five minutes.
            PassingError: Try again later.
            KinesisSourceError: The stream is gone, or may not be read.
        """

        def read() -> Page:
            try:
                answer = self._client.get_records(ShardIterator=iterator, Limit=RECORDS_PER_CALL)
            except self._client.exceptions.ExpiredIteratorException as error:
                raise ExpiredError(str(error)) from error
            records = answer["Records"]
            return Page(
                records=self._to_arrow(shard_id, records) if records else None,
                last=records[-1]["SequenceNumber"] if records else None,
                following=answer.get("NextShardIterator", ""),
                is_caught_up=answer.get("MillisBehindLatest", 0) == 0,
            )

        return self._call(read)

    def _call(self, ask: Callable[[], _Answer]) -> _Answer:
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
        from botocore.exceptions import ConnectionError as Unreachable

        try:
            return ask()
        except (Unreachable, HTTPClientError) as error:
            raise PassingError(str(error)) from error
        except ClientError as error:
            code, status = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
            if code in _PASSING or status >= 500:  # noqa: PLR2004 -- what HTTP calls a fault of the server
                raise PassingError(str(error)) from error
            raise KinesisSourceError(f"cannot read Kinesis stream {self.name!r}: {error}") from error
        except BotoCoreError as error:
            raise KinesisSourceError(f"cannot read Kinesis stream {self.name!r}: {error}") from error

    @cached_property
    def _client(self) -> "KinesisClient":
        import boto3
        import botocore.session
        from botocore.config import Config

        session = botocore.session.get_session()
        # botocore takes a time for a text in the machine's zone: 0.03 ms a record, more than all that is done with it later.
        session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_moment)
        # No retries of botocore's own: they would hold one shard's call for a minute, and with it the batch of all shards.
        config = Config(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            retries={"mode": "standard", "total_max_attempts": 1},
            max_pool_connections=CONNECTIONS,
        )
        return boto3.Session(botocore_session=session).client(
            "kinesis", region_name=self._region, endpoint_url=self._endpoint_url or None, config=config
        )

    def _to_arrow(self, shard_id: str, records: "list[RecordTypeDef]") -> "pa.RecordBatch":
        import pyarrow as pa

        columns = {
            "data": pa.array([record["Data"] for record in records], pa.binary()),
            "streamName": pa.array([self.name] * len(records), pa.string()),
            "partitionKey": pa.array([record["PartitionKey"] for record in records], pa.string()),
            "shardId": pa.array([shard_id] * len(records), pa.string()),
            "sequenceNumber": pa.array([record["SequenceNumber"] for record in records], pa.string()),
            "approximateArrivalTimestamp": pa.array(
                [record["ApproximateArrivalTimestamp"] for record in records], pa.timestamp("us", tz="UTC")
            ),
        }
        return pa.RecordBatch.from_pydict(columns)


def _moment(seconds: float) -> datetime:
    """Return a time of Kinesis, which gives seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC)


def pause_s(failures: int) -> float:
    """Return how long to leave Kinesis alone after so many failures in a row: exponential, with jitter, bounded."""
    longest_s = min(FIRST_PAUSE_S * 2 ** (failures - 1), LONGEST_PAUSE_S)
    return random.uniform(longest_s / 2, longest_s)  # noqa: S311 -- so that several do not come at once


def patiently(ask: Callable[[], _Answer]) -> _Answer:
    """Call until Kinesis answers.

    Raises:
        KinesisSourceError: It refused, or stayed away for ``OUTAGE_S``.
    """
    deadline_s, failures = time.monotonic() + OUTAGE_S, 0
    while True:
        try:
            return ask()
        except PassingError as error:
            failures += 1
            wait_s = pause_s(failures)
            if time.monotonic() + wait_s > deadline_s:
                raise KinesisSourceError(f"Kinesis did not answer for {OUTAGE_S:.0f} s: {error}") from error
            _log.warning("Kinesis does not answer, next try in %.1f s: %s", wait_s, error)
            time.sleep(wait_s)
