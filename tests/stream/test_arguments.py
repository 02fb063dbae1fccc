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


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({}, "--s3_checkpoint_bucket"),
        ({"checkpoint_location": "/c", "trigger_seconds": "-1"}, "--trigger_seconds"),
        ({"checkpoint_location": "/c", "starting_position": "YESTERDAY"}, "--starting_position"),
        ({"checkpoint_location": "/c", "postgres_port": "five"}, "--postgres_port"),
    ],
)
def test_a_wrong_argument_is_named(more: dict[str, str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(argv(**more))
    assert named in capsys.readouterr().err
