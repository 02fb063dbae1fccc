"""The arguments of the job, as Glue hands them over: ``--name value`` pairs, among them some of Glue's own, which are left alone."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from fraudit_stream.kinesis_api import TRIM_HORIZON
from fraudit_stream.kinesis_source import LATEST, MAX_FETCH_MS, MAX_RECORDS_PER_BATCH


@dataclass(frozen=True, slots=True)
class Arguments:
    """What the job was told.

    Attributes:
        kinesis_endpoint: Address of Kinesis; empty leaves it to boto3 and its environment.
        checkpoint_location: Folder or URI of Spark's checkpoint, one per job and stream.
        starting_position: ``TRIM_HORIZON``, ``LATEST`` or seconds since 1970, where there is no checkpoint.
        trigger_seconds: Time between the starts of two micro-batches; 0 is back to back. What a batch may hold, at most
            ``max_records_per_batch`` and 64 MiB, is what the stream can take in that time.
        max_records_per_batch: Most records of one micro-batch, of all shards together.
        max_fetch_ms: Longest time that a micro-batch waits for records once it may begin.
        stage: The dimension ``stage`` of all metrics.
    """

    job_name: str
    postgres_host: str
    postgres_port: int
    postgres_user: str
    postgres_secret_arn: str
    postgres_db: str
    postgres_sslmode: str
    kinesis_stream: str
    kinesis_endpoint: str
    aws_region: str
    checkpoint_location: str
    trigger_seconds: float
    starting_position: str
    max_records_per_batch: int
    max_fetch_ms: int
    stage: str


def parse_arguments(argv: Sequence[str]) -> Arguments:
    """Read the arguments.

    Raises:
        SystemExit: An argument is missing or malformed; the message on stderr names it.
    """
    # No abbreviations: Glue's own --JOB_ID or --TempDir must not be taken for one of ours.
    parser = argparse.ArgumentParser(prog="glue_job.py", allow_abbrev=False)
    parser.add_argument("--JOB_NAME", required=True)
    parser.add_argument("--postgres_host", required=True)
    parser.add_argument("--postgres_port", type=int, default=5432)
    parser.add_argument("--postgres_user", default="", help="overrides the secret's username")
    parser.add_argument("--postgres_secret_arn", required=True, help='secret {"username", "password"}, by ARN or name')
    parser.add_argument("--postgres_db", required=True)
    parser.add_argument("--postgres_sslmode", default="require")
    parser.add_argument("--kinesis_stream", required=True)
    parser.add_argument("--kinesis_endpoint", default="")
    parser.add_argument("--aws_region", required=True)
    checkpoint = parser.add_mutually_exclusive_group(required=True)
    checkpoint.add_argument("--s3_checkpoint_bucket")
    checkpoint.add_argument("--checkpoint_location")
    parser.add_argument("--trigger_seconds", type=_not_negative, default=1.0)
    parser.add_argument("--starting_position", type=_starting_position, default=TRIM_HORIZON)
    parser.add_argument("--max_records_per_batch", type=_positive, default=MAX_RECORDS_PER_BATCH)
    parser.add_argument("--max_fetch_ms", type=_positive, default=MAX_FETCH_MS)
    parser.add_argument("--stage", default="dev")
    given, _ = parser.parse_known_args(argv)
    return Arguments(
        job_name=given.JOB_NAME,
        postgres_host=given.postgres_host,
        postgres_port=given.postgres_port,
        postgres_user=given.postgres_user,
        postgres_secret_arn=given.postgres_secret_arn,
        postgres_db=given.postgres_db,
        postgres_sslmode=given.postgres_sslmode,
        kinesis_stream=given.kinesis_stream,
        kinesis_endpoint=given.kinesis_endpoint,
        aws_region=given.aws_region,
        checkpoint_location=given.checkpoint_location
        or _checkpoint_in(given.s3_checkpoint_bucket, job_name=given.JOB_NAME, stream=given.kinesis_stream),
        trigger_seconds=given.trigger_seconds,
        starting_position=given.starting_position,
        max_records_per_batch=given.max_records_per_batch,
        max_fetch_ms=given.max_fetch_ms,
        stage=given.stage,
    )


def _checkpoint_in(bucket: str, *, job_name: str, stream: str) -> str:
    name = bucket.rsplit("://", maxsplit=1)[-1].strip("/")
    return f"s3a://{name}/checkpoints/{job_name}/{stream}"


def _not_negative(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0")
    return seconds


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return number


def _starting_position(text: str) -> str:
    """Return the position as the source takes it: a time as seconds since 1970."""
    if text in (TRIM_HORIZON, LATEST):
        return text
    try:
        seconds = _not_negative(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not {TRIM_HORIZON}, {LATEST}, seconds since 1970, or a time with its zone (2026-11-23T10:00:00Z)"
            ) from None
        seconds = moment.timestamp()
    if seconds > datetime.now(UTC).timestamp():
        raise argparse.ArgumentTypeError(f"{text!r} lies in the future")
    return f"{seconds:.3f}"
