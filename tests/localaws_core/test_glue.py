"""Glue as boto3 sees it: real runs of real scripts that come from S3."""

import io
import os
import signal
import textwrap
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import psutil
import pytest
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_glue.type_defs import JobRunTypeDef
    from mypy_boto3_s3 import S3Client

BUCKET = "scripts"
ENDED = {"SUCCEEDED", "FAILED", "STOPPED"}


@pytest.fixture(scope="module")
def moto_url(serve_module: Callable[..., str]) -> str:
    return serve_module("moto.server", "-H", "127.0.0.1", port_option="-p", health="/moto-api/")


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("glue-state")


@pytest.fixture(scope="module")
def glue_url(serve_module: Callable[..., str], moto_url: str, state_dir: Path) -> str:
    return serve_module("localaws.glue", "--state", str(state_dir), AWS_ENDPOINT_URL=moto_url)


@pytest.fixture
def glue(glue_url: str) -> "GlueClient":
    return boto3.client("glue", endpoint_url=glue_url, config=Config(retries={"max_attempts": 0}))


@pytest.fixture
def s3(moto_url: str) -> "S3Client":
    client = boto3.client("s3", endpoint_url=moto_url)
    if BUCKET not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
        client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return client


@pytest.fixture
def define(glue: "GlueClient", s3: "S3Client", request: pytest.FixtureRequest) -> Callable[..., str]:
    """Put a script into S3 and define a job on it, named as the test."""

    def make(script: str, **more: Any) -> str:
        name = str(request.node.name)
        s3.put_object(Bucket=BUCKET, Key=f"{name}/job.py", Body=textwrap.dedent(script).encode())
        command = {"Name": "gluestreaming", "ScriptLocation": f"s3://{BUCKET}/{name}/job.py", "PythonVersion": "3"}
        glue.create_job(Name=name, Role="role", Command=command, **more)  # type: ignore[arg-type]  # a plain dict
        return name

    return make


def await_state(glue: "GlueClient", name: str, run_id: str, states: set[str], timeout_s: float = 20) -> "JobRunTypeDef":
    deadline = time.monotonic() + timeout_s
    while (run := glue.get_job_run(JobName=name, RunId=run_id)["JobRun"])["JobRunState"] not in states:
        assert time.monotonic() < deadline, run
        time.sleep(0.05)
    return run


def log_of(state_dir: Path, run_id: str) -> str:
    return (state_dir / "glue" / "runs" / run_id / "output.log").read_text()


def await_log(state_dir: Path, run_id: str, text: str) -> str:
    deadline = time.monotonic() + 20
    while not (state_dir / "glue" / "runs" / run_id / "output.log").exists() or text not in log_of(state_dir, run_id):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return log_of(state_dir, run_id)


def test_a_run_gets_default_and_own_arguments_and_succeeds(
    glue: "GlueClient", define: Callable[..., str], state_dir: Path
) -> None:
    name = define(
        "import os, sys; print(sys.argv[1:]); print(os.environ['PYSPARK_PYTHON'] == sys.executable)",
        DefaultArguments={"--a": "default", "--b": "default"},
    )
    run_id = glue.start_job_run(JobName=name, Arguments={"--b": "own c"})["JobRunId"]
    run = await_state(glue, name, run_id, ENDED)
    assert run["JobRunState"] == "SUCCEEDED"
    assert run["CompletedOn"] >= run["StartedOn"]
    assert run["ExecutionTime"] in range(20)
    expected = ["--JOB_NAME", name, "--JOB_RUN_ID", run_id, "--a", "default", "--b", "own c"]
    assert log_of(state_dir, run_id).splitlines() == [str(expected), "True"]


def test_a_failed_run_names_its_exception(glue: "GlueClient", define: Callable[..., str]) -> None:
    name = define(
        """
        try:
            {}["first"]
        except KeyError:
            raise ValueError("the amount is missing")
        """
    )
    run = await_state(glue, name, glue.start_job_run(JobName=name)["JobRunId"], ENDED)
    assert (run["JobRunState"], run["ErrorMessage"]) == ("FAILED", "ValueError: the amount is missing")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import os; os.kill(os.getpid(), 9)", "the script was ended by signal 9"),
    ],
)
def test_a_run_without_exception_says_how_it_ended(
    glue: "GlueClient", define: Callable[..., str], script: str, message: str
) -> None:
    name = define(script)
    run = await_state(glue, name, glue.start_job_run(JobName=name)["JobRunId"], ENDED)
    assert (run["JobRunState"], run["ErrorMessage"]) == ("FAILED", message)


def test_extra_py_files_are_importable_and_keep_their_data(
    glue: "GlueClient", s3: "S3Client", define: Callable[..., str], state_dir: Path
) -> None:
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(
            "shipped/__init__.py", "from pathlib import Path\nDATA = Path(__file__).with_name('data.txt').read_text()"
        )
        archive.writestr("shipped/data.txt", "in the wheel")
    s3.put_object(Bucket=BUCKET, Key="shipped-1.0-py3-none-any.whl", Body=wheel.getvalue())
    s3.put_object(Bucket=BUCKET, Key="single.py", Body=b"NAME = 'single'")
    uris = f"s3://{BUCKET}/shipped-1.0-py3-none-any.whl, s3://{BUCKET}/single.py"
    name = define(
        "import shipped, single; print(shipped.DATA, single.NAME)", DefaultArguments={"--extra-py-files": uris}
    )
    run = await_state(glue, name, glue.start_job_run(JobName=name)["JobRunId"], ENDED)
    assert run["JobRunState"] == "SUCCEEDED"
    assert log_of(state_dir, run["Id"]) == "in the wheel single\n"


@pytest.mark.parametrize(
    "uri", ["s3://scripts/nowhere.whl", "s3://nowhere/x.whl", "file:///x.whl", "s3://scripts/text.tar"]
)
def test_a_package_that_cannot_be_used_fails_the_run_and_is_named(
    glue: "GlueClient", s3: "S3Client", define: Callable[..., str], uri: str
) -> None:
    s3.put_object(Bucket=BUCKET, Key="text.tar", Body=b"text")
    name = define("print('never')", DefaultArguments={"--extra-py-files": uri})
    run = await_state(glue, name, glue.start_job_run(JobName=name)["JobRunId"], ENDED)
    assert run["JobRunState"] == "FAILED"
    assert uri.rpartition("/")[2] in run["ErrorMessage"]


def test_a_stopped_run_ends_at_its_own_border(glue: "GlueClient", define: Callable[..., str], state_dir: Path) -> None:
    name = define(
        """
        import signal, time
        asked = []
        signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
        print("ready")
        while not asked:
            time.sleep(0.05)
        time.sleep(0.5)
        print("batch done")
        """
    )
    run_id = glue.start_job_run(JobName=name)["JobRunId"]
    await_log(state_dir, run_id, "ready")
    answer = glue.batch_stop_job_run(JobName=name, JobRunIds=[run_id, "jr_none"])
    assert answer["SuccessfulSubmissions"] == [{"JobName": name, "JobRunId": run_id}]
    assert answer["Errors"][0]["ErrorDetail"]["ErrorCode"] == "EntityNotFoundException"
    assert glue.get_job_run(JobName=name, RunId=run_id)["JobRun"]["JobRunState"] == "STOPPING"
    run = await_state(glue, name, run_id, ENDED)
    assert run["JobRunState"] == "STOPPED"
    assert "batch done" in log_of(state_dir, run_id)
    assert glue.batch_stop_job_run(JobName=name, JobRunIds=[run_id])["Errors"][0]["JobRunId"] == run_id


def test_nothing_that_a_run_started_outlives_it(
    glue: "GlueClient", define: Callable[..., str], state_dir: Path
) -> None:
    name = define(
        """
        import subprocess, sys
        for own_session in (False, True):
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=own_session)
            print("child", child.pid)
        print("ready")
        if "--wait" in sys.argv:
            child.wait()
        """
    )
    for arguments in ({}, {"--wait": "1"}):
        run_id = glue.start_job_run(JobName=name, Arguments=arguments)["JobRunId"]
        log = await_log(state_dir, run_id, "ready")
        if arguments:
            glue.batch_stop_job_run(JobName=name, JobRunIds=[run_id])
        await_state(glue, name, run_id, ENDED)
        pids = [int(line.split()[1]) for line in log.splitlines() if line.startswith("child")]
        assert len(pids) == 2
        assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)


def test_concurrent_runs_are_limited(glue: "GlueClient", define: Callable[..., str]) -> None:
    name = define("import time; time.sleep(600)", ExecutionProperty={"MaxConcurrentRuns": 2})
    run_ids = [glue.start_job_run(JobName=name)["JobRunId"] for _ in range(2)]
    with pytest.raises(glue.exceptions.ConcurrentRunsExceededException, match=name):
        glue.start_job_run(JobName=name)
    glue.batch_stop_job_run(JobName=name, JobRunIds=run_ids)
    for run_id in run_ids:
        assert await_state(glue, name, run_id, ENDED)["JobRunState"] == "STOPPED"
    listed = glue.get_job_runs(JobName=name, MaxResults=1)
    assert listed["JobRuns"][0]["Id"] == run_ids[1]
    assert glue.get_job_runs(JobName=name, NextToken=listed["NextToken"])["JobRuns"][0]["Id"] == run_ids[0]


def test_definitions_can_be_changed_listed_and_deleted(glue: "GlueClient", define: Callable[..., str]) -> None:
    name = define("", MaxCapacity=1.0, Tags={"a": "b"})
    with pytest.raises(glue.exceptions.AlreadyExistsException, match=name):
        define("")
    job = glue.get_job(JobName=name)["Job"]
    assert job["ExecutionProperty"] == {"MaxConcurrentRuns": 1}
    glue.update_job(JobName=name, JobUpdate={"Role": "other", "Command": job["Command"], "WorkerType": "G.1X"})
    changed = glue.get_job(JobName=name)["Job"]
    assert (changed["Role"], changed["CreatedOn"], "MaxCapacity" in changed) == ("other", job["CreatedOn"], False)
    pages = glue.get_paginator("get_jobs").paginate(PaginationConfig={"PageSize": 1})
    assert name in [job["Name"] for page in pages for job in page["Jobs"]]
    glue.delete_job(JobName=name)
    glue.delete_job(JobName=name)
    for missing in (glue.get_job, glue.start_job_run, glue.get_job_runs):
        with pytest.raises(glue.exceptions.EntityNotFoundException, match=name):
            missing(JobName=name)


def test_capacity_is_given_in_one_way_only(glue: "GlueClient", define: Callable[..., str]) -> None:
    with pytest.raises(glue.exceptions.InvalidInputException, match="Max Capacity"):
        define("", MaxCapacity=1.0, WorkerType="G.1X")
    with pytest.raises(glue.exceptions.InvalidInputException, match="ScriptLocation"):
        glue.create_job(Name="bare", Role="role", Command={"Name": "glueetl"})


def test_after_a_kill_the_history_is_there_and_the_run_is_not(
    serve_module: Callable[..., str], moto_url: str, s3: "S3Client", tmp_path: Path
) -> None:
    def client() -> "GlueClient":
        url = serve_module("localaws.glue", "--state", str(tmp_path), AWS_ENDPOINT_URL=moto_url)
        return boto3.client("glue", endpoint_url=url)

    glue = client()
    s3.put_object(Bucket=BUCKET, Key="endless.py", Body=b"import os, time; print('pid', os.getpid()); time.sleep(600)")
    glue.create_job(
        Name="endless", Role="r", Command={"Name": "glueetl", "ScriptLocation": f"s3://{BUCKET}/endless.py"}
    )
    run_id = glue.start_job_run(JobName="endless")["JobRunId"]
    script = psutil.Process(int(await_log(tmp_path, run_id, "pid").split()[1]))
    os.kill(script.ppid(), signal.SIGKILL)
    script.wait(10)
    run = client().get_job_run(JobName="endless", RunId=run_id)["JobRun"]
    assert run["JobRunState"] == "FAILED"
    assert "killed" in run["ErrorMessage"]
