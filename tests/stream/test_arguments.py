"""The job takes its arguments among Glue's own."""

import pytest
from fraudit_stream.arguments import parse_arguments

REQUIRED = {
    "JOB_NAME": "job",
    "postgres_host": "db",
    "postgres_secret_arn": "arn",
    "postgres_db": "fraudit_postgres_db",
    "kinesis_stream": "events",
    "aws_region": "eu-west-1",
}


def argv(**more: str) -> list[str]:
    return [part for name, value in {**REQUIRED, **more}.items() for part in (f"--{name}", value)]


@pytest.mark.parametrize("bucket", ["bucket", "s3://bucket", "s3://bucket/"])
def test_a_checkpoint_bucket_is_a_folder_of_the_job_and_the_stream(bucket: str) -> None:
    given = parse_arguments(argv(s3_checkpoint_bucket=bucket, TempDir="s3://elsewhere", JOB_RUN_ID="jr_1"))
    assert given.checkpoint_location == "s3a://bucket/checkpoints/job/events"


def test_defaults_are_those_of_production() -> None:
    given = parse_arguments(argv(checkpoint_location="/checkpoint"))
    assert (given.postgres_sslmode, given.postgres_port) == ("require", 5432)
    assert (given.starting_position, given.trigger_seconds, given.kinesis_endpoint) == ("TRIM_HORIZON", 1.0, "")
    assert (given.max_records_per_batch, given.max_fetch_ms) == (40_000, 5_000)


@pytest.mark.parametrize(
    "position", ["1764000000", "2025-11-24T16:00:00Z", "2025-11-24T17:00:00+01:00", "2025-11-24 16:00:00.000Z"]
)
def test_a_time_to_start_from_is_seconds_or_rfc_3339(position: str) -> None:
    given = parse_arguments(argv(checkpoint_location="/checkpoint", starting_position=position))
    assert float(given.starting_position) == 1_764_000_000


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({}, "--s3_checkpoint_bucket"),
        ({"checkpoint_location": "/c", "trigger_seconds": "-1"}, "--trigger_seconds"),
        ({"checkpoint_location": "/c", "starting_position": "YESTERDAY"}, "--starting_position"),
        ({"checkpoint_location": "/c", "starting_position": "2025-11-24T16:00:00"}, "--starting_position"),
        ({"checkpoint_location": "/c", "starting_position": "9999-01-01T00:00:00Z"}, "lies in the future"),
        ({"checkpoint_location": "/c", "max_records_per_batch": "0"}, "--max_records_per_batch"),
        ({"checkpoint_location": "/c", "max_fetch_ms": "soon"}, "--max_fetch_ms"),
        ({"checkpoint_location": "/c", "postgres_port": "five"}, "--postgres_port"),
    ],
)
def test_a_wrong_argument_is_named(more: dict[str, str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(argv(**more))
    assert named in capsys.readouterr().err
