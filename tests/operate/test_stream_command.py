"""``fraudit stream``: the job of ``.env`` is started with the arguments of ``.env``, stopped and restarted; and that is what is wished."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import unique

from .conftest import Deployment, said

ENDLESS = "import time\nwhile True: time.sleep(0.02)"


def test_the_job_is_started_once_restarted_and_stopped(
    deployment: Deployment, boto: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = unique("job")
    monkeypatch.setenv("GLUE_JOB_NAME", name)
    monkeypatch.setenv("POSTGRES_HOST", "warehouse.internal")
    boto("s3").put_object(Bucket=deployment.bucket, Key="job.py", Body=ENDLESS)
    command = {"Name": "gluestreaming", "ScriptLocation": f"s3://{deployment.bucket}/job.py", "PythonVersion": "3"}
    boto("glue").create_job(Name=name, Role="role", Command=command)

    def wished() -> str:
        return str(
            json.loads(boto("s3").get_object(Bucket=deployment.bucket, Key="stream/wish.json")["Body"].read())["state"]
        )

    started = said("stream", "start")
    assert wished() == "running"
    assert said("stream", "start") == started
    restarted = said("stream", "restart")
    assert wished() == "running"
    assert said("stream", "stop") == "stopped"
    assert wished() == "stopped"
    runs = boto("glue").get_job_runs(JobName=name)["JobRuns"]
    assert [f"run {run['Id']}" for run in runs] == [restarted, started]
    assert {run["JobRunState"] for run in runs} == {"STOPPED"}
    assert {run["Arguments"]["--postgres_host"] for run in runs} == {"warehouse.internal"}
