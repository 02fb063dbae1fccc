"""``fraudit deploy stream``: what differs is uploaded, the job is restarted only where it runs, and its checkpoint stays."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from fraudit_dagster.cli.app import app
from fraudit_dagster.cli.deploy import stream
from fraudit_dagster.cli.deploy.changes import NOTHING
from fraudit_dagster.cli.deploy.checksums import CHECKSUMS
from resources.aws import client
from tests.conftest import unique

REGION = "eu-west-1"
ENDLESS = b"import time\nwhile True: time.sleep(0.02)\n"
CHECKPOINT = "checkpoints/job/events/metadata"


class Job:
    """A job in the embedded Glue, its bucket, and the command."""

    def __init__(self) -> None:
        self.name, self.bucket = unique("job"), unique("stream")
        self.glue: Any = client("glue", region=REGION)
        self.s3: Any = client("s3", region=REGION)
        self.s3.create_bucket(Bucket=self.bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        self.s3.put_object(Bucket=self.bucket, Key=CHECKPOINT, Body=b"its place")
        self.create({})

    def create(self, arguments: dict[str, str]) -> None:
        command = {"Name": "gluestreaming", "ScriptLocation": f"s3://{self.bucket}/glue/{stream.SCRIPT}"}
        self.glue.create_job(Name=self.name, Role="role", Command=command, DefaultArguments=arguments)

    def fraudit(self, *words: str) -> list[str]:
        done = CliRunner().invoke(app, list(words))
        assert done.exit_code == 0, done.exception or done.output
        return done.output.splitlines()

    def body(self, name: str) -> bytes:
        return bytes(self.s3.get_object(Bucket=self.bucket, Key=name)["Body"].read())

    def names(self) -> set[str]:
        return {found["Key"] for found in self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", [])}

    def runs(self) -> list[str]:
        return [run["JobRunState"] for run in self.glue.get_job_runs(JobName=self.name)["JobRuns"]]


@pytest.fixture
def job(local_cloud: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    for name, value in {**local_cloud, "AWS_REGION": REGION}.items():
        monkeypatch.setenv(name, value)
    made = Job()
    monkeypatch.setenv("GLUE_JOB_NAME", made.name)
    monkeypatch.setenv("SPARK_STREAMING_BUCKET", made.bucket)
    yield made
    made.fraudit("stream", "stop")


@pytest.fixture
def ship(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Lets the checkout hold a job that is a plain Python script."""

    def shipped(script: bytes) -> None:
        monkeypatch.setattr(stream, "code", lambda: {stream.SCRIPT: script, stream.WHEEL: b"a wheel"})

    shipped(ENDLESS)
    return shipped


def test_the_real_files_are_uploaded_once(job: Job) -> None:
    shown = job.fraudit("deploy", "stream", "--dry-run")
    assert [line.split(":")[0] for line in shown[:-1]] == ["+ s3"] * 3
    assert job.names() == {CHECKPOINT}

    assert job.fraudit("deploy", "stream") == shown[:-1]
    assert job.fraudit("deploy", "stream") == [NOTHING]
    assert job.names() == {CHECKPOINT, *(f"glue/{name}" for name in (stream.SCRIPT, stream.WHEEL, CHECKSUMS))}
    assert {name: job.body(f"glue/{name}") for name in (stream.SCRIPT, stream.WHEEL)} == stream.code()


def test_a_job_that_runs_is_restarted_on_new_code_and_only_then(job: Job, ship: Callable[[bytes], None]) -> None:
    job.fraudit("deploy", "stream")
    job.fraudit("stream", "start")
    ship(ENDLESS + b"# newer\n")
    shown = job.fraudit("deploy", "stream", "--dry-run")
    assert any("a run on this code" in line for line in shown)
    assert len(job.runs()) == 1

    job.fraudit("deploy", "stream")
    newest, *earlier = job.runs()
    assert newest in {"STARTING", "RUNNING"}
    assert earlier == ["STOPPED"]
    assert job.fraudit("deploy", "stream") == [NOTHING]
    assert len(job.runs()) == 2
    assert job.body(CHECKPOINT) == b"its place"


def test_a_job_that_was_stopped_stays_stopped(job: Job, ship: Callable[[bytes], None]) -> None:
    job.fraudit("deploy", "stream")
    job.fraudit("stream", "start")
    job.fraudit("stream", "stop")
    ship(ENDLESS + b"# newer\n")
    job.fraudit("deploy", "stream")
    assert job.runs() == ["STOPPED"]
    assert job.body(f"glue/{stream.SCRIPT}").endswith(b"# newer\n")


def test_a_restart_that_did_not_happen_is_made_up_for(
    job: Job, ship: Callable[[bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    job.fraudit("deploy", "stream")
    job.fraudit("stream", "start")
    ship(ENDLESS + b"# newer\n")

    def interrupted(_: Any) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stream, "_restart", interrupted)
        CliRunner().invoke(app, ["deploy", "stream"])
    assert len(job.runs()) == 1

    job.fraudit("deploy", "stream")
    assert len(job.runs()) == 2


@pytest.mark.usefixtures("ship")
def test_a_job_that_asks_for_an_environment_gets_one(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"s3://{job.bucket}/glue/{stream.ENVIRONMENT}"
    job.glue.delete_job(JobName=job.name)
    job.create({stream.NEEDS_ENVIRONMENT: uri})
    monkeypatch.setattr(stream, "build_environment", lambda: b"an environment")
    assert any(line.startswith(f"+ {uri}: sha256 ") for line in job.fraudit("deploy", "stream"))
    assert job.body(f"glue/{stream.ENVIRONMENT}") == b"an environment"
    assert job.fraudit("deploy", "stream") == [NOTHING]
