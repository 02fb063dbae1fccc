"""The loop that people write instead of a Spark job: read every shard in turn, store what came, again.

Usage: ``stream_loop.py boto3|http ARGUMENTS``, the arguments being those of ``glue_job.py``; ends when it is told to. One process, the
rules and the sink of ``fraudit_stream``; no checkpoint, no reshard, no other machine. ``boto3`` reads as most would; ``http`` with
urllib3 and orjson, unsigned, which is about the least that Python can do.
"""

import base64
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import boto3
import orjson
import urllib3
from fraudit_stream.arguments import parse_arguments
from fraudit_stream.database import Database
from fraudit_stream.sink import Sink
from fraudit_stream.transform import classify_record

RECORDS_PER_CALL = 10_000
PAUSE_S = 0.2


class Read(NamedTuple):
    """A record as it was read."""

    shard_id: str
    sequence_number: str
    arrived_at: datetime
    data: bytes


class Boto3Reader:
    """Reads by boto3's client."""

    def __init__(self, url: str) -> None:
        self._kinesis = boto3.client("kinesis", endpoint_url=url or None)

    def turn(self, iterators: dict[str, str]) -> Iterator[Read]:
        """Read once from every shard, moving its iterator."""
        for shard_id, iterator in iterators.items():
            answer = self._kinesis.get_records(ShardIterator=iterator, Limit=RECORDS_PER_CALL)
            iterators[shard_id] = answer["NextShardIterator"]
            for record in answer["Records"]:
                yield Read(
                    shard_id, record["SequenceNumber"], record["ApproximateArrivalTimestamp"], bytes(record["Data"])
                )


class HttpReader:
    """Reads by urllib3 and orjson."""

    def __init__(self, url: str) -> None:
        self._pool = urllib3.connection_from_url(url)
        self._headers = {
            "content-type": "application/x-amz-json-1.1",
            "x-amz-target": "Kinesis_20131202.GetRecords",
            "authorization": "AWS4-HMAC-SHA256 Credential=local/20260101/eu-west-1/kinesis/aws4_request, SignedHeaders=host, Signature=0",
        }

    def turn(self, iterators: dict[str, str]) -> Iterator[Read]:
        """Read once from every shard, moving its iterator."""
        for shard_id, iterator in iterators.items():
            body = orjson.dumps({"ShardIterator": iterator, "Limit": RECORDS_PER_CALL})
            answer: dict[str, Any] = orjson.loads(
                self._pool.request("POST", "/", body=body, headers=self._headers).data
            )
            iterators[shard_id] = answer["NextShardIterator"]
            for record in answer["Records"]:
                yield Read(
                    shard_id,
                    record["SequenceNumber"],
                    datetime.fromtimestamp(record["ApproximateArrivalTimestamp"], UTC),
                    base64.b64decode(record["Data"]),
                )


READERS: dict[str, Callable[[str], Boto3Reader | HttpReader]] = {"boto3": Boto3Reader, "http": HttpReader}


def main() -> None:
    """Read and store, for ever."""
    arguments = parse_arguments(sys.argv[2:])
    reader = READERS[sys.argv[1]](arguments.kinesis_endpoint)
    sink = Sink(
        Database(
            host=arguments.postgres_host,
            port=arguments.postgres_port,
            name=arguments.postgres_db,
            user=arguments.postgres_user,
            sslmode=arguments.postgres_sslmode,
            secret_id=arguments.postgres_secret_arn,
            region=arguments.aws_region,
        )
    )
    kinesis = boto3.client("kinesis", endpoint_url=arguments.kinesis_endpoint or None)
    shard_ids = [shard["ShardId"] for shard in kinesis.list_shards(StreamName=arguments.kinesis_stream)["Shards"]]
    iterators = {
        shard_id: kinesis.get_shard_iterator(
            StreamName=arguments.kinesis_stream, ShardId=shard_id, ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        for shard_id in shard_ids
    }
    query_id, batch_id = str(uuid.uuid4()), 0
    while True:
        records = [classify_record(*record) for record in reader.turn(iterators)]
        if records:
            sink.write(records, query_id=query_id, batch_id=batch_id)
            batch_id += 1
        else:
            time.sleep(PAUSE_S)


if __name__ == "__main__":
    main()
