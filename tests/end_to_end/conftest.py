"""One demo, run as a user runs it, and kept up for the tests that look at it."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from fraudit_dagster.settings import PROJECT_DIR, Settings
from fraudit_dagster.synthetic import write_synthetic

EVENTS = 150
API_PORT = 8000
COMMAND_TIMEOUT_S = 550.0
FRAUDIT = Path(sys.executable).with_name("fraudit")


def clean_environment() -> dict[str, str]:
    """Return this process's environment without what a world of somebody else may have set."""
    ours = {info.alias or name.upper() for name, info in Settings.model_fields.items()} | {"DAGSTER_HOME"}
    return {key: value for key, value in os.environ.items() if key not in ours and not key.startswith("AWS_")}


def fraudit(*words: str | Path, variables: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command ``fraudit`` as a user does."""
    return subprocess.run(
        [FRAUDIT, *words],
        env={**clean_environment(), **(variables or {})},
        cwd=PROJECT_DIR,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )


def processes_of(state: Path) -> list[str]:
    """Return the command lines of processes that name ``state``."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "environ"]):
        words = " ".join(process.info["cmdline"] or [])
        if process.pid != os.getpid() and (
            str(state) in words or str(state) in str((process.info["environ"] or {}).get("FRAUDIT_STATE_DIR"))
        ):
            found.append(words)
    return found


@dataclass(frozen=True)
class Demo:
    """A demo that went well and is still up."""

    state: Path
    trail: Path
    report: dict[str, Any]
    printed: str
    environment: dict[str, str]


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small table, synthetic, in the schema of creditcard."""
    path = tmp_path_factory.mktemp("table") / "small.parquet"
    write_synthetic(path, rows=12_000, frauds=240, seed=5)
    return path


@pytest.fixture(scope="module")
def demo(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo on the small table, kept up, while somebody else has the port that the API would take."""
    folder = tmp_path_factory.mktemp("demo")
    state, trail = folder / "state", folder / "trail"
    with socket.socket() as somebody:
        with suppress(OSError):  # where another program has it already, it is taken as well
            somebody.bind(("127.0.0.1", API_PORT))
            somebody.listen()
        words = ("demo", "--state", state, "--dataset", table, "--events", str(EVENTS), "--keep")
        done = fraudit(*words, variables={"LOCALAWS_TRAIL": str(trail)})
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        lines = fraudit("env", "--state", state).stdout.splitlines()
        exported = dict(line.removeprefix("export ").split("=", 1) for line in lines)
        yield Demo(state, trail, json.loads((state / "report.json").read_text()), done.stdout, exported)
    finally:
        fraudit("down", "--state", state)
        left = processes_of(state)
        shutil.rmtree(state, ignore_errors=True)
    assert not left, f"left running: {left}"
