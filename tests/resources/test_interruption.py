"""A run that is terminated in the Dagster UI stops its training job."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest

from resources.storage import Storage
from tests.conftest import ASK, free_port, unique

GRAPH = Path(__file__).with_name("graph_that_waits.py")
IMAGE = "141502667606.dkr.ecr.eu-west-1.amazonaws.com/sagemaker-xgboost:3.0-5"
INSTANCE = """
telemetry: {enabled: false}
run_coordinator: {module: dagster.core.run_coordinator, class: DefaultRunCoordinator}
"""
LAUNCH = """
mutation ($where: JobOrPipelineSelector!) {
  launchRun(executionParams: {selector: $where, mode: "default"}) {
    ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  }
}
"""
TERMINATE = """
mutation ($id: String!) { terminateRun(runId: $id) { __typename ... on PythonError { message } } }
"""


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch, storage: Storage, prefix: str) -> str:
    """Name of the training job that the graph's step waits for."""
    name = unique("job")
    storage.write(f"{prefix}/part-0.csv", b"\n".join(b"%d,%d" % (row % 2, row) for row in range(100)))
    for key, value in {"TEST_JOB": name, "TEST_IMAGE": IMAGE, "TEST_DATA": prefix}.items():
        monkeypatch.setenv(key, value)
    return name


@pytest.fixture
def ask(job: str, tmp_path: Path) -> Iterator[Callable[[str, dict[str, Any]], Any]]:  # noqa: ARG001 - sets the environment
    """Asks the webserver of a Dagster of its own, as its UI does."""
    (tmp_path / "dagster.yaml").write_text(INSTANCE)
    port = free_port()
    words = [*("-m", "dagster_webserver", "-f", str(GRAPH), "-h", "127.0.0.1", "-p", str(port))]
    with (tmp_path / "log").open("w") as log, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(tmp_path))
        server = subprocess.Popen([sys.executable, *words], stdout=log, stderr=log)
        try:
            until(lambda: _up(port), what=(tmp_path / "log").read_text)

            def ask(query: str, variables: dict[str, Any]) -> Any:
                answer = httpx.post(
                    f"http://127.0.0.1:{port}/graphql", json={"query": query, "variables": variables}, timeout=60
                ).json()
                assert "errors" not in answer, answer
                return answer["data"]

            yield ask
        finally:
            server.terminate()
            server.wait(30)


def _up(port: int) -> bool:
    try:
        return ASK.get(f"http://127.0.0.1:{port}/server_info").is_success
    except httpx.TransportError:
        return False


def until(holds: Callable[[], bool], *, what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 90
    while not holds():
        assert time.monotonic() < deadline, what()
        time.sleep(0.1)


def test_a_run_that_is_terminated_stops_its_training_job(
    ask: Callable[[str, dict[str, Any]], Any], job: str, boto: Callable[[str], Any], tmp_path: Path
) -> None:
    sagemaker = boto("sagemaker")

    def status() -> str:
        try:
            return str(sagemaker.describe_training_job(TrainingJobName=job)["SecondaryStatus"])
        except sagemaker.exceptions.ClientError:
            return "none"

    where = {"repositoryLocationName": GRAPH.name, "repositoryName": "__repository__", "jobName": "endless"}
    launched = ask(LAUNCH, {"where": where})["launchRun"]
    until(lambda: status() == "Training", what=lambda: (launched, status(), (tmp_path / "log").read_text()))
    assert ask(TERMINATE, {"id": launched["run"]["runId"]})["terminateRun"]["__typename"] == "TerminateRunSuccess"
    until(lambda: status() == "Stopped", what=status)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:

        def run_status() -> dg.DagsterRunStatus:
            run = instance.get_run_by_id(launched["run"]["runId"])
            assert run is not None
            return run.status

        until(lambda: run_status() == dg.DagsterRunStatus.CANCELED, what=run_status)
