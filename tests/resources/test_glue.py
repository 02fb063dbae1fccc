"""The streaming job is started once, watched, and stopped."""

import time
from collections.abc import Callable
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


def test_a_job_that_does_not_stop_in_time_is_named(define: Callable[[str], Glue]) -> None:
    glue = define(ENDLESS)
    glue.start({"--last_batch_s": "2"})
    await_state(glue, "RUNNING")
    time.sleep(0.5)  # until the script listens
    with pytest.raises(GlueError, match=f"Glue job {glue.job_name!r} had not stopped after 0 s") as caught:
        glue.stop(timeout_s=0.4)
    assert caught.value.code == "Timeout"


def test_a_failed_run_says_why(define: Callable[[str], Glue]) -> None:
    glue = define("raise ValueError('no such secret')")
    glue.start({})
    assert await_state(glue, "FAILED")["ErrorMessage"] == "ValueError: no such secret"


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
