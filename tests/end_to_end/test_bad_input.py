"""What is wrong is named, the command fails, and nothing stays behind."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest

from fraudit_dagster.cli import world
from fraudit_dagster.settings import PROJECT_DIR
from tests.end_to_end.conftest import FRAUDIT, clean_environment, fraudit, processes_of


def test_a_wrong_contract_is_refused_with_file_line_and_field(tmp_path: Path) -> None:
    contract = tmp_path / "mine.yaml"
    contract.write_text("name: mine\ninputs: [A]\nlabel: A\namount: B\nsplit: {by: time}\nmodels: {}\n")
    done = fraudit("demo", "--state", tmp_path / "state", "--contract", contract)
    assert done.returncode == 1
    assert f"{contract}:3: label" in done.stderr
    assert f"{contract}:4: amount: 'B' is not one of the inputs" in done.stderr
    assert not (tmp_path / "state").exists()


def test_a_missing_column_is_named_before_anything_starts(table: Path, tmp_path: Path) -> None:
    frame = pd.read_parquet(table).drop(columns=["V7", "Amount"])
    frame.to_parquet(tmp_path / "short.parquet")
    done = fraudit("demo", "--state", tmp_path / "state", "--dataset", tmp_path / "short.parquet")
    assert done.returncode == 1
    assert "V7" in done.stderr
    assert "Amount" in done.stderr
    assert not (tmp_path / "state").exists()


def test_a_dataset_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = fraudit("demo", "--state", tmp_path / "state", "--dataset", tmp_path / "nowhere.csv")
    assert done.returncode == 1
    assert "nowhere.csv" in done.stderr


def test_a_missing_java_is_named(tmp_path: Path) -> None:
    done = fraudit("demo", "--state", tmp_path / "state", variables={"JAVA_HOME": str(tmp_path)})
    assert done.returncode == 1
    assert "holds no bin/java" in done.stderr


def test_wrong_settings_are_named_all_at_once(tmp_path: Path) -> None:
    done = fraudit("demo", "--state", tmp_path / "state", variables={"FRAUDIT_STAGE": "Dev!", "POSTGRES_PORT": "many"})
    assert done.returncode == 1
    assert "FRAUDIT_STAGE" in done.stderr
    assert "POSTGRES_PORT" in done.stderr


def test_a_table_without_frauds_is_refused_before_anything_starts(table: Path, tmp_path: Path) -> None:
    frame = pd.read_parquet(table)
    frame[frame["Class"] == 0].to_parquet(tmp_path / "honest.parquet")
    done = fraudit("demo", "--state", tmp_path / "state", "--dataset", tmp_path / "honest.parquet")
    assert done.returncode == 1
    assert "honest.parquet: no row has Class = 1" in done.stderr
    assert not (tmp_path / "state").exists()


def test_a_service_that_dies_in_the_middle_and_cannot_come_back_is_named_with_its_log(
    table: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    command: list[str | Path] = [FRAUDIT, "demo", "--state", state, "--dataset", table, "--events", "5"]
    running = subprocess.Popen(
        command, env=clean_environment(), cwd=PROJECT_DIR, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        pid = _pid_when_the_graph_runs(state, "moto", running)
        (state / "aws" / "lock").unlink()
        (state / "aws" / "lock").mkdir()  # it cannot take its folder again
        os.kill(pid, signal.SIGKILL)
        _, told = running.communicate(timeout=240)
    finally:
        if running.poll() is None:
            running.kill()
    assert running.returncode == 1
    assert re.search("service moto is (starting|failed): it ended", told)
    assert "moto.log" in told
    assert processes_of(state) == []


def _pid_when_the_graph_runs(state: Path, name: str, running: "subprocess.Popen[str]") -> int:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and running.poll() is None:
        if (state / "logs" / "graph.log").exists():
            return int(world.services(state)[name]["pid"])
        time.sleep(0.2)
    pytest.fail(f"the demo ended with {running.poll()} before the graph ran")
