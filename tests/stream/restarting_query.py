"""A query over the source that is stopped and started three times, one record put before each start but the last.

A process of its own: the JVM that another test of the same process started would not know this test's endpoints.

Usage: python restarting_query.py STREAM FOLDER; the last line of stdout is a JSON list: what each run of the query saw.
"""

import json
import sys
from typing import TYPE_CHECKING

import boto3
from fraudit_stream.kinesis_source import KinesisDataSource
from fraudit_stream.session import start_session

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

REGION = "eu-west-1"


def run_until_caught_up(session: "SparkSession", stream: str, folder: str) -> list[str]:
    seen: list[str] = []

    def collect(batch: "DataFrame", _batch_id: int) -> None:
        seen.extend(data.decode() for data in batch.toArrow().column("data").to_pylist())

    query = (
        session.readStream.format("fraudit-kinesis")
        .options(streamName=stream, region=REGION)
        .load()
        .writeStream.foreachBatch(collect)
        .option("checkpointLocation", f"{folder}/checkpoint")
        .start()
    )
    query.processAllAvailable()
    query.stop()
    return seen


def main() -> None:
    stream, folder = sys.argv[1:]
    kinesis = boto3.client("kinesis", region_name=REGION)
    session = start_session("restarting query")
    session.dataSource.register(KinesisDataSource)
    runs = []
    for data in (b"a", b"b", None):
        if data:
            kinesis.put_record(StreamName=stream, PartitionKey="key", Data=data)
        runs.append(run_until_caught_up(session, stream, folder))
    session.stop()
    sys.stdout.write(f"\n{json.dumps(runs)}\n")


if __name__ == "__main__":
    main()
