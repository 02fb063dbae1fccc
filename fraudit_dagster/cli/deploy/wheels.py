"""Wheels of this checkout's projects.

Belongs here: building one. Does not: where it goes.
"""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from fraudit_dagster.cli.errors import CommandError


def build_wheel(project: Path) -> tuple[str, bytes]:
    """Return a wheel's name and content: the same bytes from the same files, since hatchling dates all of them alike.

    Args:
        project: The folder of its ``pyproject.toml``.

    Raises:
        CommandError: It could not be built.
    """
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            raise CommandError(f"the wheel of {project} could not be built: {done.stderr.strip()[-300:]}")
        return wheels[0].name, wheels[0].read_bytes()
