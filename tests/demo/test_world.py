"""What people are told once the local world is up, and where they forgot to say that it is meant."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fraudit_dagster.cli import world
from fraudit_dagster.settings import PROJECT_DIR
from resources.aws import NO_CREDENTIALS


def test_the_addresses_are_those_that_the_services_got() -> None:
    running: dict[str, dict[str, Any]] = {
        "moto": {"url": "http://127.0.0.1:4566"},
        "dagster": {"url": "http://127.0.0.1:3001"},
        "dashboard": {"url": "http://127.0.0.1:8501"},
        "stream": {"url": None},
    }
    console = Console(width=100)
    with console.capture() as shown:
        console.print(world.addresses(running))
    assert "http://127.0.0.1:3001" in shown.get()
    assert "http://127.0.0.1:8501" in shown.get()
    assert "4566" not in shown.get()
    assert "api" not in shown.get(), "what does not run has no address"


def test_the_next_commands_name_the_state_where_it_is_not_the_usual_one(tmp_path: Path) -> None:
    assert 'eval "$(fraudit env)"' in world.next_commands(PROJECT_DIR / "var")[0]
    assert f'eval "$(fraudit env --state {tmp_path})"' in world.next_commands(tmp_path)[0]
    assert len(world.next_commands(tmp_path)) == 3


@pytest.mark.parametrize("words", [["graph", "bootstrap"], ["simulate", "--events", "1"], ["stream", "start"]])
def test_without_the_environment_a_command_says_in_one_line_how_to_get_it(words: list[str], tmp_path: Path) -> None:
    known = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    away = {"HOME": str(tmp_path), "DAGSTER_HOME": str(tmp_path / "dagster"), "AWS_EC2_METADATA_DISABLED": "true"}
    program = Path(sys.executable).with_name("fraudit")
    done = subprocess.run([program, *words], env=known | away, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("fraudit: ")
    assert line.endswith(NO_CREDENTIALS)
    assert not (tmp_path / "dagster").exists()
