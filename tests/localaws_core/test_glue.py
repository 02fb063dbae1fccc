"""Glue as boto3 sees it: real runs of real scripts that come from S3."""

import ast
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import psutil
import pytest
from botocore.config import Config

from .glue_cloud import BUCKET, ENDED, ENDLESS, await_log, await_state, log_of, put_script, s3_at

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_s3 import S3Client


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
    return s3_at(moto_url)


@pytest.fixture
def define(glue: "GlueClient", s3: "S3Client", request: pytest.FixtureRequest) -> Callable[..., str]:
    """Put a script into S3 and define a job on it, named as the test."""

    def make(script: str, *, kind: str = "gluestreaming", **more: Any) -> str:
        name = str(request.node.name)
        command: Any = put_script(s3, name, script, kind=kind)
        glue.create_job(Name=name, Role="role", Command=command, **more)
        return name

    return make


def test_a_run_gets_default_and_own_arguments_and_succeeds(
    glue: "GlueClient", define: Callable[..., str], state_dir: Path
) -> None:
    name = define(
        "import os, sys; print(sys.argv[1:]); print(os.environ['PYSPARK_PYTHON'] == sys.executable)",
        DefaultArguments={"--a": "default", "--b": "default", "--c": "default"},
        NonOverridableArguments={"--c": "fixed"},
    )
    run_id = glue.start_job_run(JobName=name, Arguments={"--b": "own c", "--c": "own"})["JobRunId"]
    run = await_state(glue, name, run_id, ENDED)
    assert run["JobRunState"] == "SUCCEEDED"
    assert run["CompletedOn"] >= run["StartedOn"]
    assert run["ExecutionTime"] in range(20)
    assert run["Arguments"] == {"--b": "own c", "--c": "own"}
    printed, is_own_python = log_of(state_dir, run_id).splitlines()
    arguments = ast.literal_eval(printed)
    assert arguments.pop(arguments.index("--JOB_ID") + 1).startswith("j_")
    assert arguments == [
        *("--JOB_NAME", name, "--JOB_ID", "--JOB_RUN_ID", run_id),
        *("--a", "default", "--b", "own c", "--c", "fixed"),
    ]
    assert is_own_python == "True"


@pytest.mark.parametrize(
    ("kind", "handed_on"),
    [
        ("glueetl", ["--TempDir", "s3://t/", "--job-bookmark-option", "job-bookmark-disable", "--own"]),
        (
            "pythonshell",
            [
                *("--enable-metrics", "--job-language", "python", "--TempDir", "s3://t/"),
                *("--job-bookmark-option", "job-bookmark-disable", "--own"),
            ],
        ),
    ],
)
def test_the_launcher_of_spark_takes_its_own_parameters(
    glue: "GlueClient", define: Callable[..., str], state_dir: Path, kind: str, handed_on: list[str]
) -> None:
    special = {
        "--enable-metrics": "",
        "--job-language": "python",
        "--TempDir": "s3://t/",
        "--job-bookmark-option": "job-bookmark-disable",
        "--own": "",
    }
    name = define("import sys; print(sys.argv[7:])", kind=kind, DefaultArguments=special)
    run = await_state(glue, name, glue.start_job_run(JobName=name)["JobRunId"], ENDED)
    assert run["JobRunState"] == "SUCCEEDED"
    assert ast.literal_eval(log_of(state_dir, run["Id"])) == handed_on


def test_the_error_log_says_what_is_not_brought_here(
    glue: "GlueClient", define: Callable[..., str], state_dir: Path
) -> None:
    name = define("", DefaultArguments={"--additional-python-modules": "a==1", "--extra-jars": ""})
    run = await_state(glue, name, glue.start_job_run(JobName=name)["JobRunId"], ENDED)
    assert run["JobRunState"] == "SUCCEEDED"
    assert "--additional-python-modules has no effect here" in log_of(state_dir, run["Id"], "error")


def test_output_and_errors_have_a_log_each(glue: "GlueClient", define: Callable[..., str], state_dir: Path) -> None:
    name = define("import sys; print('out'); print('err', file=sys.stderr)")
    run = await_state(glue, name, glue.start_job_run(JobName=name)["JobRunId"], ENDED)
    assert (log_of(state_dir, run["Id"]), log_of(state_dir, run["Id"], "error")) == ("out\n", "err\n")
    assert run["LogGroupName"] == "/aws-glue/jobs"


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
        ("import os, shutil, sys; shutil.rmtree(os.getcwd()); sys.exit(1)", "SystemExit: 1"),
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


def test_a_run_over_the_limit_waits_in_order_when_it_may(glue: "GlueClient", define: Callable[..., str]) -> None:
    name = define(ENDLESS, JobRunQueuingEnabled=True)
    first, second, third, fourth = (glue.start_job_run(JobName=name)["JobRunId"] for _ in range(4))
    await_state(glue, name, first, {"RUNNING"})
    for run_id in (second, third, fourth):
        waiting = glue.get_job_run(JobName=name, RunId=run_id)["JobRun"]
        assert (waiting["JobRunState"], waiting["ExecutionTime"]) == ("WAITING", 0)
        assert "at most 1" in waiting["StateDetail"]
    with pytest.raises(glue.exceptions.ConcurrentRunsExceededException, match=name):
        glue.start_job_run(JobName=name, JobRunQueuingEnabled=False)
    glue.batch_stop_job_run(JobName=name, JobRunIds=[second, first])
    assert glue.get_job_run(JobName=name, RunId=second)["JobRun"]["JobRunState"] == "STOPPED"
    assert "StateDetail" not in await_state(glue, name, third, {"RUNNING"})
    assert glue.get_job_run(JobName=name, RunId=fourth)["JobRun"]["JobRunState"] == "WAITING"
    command: Any = glue.get_job(JobName=name)["Job"]["Command"]
    glue.update_job(
        JobName=name, JobUpdate={"Role": "r", "Command": command, "ExecutionProperty": {"MaxConcurrentRuns": 2}}
    )
    await_state(glue, name, fourth, {"RUNNING"})
    fifth = glue.start_job_run(JobName=name, JobRunQueuingEnabled=True)["JobRunId"]
    glue.delete_job(JobName=name)
    orphan = glue.get_job_run(JobName=name, RunId=fifth)["JobRun"]
    assert (orphan["JobRunState"], name in orphan["ErrorMessage"]) == ("ERROR", True)
    glue.batch_stop_job_run(JobName=name, JobRunIds=[third, fourth])
    for run_id in (third, fourth):
        await_state(glue, name, run_id, {"STOPPED"})


def test_a_failed_run_is_tried_again_under_its_own_id(glue: "GlueClient", define: Callable[..., str]) -> None:
    name = define("raise ValueError('again')", MaxRetries=2)
    first = glue.start_job_run(JobName=name, Arguments={"--a": "b"})["JobRunId"]
    for run_id in (first, f"{first}_attempt_1", f"{first}_attempt_2"):
        await_state(glue, name, run_id, {"FAILED"})
    runs = glue.get_job_runs(JobName=name)["JobRuns"]
    assert [(run["Id"], run["Attempt"], run.get("PreviousRunId"), run["JobRunState"]) for run in runs] == [
        (f"{first}_attempt_2", 2, f"{first}_attempt_1", "FAILED"),
        (f"{first}_attempt_1", 1, first, "FAILED"),
        (first, 0, None, "FAILED"),
    ]
    assert {run["ErrorMessage"] for run in runs} == {"ValueError: again"}
    assert [run["Arguments"] for run in runs] == [{"--a": "b"}] * 3


def test_a_run_can_be_tried_again_by_hand(glue: "GlueClient", define: Callable[..., str]) -> None:
    name = define("import sys; sys.exit(sys.argv.index('--ok') < 0)", NotificationProperty={"NotifyDelayAfter": 5})
    first = await_state(glue, name, glue.start_job_run(JobName=name, Arguments={"--a": "b"})["JobRunId"], ENDED)
    again = glue.start_job_run(JobName=name, JobRunId=first["Id"], Arguments={"--ok": "1"})["JobRunId"]
    run = await_state(glue, name, again, ENDED)
    assert (first["JobRunState"], run["JobRunState"], run["PreviousRunId"]) == ("FAILED", "SUCCEEDED", first["Id"])
    assert run["Arguments"] == {"--a": "b", "--ok": "1"}
    assert run["NotificationProperty"] == {"NotifyDelayAfter": 5}
    with pytest.raises(glue.exceptions.EntityNotFoundException, match="jr_none"):
        glue.start_job_run(JobName=name, JobRunId="jr_none")


def test_a_job_without_a_timeout_gets_that_of_its_version(glue: "GlueClient", define: Callable[..., str]) -> None:
    name = define("", kind="glueetl", GlueVersion="4.0")
    command: Any = glue.get_job(JobName=name)["Job"]["Command"]
    minutes = [glue.get_job(JobName=name)["Job"].get("Timeout")]
    for update in ({"GlueVersion": "5.1"}, {}, {"Timeout": 7}, {"Command": {**command, "Name": "gluestreaming"}}):
        job: Any = {"Role": "r", "Command": command, **update}
        glue.update_job(JobName=name, JobUpdate=job)
        minutes.append(glue.get_job(JobName=name)["Job"].get("Timeout"))
    assert minutes == [2880, 480, 480, 7, None]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"MaxRetries": 11}, "MaxRetries 11"),
        ({"Timeout": 10_081}, "Timeout 10081"),
        ({"ExecutionProperty": {"MaxConcurrentRuns": 0}}, "MaxConcurrentRuns 0"),
        ({"kind": "glue"}, "'glue'"),
    ],
)
def test_what_aws_does_not_take_is_refused_and_named(
    glue: "GlueClient", define: Callable[..., str], wrong: dict[str, Any], named: str
) -> None:
    with pytest.raises(glue.exceptions.InvalidInputException, match=named):
        define("", **wrong)


def test_a_job_has_tags(glue: "GlueClient", define: Callable[..., str]) -> None:
    name = define("", Tags={"team": "fraud", "stage": "dev"})
    arn = f"arn:aws:glue:eu-west-1:123456789012:job/{name}"
    glue.tag_resource(ResourceArn=arn, TagsToAdd={"stage": "prod", "owner": "x"})
    glue.untag_resource(ResourceArn=arn, TagsToRemove=["team", "none"])
    assert glue.get_tags(ResourceArn=arn)["Tags"] == {"stage": "prod", "owner": "x"}
    with pytest.raises(glue.exceptions.InvalidInputException, match="51 tags"):
        glue.tag_resource(ResourceArn=arn, TagsToAdd={str(number): "" for number in range(49)})
    glue.delete_job(JobName=name)
    with pytest.raises(glue.exceptions.EntityNotFoundException, match=name):
        glue.get_tags(ResourceArn=arn)
