"""The streaming job is started once, watched, and stopped."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from resources.glue import Glue, GlueError
from resources.storage import Storage
from tests.conftest import unique
from tests.resources.conftest import REGION

ENDLESS = """
import signal, sys, time
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
while not asked:
    time.sleep(0.02)
time.sleep(float(sys.argv[sys.argv.index("--last_batch_s") + 1]))
"""


@pytest.fixture
def define(storage: Storage, prefix: str, boto: Callable[[str], Any]) -> Callable[[str], Glue]:
    """Defines a job on a script."""

    def make(script: str) -> Glue:
        name = unique("job")
        storage.write(f"{prefix}/job.py", script.encode())
        command = {"Name": "gluestreaming", "ScriptLocation": f"{prefix}/job.py", "PythonVersion": "3"}
        boto("glue").create_job(Name=name, Role="role", Command=command)
        return Glue(region=REGION, job_name=name)

    return make


def await_state(glue: Glue, state: str) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while (run := glue.latest_run() or {}).get("JobRunState") != state:
        assert time.monotonic() < deadline, run
        time.sleep(0.05)
    return run


def test_a_job_runs_once_until_it_is_stopped(define: Callable[[str], Glue]) -> None:
    glue = define(ENDLESS)
    assert glue.latest_run() is None
    glue.stop()
    run_id = glue.start({"--last_batch_s": "0"})
    assert await_state(glue, "RUNNING")["Id"] == run_id
    assert glue.start({"--last_batch_s": "0"}) == run_id
    glue.stop()
    assert await_state(glue, "STOPPED")["Id"] == run_id
    glue.stop()
    assert glue.start({"--last_batch_s": "0"}) != run_id
    glue.stop()


def test_a_start_while_the_job_stops_is_a_new_run(define: Callable[[str], Glue], boto: Callable[[str], Any]) -> None:
    glue = define(ENDLESS)
    run_id = glue.start({"--last_batch_s": "1"})
    await_state(glue, "RUNNING")
    time.sleep(0.5)  # until the script listens
    boto("glue").batch_stop_job_run(JobName=glue.job_name, JobRunIds=[run_id])
    await_state(glue, "STOPPING")
    assert glue.start({"--last_batch_s": "0"}) != run_id
    glue.stop()


def test_of_many_starts_at_once_one_runs_and_all_are_given_it(
    define: Callable[[str], Glue], boto: Callable[[str], Any]
) -> None:
    name = define(ENDLESS).job_name
    operators = [Glue(region=REGION, job_name=name) for _ in range(8)]
    with ThreadPoolExecutor(len(operators)) as pool:
        ids = set(pool.map(lambda glue: glue.start({"--last_batch_s": "0"}), operators))
    assert ids == {run["Id"] for run in boto("glue").get_job_runs(JobName=name)["JobRuns"]}
    assert len(ids) == 1
    operators[0].stop()


def test_a_run_is_stopped_while_it_starts(define: Callable[[str], Glue]) -> None:
    glue = define(ENDLESS)
    run_id = glue.start({"--last_batch_s": "0"})
    glue.stop()
    assert await_state(glue, "STOPPED")["Id"] == run_id


def test_a_restart_is_a_new_run_with_the_new_arguments(define: Callable[[str], Glue]) -> None:
    glue = define(ENDLESS)
    run_id = glue.start({"--last_batch_s": "0"})
    restarted = glue.restart({"--last_batch_s": "0.1"})
    assert restarted != run_id
    assert await_state(glue, "RUNNING")["Arguments"] == {"--last_batch_s": "0.1"}
    glue.stop()


def test_all_runs_are_stopped_where_several_are_under_way(
    define: Callable[[str], Glue], boto: Callable[[str], Any]
) -> None:
    glue, api = define(ENDLESS), boto("glue")
    update = {key: api.get_job(JobName=glue.job_name)["Job"][key] for key in ("Role", "Command")}
    api.update_job(JobName=glue.job_name, JobUpdate={**update, "ExecutionProperty": {"MaxConcurrentRuns": 2}})
    for _ in range(2):
        api.start_job_run(JobName=glue.job_name, Arguments={"--last_batch_s": "0"})
    glue.stop()
    assert {run["JobRunState"] for run in api.get_job_runs(JobName=glue.job_name)["JobRuns"]} == {"STOPPED"}


def test_a_job_that_does_not_stop_in_time_is_named(define: Callable[[str], Glue]) -> None:
    glue = define(ENDLESS)
    run_id = glue.start({"--last_batch_s": "2"})
    await_state(glue, "RUNNING")
    time.sleep(0.5)  # until the script listens
    with pytest.raises(
        GlueError, match=f"Glue job {glue.job_name!r} had not stopped after 0 s: run {run_id} is STOPPING"
    ) as caught:
        glue.stop(timeout_s=0.4)
    assert caught.value.code == "Timeout"


def test_a_run_that_dies_while_it_starts_says_why_and_is_not_in_the_way(
    define: Callable[[str], Glue], storage: Storage
) -> None:
    glue = define("")
    script = glue._client.get_job(JobName=glue.job_name)["Job"]["Command"]["ScriptLocation"]
    storage.delete([script])
    run_id = glue.start({})
    assert f"LAUNCH ERROR | cannot fetch {script}: " in await_state(glue, "FAILED")["ErrorMessage"]
    glue.stop()
    assert glue.start({}) != run_id


def test_a_failed_run_says_why(define: Callable[[str], Glue]) -> None:
    glue = define("raise ValueError('no such secret')")
    glue.start({})
    assert await_state(glue, "FAILED")["ErrorMessage"] == "ValueError: no such secret"


class StubbornGlue(BaseHTTPRequestHandler):
    """Glue that shows a run and refuses to stop it."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        detail = {"ErrorCode": "InternalServiceException", "ErrorMessage": "try later"}
        answers = {
            "GetJobRuns": {"JobRuns": [{"Id": "jr_1", "JobRunState": "RUNNING"}]},
            "BatchStopJobRun": {"Errors": [{"JobName": "job", "JobRunId": "jr_1", "ErrorDetail": detail}]},
        }
        answer = json.dumps(answers[self.headers["X-Amz-Target"].partition(".")[2]]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


def test_a_refusal_to_stop_is_said_at_once(
    serving: Callable[[type[BaseHTTPRequestHandler]], int], aws_at: Callable[[int], None]
) -> None:
    aws_at(serving(StubbornGlue))
    with pytest.raises(GlueError, match="cannot stop run jr_1 of Glue job 'job': try later") as caught:
        Glue(region=REGION, job_name="job").stop()
    assert caught.value.code == "InternalServiceException"


def test_a_job_that_is_not_there_is_named() -> None:
    glue = Glue(region=REGION, job_name="none")
    for act in (glue.latest_run, glue.stop, lambda: glue.start({})):
        with pytest.raises(GlueError, match="Glue job 'none'") as caught:
            act()
        assert caught.value.code == "EntityNotFoundException"


@pytest.mark.usefixtures("nobody_answers")
def test_a_glue_that_does_not_answer_is_said() -> None:
    with pytest.raises(GlueError, match="Could not connect") as caught:
        Glue(region=REGION, job_name="any").latest_run()
    assert caught.value.code == "Unreachable"
