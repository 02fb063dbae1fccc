"""What the tests of Glue share: scripts in S3, and waiting for a run."""

import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_glue.type_defs import JobRunTypeDef
    from mypy_boto3_s3 import S3Client

BUCKET = "scripts"
ENDED = {"SUCCEEDED", "FAILED", "STOPPED", "TIMEOUT", "EXPIRED", "ERROR"}
ENDLESS = "import os, time; print('ready', os.getpid(), flush=True); time.sleep(600)"


def s3_at(url: str) -> "S3Client":
    client = boto3.client("s3", endpoint_url=url)
    if BUCKET not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
        client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return client


def put_script(s3: "S3Client", name: str, script: str, *, kind: str = "gluestreaming") -> dict[str, Any]:
    """Put a script into S3 and return a job's command on it."""
    s3.put_object(Bucket=BUCKET, Key=f"{name}/job.py", Body=textwrap.dedent(script).encode())
    return {"Name": kind, "ScriptLocation": f"s3://{BUCKET}/{name}/job.py", "PythonVersion": "3"}


def wait_for(condition: Callable[[], Any], what: Callable[[], Any], *, timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


def await_state(glue: "GlueClient", name: str, run_id: str, states: set[str]) -> "JobRunTypeDef":
    def run() -> "JobRunTypeDef":
        return glue.get_job_run(JobName=name, RunId=run_id)["JobRun"]

    wait_for(lambda: run()["JobRunState"] in states, run)
    return run()


def log_path(state_dir: Path, run_id: str, kind: str = "output") -> Path:
    return state_dir / "glue" / "runs" / run_id / f"{kind}.log"


def log_of(state_dir: Path, run_id: str, kind: str = "output") -> str:
    return log_path(state_dir, run_id, kind).read_text()


def await_log(state_dir: Path, run_id: str, text: str) -> str:
    path = log_path(state_dir, run_id)
    wait_for(lambda: path.exists() and text in path.read_text(), lambda: path)
    return path.read_text()
