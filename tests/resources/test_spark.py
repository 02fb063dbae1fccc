"""Spark is told of an archive of its classes; that it uses it is seen in ``tests/validation``, which has a Spark."""

import subprocess
from pathlib import Path

import pytest

from fraudit_dagster.java import find_java
from resources.spark import ARCHIVE, SHARED_CLASSES


def started_with(archive: Path) -> subprocess.CompletedProcess[str]:
    """Java, told of an archive as Spark tells it, and what it prints about where classes come from."""
    java = str(find_java() / "bin" / "java")
    options = SHARED_CLASSES.replace(str(ARCHIVE), str(archive)).split()
    return subprocess.run([java, *options, "-version"], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.skipif(not ARCHIVE.is_file(), reason="this Java makes no archive of classes")
@pytest.mark.parametrize("content", [None, b"", b"of another Java"])
def test_an_archive_that_does_not_fit_is_ignored_without_a_word(tmp_path: Path, content: bytes | None) -> None:
    archive = tmp_path / "spark.jsa"
    if content is not None:
        archive.write_bytes(content)
    done = started_with(archive)
    assert done.returncode == 0
    assert done.stdout == ""
    assert all("version" in line or "build" in line for line in done.stderr.splitlines()), done.stderr
