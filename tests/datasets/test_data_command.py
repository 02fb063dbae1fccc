"""``fraudit data``: what a person types and reads."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fraudit_dagster.cli import data
from fraudit_dagster.cli.app import app
from fraudit_dagster.cli.errors import CommandError, known_errors
from resources.aws import client
from resources.datasets import COLUMNS, DatasetError
from tests.conftest import unique
from tests.datasets.conftest import KEY, USER, Site, breaks_at, made, read_csv, rows

REGION = "eu-west-1"


@pytest.fixture
def bucket(local_cloud: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The data bucket of a deployment that the environment names."""
    name = unique("data")
    for variable, value in {**local_cloud, "AWS_REGION": REGION, "SPARK_DATA_BUCKET": name}.items():
        monkeypatch.setenv(variable, value)
    client("s3", region=REGION).create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    return name


def keys(bucket: str) -> list[str]:
    return [item["Key"] for item in client("s3", region=REGION).list_objects_v2(Bucket=bucket).get("Contents", [])]


@pytest.mark.parametrize(
    ("token", "source"), [({"kaggle_username": USER, "kaggle_key": KEY}, "kaggle"), ({}, "openml")]
)
def test_download_takes_kaggle_where_there_is_a_token(
    site: Site, tmp_path: Path, target: Path, token: dict[str, str], source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    site.faults = [breaks_at(300_000)]
    told = data.fetch(made(site, tmp_path, **token), target, source=None, force=False)
    assert told == f"{target}: 3,000 transactions, 7 frauds, from {source}"
    assert read_csv(target) == [list(COLUMNS), *rows()]
    shown = capsys.readouterr()
    assert shown.out == ""
    assert re.search(rf"from {source} .* (\d+\.\d)/\1 MB", shown.err)


def test_download_leaves_a_file_alone_unless_it_is_forced(site: Site, tmp_path: Path, target: Path) -> None:
    target.parent.mkdir()
    target.write_text("mine")
    assert data.fetch(made(site, tmp_path), target, source="openml", force=False) == (
        f"{target} is there already; --force fetches it anew"
    )
    assert site.requests == []
    data.fetch(made(site, tmp_path), target, source="openml", force=True)
    assert read_csv(target) == [list(COLUMNS), *rows()]


def test_an_error_of_the_data_set_is_told_without_a_stack_trace() -> None:
    assert DatasetError in known_errors()


@pytest.mark.parametrize(
    ("words", "key"), [([], "dataset/november.csv"), (["--landing"], "landing/creditcard/november.csv")]
)
def test_upload_brings_a_file_to_the_data_bucket(bucket: str, tmp_path: Path, words: list[str], key: str) -> None:
    file = tmp_path / "november.csv"
    file.write_bytes(b"a table" * 2_000_000)  # in two parts
    command = ["data", "upload", "--file", str(file), *words]
    assert (
        CliRunner().invoke(app, [*command, "--dry-run"]).stdout.startswith(f"+ s3://{bucket}/{key}: 14,000,000 bytes")
    )
    assert keys(bucket) == []
    done = CliRunner().invoke(app, command)
    assert done.exception is None
    assert done.stdout == f"s3://{bucket}/{key}\n"
    assert "14.0/14.0 MB" in done.stderr
    assert keys(bucket) == [key]
    assert CliRunner().invoke(app, command).stdout == f"s3://{bucket}/{key}: nothing to change\n"
    file.write_bytes(b"another table")
    assert "-> 13 bytes, sha256" in CliRunner().invoke(app, [*command, "--dry-run"]).stdout


@pytest.mark.parametrize(
    ("name", "body", "why"),
    [
        ("none.csv", None, "no such file; --file names another, `fraudit data download` fetches the public one"),
        ("table.xlsx", b"x", "would not be read: not .csv, .csv.gz, .zip, .parquet"),
        ("table.csv", b"", "would not be read: empty"),
        ("_table.csv", b"x", "would not be read: unfinished or hidden"),
    ],
)
def test_what_the_graph_would_not_read_is_not_uploaded(
    bucket: str, tmp_path: Path, name: str, body: bytes | None, why: str
) -> None:
    if body is not None:
        (tmp_path / name).write_bytes(body)
    done = CliRunner().invoke(app, ["data", "upload", "--landing", "--file", str(tmp_path / name)])
    assert isinstance(done.exception, CommandError)
    assert why in str(done.exception)
    assert keys(bucket) == []
