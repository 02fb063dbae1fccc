"""The checkout is what it says: its packages are its own, its lock is in step, its rules hold."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fraudit_dagster.settings import PROJECT_DIR
from scripts.lock import LOCK, UV_LOCK, inputs_hash


@pytest.mark.parametrize(
    "name", ["fraudit_dagster", "assets", "resources", "jobs", "dashboard", "localaws", "fraudit_stream"]
)
def test_a_package_with_a_common_name_is_the_one_of_the_checkout(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__file__ is not None
    assert Path(module.__file__).is_relative_to(PROJECT_DIR)


def test_the_lock_is_in_step_with_what_the_projects_ask_for() -> None:
    assert LOCK.read_text().splitlines()[0] == f"# inputs sha256:{inputs_hash()}", "run `make lock`"


@pytest.mark.parametrize("lock", [LOCK, UV_LOCK], ids=lambda path: path.name)
def test_the_lock_has_hashes_and_no_hosts(lock: Path) -> None:
    text = lock.read_text()
    pins = re.findall(r"^[a-z0-9].*==", text, re.MULTILINE)
    assert pins
    assert len(re.findall(r"^[a-z0-9][^\n]*\\\n    --hash=sha256:", text, re.MULTILINE)) == len(pins)
    assert "://" not in text
    assert "--index-url" not in text


def test_the_gpu_runtime_stays_out() -> None:
    assert "nvidia" not in LOCK.read_text()


def test_make_lists_its_targets_by_default() -> None:
    listed = subprocess.run(
        ["make", "--no-print-directory"], cwd=PROJECT_DIR, capture_output=True, text=True, check=True
    ).stdout
    for target in ("setup", "demo", "test", "lint", "bench", "up", "down", "status"):
        assert re.search(rf"make {target}\b", listed)


def test_make_setup_does_nothing_when_nothing_changed() -> None:
    done = subprocess.run(["make", "--question", "setup"], cwd=PROJECT_DIR, capture_output=True, text=True, check=False)
    assert done.returncode == 0, "the environment is older than the lock: run `make setup`"


def test_the_import_rules_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], cwd=PROJECT_DIR, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_api_imports_nothing_of_the_rest() -> None:
    ours = {"fraudit_dagster", "assets", "resources", "jobs", "dashboard", "localaws", "fraudit_stream", "dagster"}
    for path in (PROJECT_DIR / "api").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & ours, f"{path} imports {names}"


def test_dagster_loads_the_workspace() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("dagster"), "definitions", "validate", "-w", "workspace.yaml"],
        cwd=PROJECT_DIR,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
