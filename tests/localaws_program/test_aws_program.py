"""A program that knows AWS alone runs here unchanged, and finds all again after ``down`` and ``up``."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import free_port

PROGRAM = Path(__file__).with_name("aws_program.py")


def localaws(state: Path, *args: str) -> str:
    command = [sys.executable, "-m", "localaws.cli", *args, "--state", str(state)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], dict[str, Any]]]:
    """Runs a part of the program against an embedded AWS that was down before each but the first."""
    state = tmp_path_factory.mktemp("program") / "var"

    def run_part(part: str) -> dict[str, Any]:
        if state.exists():
            localaws(state, "down")
        localaws(state, "up", "--port-base", str(free_port()))
        lines = (shlex.split(line)[1].partition("=") for line in localaws(state, "env").splitlines())
        env = {**os.environ, **{name: value for name, _, value in lines}}
        done = subprocess.run(
            [sys.executable, str(PROGRAM), part], env=env, capture_output=True, text=True, timeout=400, check=False
        )
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    yield run_part
    localaws(state, "down")


@pytest.fixture(scope="module")
def worked(run: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    return run("work")


@pytest.fixture(scope="module")
def found(worked: dict[str, Any], run: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    assert worked
    return run("look")


def test_it_trains(worked: dict[str, Any]) -> None:
    trained = worked["trained"]
    assert trained["statuses"] == ["Completed", "Completed"], trained["reasons"]
    assert trained["steps"] == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert {"train:aucpr", "validation:aucpr", "test:f1"} <= set(trained["metrics"])


def test_it_deploys_and_invokes(worked: dict[str, Any]) -> None:
    deployed = worked["deployed"]
    ordinary, far_out = deployed["probabilities"]
    assert ordinary < 0.1
    assert far_out > 0.5
    assert deployed["scores"][0] < deployed["scores"][1]
    assert deployed["refused"] == ["ModelError", 415]


def test_it_streams_and_reshards(worked: dict[str, Any]) -> None:
    assert worked["streamed"] == {"records": True, "open": 2, "all": 5}


def test_it_runs_a_job_and_reads_its_log(worked: dict[str, Any]) -> None:
    assert worked["job"]["state"] == "SUCCEEDED"
    assert "hello from somebody" in worked["job"]["log"]


def test_its_alarm_reaches_its_queue(worked: dict[str, Any]) -> None:
    assert worked["alarm"] == {"told": ["program-errors", "ALARM"], "state": "ALARM"}


def test_it_reads_the_log_of_its_training(worked: dict[str, Any]) -> None:
    assert any("validation-aucpr" in line for line in worked["training_log"])


def test_after_down_and_up_all_is_there_and_the_endpoints_answer(worked: dict[str, Any], found: dict[str, Any]) -> None:
    assert found["probabilities"] == worked["deployed"]["probabilities"]
    assert found["scores"] == worked["deployed"]["scores"]
    assert {"train/part-0.csv", "models/program-xgboost/output/model.tar.gz"} <= found["objects"].keys()
    assert (found["records"], found["retention"]) == (True, 48)
    assert found["jobs"] == {"program-xgboost": "Completed", "program-forest": "Completed"}
    assert found["approved"] == ["Approved", "Approved"]
    assert found["runs"] == ["SUCCEEDED"]
    assert found["alarms"] == ["program-errors"]
    assert (found["secret"], found["parameter"]) == (worked["secret"], "0.5")
    assert found["training_log"] == worked["training_log"]
    assert found["rows"] == worked["rows"] == [[42]]
